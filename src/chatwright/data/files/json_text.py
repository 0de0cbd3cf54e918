"""JSON in a buffer that grows as far as one value needs and forgets what has been read, with lines and columns kept."""

import codecs
import json
import re
from typing import Any

from chatwright.data.files.piece import BYTES, Unreadable, foreign_byte, not_utf8, too_long
from chatwright.data.files.stream import Stream

LONGEST_WORD = 16  # characters of what the decoder takes or leaves as one: -Infinity, \ud83d\ude42
_SPACE = re.compile(r"[ \t\r\n]*")


class JsonText:
    """The text of a stream from `position` on. `line` is the line of the position, from 1.

    Indices, like the position, hold until more is read.
    """

    def __init__(self, stream: Stream, longest: int) -> None:
        self.file, self.line, self.position = str(stream.path), 1, 0
        self._stream, self._longest = stream, longest
        self._text, self._ended = "", False
        self._line_start = 0  # index of the line's first character; below 0 where it is forgotten already
        # bytes of another encoding become lone surrogates, which no UTF-8 holds: their element alone is bad
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")

    def next(self, index: int) -> str:
        """Goes to the first character from an index on that is no white space, and shows it; "" is the end."""
        self._move(index)
        while True:
            end = _match_end(self._text, self.position)
            self._move(end)
            if end < len(self._text):
                return self._text[end]
            if not self._grow():
                return ""

    def ahead(self, count: int) -> str:
        """The characters from the position on."""
        return self._text[self.position : self.position + count]

    def value(self, decoder: json.JSONDecoder) -> tuple[Any, int]:
        """The value at the position, which stays there, and the index of its end.

        Raises json.JSONDecodeError when it is none, Unreadable when it is too long, and what the decoder's hooks raise.
        """
        while True:
            try:
                value, end = decoder.raw_decode(self._text, self.position)
            except json.JSONDecodeError as error:
                if self._ended or not self._is_cut(error):
                    raise
            else:
                # near the end of the buffer a number may go on, as 1 does in `1e+` when 5 is still to come
                if end < len(self._text) - 2 or self._ended:
                    return value, end
            # the buffer doubles, so a long value is decoded a few times at most
            self._grow()

    def first_line(self) -> tuple[str, bool]:
        """The rest of the line, and whether anything but white space follows it."""
        while (end := self._text.find("\n", self.position)) == -1 and self._grow():
            pass
        line = self._text[self.position : end if end != -1 else None]
        while end != -1 and _match_end(self._text, end) == len(self._text) and self._grow():
            end = self._text.find("\n", self.position)
        return line, end != -1 and _match_end(self._text, end) < len(self._text)

    def foreign(self, start: int, end: int) -> tuple[int, str] | None:
        """The line and the reason where the text between two indices holds a byte that is not UTF-8."""
        if self._text.isascii():
            return None
        found = foreign_byte(self._text[start:end])
        if found is None:
            return None
        byte, index = found
        line, column = self.place(start + index)
        return line, not_utf8(byte, column)

    def place(self, index: int) -> tuple[int, int]:
        """Line and column, from 1, of an index that an error names; it is not before the position."""
        breaks = self._text.count("\n", self.position, index)
        start = self._text.rfind("\n", self.position, index) + 1 if breaks else self._line_start
        return self.line + breaks, index - start + 1

    def _is_cut(self, error: json.JSONDecodeError) -> bool:
        """Whether more text could mend it: the decoder stopped near the end, or in a string that has not ended."""
        return error.pos > len(self._text) - LONGEST_WORD or error.msg.startswith("Unterminated string")

    def _move(self, index: int) -> None:
        """Goes on to an index."""
        line, column = self.place(index)
        self.line, self._line_start, self.position = line, index - column + 1, index

    def _grow(self) -> bool:
        """Forgets what lies before the position and reads as much again as is left; whether anything came."""
        if self._ended:
            return False
        left = len(self._text) - self.position
        if left > self._longest:
            raise Unreadable(
                self.file,
                self.line,
                too_long("element", self._longest, "is a quote left open? Nothing after it can be read"),
            )
        content = self._stream.read(max(BYTES, min(left, self._longest + 1 - left)))
        self._ended = not content
        self._line_start -= self.position
        self._text = self._text[self.position :] + self._decoder.decode(content, final=self._ended)
        self.position = 0
        return bool(content)


def _match_end(text: str, position: int) -> int:
    """The next index that is no white space of JSON."""
    found = _SPACE.match(text, position)
    assert found is not None, "the pattern matches nothing, too"
    return found.end()
