"""From pieces of text and control tokens to ids, for every template.

In: Pieces in order. Out: an Example. Text is encoded in runs, cut only at control tokens and where a piece says so; a
control token gets its id from here, and takes the white space beside it along where the vocabulary says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from chatwright.errors import ConfigError
from chatwright.text.layouts import Piece
from chatwright.text.records import Conversation

if TYPE_CHECKING:
    from chatwright.text.tokenizer import Tokenizer

# One start of an answer of each kind that pre-tokenizers treat apart.
PROBES = ("Paris", "it", "'s", "1. one", "2024", "(a)", "...", "**bold**", "`x`", "<b>", "École", "東京", "🙂", "_")

# Unicode's, as `tokenizers` has it; Python adds U+001C to U+001F.
WHITE_SPACE = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)


@dataclass(frozen=True)
class Example:
    """`mask[i] == 1`: the model learns to produce `ids[i]` from the ids before it. Both have the same length."""

    ids: list[int]
    mask: list[int]


def encode(
    pieces: Iterable[Piece], tokenizer: Tokenizer, id_of: Callable[[str], int], *, first: int | None = None
) -> Example:
    """Texts and control tokens in order to ids. `first` stands before them, and nobody learns it."""
    ids = [] if first is None else [first]
    mask = [0] * len(ids)
    after_control = bool(ids)
    for run in runs(_stripped(pieces, tokenizer)):
        if run.control:
            new = [id_of(run.text)]
        else:  # a vocabulary that begins a text with a space does so once, or again after each control token
            begins = not ids or (after_control and tokenizer.spaces_every_run)
            new = tokenizer.encode(run.text, continues=not begins)
        ids.extend(new)
        mask.extend([int(run.learned)] * len(new))
        after_control = run.control
    return Example(ids, mask)


def runs(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Neighbouring texts joined, except where an answer starts or learning starts or ends."""
    run: Piece | None = None
    for piece in pieces:
        if run and not (run.control or piece.control or piece.cut) and run.learned == piece.learned:
            run = Piece(run.text + piece.text, run.learned, cut=run.cut)
            continue
        if run:
            yield run
        run = piece
    if run:
        yield run


def _stripped(pieces: Iterable[Piece], tokenizer: Tokenizer) -> list[Piece]:
    """The pieces without the white space that belongs to a control token beside it, and without empty texts."""
    kept: list[Piece] = []
    takes_along = False
    for piece in pieces:
        if piece.control:
            before, takes_along = tokenizer.strips(piece.text)
            while before and kept and not kept[-1].control:
                last = kept.pop()
                if text := last.text.rstrip(WHITE_SPACE):
                    kept.append(replace(last, text=text))
                    break
        elif takes_along:
            piece = replace(piece, text=piece.text.lstrip(WHITE_SPACE))
            takes_along = not piece.text
        if piece.text:
            kept.append(piece)
    return kept


def check_waits(conversation: Conversation) -> None:
    """Raises ConfigError where it is not the assistant's turn."""
    last = conversation.messages[-1].role
    if last not in ("user", "tool"):
        raise ConfigError(f"the last message is of the role {last}; end with a user message to ask for a reply")


def listed(tokens: Iterable[str], most: int = 8) -> str:
    """Names for a sentence; some vocabularies have a thousand special tokens."""
    found = list(tokens)
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return ", ".join(found[:most]) + more or "no special tokens"
