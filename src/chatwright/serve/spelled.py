"""Tokens with their log-probabilities as texts, told no sooner than their text is shown.

What a stop string cut off is told never: the tokens would give away what the text leaves out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from chatwright.generate.completion import Token
from chatwright.text.streaming import StreamDecoder
from chatwright.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Spelled:
    """A token, where it starts in the answer, and the likeliest tokens in its place. `raw` are its bytes: those of all
    tokens, joined, are the answer's UTF-8."""

    raw: bytes
    logprob: float
    start: int = 0
    top: tuple["Spelled", ...] = ()

    @property
    def text(self) -> str:
        """With U+FFFD for a part of a character."""
        return self.raw.decode("utf-8", "replace")

    @property
    def name(self) -> str:
        """As the older lists of log-probabilities spell it, in which two parts of characters must not be the same."""
        try:
            return self.raw.decode()
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in self.raw)


class Spelling:
    """What the tokens of a vocabulary are as bytes; each is looked up once, however often it is among the likeliest."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._bytes: dict[int, bytes] = {}

    def decoder(self) -> StreamDecoder:
        """For the text of one answer."""
        return self._tokenizer.decoder()

    def raw(self, number: int, *, first: bool) -> bytes:
        """The token inside an answer, or where it is the first: there SentencePiece's decoders take its space away."""
        if number not in self._bytes:
            self._bytes[number] = self._tokenizer.bytes_of(number)
        raw = self._bytes[number]
        bare = first and raw.startswith(b" ") and not self._tokenizer.decode([number]).startswith(" ")
        return raw[1:] if bare else raw


class SpelledTokens:
    """The tokens of one answer that wait until their text has been shown."""

    def __init__(self, spelling: Spelling) -> None:
        self._spelling = spelling
        self._decoder = spelling.decoder()
        self._first = True
        self._decoded = 0  # characters
        self._shown = 0
        self._waiting: list[tuple[int, Spelled]] = []  # with the number of characters that must have been shown

    def push(self, tokens: Sequence[Token], shown: str, *, ended: bool, cut: bool) -> list[Spelled]:
        """Takes what a step brought; gives the tokens whose text is out. `cut`: it ended at a stop string."""
        for token in tokens:
            start = self._decoded
            self._decoded += len(self._decoder.push(token.id))
            top = tuple(Spelled(self._raw(number), logprob) for number, logprob in token.top)
            self._waiting.append((self._decoded, Spelled(self._raw(token.id), token.logprob, start, top)))
            self._first = False
        self._shown += len(shown)
        ready = [one for end, one in self._waiting if end <= self._shown or (ended and not cut)]
        self._waiting = self._waiting[len(ready) :]
        return ready

    def _raw(self, number: int) -> bytes:
        return self._spelling.raw(number, first=self._first)
