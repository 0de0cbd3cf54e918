"""The parts of a source (files, one split of a hub dataset, a part of the primer), each as pieces of work.

A piece of work can be sent to another process: it holds raw lines or rows, how they are read, and where they are from.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from chatwright import console, disk, registry
from chatwright.data import files, hub
from chatwright.data.files import archives
from chatwright.data.files.piece import Decoded, Piece
from chatwright.data.options import ReadOptions
from chatwright.data.recognise import Assembling, Reading, recognise
from chatwright.data.rows import BadRow, Row
from chatwright.data.spec import Spec, check_name
from chatwright.errors import DataError, LeftOut
from chatwright.text.records import Record, Source, texts

if TYPE_CHECKING:
    from chatwright.data.chats import ChatReport

SAMPLE = 10  # first rows that a format is recognised from
ROWS = 500  # decoded rows that are one piece of work
START = 1 << 16  # bytes of a file that an export of chats is recognised by
EXPORTS = "data.exports"
PRIMER = {"documents": "documents", "preferences": "preferences", "rated": "preferences"}  # its part, by what is wanted


@dataclass(frozen=True)
class Used:
    """The records of a row, and the rows of the file that it covers."""

    records: tuple[Record, ...]
    covers: int = 1


class Work(Protocol):
    """A piece of a source. `size`: bytes of the file that it stands for, 0 where that is not known."""

    @property
    def size(self) -> int: ...

    def found(self) -> Iterator[Used | BadRow]:
        """The records of each row, or why it has none."""
        ...


class Part(Protocol):
    """One file or split. `reading` is known once its work was begun; `size` is in bytes, 0 where it is not known."""

    name: str
    fingerprint: str
    size: int
    reading: Reading | None

    def work(self, note: Callable[[str], None]) -> Iterator[Work]: ...


def found(source: Spec, kind: str, options: ReadOptions, most: int | None, notes: list[str]) -> list[Part]:
    """The parts of a source in order. DataError for what is not there."""
    if source.place == "primer":
        return [_Primer.of(source, kind, most)]
    if source.place == "hub":
        opened = hub.read(source.name, source.config, source.split, kind, most)
        notes.extend([opened.note] if opened.note else [])
        return [_Rows(opened.name, opened.fingerprint, 0, kind, options, lambda: _in_pieces(opened.rows()))]
    path = Path(source.name)
    if not (path.is_dir() or path.is_file()):
        raise DataError(f"{path}: is neither a file nor a folder, and can be read only once; write it to a file first")
    if path.is_dir() and (program := _program(path, options)):  # an archive that somebody has unpacked
        return [_of_folder(path, program, options)]
    known, unknown = files.list_folder(path) if path.is_dir() else ([path], [])
    exports = {file: program for file in [*known, *unknown] if (program := _program(file, options))}
    known = sorted({*known, *exports})
    unknown = [file for file in unknown if file not in exports]
    if not known:
        raise DataError(f"{path}: no file in this folder can be read; known kinds are {files.KNOWN}")
    if unknown:
        shown = ", ".join(file.name for file in unknown[:3]) + (", …" if len(unknown) > 3 else "")
        notes.append(f"{path}: {len(unknown)} files of other kinds are not read: {shown}")
    return [_of_file(file, exports.get(file, ""), kind, options) for file in known]


@dataclass
class _Rows:
    """Rows that a format makes records of."""

    name: str
    fingerprint: str
    size: int
    kind: str
    options: ReadOptions
    pieces: Callable[[], Iterator[Piece]]
    reading: Reading | None = None
    is_text: bool = False  # the kind of file says what it is, whatever --format says

    def work(self, note: Callable[[str], None]) -> Iterator[Work]:
        pieces = self.pieces()
        first, sample = _first(pieces)
        self.reading = self._recognised(sample) if sample else None
        if self.reading is not None:
            note(f"{self.name}: {self.reading}")
            if isinstance(module := self.reading.module, Assembling):
                rows = chain.from_iterable(piece.rows() for piece in chain(first, pieces))
                first, pieces = [], _in_pieces(module.assemble(rows, self.name, self.options))
        for piece in chain(first, pieces):
            yield RowsWork(self.name, self.fingerprint, self.reading, piece)

    def _recognised(self, sample: list[dict[str, Any]]) -> Reading:
        if self.is_text:
            return Reading("text", {"text": "text"})
        columns = dict(self.options.columns)
        return recognise(sample, self.name, self.kind, self.options.format, columns)


@dataclass
class Chats:
    """An export of somebody's chats, whose conversations come as rows of the format `messages`. `report`: once begun."""

    name: str
    fingerprint: str
    size: int
    program: str
    options: ReadOptions
    reading: Reading | None = None
    report: "ChatReport | None" = None

    def work(self, note: Callable[[str], None]) -> Iterator[Work]:
        from chatwright.data import chats

        export = registry.load(EXPORTS, self.program).read(Path(self.name))
        rows, self.report = chats.rows(export, self.options.chats)
        self.reading = Reading("messages", {"messages": "messages", "role": "role", "content": "content"})
        if self.report.me:  # said where a person looks, and written nowhere
            console.note(f"the messages of {self.report.me!r} are learned ({self.report.how})")
        for line in self.report.lines():
            note(f"{self.name}: {line}")
        for piece in _in_pieces(rows):
            yield RowsWork(self.name, self.fingerprint, self.reading, piece)


@dataclass
class _Primer:
    """A part of the data that comes with the package: nothing has to be parsed."""

    name: str
    fingerprint: str
    records: list[Record]
    reading: Reading | None
    size: int = 0

    @classmethod
    def of(cls, source: Spec, kind: str, most: int | None) -> "_Primer":
        part = source.split or PRIMER.get(kind, "conversations")
        # the records of the primer are the same in every run: its seed is not the run's
        records: Iterator[Record] = registry.load("tasks", "primer").records(part, 0)
        kept = list(islice(records, most))
        digest = hashlib.sha256("\x1e".join(map(repr, kept)).encode()).hexdigest()
        return cls(source.text, digest, kept, Reading(f"primer:{part}", {}))

    def work(self, note: Callable[[str], None]) -> Iterator[Work]:
        for start in range(0, len(self.records), ROWS):
            yield MadeWork(self.records[start : start + ROWS])


@dataclass(frozen=True)
class RowsWork:
    """A piece of a file with the way to read it."""

    file: str
    fingerprint: str
    reading: Reading | None
    piece: Piece

    @property
    def size(self) -> int:
        return self.piece.size

    def found(self) -> Iterator[Used | BadRow]:
        for row in self.piece.rows():
            yield row if isinstance(row, BadRow) else self._parsed(row)

    def _parsed(self, row: Row) -> Used | BadRow:
        """One row as records that know where they came from, or why it is none."""
        assert self.reading is not None, "a good row is among the first rows, so the format is known"
        try:
            made: Record | list[Record] = self.reading.module.parse(row.value, self.reading.columns)
            records = made if isinstance(made, list) else [made]
            if any("\0" in text for record in records for text in texts(record)):
                raise DataError("the text holds a NUL character; remove it")
        except DataError as error:
            left_out = isinstance(error, LeftOut)
            return BadRow(self.file, row.line, str(error), "filtered" if left_out else "bad", row.covers)
        source = Source(self.file, row.line, self.fingerprint, row.split)
        return Used(tuple(replace(record, source=source) for record in records), row.covers)


@dataclass(frozen=True)
class MadeWork:
    """Records that need no reading."""

    records: list[Record]
    size: int = 0

    def found(self) -> Iterator[Used | BadRow]:
        return (Used((record,)) for record in self.records)


def _of_file(file: Path, program: str, kind: str, options: ReadOptions) -> Part:
    check_name(str(file))
    try:
        with file.open("rb") as opened:
            fingerprint = hashlib.file_digest(opened, "sha256").hexdigest()
        size = file.stat().st_size
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror}); check the path and its permissions") from None
    if program:
        return Chats(str(file), fingerprint, size, program, options)
    if file.suffix.lower() == ".zip":
        archives.members(file)  # which says what is wrong with it
        raise DataError(f"{file}: is no export of a chat program that is known; give the file in it that you mean")
    return _Rows(str(file), fingerprint, size, kind, options, lambda: files.pieces(file), is_text=files.is_text(file))


def _of_folder(folder: Path, program: str, options: ReadOptions) -> Part:
    """An export that lies there unpacked."""
    members = sorted(path for path in folder.rglob("*") if path.is_file())
    sums = [(str(path.relative_to(folder)), disk.sha256(path)) for path in members]
    size = sum(path.stat().st_size for path in members)
    return Chats(str(folder), hashlib.sha256(repr(sums).encode()).hexdigest(), size, program, options)


def _program(file: Path, options: ReadOptions) -> str:
    """The chat program whose export a file or a folder is, or "". --format names one too, or says that it is none."""
    programs = registry.names(EXPORTS)
    if options.format is not None:
        named = options.format in programs
        whole = named and (file.is_file() or registry.load(EXPORTS, options.format).recognises(file, b""))
        return options.format if whole else ""
    try:
        start = b""
        if file.is_file():
            with file.open("rb") as opened:
                start = opened.read(START)
    except OSError:
        return ""  # whoever reads the file says what is wrong with it
    fitting = [name for name in programs if registry.load(EXPORTS, name).recognises(file, start)]
    if len(fitting) > 1:
        raise DataError(f"{file}: may be an export of {' or '.join(fitting)}; say which with --format")
    return fitting[0] if fitting else ""


def _in_pieces(rows: Iterable[Row | BadRow]) -> Iterator[Piece]:
    iterator = iter(rows)
    while some := tuple(islice(iterator, ROWS)):
        yield Decoded(some)


def _first(pieces: Iterator[Piece]) -> tuple[list[Piece], list[dict[str, Any]]]:
    """Pieces up to the one with the tenth good row, and the first good rows."""
    taken: list[Piece] = []
    sample: list[dict[str, Any]] = []
    for piece in pieces:
        taken.append(piece)
        good = (row.value for row in piece.rows() if isinstance(row, Row))
        sample.extend(islice(good, SAMPLE - len(sample)))
        if len(sample) == SAMPLE:
            break
    return taken, sample
