"""Rows that say nearly the same: MinHash signatures (Broder, 1997) in bands (Indyk & Motwani, 1998), in little memory.

The library makes the signatures, from all runs of five words; of each of its 128 numbers one byte is kept (b-bit MinHash,
Li & König, 2010). The bands are tables of row numbers, read off these bytes: 256 bytes a row in all.
"""

from collections.abc import Iterable
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from chatwright.errors import DataError

SIMILAR = 0.8  # of the runs of words that either of two rows holds, both hold
RUN = 5  # words
PIECE = 10_000  # runs that exist at one time
NUMBERS, BANDS = 128, 16  # eight numbers a band: a pair at 0.8 shares a band with 95 %, at 0.9 with 99.99 %
PLACES = 8  # rows that a slot of a table can hold, twice of what it holds on average at most
_CHANCE = 1 / 256  # that two bytes are equal though the numbers are not
_FACTORS = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9))

Signature = NDArray[np.uint8]


class Near:
    """Rows so far, by signature. Two rows are near when their signatures say that they share SIMILAR of their runs."""

    def __init__(self) -> None:
        try:
            from rensa import RMinHash
        except ImportError:
            raise DataError(
                "near-duplicates are found with rensa, which is missing; pip install 'chatwright[data]'"
            ) from None
        self._sketch = RMinHash
        self._count = 0
        self._signatures = np.zeros((1 << 10, NUMBERS), dtype=np.uint8)
        self._tables = self._empty()

    def signature(self, texts: Iterable[list[str]]) -> Signature:
        """(NUMBERS,) bytes for the words of a row."""
        words = list(chain.from_iterable(texts))
        sketch = self._sketch(num_perm=NUMBERS, seed=1)
        for start in range(0, max(1, len(words) - RUN + 1), PIECE):
            part = words[start : start + PIECE + RUN - 1]
            sketch.update(list(map(" ".join, zip(*(part[k:] for k in range(RUN)), strict=False))) or [" ".join(part)])
        return np.array(sketch.digest(), dtype=np.uint32).astype(np.uint8)

    def nearest(self, signature: Signature) -> tuple[int, float] | None:
        """The number of the nearest row and the similarity, if it is SIMILAR or more."""
        rows = self._tables[np.arange(BANDS), self._slots(signature)].ravel()
        rows = np.unique(rows[rows > 0]) - 1
        if not len(rows):
            return None
        equal = np.count_nonzero(self._signatures[rows] == signature, axis=1) / NUMBERS
        best = int(equal.argmax())
        similarity = float((equal[best] - _CHANCE) / (1 - _CHANCE))
        return (int(rows[best]), similarity) if similarity >= SIMILAR else None

    def add(self, signature: Signature) -> int:
        """Remembers a row; its number, from 0."""
        if self._count == len(self._signatures):
            self._signatures = np.concatenate([self._signatures, np.zeros_like(self._signatures)])
            self._tables = self._empty()
            for number in range(self._count):
                self._place(number)
        self._signatures[self._count] = signature
        self._place(self._count)
        self._count += 1
        return self._count - 1

    def _empty(self) -> NDArray[np.int32]:
        """Tables for as many rows as there is room for signatures: two places for each in every band."""
        return np.zeros((BANDS, 2 * len(self._signatures) // PLACES, PLACES), dtype=np.int32)

    def _place(self, number: int) -> None:
        """Writes a row (as its number + 1; 0 is free) into its slot of each band; a full slot loses its first."""
        bands, slots = np.arange(BANDS), self._slots(self._signatures[number])
        free = (self._tables[bands, slots] == 0).argmax(axis=1)
        self._tables[bands, slots, free] = number + 1

    def _slots(self, signature: Signature) -> NDArray[np.uint64]:
        """(BANDS,) slots: the eight bytes of each band, mixed."""
        mixed = np.ascontiguousarray(signature).view(np.uint64) * _FACTORS[0]
        mixed = (mixed ^ (mixed >> np.uint64(29))) * _FACTORS[1]
        return (mixed >> np.uint64(32)) % np.uint64(self._tables.shape[1])
