"""A piece of a file: a run of its rows small enough to be sent to another process, which decodes it there.

Reading is cut in two, because finding where rows begin is quick and making objects of them is not.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from chatwright.data.files.stream import Stream
from chatwright.data.rows import BadRow, Row, Rows

BYTES = 1 << 20  # of the file, that make up a piece
ROWS = 1_000  # at most, where they come decoded
LONGEST = 64 << 20  # bytes of a line, characters of an element or a table's row: what one row may cost in memory


class Piece(Protocol):
    """Some consecutive rows of a file. It can be pickled. `size` is the bytes of the file that were read for it."""

    @property
    def size(self) -> int: ...

    def rows(self) -> Rows: ...


@dataclass(frozen=True)
class Decoded:
    """Rows that cannot be told apart without decoding them."""

    found: tuple[Row | BadRow, ...]
    size: int = 0

    def rows(self) -> Rows:
        return iter(self.found)


def grouped(rows: Rows, stream: Stream) -> Iterator[Decoded]:
    """Rows in pieces: as many as come from BYTES of the stream, ROWS at most. What came before an error is not lost."""
    group: list[Row | BadRow] = []
    begin = stream.position
    try:
        for row in rows:
            group.append(row)
            if len(group) == ROWS or stream.position - begin > BYTES:
                yield Decoded(tuple(group), stream.since())
                group, begin = [], stream.position
    except Unreadable as error:
        stream.check()
        group.append(error.row)
    if group:
        yield Decoded(tuple(group), stream.since())


class Unreadable(Exception):
    """Nothing more of this file can be read; carries the BadRow that says why."""

    def __init__(self, file: str, line: int, reason: str, rows: int = 1) -> None:
        super().__init__(reason)
        self.row = BadRow(file, line, reason, rows=rows)


def not_utf8(byte: int, column: int) -> str:
    """Why a row is bad that holds a byte of another encoding; columns count characters from 1."""
    return f"byte 0x{byte:02x} at column {column} is not UTF-8; save the file as UTF-8"


def foreign_byte(text: str) -> tuple[int, int] | None:
    """The first byte that is not UTF-8, with its index, in a text that was decoded with `surrogateescape`."""
    if text.isascii():
        return None
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return ord(text[error.start]) - 0xDC00, error.start
    return None


def too_long(what: str, longest: int, rest: str) -> str:
    """Why a line, an element or a row is not read."""
    size = f"{longest >> 20} MB" if longest >> 20 else f"{longest:,} bytes"
    return f"the {what} is longer than {size}; {rest}"
