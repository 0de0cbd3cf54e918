"""Counts over many records in little memory: lengths, languages, splits, and prompts that files share."""

from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate, combinations, groupby

from chatwright.data.split import NAMES, SplitRule, cut_notes
from chatwright.text.records import Document, Record

MOST_FILES = 12  # whose overlaps are counted pair by pair
BINS = 24  # of a histogram, at most


@dataclass(frozen=True)
class Summary:
    """The distribution of a count over examples; `histogram` has bins of equal width from 0 to the most."""

    total: int
    median: int
    most: int
    at_95_percent: int
    histogram: tuple[int, ...] = field(default=(), compare=False)

    @classmethod
    def of(cls, counts: Sequence[int]) -> "Summary":
        ordered = sorted(counts) or [0]
        last = len(ordered) - 1
        whole = ordered[-1] + 1
        bins = min(BINS, whole)
        filled = Counter(value * bins // whole for value in ordered)
        histogram = tuple(filled[number] for number in range(bins))
        return cls(sum(ordered), ordered[last // 2], ordered[-1], ordered[round(last * 0.95)], histogram)


class SplitTally:
    """How many records each split gets, and which prompts two files share, from the hashes by which data is split."""

    def __init__(self) -> None:
        self._rule = SplitRule()
        self._hashes = array("d")  # of all pieces of all records
        self._counts = array("i")  # pieces of each record
        self._told: Counter[str] = Counter()  # records whose source says where they belong
        self._files: dict[str, array[float]] = {}
        self._few: dict[float, Document] = {}  # documents whole, while all there is may have to be cut

    def add(self, record: Record) -> None:
        """Counts a record."""
        placed = self._rule.place(record)
        hashes = [value for one in placed for value in one.hashes]
        if not hashes:
            self._told.update(one.split for one in placed)
            return
        self._hashes.extend(hashes)
        self._counts.append(len(hashes))
        if isinstance(record, Document) and len(self._few) < 3 and len(hashes) == 1:
            self._few[hashes[0]] = record
        if len(self._files) <= MOST_FILES:
            self._files.setdefault(record.source.file, array("d")).extend(hashes)

    def splits(self) -> tuple[dict[str, int], list[str]]:
        """Records by split, as training cuts them, and what is to be said about the cutting."""
        rule, groups = self._rule.corrected(self._hashes, []), self._groups()
        if rule.few:
            cut = {value: self._cut(rule, document) for value, document in self._few.items()}
            groups = [cut.get(group[0], group) if len(group) == 1 else group for group in groups]
        pieces = [len(group) for group in groups if len(group) > 1]
        notes = cut_notes(len(pieces), sum(pieces))
        rule = rule.corrected((value for group in groups for value in group), notes)
        counts = self._told.copy()
        for group in groups:
            counts.update(name for name, _ in groupby(map(rule.named, group)))
        return {name: counts[name] for name in NAMES}, notes

    def overlaps(self) -> dict[str, int]:
        """For each two files of the same data, how many prompts both hold; files that share none are left out."""
        if len(self._files) > MOST_FILES:
            return {}
        files = {file: set(hashes) for file, hashes in sorted(self._files.items())}
        counts = {f"{a} and {b}": len(files[a] & files[b]) for a, b in combinations(files, 2)}
        return {pair: count for pair, count in counts.items() if count}

    def _groups(self) -> list[tuple[float, ...]]:
        """The hashes of each record."""
        ends = accumulate(self._counts)
        return [tuple(self._hashes[end - count : end]) for end, count in zip(ends, self._counts, strict=True)]

    def _cut(self, rule: SplitRule, document: Document) -> tuple[float, ...]:
        return tuple(value for one in rule.place(document) for value in one.hashes)
