"""JSON Lines: one object a line. Lines are found at the speed of the disk here, and decoded wherever the piece goes."""

from collections.abc import Iterator
from dataclasses import dataclass

from chatwright.data.files.json_row import DECODER, row, syntax
from chatwright.data.files.piece import BYTES, Decoded, Piece, not_utf8, too_long
from chatwright.data.files.stream import Stream
from chatwright.data.rows import BadRow, Row, Rows


@dataclass(frozen=True)
class Lines:
    """Whole lines as they stand in the file, the first of them being number `line`; empty ones are no rows."""

    file: str
    line: int
    content: bytes
    longest: int
    size: int

    def rows(self) -> Rows:
        for line, content in enumerate(self.content.split(b"\n"), start=self.line):
            if content and not content.isspace():
                yield _row(self.file, line, content.rstrip(b"\r"), self.longest)


def pieces(stream: Stream, longest: int) -> Iterator[Piece]:
    """The lines of a file; one of more than `longest` bytes is passed over without being kept."""
    file, line = str(stream.path), 1
    begun: list[bytes | memoryview] = []  # of a line whose end has not been read yet
    size = 0
    while chunk := stream.read(BYTES):
        end = chunk.rfind(b"\n") + 1
        if end and size > longest:
            yield _passed_over(stream, line, longest)
            begun, line = [memoryview(chunk)[chunk.find(b"\n") + 1 : end]], line + 1
        elif size <= longest:
            begun.append(memoryview(chunk)[:end] if end else chunk)  # a view saves a copy of the whole piece
        else:
            begun.clear()
        size += len(chunk)
        if end:
            content = b"".join(begun)
            if content:
                yield Lines(file, line, content, longest, stream.since())
            line += content.count(b"\n")
            begun, size = [chunk[end:]], len(chunk) - end
    if size > longest:
        yield _passed_over(stream, line, longest)
    elif size:
        yield Lines(file, line, b"".join(begun), longest, stream.since())


def _passed_over(stream: Stream, line: int, longest: int) -> Decoded:
    return Decoded((BadRow(str(stream.path), line, _too_long(longest)),), stream.since())


def _too_long(longest: int) -> str:
    return too_long("line", longest, "cut it into rows of its parts, or leave it out")


def _row(file: str, line: int, content: bytes, longest: int) -> Row | BadRow:
    """One line as an object, or why it is none."""
    if len(content) > longest:
        return BadRow(file, line, _too_long(longest))
    try:
        return row(file, line, DECODER.decode(content.decode("utf-8")))
    except UnicodeDecodeError as error:
        return BadRow(file, line, not_utf8(content[error.start], len(content[: error.start].decode("utf-8")) + 1))
    except (ValueError, RecursionError) as error:
        return BadRow(file, line, syntax(error))
