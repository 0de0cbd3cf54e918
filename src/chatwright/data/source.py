"""Data by name: `SOURCE[/CONFIG after a hub id][:SPLIT][#N][@WEIGHT]` becomes a stream of Records, or a Dataset of them.

A SOURCE is a file, a folder, an export of chats, a hub dataset, or `primer`. A stream holds little in memory, whatever
the size. Bad rows are collected, all of them, and are an error by file and line unless they are to be skipped; then they
are counted and listed. Nothing is dropped silently.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatwright import console
from chatwright.data import parts
from chatwright.data.options import ReadOptions
from chatwright.data.parts import Chats, Part, Used, Work
from chatwright.data.recognise import Reading
from chatwright.data.rows import BadRow
from chatwright.data.spec import Spec, parse
from chatwright.errors import DataError
from chatwright.text.records import Record
from chatwright.text.records import texts as texts

if TYPE_CHECKING:
    from chatwright.data.chats import ChatReport

SHOWN = 10  # bad rows that an error lists
MAX_BAD_SHARE = 0.01  # of the rows, when bad ones are skipped


@dataclass(frozen=True)
class ReadReport:
    """What a reading found: of `read` rows, `kept` became `records`, the others are `skipped`, with their reasons.

    One row can hold several records (the threads of a tree), one record several rows (a session of a chat), so `kept`
    and the rows of what was skipped add up to `read`, and `records` is another number.
    """

    name: str
    read: int
    kept: int
    skipped: tuple[BadRow, ...] = ()
    format: str = ""
    columns: Mapping[str, str] | None = None
    notes: tuple[str, ...] = ()
    records: int = 0

    @property
    def bad(self) -> int:
        """Rows that cannot be used, though nobody wanted them left out."""
        return sum(row.rows for row in self.skipped if row.kind == "bad")

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON."""
        return {
            "name": self.name,
            "read": self.read,
            "kept": self.kept,
            "records": self.records,
            "skipped": [str(row) for row in self.skipped],
            "format": self.format,
            "columns": dict(self.columns or {}),
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class Dataset:
    """Records in the order of their source. The fingerprint (SHA-256) is of what they say, wherever they came from."""

    records: list[Record]
    report: ReadReport
    fingerprint: str
    name: str
    weight: float | None = None

    def __len__(self) -> int:
        return len(self.records)


@dataclass
class Stream:
    """A source that was opened. Iterating it gives its Records in order, and a BadRow for each row that became none.

    `report` tells what has been read so far. `work` gives the same in pieces that another process can do.
    """

    source: Spec
    kind: str
    options: ReadOptions
    parts: list[Part]
    notes: list[str]
    most: int | None = None
    counts: "Counts" = field(default_factory=lambda: Counts())
    passed: int = 0

    def __iter__(self) -> Iterator[Record | BadRow]:
        for found in self.rows():
            if isinstance(found, BadRow):
                yield found
            else:
                yield from found.records

    def rows(self) -> Iterator[Used | BadRow]:
        """The same by rows, with what each covers; `passed` counts the bytes of the pieces that are done."""
        self.counts, self.passed = Counts(), 0
        for work in self.work():
            for found in work.found():
                if isinstance(found, Used) and self.most is not None:
                    found = replace(found, records=found.records[: self.most - self.counts.records])
                self.counts.add(found)
                yield found
                if self.full(self.counts.records):
                    return
            self.passed += work.size

    def work(self) -> Iterator[Work]:
        """Everything there is to read, in order; how it is read is found out, and noted, when a part is reached."""
        for part in self.parts:
            yield from part.work(self._noted)

    def full(self, records: int) -> bool:
        """Whether so many records are as many as are wanted."""
        return self.most is not None and records >= self.most

    @property
    def key(self) -> str:
        """SHA-256 of what decides which records come, without reading them: files, splits, options."""
        read = [(part.name, part.fingerprint) for part in self.parts]
        return hashlib.sha256(repr((self.kind, self.most, self.options, read)).encode()).hexdigest()

    @property
    def size(self) -> int | None:
        """Bytes of all files; None where that is not known."""
        sizes = [part.size for part in self.parts]
        return sum(size for size in sizes if size) if all(sizes) else None

    @property
    def report(self) -> ReadReport:
        return self.counts.report(self.source.text, self.readings, self.notes)

    @property
    def readings(self) -> list[Reading]:
        """How the parts were read, as far as they have been."""
        return [part.reading for part in self.parts if part.reading is not None]

    @property
    def public_name(self) -> str:
        """What the model's card may call the data: without its folders, and without the file of a chat, which is often
        named after somebody."""
        programs = sorted({part.program for part in self.parts if isinstance(part, Chats)})
        if programs:
            return f"own chats ({', '.join(programs)})"
        return Path(self.source.name).name if self.source.place == "local" else self.source.text

    @property
    def chats(self) -> "list[ChatReport]":
        """What was made of each export of chats that has been begun, and what was hidden in it."""
        return [part.report for part in self.parts if isinstance(part, Chats) and part.report is not None]

    def _noted(self, line: str) -> None:
        if line not in self.notes:
            self.notes.append(line)


@dataclass
class Counts:
    """Rows and records so far."""

    used: int = 0
    records: int = 0
    listed: list[BadRow] = field(default_factory=list)

    def add(self, found: Used | BadRow) -> None:
        if isinstance(found, BadRow):
            self.listed.append(found)
        else:
            self.used += found.covers
            self.records += len(found.records)

    def report(self, name: str, readings: list[Reading], notes: Iterable[str]) -> ReadReport:
        read = self.used + sum(row.rows for row in self.listed)
        formats = ", ".join(dict.fromkeys(reading.format for reading in readings))
        columns = readings[0].columns if readings else {}
        return ReadReport(name, read, self.used, tuple(self.listed), formats, columns, tuple(notes), self.records)


def open(spec: str | Spec, kind: str = "", options: ReadOptions | None = None, most: int | None = None) -> Stream:
    """Opens a source: nothing is read yet but what tells the files apart.

    `kind` is what the caller wants ("documents", "conversations", "preferences", "rated", "problems"): it chooses the
    part of the primer, the split of a hub dataset, and between the readings of a row. `most`: records that are wanted, as
    `#N` says it in the name. Raises DataError for what is not there.
    """
    source = parse(spec) if isinstance(spec, str) else spec
    options = options or ReadOptions()
    limits = [limit for limit in (source.limit, most) if limit is not None]
    notes: list[str] = []
    limit = min(limits, default=None)
    return Stream(source, kind, options, parts.found(source, kind, options, limit, notes), notes, limit)


def read(
    spec: str | Spec,
    *,
    kind: str = "",
    options: ReadOptions | None = None,
    skip_bad_rows: bool = False,
    max_bad_share: float = MAX_BAD_SHARE,
) -> Dataset:
    """Reads a whole source into memory; how it was understood is said on stderr.

    Raises DataError naming every kind of bad row (the first ten of them), or, when they are skipped, if more than
    `max_bad_share` of the rows are bad.
    """
    dataset = gather(spec, kind, options)
    judge(dataset.report, skip_bad_rows, max_bad_share)
    tell(dataset.report)
    return dataset


def tell(report: ReadReport) -> None:
    """Says on stderr how a source was understood and what was left out."""
    for line in report.notes:
        console.note(line)
    filtered = sum(row.rows for row in report.skipped if row.kind == "filtered")
    if filtered:
        first = next(row for row in report.skipped if row.kind == "filtered")
        console.note(
            f"{report.name}: {filtered:,} of {report.read:,} rows are left out on purpose, the first being {first}"
        )
    if report.bad:
        first = next(row for row in report.skipped if row.kind == "bad")
        console.warn(f"{report.name}: {_counts(report)} skipped, the first being {first}")


def gather(spec: str | Spec, kind: str = "", options: ReadOptions | None = None) -> Dataset:
    """`read` without a judgement: the good rows as records, the others in the report, nothing said."""
    stream = open(spec, kind, options)
    records = [found for found in stream if not isinstance(found, BadRow)]
    return Dataset(records, stream.report, fingerprint(records), stream.source.text, stream.source.weight)


def judge(report: ReadReport, skip_bad_rows: bool = False, max_bad_share: float = MAX_BAD_SHARE) -> None:
    """Raises DataError when there are no rows, none that can be used, bad ones, or, if they are skipped, too many."""
    if not report.read:
        raise DataError(f"{report.name}: there are no rows in it")
    if report.kept and not report.bad:
        return
    shown = [row for row in report.skipped if row.kind == "bad"] or list(report.skipped)
    lines = [str(row) for row in shown[:SHOWN]]
    if len(shown) > SHOWN:
        lines.append(f"… and {len(shown) - SHOWN:,} more")
    share = report.bad / report.read
    if not report.kept:
        lines += [f"no row of {report.name} can be used"] if report.read > 1 else []
    elif not skip_bad_rows:
        lines.append(f"{_counts(report)} cannot be used; correct them, or leave them out with --skip-bad-rows")
    elif share > max_bad_share:
        lines.append(
            f"{_counts(report)} ({share:.1%}) cannot be used, more than the {max_bad_share:.1%} that may be skipped; "
            "correct them or raise --max-bad-share"
        )
    else:
        return
    raise DataError("\n".join(lines))


def fingerprint(records: Iterable[Record]) -> str:
    """SHA-256 of what the records say, in their order."""
    digest = hashlib.sha256()
    for record in records:
        digest.update(f"{type(record).__name__}\x1e".encode())
        for text in texts(record):
            digest.update(f"{len(text)}\x1f{text}".encode())
    return digest.hexdigest()


def _counts(report: ReadReport) -> str:
    return f"{report.bad:,} of {report.read:,} rows"
