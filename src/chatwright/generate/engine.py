"""The one generator: sequences of ids in, tokens and text out, many at a time over a KV cache.

Sequences join and leave between steps. A step gives each running one a token, then reads a chunk of the prompts that wait,
so that a long one stalls nobody for longer than its chunk takes. They end as `completion.Finish` says.
"""

from collections import deque
from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from chatwright.errors import ConfigError
from chatwright.generate.capacity import Capacity
from chatwright.generate.completion import Completion, Piece
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
        capacity.check(model.config.context_length)
        self.model = model
        self.tokenizer = tokenizer
        self.stop_ids = frozenset(stop_ids)
        self.capacity = capacity
        self.prefixes = capacity.prefixes()
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
        self.prefixes = self.capacity.prefixes()
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
        first, most = len(self._active), 1 if self.capacity.deterministic else budget
        taken: list[RunningSequence] = []
        prompts: dict[tuple[int, ...], None] = {}
        begin = longest = 0  # tokens that are known, and those of the longest prompt
        room = max((sequence.reserved for sequence in self._active), default=0)
        while self._waiting and not (self._doubted and (taken or self._newest is not None)):
            new = self._waiting[0]
            if not self.capacity.fits(first + len(taken) + 1, max(room, new.reserved)):
                break
            prompt = new.so_far
            if prompt not in prompts:
                known, width = self.prefixes.known(prompt), max(longest, len(prompt))
                if prompts and (known != begin or (width - known) * (len(prompts) + 1) > most):
                    break
                prompts[prompt], begin, longest = None, known, width
            taken.append(self._waiting.popleft())
            room = max(room, new.reserved)
        if not taken:
            return
        if self._doubted:
            self._doubted, self._newest = self._doubted - 1, taken[0].number
        self._reading = Reading(first, list(prompts), taken, begin)
        cache = self._room_for(first + len(taken), room)
        for row, prompt in enumerate(prompts, start=first):
            self.prefixes.load(prompt, begin, cache, row)
        for sequence in taken:
            sequence.reused = begin

    def _read(self, reading: Reading, budget: int) -> tuple[int, Tensor | None]:
        """Reads on, padded on the right: under a causal mask the padding is never seen.

        Returns how many tokens that were, and the (N, V) logits behind the N prompts once they are read.
        """
        cache = self._held
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
        cache = self._held
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
        cache = self._held
        count = len(self._active)
        if count == 1 and self.capacity.speculate and not self.capacity.deterministic:
            return self._decode_ahead(cache)
        ids = torch.tensor([[sequence.ids[-1]] for sequence in self._active])
        step = 1 if self.capacity.deterministic else count
        logits = []
        for first in range(0, count, step):
            attend = Attend.cached(cache.lengths[first : first + step], 1, first)
            logits.append(self.model.head(self._trunk(ids[first : first + step], attend, cache)[:, 0]))
        cache.lengths[:count] += 1
        self._advance(logits[0] if len(logits) == 1 else torch.cat(logits), 0)

    def _decode_ahead(self, cache: KVCache) -> None:
        """The next token of the only sequence, and those behind it that were guessed rightly."""
        (sequence,) = self._active
        room = sequence.reserved - len(sequence.so_far)
        guessed = sequence.lookup.guess(sequence.so_far, min(self.capacity.speculate, room))
        ids = torch.tensor([[sequence.ids[-1], *guessed]])
        hidden = self._trunk(ids, Attend.cached(cache.lengths[:1], ids.shape[1]), cache)
        logits = self.model.head(hidden[0])  # (1 + guesses, V)
        right = 0
        for place, expected in enumerate((*guessed, None)):
            cache.lengths[0] += 1
            self._advance(logits[place : place + 1], 0)
            if not self._active or sequence.ids[-1] != expected:
                break
            right += 1
        sequence.lookup.learn(len(guessed), right)

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

    @property
    def _held(self) -> KVCache:
        assert self._cache is not None, "nothing was read yet"
        return self._cache

    def _release(self, row: int) -> None:
        """Frees a row; the last running sequence moves into it, so that the running rows stay together."""
        cache, ended = self._held, self._active[row]
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
        cache = KVCache.of(self.model, tall, wide)
        if old is not None:
            cache.copy_from(old, len(self._active))
        self._cache = cache
        return cache
