"""Keys and values of beginnings that were read before, so that the next turn of a chat reads only what is new.

Beginnings are kept in blocks of equally many tokens, each known by its own ids and the block before it, in one pool of
fixed size; what was not used for longest makes room (as in vLLM's automatic prefix caching; SGLang's RadixAttention keeps
a tree of them, Zheng et al., 2024). Shapes: N blocks, S = 2 · layers, H heads, D channels of a head.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from chatwright.models.cache import KVCache

BLOCK = 32  # tokens
Key = tuple[int, tuple[int, ...]]  # the number of the block before it (0: none), and its ids


@dataclass(frozen=True)
class _Block:
    number: int  # never used twice
    place: int  # its row of the pool


class PrefixStore:
    """Room for the keys and values of `tokens` tokens; with 0 it keeps nothing. It gives back multiples of `step` tokens."""

    def __init__(self, tokens: int, step: int = BLOCK) -> None:
        self.blocks = tokens // BLOCK
        self.step = step
        # oldest use first. A block is always used together with all before it, and counts as older than they: so what is
        # dropped is the end of a beginning, never its middle.
        self._known: OrderedDict[Key, _Block] = OrderedDict()
        self._free = list(range(self.blocks))
        self._next = 1
        self._pool: Tensor | None = None  # (N, S, H, BLOCK, D)

    @property
    def used(self) -> int:
        """Tokens that are kept now."""
        return len(self._known) * BLOCK

    def known(self, ids: Sequence[int]) -> int:
        """How many tokens of this prompt, from its start on, need not be read: never the last, whose logits are wanted."""
        found = len(self._chain(ids, (len(ids) - 1) // BLOCK)) * BLOCK
        return found - found % self.step

    def load(self, ids: Sequence[int], length: int, cache: KVCache, row: int) -> None:
        """Puts the first `length` tokens, all of them known, into a row of the cache."""
        chain = self._chain(ids, length // BLOCK)
        assert len(chain) * BLOCK == length, "a block was dropped between being found and being read"
        if not chain:
            return
        assert self._pool is not None
        kept = self._pool[[block.place for _, block in chain]].permute(1, 2, 0, 3, 4)  # (S, H, N, BLOCK, D)
        for store, new in zip((*cache.keys, *cache.values), kept, strict=True):
            store[row, :, :length] = new.reshape(new.shape[0], length, -1)
        self._touch(chain)

    def store(self, ids: Sequence[int], cache: KVCache, row: int) -> None:
        """Keeps what a row of the cache holds of these tokens, as far as whole blocks go."""
        whole = min(len(ids) // BLOCK, self.blocks)
        if not whole:
            return
        chain = self._chain(ids, whole)
        self._touch(chain)  # now none of them is the oldest
        begin = len(chain)
        for index in range(begin, whole):
            before = chain[-1][1].number if chain else 0
            block = _Block(self._next, self._place())
            self._next += 1
            key = (before, tuple(ids[index * BLOCK : (index + 1) * BLOCK]))
            self._known[key] = block
            chain.append((key, block))
        self._touch(chain)
        if begin < whole:
            self._write([block.place for _, block in chain[begin:]], begin * BLOCK, cache, row)

    def _write(self, places: list[int], begin: int, cache: KVCache, row: int) -> None:
        count = len(places)
        some = slice(begin, begin + count * BLOCK)
        new = torch.stack([store[row, :, some] for store in (*cache.keys, *cache.values)])  # (S, H, count · BLOCK, D)
        sides, heads, _, channels = new.shape
        if self._pool is None:
            room = (self.blocks, sides, heads, BLOCK, channels)
            self._pool = torch.empty(room, dtype=new.dtype, device=new.device)
        self._pool[places] = new.view(sides, heads, count, BLOCK, channels).permute(2, 0, 1, 3, 4)

    def _chain(self, ids: Sequence[int], most: int) -> list[tuple[Key, _Block]]:
        """The known blocks with which these ids begin, at most so many."""
        found: list[tuple[Key, _Block]] = []
        before = 0
        for index in range(most):
            key = (before, tuple(ids[index * BLOCK : (index + 1) * BLOCK]))
            block = self._known.get(key)
            if block is None:
                break
            found.append((key, block))
            before = block.number
        return found

    def _touch(self, chain: list[tuple[Key, _Block]]) -> None:
        for key, _ in reversed(chain):
            self._known.move_to_end(key)

    def _place(self) -> int:
        if not self._free:
            self._free.append(self._known.popitem(last=False)[1].place)
        return self._free.pop()
