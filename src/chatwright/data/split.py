"""Train, validation and test, by SHA-256 of what is asked: one prompt is in one split, in every file and every stage.

A row's key is its first user turn (a document's: its text), normalised, so that a change of case or spacing does not
carry a validation prompt into training. Long documents are cut at paragraphs first, or one book could not be split.
"""

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from chatwright.data.files import is_text
from chatwright.text.records import Conversation, Document, Preference, Problem, Rated, Record

LONG = 20_000  # characters: a longer document is always cut, a shorter one where there are fewer than FEWEST of them
PIECE = 2_000  # characters of one piece, about a page
FEWEST = 3  # distinct prompts that give each of the three splits one
NAMES = ("train", "validation", "test")
Shares = tuple[float, float, float]


@dataclass(frozen=True)
class Splits:
    """The three parts, each in the order of the source, and what had to be said about the cutting."""

    train: list[Record]
    validation: list[Record]
    test: list[Record]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Placed:
    """A record, or the pieces of one that belong together, in its split. `hashes` are of the pieces, by which they were
    placed; none where the source says what is held out."""

    record: Record
    split: str
    hashes: tuple[float, ...]


@dataclass(frozen=True)
class SplitRule:
    """Where a record belongs, told from the record alone, so that it can be told in any order and by any process.

    `moved` are the hashes that belong elsewhere than their number says, and `few` means that all documents are cut:
    `corrected` finds out both once all hashes are known.
    """

    shares: Shares = (0.9, 0.05, 0.05)
    moved: tuple[tuple[float, str], ...] = ()
    few: bool = False

    def __post_init__(self) -> None:
        if min(self.shares) < 0 or abs(sum(self.shares) - 1) > 1e-6 or not self.shares[0]:
            raise ValueError(f"shares are {self.shares}; they must be parts of 1, the first above 0")

    @property
    def cuts(self) -> bool:
        """Whether anything is held out at all."""
        return bool(self.shares[1] or self.shares[2])

    def place(self, record: Record) -> list[Placed]:
        """The record whole, or a long document in parts; neighbouring pieces of the same split are one text again."""
        if record.source.split or not self.cuts:
            return [Placed(record, record.source.split or "train", ())]
        long = isinstance(record, Document) and (self.few or len(record.text) > LONG)
        pieces = list(_cut(record)) if isinstance(record, Document) and long else [record]
        placed = [(self.named(hash_of(piece)), piece) for piece in pieces]
        return [
            Placed(_joined(run), name, tuple(map(hash_of, run)))
            for name, group in groupby(placed, key=lambda one: one[0])
            for run in [[piece for _, piece in group]]
        ]

    def corrected(self, hashes: Iterable[float], notes: list[str]) -> "SplitRule":
        """The rule that these hashes, of all there is, ask for: so that no split with a share is empty.

        Where it is another rule, the hashes may be others under it: whoever asks places everything anew and asks again.
        """
        distinct = sorted(set(hashes))
        if not self.cuts or not distinct:
            return self
        if len(distinct) < FEWEST and not self.few:
            return replace(self, few=True)
        names = _assigned(distinct, self.shares, notes)
        return replace(self, moved=tuple((h, name) for h, name in names.items() if name != _named(h, self.shares)))

    def named(self, value: float) -> str:
        """The split of a hash."""
        return dict(self.moved).get(value, _named(value, self.shares))


def split(records: Sequence[Record], shares: Shares = (0.9, 0.05, 0.05)) -> Splits:
    """Cuts records into train, validation and test by `shares`, which add up to 1.

    Where a split with a share would get nothing, it gets the prompt with the lowest hash, if there are three distinct
    prompts or more.
    """
    rule = SplitRule(shares)
    while True:
        notes: list[str] = []
        placed = [rule.place(record) for record in records]
        better = rule.corrected((value for group in placed for one in group for value in one.hashes), notes)
        if better == rule:
            break
        rule = better
    pieces = [sum(len(one.hashes) for one in group) for group in placed]
    notes = [*cut_notes(sum(count > 1 for count in pieces), sum(count for count in pieces if count > 1)), *notes]
    parts = {name: [one.record for group in placed for one in group if one.split == name] for name in NAMES}
    return Splits(parts["train"], parts["validation"], parts["test"], tuple(notes))


def cut_notes(documents: int, pieces: int) -> list[str]:
    """What is said where long documents were cut."""
    if not documents:
        return []
    return [f"long documents ({documents}) are cut at paragraphs, and the {pieces} pieces are split"]


def hash_of(record: Record) -> float:
    """A number in [0, 1) fixed by what is asked."""
    return int.from_bytes(hashlib.sha256(key(record).encode()).digest()[:8], "big") / 2**64


def key(record: Record) -> str:
    """What a record is split by, normalised: Unicode NFKC, case folded, white space collapsed."""
    match record:
        case Document():
            text = record.text
        case Conversation():
            text = record.first_user
        case Preference():
            text = record.chosen.first_user
        case Rated():
            text = record.conversation.first_user
        case Problem():
            text = record.prompt.first_user
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def overlap(first: Iterable[Record], second: Iterable[Record]) -> list[str]:
    """The keys that both hold, sorted."""
    return sorted({key(record) for record in first} & {key(record) for record in second})


def _named(value: float, shares: Shares) -> str:
    """The split that a hash belongs to: the lowest are the test, the next the validation set."""
    _, validation, test = shares
    return "test" if value < test else "validation" if value < test + validation else "train"


def _assigned(hashes: list[float], shares: Shares, notes: list[str]) -> dict[float, str]:
    """The split of each hash (sorted, distinct)."""
    _, validation, test = shares
    names = {value: _named(value, shares) for value in hashes}
    if len(hashes) < FEWEST:
        few = "1 distinct prompt is" if len(hashes) == 1 else f"{len(hashes)} distinct prompts are"
        notes.append(f"{few} too few to split; everything is trained on")
        return dict.fromkeys(hashes, "train")
    # what is wanted but empty takes the lowest hash of a split that can spare it
    for name, share in (("test", test), ("validation", validation), ("train", 1.0)):
        counts = Counter(names.values())
        if share and not counts[name]:
            spare = [value for value in hashes if counts[names[value]] > 1]
            moved = spare[-1] if name == "train" else spare[0]
            notes.append(f"the {name} split would be empty, so it gets one of the {len(hashes)} distinct prompts")
            names[moved] = name
    return names


def _cut(document: Document) -> Iterator[Document]:
    """A document in pieces that begin where a paragraph, a line or a word does."""
    size = min(PIECE, max(200, len(document.text) // 40))
    text, start, end = document.text, 0, 0
    while start < len(text):
        end = _boundary(text, start, size)
        while end < len(text) and not text[start:end].strip():
            end = _boundary(text, end, size)
        if not text[end:].strip():
            end = len(text)
        source = document.source
        if is_text(Path(source.file)):  # one row of a table stays that row
            source = replace(source, line=source.line + text.count("\n", 0, start))
        yield Document(text[start:end], source)
        start = end


def _boundary(text: str, start: int, size: int) -> int:
    """Where the piece from `start` ends: after a paragraph, or else a line, or else a word, in its later part."""
    if len(text) - start <= size:
        return len(text)
    for mark in ("\n\n", "\n", " "):
        found = text.rfind(mark, start + size // 4, start + size)
        if found != -1:
            return found + len(mark)
    return start + size


def _joined(records: list[Record]) -> Record:
    """Pieces that follow each other as one document."""
    if len(records) == 1:
        return records[0]
    return Document("".join(record.text for record in records if isinstance(record, Document)), records[0].source)
