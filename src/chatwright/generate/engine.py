"""The one generator: sequences of ids in, tokens and text out, many at a time over a KV cache.

Waiting prompts are read (prefill) as soon as a row is free; then every step gives each active sequence one token.
A sequence ends by its end-of-turn token, a stop string, its token limit, the end of the window, or `cancel`.
"""

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
from torch import Tensor

from chatwright.errors import ConfigError
from chatwright.generate.sampling import Sampling, pick
from chatwright.models.attention import Attend
from chatwright.models.cache import KVCache
from chatwright.models.protocol import LanguageModel
from chatwright.text.streaming import StreamDecoder
from chatwright.text.tokenizer import Tokenizer

# stop: the end-of-turn token came by itself; string: a stop string; length: max_tokens; context: the window is full
Finish = Literal["stop", "string", "length", "context", "cancelled"]
FINISHES: tuple[str, ...] = get_args(Finish)


@dataclass(frozen=True)
class Completion:
    """What a sequence became: the new ids, their text, and why it ended; `end` is the token that ended it, if one did,
    and no part of the ids."""

    ids: tuple[int, ...]
    text: str
    finish: Finish
    end: int | None = None


@dataclass(frozen=True)
class Piece:
    """News of one sequence: text that may be shown now (often empty), and the completion when it has ended."""

    sequence: int
    text: str
    completion: Completion | None = None


@dataclass
class _Sequence:
    number: int
    prompt: list[int]
    sampling: Sampling
    decoder: StreamDecoder
    ids: list[int] = field(default_factory=list)
    text: str = ""  # everything decoded
    shown: int = 0  # characters of `text` that have been given out

    def accept(self, token: int) -> bool:
        """Takes a token; True when the text now holds a stop string, which is cut off with all that follows."""
        self.ids.append(token)
        return self._add(self.decoder.push(token))

    def flush(self) -> bool:
        """The rest of a character that was cut short; True when it completes a stop string."""
        return self._add(self.decoder.flush())

    def news(self, *, ended: bool) -> str:
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


class Engine:
    """Decodes sequences for one model. Not for use by several threads at once."""

    def __init__(
        self, model: LanguageModel, tokenizer: Tokenizer, stop_ids: Collection[int], *, max_batch: int = 64
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.stop_ids = frozenset(stop_ids)
        self.max_batch = max_batch
        self._waiting: deque[_Sequence] = deque()
        self._active: list[_Sequence] = []  # the sequence at place r has row r of the cache
        self._cache: KVCache | None = None
        self._next = 0

    @property
    def busy(self) -> bool:
        """Whether any sequence waits or runs."""
        return bool(self._waiting or self._active)

    def add(self, prompt: Sequence[int], sampling: Sampling) -> int:
        """Queues a prompt; returns the number by which `step` and `cancel` know it. ConfigError if it does not fit."""
        room = self.model.config.context_length
        if not prompt:
            raise ConfigError("the prompt has no tokens; give at least one word")
        if len(prompt) >= room:
            raise ConfigError(f"the prompt has {len(prompt)} tokens, but the model's window is {room} with its answer")
        self._next += 1
        self._waiting.append(_Sequence(self._next, list(prompt), sampling, self.tokenizer.decoder()))
        return self._next

    @torch.inference_mode()  # the cache was made in this mode, and only in it can be written to
    def cancel(self, number: int) -> Completion | None:
        """Ends a sequence now and frees its row; what it had written is returned (None for an unknown number)."""
        for row, sequence in enumerate(self._active):
            if sequence.number == number:
                self._release(row)
                return self._complete(sequence, "cancelled").completion
        for sequence in self._waiting:
            if sequence.number == number:
                self._waiting.remove(sequence)
                return self._complete(sequence, "cancelled").completion
        return None

    @torch.inference_mode()
    def step(self) -> list[Piece]:
        """One token for every active sequence; newly admitted ones get their first."""
        pieces = self._decode() if self._active else []
        if self._waiting and len(self._active) < self.max_batch:
            pieces += self._prefill()
        return pieces

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[Completion]:
        """All prompts to their end, batched; completions in the order of the prompts."""
        numbers = [self.add(prompt, sampling) for prompt in prompts]
        done: dict[int, Completion] = {}
        while len(done) < len(numbers):
            done.update({p.sequence: p.completion for p in self.step() if p.completion is not None})
        return [done[number] for number in numbers]

    def _prefill(self) -> list[Piece]:
        """Reads waiting prompts, padded on the right: under a causal mask the padding is never seen.

        A prompt that several sequences wait with is read once, and its keys and values are copied into their rows.
        """
        first = len(self._active)
        new = [self._waiting.popleft() for _ in range(min(self.max_batch - first, len(self._waiting)))]
        rows = {prompt: row for row, prompt in enumerate(dict.fromkeys(tuple(sequence.prompt) for sequence in new))}
        lengths = torch.tensor([len(prompt) for prompt in rows])
        width = int(lengths.max())
        cache = self._room_for(first + len(new), max(len(s.prompt) + s.sampling.max_tokens for s in new))
        ids = torch.zeros(len(rows), width, dtype=torch.long)
        for prompt, row in rows.items():
            ids[row, : len(prompt)] = torch.tensor(prompt)
        attend = Attend.cached(torch.zeros_like(lengths), width, first)
        hidden = self._trunk(ids, attend, cache)
        last = hidden[torch.arange(len(rows)), (lengths - 1).to(hidden.device)]  # (B, T, C) -> (B, C)
        logits = self.model.head(last)
        cache.lengths[first : first + len(rows)] = lengths
        if len(rows) < len(new):
            places = torch.tensor([rows[tuple(sequence.prompt)] for sequence in new])
            cache.spread(first, places)
            logits = logits[places.to(logits.device)]
        self._active += new
        return self._advance(logits, first)

    def _decode(self) -> list[Piece]:
        cache = self._room_for(len(self._active), 0)
        count = len(self._active)
        ids = torch.tensor([[sequence.ids[-1]] for sequence in self._active])
        hidden = self._trunk(ids, Attend.cached(cache.lengths[:count], 1), cache)
        cache.lengths[:count] += 1
        return self._advance(self.model.head(hidden[:, 0]), 0)

    def _trunk(self, ids: Tensor, attend: Attend, cache: KVCache) -> Tensor:
        device = cache.keys[0].device
        return self.model.trunk(ids.to(device), attend=attend.to(device), cache=cache)

    def _advance(self, logits: Tensor, first: int) -> list[Piece]:
        """(B, V) logits of the rows from `first` on -> their next tokens; ended sequences leave the batch."""
        rows = self._active[first:]
        logits = logits[:, : self.tokenizer.vocab_size]  # a padded embedding has rows that stand for no token
        ways = [sequence.sampling for sequence in rows]
        seen = [[] if s.sampling.repetition_penalty == 1 else s.prompt + s.ids for s in rows]
        tokens = pick(logits, ways, seen, [len(sequence.ids) for sequence in rows])
        pieces: list[Piece] = []
        ended: list[int] = []
        for place, (sequence, token) in enumerate(zip(rows, tokens, strict=True)):
            piece = self._take(sequence, token)
            pieces.append(piece)
            if piece.completion is not None:
                ended.append(first + place)
        for row in reversed(ended):
            self._release(row)
        return pieces

    def _take(self, sequence: _Sequence, token: int) -> Piece:
        if token in self.stop_ids:
            return self._complete(sequence, "stop", token)
        if sequence.accept(token):
            return self._complete(sequence, "string")
        if len(sequence.ids) >= sequence.sampling.max_tokens:
            return self._complete(sequence, "length")
        if len(sequence.prompt) + len(sequence.ids) >= self.model.config.context_length:
            return self._complete(sequence, "context")
        return Piece(sequence.number, sequence.news(ended=False))

    def _complete(self, sequence: _Sequence, finish: Finish, end: int | None = None) -> Piece:
        if finish != "string" and sequence.flush():
            finish = "string"
        news = sequence.news(ended=True)
        return Piece(sequence.number, news, Completion(tuple(sequence.ids), sequence.text, finish, end))

    def _release(self, row: int) -> None:
        """Frees a row; the last active sequence moves into it, so that the active rows stay together."""
        last = self._active.pop()
        if row < len(self._active):
            assert self._cache is not None
            self._cache.move(len(self._active), row)
            self._active[row] = last

    def _room_for(self, rows: int, length: int) -> KVCache:
        """The cache, made or doubled when it is too small."""
        limit = self.model.config.context_length
        old = self._cache
        if old is not None and rows <= old.rows and min(length, limit) <= old.room:
            return old
        wide = min(limit, max(length, 64 if old is None else old.room))
        tall = min(self.max_batch, max(rows, 1 if old is None else 2 * old.rows))
        weight = next(iter(self.model.blocks[0].parameters()))
        cache = KVCache(self.model.config.cache_shape, tall, wide, device=weight.device, dtype=weight.dtype)
        if old is not None:
            cache.copy_from(old, len(self._active))
        self._cache = cache
        return cache


def _overlap(text: str, stop: str) -> int:
    """Length of the longest ending of `text` that begins `stop`: `_overlap("so\\nUs", "\\nUser:") -> 3`."""
    return next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if stop.startswith(text[-n:])), 0)
