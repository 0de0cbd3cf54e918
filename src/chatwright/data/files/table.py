"""CSV and TSV: a header, then a row a record, which may span lines where a cell is quoted."""

import csv
import io
from collections.abc import Iterator

from chatwright.data.files.piece import Piece, Unreadable, foreign_byte, grouped, not_utf8, too_long
from chatwright.data.files.stream import Stream
from chatwright.data.rows import BadRow, Row, Rows

REST = "nothing after it can be read"
_BUFFER = 1 << 16


def pieces(stream: Stream, longest: int, delimiter: str = ",") -> Iterator[Piece]:
    """The rows of the file, each with the line that it begins in."""
    yield from grouped(_rows(_Records(stream, longest), delimiter), stream)


def _rows(records: "_Records", delimiter: str) -> Rows:
    header: list[str] = []
    reader = csv.reader(records, delimiter=delimiter, strict=True)
    try:
        for cells in reader:
            line, foreign = records.begin()
            if not header:
                header = _header(cells, records, line, foreign)
                continue
            yield from records.passed_over()
            if foreign:
                yield BadRow(records.file, *foreign)
            elif len(cells) == len(header):
                yield Row(line, dict(zip(header, cells, strict=True)))
            elif cells:
                yield BadRow(records.file, line, f"has {len(cells)} cells; the header has {len(header)}")
    except csv.Error as error:
        yield from records.passed_over()
        raise Unreadable(records.file, records.line, f"is not CSV: {error}; {REST}") from None
    yield from records.passed_over()


def _header(cells: list[str], records: "_Records", line: int, foreign: tuple[int, str] | None) -> list[str]:
    """The names of the columns; none for an empty line."""
    for row in records.passed_over():
        raise Unreadable(row.file, row.line, f"{row.reason}; {REST}")
    if foreign:
        raise Unreadable(records.file, foreign[0], f"{foreign[1]}; {REST}")
    header = [cell.strip() for cell in cells]
    if len(set(header)) < len(header):
        shown = ", ".join(name if name.isprintable() else ascii(name) for name in header)
        raise Unreadable(records.file, line, f"two columns have the same name in {shown}; {REST}")
    return header


class _Records:
    """The lines for csv.reader, and what it cannot tell: where a record began, and what was wrong with its bytes."""

    def __init__(self, stream: Stream, longest: int) -> None:
        self.file = str(stream.path)
        self.line = 1  # that the record begins in
        self._longest = longest
        self._size = 0  # characters of the record
        self._last = 0  # line that was read
        self._foreign: tuple[int, str] | None = None
        self._passed_over: list[BadRow] = []
        # bytes of another encoding become lone surrogates: their row alone is bad
        self._text = io.TextIOWrapper(
            io.BufferedReader(_Raw(stream), _BUFFER), encoding="utf-8", errors="surrogateescape", newline=""
        )
        csv.field_size_limit(longest)  # the csv module's own is 131,072 characters

    def __iter__(self) -> "_Records":
        return self

    def __next__(self) -> str:
        line = self._text.readline(self._longest + 1)
        while len(line) > self._longest and self._size == 0:
            self._pass_over(line)
            line = self._text.readline(self._longest + 1)
        if not line:
            raise StopIteration
        self._last += 1
        self._size += len(line)
        if self._size > self._longest:
            reason = too_long("row", self._longest, f"is a quote left open? {REST.capitalize()}")
            raise Unreadable(self.file, self.line, reason)
        if not self._foreign and (found := foreign_byte(line)):
            byte, index = found
            self._foreign = self._last, not_utf8(byte, index + 1)
        return line

    def begin(self) -> tuple[int, tuple[int, str] | None]:
        """Ends a record and begins the next: the line of the one that ended, and why its bytes are no text."""
        ended = self.line, self._foreign
        self.line, self._size, self._foreign = self._last + 1, 0, None
        return ended

    def passed_over(self) -> list[BadRow]:
        """The lines that were too long, since the last question."""
        found, self._passed_over = self._passed_over, []
        return found

    def _pass_over(self, line: str) -> None:
        """Reads on to the end of a line without keeping it."""
        # a piece that ends in "\r" because it was cut there may have its "\n" still to come
        limit = self._longest + 1
        while line and not line.endswith("\n") and not (line.endswith("\r") and len(line) < limit):
            limit = _BUFFER
            line = self._text.readline(limit)
        self._last += 1
        reason = too_long("line", self._longest, "cut it into rows of its parts, or leave it out")
        self._passed_over.append(BadRow(self.file, self._last, reason))
        self.line = self._last + 1


class _Raw(io.RawIOBase):
    """A stream as Python's text layer wants it."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview[int]") -> int:  # type: ignore[override]
        content = self._stream.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)
