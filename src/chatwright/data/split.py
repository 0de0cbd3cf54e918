"""Train, validation and test, by SHA-256 of what is asked: one prompt is in one split, in every file and every stage.

A row's key is its first user turn (a document's: its text), normalised, so that a change of case or spacing does not
carry a validation prompt into training. Long documents are cut at paragraphs first, or one book could not be split.
"""

import hashlib
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from chatwright.data.files import is_text
from chatwright.text.records import Conversation, Document, Preference, Problem, Rated, Record

LONG = 20_000  # characters: a longer document is always cut, a shorter one where there are fewer than FEWEST of them
PIECE = 2_000  # characters of one piece, about a page
FEWEST = 3  # distinct prompts that give each of the three splits one


@dataclass(frozen=True)
class Splits:
    """The three parts, each in the order of the source, and what had to be said about the cutting."""

    train: list[Record]
    validation: list[Record]
    test: list[Record]
    notes: tuple[str, ...] = ()


def split(records: Sequence[Record], shares: tuple[float, float, float] = (0.9, 0.05, 0.05), seed: int = 0) -> Splits:
    """Cuts records into train, validation and test by `shares`, which add up to 1.

    Where a split with a share would get nothing, it gets the prompt with the lowest hash, if there are three distinct
    prompts or more. Leave `seed` at 0, whatever the run's is: stages with different seeds would learn each other's
    validation prompts.
    """
    if min(shares) < 0 or abs(sum(shares) - 1) > 1e-6 or not shares[0]:
        raise ValueError(f"shares are {shares}; they must be parts of 1, the first above 0")
    if not shares[1] and not shares[2]:
        return Splits(list(records), [], [])
    notes: list[str] = []
    pieces = _pieces(records, notes)
    hashes = [_hash(key(record), seed) for _, record in pieces]
    names = _assigned(sorted(set(hashes)), shares, notes)
    parts: dict[str, list[Record]] = {"train": [], "validation": [], "test": []}
    placed = [(names[value], number, record) for value, (number, record) in zip(hashes, pieces, strict=True)]
    # neighbouring pieces of one document that fall in the same split are one text again
    for (name, _), run in groupby(placed, key=lambda piece: piece[:2]):
        parts[name].append(_joined([record for _, _, record in run]))
    return Splits(parts["train"], parts["validation"], parts["test"], tuple(notes))


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


def _hash(text: str, seed: int) -> float:
    """A number in [0, 1) fixed by the text."""
    salted = f"{seed}\0{text}" if seed else text
    return int.from_bytes(hashlib.sha256(salted.encode()).digest()[:8], "big") / 2**64


def _assigned(hashes: list[float], shares: tuple[float, float, float], notes: list[str]) -> dict[float, str]:
    """The split of each hash (sorted, distinct): the lowest are the test, the next the validation set."""
    _, validation, test = shares
    names = {
        value: "test" if value < test else "validation" if value < test + validation else "train" for value in hashes
    }
    if len(hashes) < FEWEST:
        names = dict.fromkeys(hashes, "train")
        notes.append(f"{len(hashes)} distinct prompts are too few to split; all of them are trained on")
        return names
    # what is wanted but empty takes the lowest hash of a split that can spare it
    for name, share in (("test", test), ("validation", validation), ("train", 1.0)):
        if share and name not in names.values():
            spare = [value for value in hashes if list(names.values()).count(names[value]) > 1]
            moved = spare[-1] if name == "train" else spare[0]
            notes.append(f"the {name} split would be empty, so it gets one of the {len(hashes)} distinct prompts")
            names[moved] = name
    return names


def _pieces(records: Sequence[Record], notes: list[str]) -> list[tuple[int, Record]]:
    """Every record with its number; long documents in pieces."""
    few = len({key(record) for record in records}) < FEWEST
    pieces: list[tuple[int, Record]] = []
    cut = 0
    for number, record in enumerate(records):
        if isinstance(record, Document) and (few or len(record.text) > LONG):
            size = min(PIECE, max(200, len(record.text) // 40))
            documents = list(_cut(record, size))
            cut += len(documents) > 1
            pieces.extend((number, document) for document in documents)
        else:
            pieces.append((number, record))
    if cut:
        count = len(pieces) - len(records) + cut
        notes.append(f"long documents ({cut}) are cut at paragraphs, and the {count} pieces are split")
    return pieces


def _cut(document: Document, size: int) -> Iterator[Document]:
    """A document in pieces of about `size` characters that begin where a paragraph, a line or a word does."""
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
