"""The content of an export: its text, or its JSON part by part, with the line that each part begins in.

Bytes that are not UTF-8 become lone surrogates here, so that they spoil their own message and not the whole chat.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chatwright.data.files.archives import MOST_OF_A_MEMBER
from chatwright.data.files.json_row import DECODER, row, syntax
from chatwright.data.rows import BadRow, Rows
from chatwright.errors import DataError

AGAIN = "export or download it again"
_SPACE = re.compile(r"[ \t\r\n]*")


@dataclass(frozen=True)
class Part:
    """A value inside a JSON document, the keys and indices that lead to it, and its line from 1."""

    path: tuple[str | int, ...]
    line: int
    value: Any


def content(path: Path) -> bytes:
    """The bytes of a file; raises DataError where there are none to be had, or more than a chat can have."""
    try:
        if path.stat().st_size > MOST_OF_A_MEMBER:
            raise DataError(f"{path}: is longer than the {MOST_OF_A_MEMBER:,} bytes that are read of an export; cut it")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); check the path and its permissions") from None


def text(place: object, content: bytes) -> str:
    """The text without its byte order mark, lines ending as they do in Unix; raises DataError for UTF-16."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{place}:1: byte 0x{content[0]:02x} at column 1 begins UTF-16; save the file as UTF-8")
    return decoded(content)


def decoded(content: bytes) -> str:
    """The text of the beginning of a file, which may end inside a character."""
    return content.decode("utf-8-sig", errors="surrogateescape").replace("\r\n", "\n")


def parts(place: object, text: str, opened: frozenset[tuple[str, ...]]) -> Iterator[Part]:
    """The values of a JSON document in their order, as large as they come.

    Only the arrays and objects whose path is in `opened` are taken apart, "*" standing for every index:
    `{(), ("messages",)}` gives each message of `{"id": 1, "messages": [...]}`, and the id. Raises DataError with the
    line where the document is broken.
    """
    walk = _Walk(place, text, opened)
    yield from walk.value(())
    walk.end()


def objects(place: object, text: str) -> Rows:
    """The objects of JSON Lines; a line that is none is one bad row."""
    for line, content in enumerate(text.split("\n"), start=1):
        if content.strip():
            try:
                yield row(str(place), line, DECODER.decode(content))
            except (ValueError, RecursionError) as error:
                yield BadRow(str(place), line, syntax(error))


def flaw(*texts: str) -> str:
    """Why no tokenizer can encode one of the texts, or nothing."""
    for each in texts:
        if "\0" in each:
            return "holds a NUL character"
        try:
            each.encode("utf-8")
        except UnicodeEncodeError as error:
            code = ord(each[error.start])
            if 0xDC80 <= code <= 0xDCFF:
                return f"holds the byte 0x{code - 0xDC00:02x}, which is not UTF-8"
            return f"holds half of a surrogate pair (U+{code:04X})"
    return ""


class _Walk:
    """A position in a document, with its line."""

    def __init__(self, place: object, text: str, opened: frozenset[tuple[str, ...]]) -> None:
        self._place, self._text, self._opened = place, text, opened
        self._position, self._counted, self._line = 0, 0, 1

    def value(self, path: tuple[str | int, ...]) -> Iterator[Part]:
        """The value at the position, or the parts of it."""
        first = self._next()
        shape = tuple("*" if isinstance(step, int) else step for step in path)
        if first == "{" and shape in self._opened:
            yield from self._object(path)
        elif first == "[" and shape in self._opened:
            yield from self._array(path)
        else:
            line = self._line
            yield Part(path, line, self._decoded())

    def end(self) -> None:
        """Raises DataError where anything follows the document."""
        if self._next():
            raise self._broken("something follows the end of the document")

    def _object(self, path: tuple[str | int, ...]) -> Iterator[Part]:
        keys: set[str] = set()
        following = self._next(skip=1)
        while following != "}":
            key = self._decoded() if following == '"' else None
            if key is None or self._next() != ":":
                raise self._broken("a key and ':' are missing")
            if key in keys:
                raise self._broken(f"the key {key!a} is there twice")
            keys.add(key)
            self._position += 1
            yield from self.value((*path, key))
            following = self._after_member("}")
        self._position += 1

    def _array(self, path: tuple[str | int, ...]) -> Iterator[Part]:
        index = 0
        following = self._next(skip=1)
        while following != "]":
            yield from self.value((*path, index))
            following = self._after_member("]")
            index += 1
        self._position += 1

    def _after_member(self, closing: str) -> str:
        """What begins the next member, or the closing bracket."""
        following = self._next()
        if following == ",":
            following = self._next(skip=1)
            if following == closing:
                raise self._broken("',' stands before the end")
        elif following != closing:
            raise self._broken(f"',' or '{closing}' is missing")
        return following

    def _next(self, skip: int = 0) -> str:
        """Goes on to the next character that is no white space, and shows it; "" is the end."""
        found = _SPACE.match(self._text, self._position + skip)
        assert found is not None, "the pattern matches nothing, too"
        self._position = found.end()
        self._line += self._text.count("\n", self._counted, self._position)
        self._counted = self._position
        return self._text[self._position : self._position + 1]

    def _decoded(self) -> Any:
        """The value at the position, which goes on behind it."""
        try:
            value, self._position = DECODER.raw_decode(self._text, self._position)
        except json.JSONDecodeError as error:
            raise DataError(f"{self._place}:{error.lineno}: {syntax(error)}; {AGAIN}") from None
        except (ValueError, RecursionError) as error:
            raise DataError(f"{self._place}:{self._line}: {syntax(error)}; {AGAIN}") from None
        return value

    def _broken(self, reason: str) -> DataError:
        return DataError(f"{self._place}:{self._line}: is not JSON: {reason}; {AGAIN}")
