"""The rows that a page about data lets one browse: which of all, with their tokens, masks and losses.

In come records, a tokenizer and perhaps a model; out come rows in the order of the data.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

from chatwright.data import spelled
from chatwright.data.lessons import Text
from chatwright.data.spelled import Spelled
from chatwright.data.truncate import Fitted, fit_record
from chatwright.errors import DataError
from chatwright.text.pieces import Example
from chatwright.text.records import Document, Preference, Problem, Rated, Record
from chatwright.text.tokenizer import Tokenizer

if TYPE_CHECKING:  # both bring torch, which a page without a model does not need
    from chatwright.evals.token_losses import TokenLosses
    from chatwright.models.protocol import LanguageModel

LONGEST = 2_048  # ids of one row that are shown and scored: a document can be a whole book


@dataclass(frozen=True)
class PageRow:
    """One example: where it comes from, which part of its record it is, what truncation did to it, and its pieces.

    `tokens` is the whole length, in words where there is no tokenizer (`example` None); `learned` counts what is shown.
    """

    place: str
    part: str
    note: str
    tokens: int
    learned: int
    pieces: list[Spelled]
    example: Example | None = None
    losses: TokenLosses | None = None

    @property
    def learned_nats(self) -> list[float]:
        """The losses of the learned tokens that have one; a broken weight has none."""
        if self.example is None or self.losses is None:
            return []
        scored = zip(self.losses.nats.tolist(), self.example.mask, strict=True)
        return [nats for nats, learned in scored if learned and math.isfinite(nats)]

    @property
    def mean(self) -> float | None:
        """The mean loss of the learned tokens, in nats; None where there is none."""
        nats = self.learned_nats
        return sum(nats) / len(nats) if nats else None


def rows(records: Iterable[Record], text: Text | None, seq_len: int) -> list[PageRow]:
    """The examples of these records as a training with rows of `seq_len` predictions has them; words without a `text`.

    A record that the template has no place for is left out: it stands among the bad rows.
    """
    found: list[PageRow] = []
    for record in records:
        parts = _parts(record)
        if text is None:
            found += [_in_words(record, *one) for one in zip(parts, spelled.words(record), strict=True)]
            continue
        try:
            fitted = fit_record(record, text.tokenizer, text.template, seq_len + 1)  # the shift by one takes an id
        except DataError:
            continue
        for number, (part, one) in enumerate(zip(parts, fitted, strict=True)):
            found.append(_in_tokens(record, part, one, text.tokenizer) or _in_words_of(record, number, part, one))
    return found


def scored(found: Sequence[PageRow], model: LanguageModel) -> list[PageRow]:
    """The same rows with the losses of their tokens."""
    from chatwright.evals.token_losses import token_losses

    examples = [row.example or Example([], []) for row in found]
    losses = token_losses(model, examples)
    return [
        replace(row, losses=one) if row.example is not None else row for row, one in zip(found, losses, strict=True)
    ]


def likeliest_names(found: Sequence[PageRow], tokenizer: Tokenizer) -> dict[int, str]:
    """How the ids are spelled that the model would have chosen, wherever it was asked."""
    numbers = {int(number) for row in found if row.losses for number in row.losses.likeliest if number >= 0}
    special = {number: token for token, number in tokenizer.special_tokens.items()}
    known = (number for number in sorted(numbers) if number < tokenizer.vocab_size)  # a model may have rows to spare
    return {number: special.get(number) or tokenizer.decode([number]) for number in known}


def as_json(row: PageRow) -> dict[str, Any]:
    """What the script of the page reads. `marks` has a digit a piece: 1 learned, 2 special, 3 both."""
    nats = row.learned_nats
    found: dict[str, Any] = {
        "place": row.place,
        "part": row.part,
        "note": row.note,
        "tokens": row.tokens,
        "learned": row.learned,
        "pieces": [piece.text for piece in row.pieces],
        "marks": "".join(str(piece.learned + 2 * piece.special) for piece in row.pieces),
        "ids": list(chain.from_iterable(piece.ids for piece in row.pieces)),
    }
    if any(len(piece.ids) != 1 for piece in row.pieces):
        found["sizes"] = [len(piece.ids) for piece in row.pieces]
    if nats and row.losses is not None:
        found |= {"mean": round(sum(nats) / len(nats), 4), "peak": round(max(nats), 4)}
    if row.losses is not None:
        found |= {
            "nats": _rounded(row.losses.nats.tolist()),
            "ranks": row.losses.ranks.tolist(),
            "likeliest": row.losses.likeliest.tolist(),
            "likeliest_nats": _rounded(row.losses.likeliest_nats.tolist()),
        }
    return found


def _rounded(values: Iterable[float]) -> list[float | None]:
    """JSON knows no NaN; where a weight is broken, the loss has no number either."""
    return [round(value, 3) if math.isfinite(value) else None for value in values]


def _in_tokens(record: Record, part: str, fitted: Fitted, tokenizer: Tokenizer) -> PageRow | None:
    """A row of tokens, or None where nothing is learned and so nothing was rendered."""
    if fitted.example is None:
        return None
    whole = fitted.example
    example = Example(whole.ids[:LONGEST], whole.mask[:LONGEST])
    pieces = spelled.tokens(example, tokenizer)
    if len(whole.ids) > LONGEST:
        part = _cut(part, "tokens")
    return PageRow(str(record.source), part, fitted.fit, fitted.tokens, sum(example.mask), pieces, example)


def _in_words_of(record: Record, number: int, part: str, fitted: Fitted) -> PageRow:
    """What is never learned, to be read all the same."""
    pieces = spelled.words(record)[number]
    unlearned = [replace(piece, learned=False) for piece in pieces]
    return PageRow(str(record.source), part, fitted.fit, fitted.tokens, 0, unlearned)


def _in_words(record: Record, part: str, pieces: list[Spelled]) -> PageRow:
    counts = [(len(piece.text.split()), piece.learned) for piece in pieces]
    total, learned = sum(count for count, _ in counts), sum(count for count, learned in counts if learned)
    if len(pieces) > LONGEST:
        part = _cut(part, "words")
    return PageRow(str(record.source), part, "", total, learned, pieces[:LONGEST])


def _cut(part: str, unit: str) -> str:
    return ", ".join(filter(None, (part, f"its first {LONGEST:,} {unit}")))


def _parts(record: Record) -> tuple[str, ...]:
    """What each example of a record is, where there can be a doubt."""
    match record:
        case Preference():
            return ("the better answer", "the worse answer")
        case Rated():
            return ("a good answer" if record.good else "a bad answer",)
        case Problem():
            return ("a problem: its answer is graded, not learned",)
        case Document():
            return ("a document",)
    return ("",)
