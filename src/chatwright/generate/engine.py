"""The one generator: sequences of ids in, tokens and text out, many at a time over a KV cache.

Sequences join and leave between steps. A step gives each running sequence one token, then reads a chunk of the prompts
that wait, so that a long one stalls nobody for longer than its chunk takes. A sequence ends by its end-of-turn token, a
stop string, its token limit, the end of the window, or `cancel`.
"""

from collections import deque
from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from chatwright.errors import ConfigError
from chatwright.generate.capacity import Capacity
from chatwright.generate.completion import Completion, Piece
from chatwright.generate.prefixes import PrefixStore
from chatwright.generate.sampling import Sampling, pick, told
from chatwright.generate.sequence import Reading, RunningSequence
from chatwright.models.attention import Attend
from chatwright.models.cache import KVCache
from chatwright.models.protocol import LanguageModel
from chatwright.text.tokenizer import Tokenizer

DEFAULT = Capacity()


class Engine:
    """Decodes sequences for one model. Not for use by several threads at once."""

    def __init__(
        self, model: LanguageModel, tokenizer: Tokenizer, stop_ids: Collection[int], capacity: Capacity = DEFAULT
    ) -> None:
        window = model.config.context_length
        if capacity.kv_tokens is not None and capacity.kv_tokens < window:
            raise ConfigError(
                f"kv_tokens is {capacity.kv_tokens}; it must hold one window of the model, {window} tokens"
            )
        self.model = model
        self.tokenizer = tokenizer
        self.stop_ids = frozenset(stop_ids)
        self.capacity = capacity
        self.prefixes = PrefixStore(capacity.prefix_tokens)
        self._waiting: deque[RunningSequence] = deque()
        self._reading: Reading | None = None
        self._active: list[RunningSequence] = []  # the sequence at place r has row r of the cache
        self._cache: KVCache | None = None
        self._next = 0
        self._news: list[Piece] = []  # of this step; kept when a later part of the step fails
        self._doubted = 0  # sequences that wait again since a step failed, and are let in one by one
        self._newest: int | None = None  # the one of them that this step let in

    @property
    def busy(self) -> bool:
        """Whether any sequence waits, is read or runs."""
        return bool(self._waiting or self._reading or self._active)

    @property
    def running(self) -> int:
        """Sequences that hold a row of the cache."""
        reading = self._reading
        return len(self._active) + (len(reading.sequences) if reading else 0)

    @property
    def held(self) -> int:
        """Tokens for which the cache has room now."""
        cache = self._cache
        return 0 if cache is None else cache.rows * cache.room

    def add(self, prompt: Sequence[int], sampling: Sampling) -> int:
        """Queues a prompt; returns the number by which `step` and `cancel` know it. ConfigError if it does not fit."""
        self.check(prompt)
        self._next += 1
        reserved = min(self.model.config.context_length, len(prompt) + sampling.max_tokens)
        decoder = self.tokenizer.decoder()
        self._waiting.append(RunningSequence(self._next, tuple(prompt), sampling, decoder, reserved))
        return self._next

    def check(self, prompt: Sequence[int]) -> None:
        """ConfigError, with both numbers, for a prompt that leaves no room for an answer. Any thread may ask."""
        room = self.model.config.context_length
        if not prompt:
            raise ConfigError("the prompt has no tokens; give at least one word")
        if len(prompt) >= room:
            raise ConfigError(f"the prompt has {len(prompt)} tokens, but the model's window is {room} with its answer")

    @torch.inference_mode()  # the cache was made in this mode, and only in it can be written to
    def cancel(self, number: int) -> Completion | None:
        """Ends a sequence now and frees its row; what it had written is returned (None for an unknown number)."""
        for row, sequence in enumerate(self._active):
            if sequence.number == number:
                self._release(row)
                return sequence.ended("cancelled").completion
        reading = self._reading
        for sequences in (self._waiting, reading.sequences if reading else []):
            for sequence in sequences:
                if sequence.number == number:
                    sequences.remove(sequence)
                    if reading and not reading.sequences:
                        self._reading = None
                    return sequence.ended("cancelled").completion
        return None

    @torch.inference_mode()
    def step(self) -> list[Piece]:
        """One token for every running sequence; those whose prompts are read to the end get their first.

        What it raises is a fault of one sequence or of the machine: `recover` finds out which.
        """
        self._newest = None
        if self._active:
            self._decode()
        budget = self.capacity.chunk
        while budget > 0:
            if self._reading is None:
                self._admit(budget)
            if self._reading is None:
                break
            read, logits = self._read(self._reading, budget)
            budget -= read
            if logits is not None:
                self._seat(self._reading, logits)
        news, self._news = self._news, []
        return news

    def recover(self) -> int | None:
        """After a step that raised: the number of the sequence that is to blame, which is dropped; None if not known yet.

        All others are read again, with what they have written, into a new cache: one more in each step, so that a step
        that raises again tells which.
        """
        running = [*self._active, *(self._reading.sequences if self._reading else [])]
        blamed = running[0].number if len(running) == 1 else self._newest
        self._active, self._reading, self._cache = [], None, None
        self.prefixes = PrefixStore(self.capacity.prefix_tokens)
        again = [sequence for sequence in running if sequence.number != blamed]
        self._waiting.extendleft(reversed(again))
        self._doubted += len(again)
        return blamed

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[Completion]:
        """All prompts to their end, batched; completions in the order of the prompts."""
        numbers = [self.add(prompt, sampling) for prompt in prompts]
        done: dict[int, Completion] = {}
        while len(done) < len(numbers):
            done.update({p.sequence: p.completion for p in self.step() if p.completion is not None})
        return [done[number] for number in numbers]

    # Reading prompts

    def _admit(self, budget: int) -> None:
        """The next prompts to read together: those that have waited longest and begin at one place, as many as fit.

        A prompt that several sequences wait with is read once.
        """
        first = len(self._active)
        taken: list[RunningSequence] = []
        prompts: dict[tuple[int, ...], None] = {}
        begin = 0
        most = 1 if self.capacity.deterministic else budget
        while self._waiting and self._fits([*taken, self._waiting[0]]):
            if self._doubted and (taken or self._newest is not None):
                break
            prompt = self._waiting[0].so_far
            if prompt not in prompts:
                known = self._known(prompt)
                longest = max(map(len, (*prompts, prompt)))
                if prompts and (known != begin or (longest - known) * (len(prompts) + 1) > most):
                    break
                prompts[prompt], begin = None, known
            taken.append(self._waiting.popleft())
        if not taken:
            return
        if self._doubted:
            self._doubted, self._newest = self._doubted - 1, taken[0].number
        self._reading = Reading(first, list(prompts), taken, begin)
        cache = self._room_for(first + len(taken), self._longest(taken))
        for row, prompt in enumerate(prompts, start=first):
            self.prefixes.load(prompt, begin, cache, row)
        for sequence in taken:
            sequence.reused = begin

    def _known(self, prompt: tuple[int, ...]) -> int:
        known = self.prefixes.known(prompt)
        return known - known % self.capacity.chunk if self.capacity.deterministic else known

    def _fits(self, new: list[RunningSequence]) -> bool:
        """Whether these can run beside those that do."""
        return self.capacity.fits(len(self._active) + len(new), self._longest(new))

    def _longest(self, new: list[RunningSequence]) -> int:
        return max(sequence.reserved for sequence in (*self._active, *new))

    def _read(self, reading: Reading, budget: int) -> tuple[int, Tensor | None]:
        """Reads on, padded on the right: under a causal mask the padding is never seen.

        Returns how many tokens that were, and the (N, V) logits behind the N prompts once they are read.
        """
        cache = self._cache
        assert cache is not None
        count, done = len(reading.prompts), reading.done
        width = reading.longest - done
        if count == 1:  # several were chosen so that they fit
            width = min(width, self.capacity.chunk if self.capacity.deterministic else budget)
        ids = torch.zeros(count, width, dtype=torch.long)
        for row, prompt in enumerate(reading.prompts):
            some = prompt[done : done + width]
            ids[row, : len(some)] = torch.tensor(some)
        hidden = self._trunk(ids, Attend.cached(torch.full((count,), done), width, reading.first), cache)
        reading.done += width
        if reading.done < reading.longest:
            return count * width, None
        lengths = torch.tensor([len(prompt) for prompt in reading.prompts])
        cache.lengths[reading.first : reading.first + count] = lengths
        last = hidden[torch.arange(count), (lengths - done - 1).to(hidden.device)]  # (N, T, C) -> (N, C)
        return count * width, self.model.head(last)

    def _seat(self, reading: Reading, logits: Tensor) -> None:
        """Gives each sequence a row of its own behind the running ones, and its first token."""
        cache = self._cache
        assert cache is not None
        for row, prompt in enumerate(reading.prompts, start=reading.first):
            self.prefixes.store(prompt, cache, row)
        rows = {prompt: row for row, prompt in enumerate(reading.prompts)}
        places = torch.tensor([rows[sequence.so_far] for sequence in reading.sequences])
        first, count = len(self._active), len(places)
        if first < reading.first or count > len(rows) or not torch.equal(places, torch.arange(count)):
            cache.gather(places + reading.first, first)
            logits = logits[places.to(logits.device)]
        self._active += reading.sequences
        self._reading = None
        self._advance(logits, first)

    # Writing answers

    def _decode(self) -> None:
        cache = self._cache
        assert cache is not None
        count = len(self._active)
        ids = torch.tensor([[sequence.ids[-1]] for sequence in self._active])
        each = range(count) if self.capacity.deterministic else [slice(0, count)]
        logits = []
        for rows in each:
            some = slice(rows, rows + 1) if isinstance(rows, int) else rows
            attend = Attend.cached(cache.lengths[some], 1, some.start)
            logits.append(self.model.head(self._trunk(ids[some], attend, cache)[:, 0]))
        cache.lengths[:count] += 1
        self._advance(logits[0] if len(logits) == 1 else torch.cat(logits), 0)

    def _trunk(self, ids: Tensor, attend: Attend, cache: KVCache) -> Tensor:
        device = cache.keys[0].device
        return self.model.trunk(ids.to(device), attend=attend.to(device), cache=cache)

    def _advance(self, logits: Tensor, first: int) -> None:
        """(B, V) logits of the rows from `first` on -> their next tokens; ended sequences leave the batch."""
        running = self._active[first:]
        logits = logits[:, : self.tokenizer.vocab_size]  # a padded embedding has rows that stand for no token
        ways = [sequence.sampling for sequence in running]
        tokens = pick(logits, ways, [one.prompt for one in running], [one.ids for one in running])
        known = told(logits, tokens, ways)
        pieces = [
            sequence.take(token, self.stop_ids, its)
            for sequence, token, its in zip(running, tokens, known, strict=True)
        ]
        for place in reversed(range(len(pieces))):
            if pieces[place].completion is not None:
                self._release(first + place)
        self._news += pieces

    # Rows

    def _release(self, row: int) -> None:
        """Frees a row; the last running sequence moves into it, so that the running rows stay together."""
        cache, ended = self._cache, self._active[row]
        assert cache is not None
        self.prefixes.store((*ended.prompt, *ended.ids)[: int(cache.lengths[row])], cache, row)
        last = self._active.pop()
        if row < len(self._active):
            cache.move(len(self._active), row)
            self._active[row] = last

    def _room_for(self, rows: int, length: int) -> KVCache:
        """The cache, made anew when it is too small."""
        old = self._cache
        if old is not None and rows <= old.rows and length <= old.room:
            return old
        tall, wide = self.capacity.grown(rows, length, old)
        weight = next(iter(self.model.blocks[0].parameters()))
        cache = KVCache(self.model.config.cache_shape, tall, wide, device=weight.device, dtype=weight.dtype)
        if old is not None:
            cache.copy_from(old, len(self._active))
        self._cache = cache
        return cache
