"""Plain text and Markdown: the whole file is one row, and a file that is too large for one is cut at paragraphs."""

from collections.abc import Iterator
from dataclasses import dataclass

from chatwright.data.files.piece import BYTES, Piece, not_utf8
from chatwright.data.files.stream import Stream
from chatwright.data.rows import BadRow, Row, Rows

LONGEST_CHARACTER = 4  # bytes in UTF-8
PARTS = 8  # of the size that is still kept whole, a larger file is cut into parts of an eighth


@dataclass(frozen=True)
class Text:
    """A text as it stands in the file from number `line` on."""

    file: str
    line: int
    content: bytes
    size: int

    def rows(self) -> Rows:
        """One row; its lines end as they do in Unix."""
        try:
            yield Row(self.line, {"text": self.content.decode("utf-8").replace("\r\n", "\n")})
        except UnicodeDecodeError as error:
            before = self.content[: error.start]
            column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8")) + 1
            reason = not_utf8(self.content[error.start], column)
            yield BadRow(self.file, self.line + before.count(b"\n"), reason)


def pieces(stream: Stream, longest: int) -> Iterator[Piece]:
    """The text, in parts where it is longer than `longest` bytes; the parts joined are the whole."""
    file, line, content = str(stream.path), 1, bytearray()
    part = max(longest // PARTS, LONGEST_CHARACTER)
    # a packed file shows only later that it is too large
    most = part if stream.path.stat().st_size > longest else longest
    while chunk := stream.read(BYTES):
        content += chunk
        while len(content) > most:
            most = part
            text = bytes(content[: _end(content, part)])
            yield Text(file, line, text, stream.since())
            line += text.count(b"\n")
            del content[: len(text)]
    if content:
        yield Text(file, line, bytes(content), stream.since())


def _end(content: bytearray, size: int) -> int:
    """Where a part of at most `size` bytes ends: after a paragraph, or else a line, or else a word, in its later half."""
    for mark in (b"\n\n", b"\n\r\n", b"\n", b" "):
        found = content.rfind(mark, size // 2, size)
        if found != -1:
            return found + len(mark)
    end = size
    while end > size - LONGEST_CHARACTER + 1 and content[end] & 0xC0 == 0x80:  # inside a character
        end -= 1
    return end - 1 if end > 1 and content[end - 1 : end + 1] == b"\r\n" else end
