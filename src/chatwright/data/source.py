"""Data by name: `SOURCE[/CONFIG after a hub id][:SPLIT][#N][@WEIGHT]` becomes a Dataset of Records.

A SOURCE is a file, a folder, a hub dataset, or `primer`. Bad rows are collected, all of them, and are an error by
file and line unless they are to be skipped; then they are counted and listed. Nothing is dropped silently.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

from chatwright import console, registry
from chatwright.data import files, hub
from chatwright.data.files import BadRow, Row
from chatwright.data.recognise import Reading, recognise
from chatwright.data.spec import Spec, parse
from chatwright.errors import DataError
from chatwright.text.records import Conversation, Document, Preference, Problem, Rated, Record, Source

SAMPLE = 10  # first rows that a format is recognised from
SHOWN = 10  # bad rows that an error lists
MAX_BAD_SHARE = 0.01  # of the rows, when bad ones are skipped


@dataclass(frozen=True)
class ReadReport:
    """What a reading found: of `read` rows, `kept` became records and the others are `skipped`, with their reasons."""

    name: str
    read: int
    kept: int
    skipped: tuple[BadRow, ...] = ()
    format: str = ""
    columns: Mapping[str, str] | None = None
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON, for data_report.json."""
        return {
            "name": self.name,
            "read": self.read,
            "kept": self.kept,
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
    weight: float = 1.0

    def __len__(self) -> int:
        return len(self.records)


def read(
    spec: str | Spec,
    *,
    kind: str = "",
    format: str | None = None,
    columns: Mapping[str, str] | None = None,
    skip_bad_rows: bool = False,
    max_bad_share: float = MAX_BAD_SHARE,
) -> Dataset:
    """Reads a whole source; how it was understood is said on stderr.

    `kind` is what the caller wants ("documents", "conversations", "preferences", "problems"): it chooses the part of
    the primer, the split of a hub dataset, and between a text and its parts where a row has both. `columns` maps a
    format's names to the file's: `{"instruction": "question"}`. Raises DataError naming every kind of bad row (the
    first ten of them), or, when they are skipped, if more than `max_bad_share` of the rows are bad.
    """
    dataset = gather(spec, kind, format, columns)
    judge(dataset.report, skip_bad_rows, max_bad_share)
    for line in dataset.report.notes:
        console.note(line)
    if dataset.report.skipped:
        console.warn(f"{dataset.name}: {_counts(dataset.report)} skipped, the first being {dataset.report.skipped[0]}")
    return dataset


def gather(
    spec: str | Spec, kind: str = "", format: str | None = None, columns: Mapping[str, str] | None = None
) -> Dataset:
    """`read` without a judgement: the good rows as records, the bad ones in the report, nothing said."""
    source = parse(spec) if isinstance(spec, str) else spec
    if source.place == "primer":
        return _primer(source, kind)
    collected = _Collected(source, kind, format, columns)
    for part in _parts(source, kind, collected.notes):
        collected.add(part)
    return collected.dataset()


def judge(report: ReadReport, skip_bad_rows: bool = False, max_bad_share: float = MAX_BAD_SHARE) -> None:
    """Raises DataError when there are no rows, none that can be used, bad ones, or, if they are skipped, too many."""
    if not report.read:
        raise DataError(f"{report.name}: there are no rows in it")
    if not report.skipped:
        return
    lines = [str(row) for row in report.skipped[:SHOWN]]
    if len(report.skipped) > SHOWN:
        lines.append(f"… and {len(report.skipped) - SHOWN:,} more")
    share = len(report.skipped) / report.read
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


def texts(record: Record) -> Iterator[str]:
    """Every text of a record, roles included: what is hashed, and searched for what cannot be learned."""
    match record:
        case Document():
            yield record.text
        case Conversation():
            for message in record.messages:
                yield message.role if message.learn is None else f"{message.role} learn={message.learn}"
                yield message.content
                yield from (repr(call) for call in message.tool_calls)
        case Preference():
            yield from chain(texts(record.chosen), texts(record.rejected))
        case Rated():
            yield from chain(texts(record.conversation), [str(record.good)])
        case Problem():
            yield from chain(texts(record.prompt), [record.grader, repr(sorted(record.answer.items()))])


def fingerprint(records: Iterable[Record]) -> str:
    """SHA-256 of what the records say, in their order."""
    digest = hashlib.sha256()
    for record in records:
        digest.update(f"{type(record).__name__}\x1e".encode())
        for text in texts(record):
            digest.update(f"{len(text)}\x1f{text}".encode())
    return digest.hexdigest()


@dataclass(frozen=True)
class _Part:
    """One file, or one split of a hub dataset."""

    name: str
    rows: Iterator[Row | BadRow]
    fingerprint: str
    is_text: bool = False  # the kind of file says what it is, whatever --format says


class _Collected:
    """What has been read so far of one source."""

    def __init__(self, source: Spec, kind: str, format: str | None, columns: Mapping[str, str] | None) -> None:
        self.source, self.kind, self.format, self.columns = source, kind, format, columns
        self.records: list[Record] = []
        self.bad: list[BadRow] = []
        self.notes: list[str] = []
        self.readings: list[Reading] = []

    def add(self, part: _Part) -> None:
        """Reads one part, up to the number of records that is wanted."""
        if self._full():
            return
        first = _first(part.rows)
        good = [row.value for row in first if isinstance(row, Row)][:SAMPLE]
        reading = self._reading(part, good) if good else None
        for row in chain(first, part.rows):
            found = row if isinstance(row, BadRow) else _parsed(row, part, reading)
            if isinstance(found, BadRow):
                self.bad.append(found)
            else:
                self.records.append(found)
            if self._full():
                return

    def dataset(self) -> Dataset:
        """Everything that was kept, with the report."""
        reading = self.readings[0] if self.readings else None
        report = ReadReport(
            name=self.source.text,
            read=len(self.records) + len(self.bad),
            kept=len(self.records),
            skipped=tuple(self.bad),
            format=", ".join(dict.fromkeys(reading.format for reading in self.readings)),
            columns=reading.columns if reading else {},
            notes=tuple(self.notes),
        )
        return Dataset(self.records, report, fingerprint(self.records), self.source.text, self.source.weight)

    def _full(self) -> bool:
        return self.source.limit is not None and len(self.records) >= self.source.limit

    def _reading(self, part: _Part, rows: list[dict[str, Any]]) -> Reading:
        """How this part is read; said once for parts that are read alike."""
        if part.is_text:
            reading = Reading("text", {"text": "text"})
        else:
            reading = recognise(rows, part.name, self.kind, self.format, self.columns)
        if reading not in self.readings:
            self.readings.append(reading)
            self.notes.append(f"{part.name}: {reading}")
        return reading


def _primer(source: Spec, kind: str) -> Dataset:
    """The data that comes with the package: its parts are named after the colon."""
    part = source.split or ("documents" if kind == "documents" else kind or "conversations")
    # the records of the primer are the same in every run: its seed is not the run's
    found: Iterator[Record] = registry.load("tasks", "primer").records(part, 0)
    records = list(islice(found, source.limit))
    report = ReadReport(source.text, len(records), len(records), format=f"primer:{part}")
    return Dataset(records, report, fingerprint(records), source.text, source.weight)


def _parts(source: Spec, kind: str, notes: list[str]) -> Iterator[_Part]:
    """The files of a path in sorted order, or the one split of a hub dataset."""
    if source.place == "hub":
        opened = hub.read(source.name, source.config, source.split, kind, source.limit)
        notes.extend([opened.note] if opened.note else [])
        yield _Part(opened.name, opened.rows, opened.fingerprint)
        return
    path = Path(source.name)
    known, unknown = files.list_folder(path) if path.is_dir() else ([path], [])
    if not known:
        raise DataError(f"{path}: no file in this folder can be read; known kinds are {', '.join(files.READERS)}")
    if unknown:
        shown = ", ".join(file.name for file in unknown[:3]) + (", …" if len(unknown) > 3 else "")
        notes.append(f"{path}: {len(unknown)} files of other kinds are not read: {shown}")
    for file in known:
        rows = files.read(file)
        with file.open("rb") as opened_file:
            yield _Part(str(file), rows, hashlib.file_digest(opened_file, "sha256").hexdigest(), files.is_text(file))


def _first(rows: Iterator[Row | BadRow]) -> list[Row | BadRow]:
    """Rows up to the tenth good one."""
    taken: list[Row | BadRow] = []
    good = 0
    for row in rows:
        taken.append(row)
        good += isinstance(row, Row)
        if good == SAMPLE:
            break
    return taken


def _parsed(row: Row, part: _Part, reading: Reading | None) -> Record | BadRow:
    """One row as a record that knows where it came from, or why it is none."""
    assert reading is not None, "a good row is among the first rows, so the format is known"
    try:
        record: Record = reading.module.parse(row.value, reading.columns)
        if any("\0" in text for text in texts(record)):
            raise DataError("the text holds a NUL character; remove it")
        return replace(record, source=Source(part.name, row.line, part.fingerprint))
    except DataError as error:
        return BadRow(part.name, row.line, str(error))


def _counts(report: ReadReport) -> str:
    return f"{len(report.skipped):,} of {report.read:,} rows"
