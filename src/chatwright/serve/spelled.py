"""Tokens with their log-probabilities as texts, told no sooner than their text is shown.

What a stop string cut off is told never: the tokens would give away what the text leaves out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from chatwright.generate.completion import Token
from chatwright.text.tokenizer import Tokenizer

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True)
class Spelled:
    """A token as text, where it starts in the answer, and the likeliest tokens in its place."""

    text: str
    logprob: float
    start: int = 0
    top: tuple["Spelled", ...] = ()

    @property
    def bytes(self) -> list[int] | None:
        """Its UTF-8; None for a part of a character, which has no text of its own."""
        return None if REPLACEMENT in self.text else list(self.text.encode())


class SpelledTokens:
    """The tokens of one answer that wait until their text has been shown."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = tokenizer.decoder()
        self._decoded = 0  # characters
        self._shown = 0
        self._waiting: list[tuple[int, Spelled]] = []  # with the number of characters that must have been shown

    def push(self, tokens: Sequence[Token], shown: str, *, ended: bool, cut: bool) -> list[Spelled]:
        """Takes what a step brought; gives the tokens whose text is out. `cut`: it ended at a stop string."""
        for token in tokens:
            start = self._decoded
            self._decoded += len(self._decoder.push(token.id))
            top = tuple(Spelled(self._text(number), logprob) for number, logprob in token.top)
            self._waiting.append((self._decoded, Spelled(self._text(token.id), token.logprob, start, top)))
        self._shown += len(shown)
        ready = [one for end, one in self._waiting if end <= self._shown or (ended and not cut)]
        self._waiting = self._waiting[len(ready) :]
        return ready

    def _text(self, number: int) -> str:
        return self._tokenizer.decode([number])
