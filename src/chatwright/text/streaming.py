"""Ids in, one at a time; text out, as soon as it is certain and never half a character.

The pieces joined are what decoding all the ids at once gives.
"""

import codecs
from collections.abc import Callable, Sequence
from typing import Protocol


class StreamDecoder(Protocol):
    """One stream of ids."""

    def push(self, number: int) -> str:
        """The text that this id makes certain; often "" inside a character of several bytes."""

    def flush(self) -> str:
        """What is left at the end of the stream: U+FFFD for a character that was cut."""


class ByteStream:
    """For byte-level vocabularies: an id is a byte string, and UTF-8 says where a character ends."""

    def __init__(self, pieces: Sequence[bytes], check: Callable[[Sequence[int]], None]) -> None:
        self._pieces, self._check = pieces, check
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, number: int) -> str:
        """The characters that are whole with this id's bytes."""
        self._check((number,))
        return self._decoder.decode(self._pieces[number])

    def flush(self) -> str:
        """U+FFFD when bytes of an unfinished character are left."""
        return self._decoder.decode(b"", final=True)


class WindowStream:
    """For any vocabulary: decodes the ids that were shown last together with the new ones, and shows the difference.

    A decoder may look at the neighbours of a token (the space before a word, bytes that make up a character), which is
    why the ids shown last are decoded again.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._shown: list[int] = []
        self._waiting: list[int] = []

    def push(self, number: int) -> str:
        """The new text, or "" while it ends in the replacement character of an unfinished one."""
        self._waiting.append(number)
        text = self._new_text()
        if not text or text.endswith("\N{REPLACEMENT CHARACTER}"):
            return ""
        self._shown, self._waiting = self._waiting, []
        return text

    def flush(self) -> str:
        """Whatever waits, finished or not."""
        text = self._new_text()
        self._shown, self._waiting = [], []
        return text

    def _new_text(self) -> str:
        before = self._decode(self._shown) if self._shown else ""
        return self._decode(self._shown + self._waiting)[len(before) :]
