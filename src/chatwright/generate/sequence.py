"""One sequence while the engine decodes it (its ids, its text, how much of that may be shown yet), and those being read."""

from dataclasses import dataclass, field

from chatwright.generate.completion import Completion, Finish, Piece, Token
from chatwright.generate.sampling import Sampling
from chatwright.generate.speculation import LookUp
from chatwright.text.streaming import StreamDecoder


@dataclass
class RunningSequence:
    """`number` is how `Engine.step` and `Engine.cancel` know it; `reserved` are the tokens of cache it may come to need."""

    number: int
    prompt: tuple[int, ...]
    sampling: Sampling
    decoder: StreamDecoder
    reserved: int
    reused: int = 0
    lookup: LookUp = field(default_factory=LookUp)
    ids: list[int] = field(default_factory=list)
    text: str = ""  # everything decoded
    shown: int = 0  # characters of `text` that have been given out

    @property
    def so_far(self) -> tuple[int, ...]:
        """What there is to read before the next token: the prompt, and what was written before a fault."""
        return (*self.prompt, *self.ids) if self.ids else self.prompt

    def take(self, token: int, stop_ids: frozenset[int], told: tuple[Token, ...] = ()) -> Piece:
        """The next token, and what can be shown now; with the completion when it was the last."""
        if token in stop_ids:
            return self.ended("stop", token)
        if self._accept(token):
            return self.ended("string", told=told)
        if len(self.ids) >= self.sampling.max_tokens:
            return self.ended("length", told=told)
        if len(self.prompt) + len(self.ids) >= self.reserved:  # less than max_tokens: the window is full
            return self.ended("context", told=told)
        return Piece(self.number, self._news(ended=False), None, told)

    def ended(self, finish: Finish, end: int | None = None, told: tuple[Token, ...] = ()) -> Piece:
        """The last piece, with all that was held back."""
        if finish != "string" and self._add(self.decoder.flush()):  # the rest of a character may complete a stop string
            finish = "string"
        news = self._news(ended=True)
        return Piece(self.number, news, Completion(tuple(self.ids), self.text, finish, end, self.reused), told)

    def _accept(self, token: int) -> bool:
        """Takes a token; True when the text now holds a stop string, which is cut off with all that follows."""
        self.ids.append(token)
        return self._add(self.decoder.push(token))

    def _news(self, *, ended: bool) -> str:
        """Text not given out yet; while more may come, an ending that could begin a stop string is held back."""
        held = 0 if ended else max((_overlap(self.text, stop) for stop in self.sampling.stop), default=0)
        end = max(self.shown, len(self.text) - held)
        piece, self.shown = self.text[self.shown : end], end
        return piece

    def _add(self, piece: str) -> bool:
        start = len(self.text)
        self.text += piece
        found = [self.text.find(stop, max(0, start - len(stop) + 1)) for stop in self.sampling.stop if piece]
        places = [place for place in found if place >= 0]
        if places:
            self.text = self.text[: min(places)]
        return bool(places)


@dataclass
class Reading:
    """Prompts that are being read, in rows of the cache behind the running ones; all begin at the same place.

    Sequences with the same prompt share its row until it is read. `done` tokens of each prompt are in the cache.
    """

    first: int  # row of the first prompt
    prompts: list[tuple[int, ...]]
    sequences: list[RunningSequence]
    done: int

    @property
    def longest(self) -> int:
        return max(map(len, self.prompts))


def _overlap(text: str, stop: str) -> int:
    """Length of the longest ending of `text` that begins `stop`: `_overlap("so\\nUs", "\\nUser:") -> 3`."""
    return next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if stop.startswith(text[-n:])), 0)
