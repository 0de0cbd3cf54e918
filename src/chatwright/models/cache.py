"""Keys and values of tokens already read, so that each new token costs one step; passed in, never kept in a module."""

import math
import mmap
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from chatwright.models.protocol import LanguageModel


class KVCache:
    """Room for `rows` sequences of up to `length` tokens: per layer two tensors (rows, heads, length, head_dim).

    `lengths[r]` is the number of tokens row r holds. The engine keeps the active sequences in the first rows,
    so that a step reads a slice and copies nothing.
    """

    def __init__(
        self, shape: tuple[int, int, int], rows: int, length: int, *, device: torch.device, dtype: torch.dtype
    ) -> None:
        layers, heads, head_dim = shape
        room = (rows, heads, length, head_dim)
        self.keys = [_zeros(room, device, dtype) for _ in range(layers)]
        self.values = [_zeros(room, device, dtype) for _ in range(layers)]
        self.lengths = torch.zeros(rows, dtype=torch.long)

    @classmethod
    def of(cls, model: "LanguageModel", rows: int, length: int) -> "KVCache":
        """Room where the model's blocks are, in their precision; in bf16 where only their matrices have fewer bits than 32."""
        numbers = [*model.blocks[0].parameters(), *model.blocks[0].buffers()]
        dtype = numbers[0].dtype
        if dtype == torch.float32 and any(one.itemsize < 4 and one.dtype != torch.bool for one in numbers):
            dtype = torch.bfloat16
        return cls(model.config.cache_shape, rows, length, device=numbers[0].device, dtype=dtype)

    @property
    def dtype(self) -> torch.dtype:
        return self.keys[0].dtype

    @property
    def rows(self) -> int:
        return len(self.lengths)

    @property
    def room(self) -> int:
        """Tokens that a row can hold."""
        return self.keys[0].shape[2]

    def write(self, layer: int, keys: Tensor, values: Tensor, positions: Tensor, first_row: int) -> None:
        """Stores (B, H, T, D) keys and values at `positions` (B, T) of the rows from `first_row` on."""
        count, _, width, _ = keys.shape
        for store, new in ((self.keys[layer], keys), (self.values[layer], values)):
            rows = store[first_row : first_row + count]
            if width == 1:
                index = positions[:, None, :, None].expand(-1, new.shape[1], -1, new.shape[3])  # (B, H, 1, D)
                rows.scatter_(2, index, new.to(rows.dtype))
            else:  # a prefill starts at the same place in every row
                start = int(positions[0, 0])
                rows[:, :, start : start + width] = new

    def read(self, layer: int, first_row: int, count: int, length: int) -> tuple[Tensor, Tensor]:
        """The first `length` keys and values of `count` rows, (count, H, length, D) each, without a copy."""
        rows = slice(first_row, first_row + count)
        return self.keys[layer][rows, :, :length], self.values[layer][rows, :, :length]

    def gather(self, sources: Tensor, first_row: int) -> None:
        """Row first_row + i takes over what row sources[i] held before, for all i at once."""
        rows, used = slice(first_row, first_row + len(sources)), int(self.lengths[sources].max())
        for store in (*self.keys, *self.values):
            store[rows, :, :used] = store[sources.to(store.device), :, :used]
        self.lengths[rows] = self.lengths[sources]

    def copy_from(self, old: "KVCache", rows: int) -> None:
        """Takes over the first `rows` sequences of another cache that has room for them."""
        used = int(old.lengths[:rows].max()) if rows else 0
        for new, former in zip((*self.keys, *self.values), (*old.keys, *old.values), strict=True):
            new[:rows, :, :used] = former[:rows, :, :used]
        self.lengths[:rows] = old.lengths[:rows]

    def move(self, source: int, target: int) -> None:
        """Copies row `source` over row `target`, whose sequence has ended."""
        used = int(self.lengths[source])
        for store in (*self.keys, *self.values):
            store[target, :, :used] = store[source, :, :used]
        self.lengths[target] = used


def _zeros(shape: tuple[int, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    """Zeros that on a processor take no memory before they are written to.

    PyTorch's own are written at once, and NumPy's are in large pages, of which a few tokens in each head touch all.
    """
    if device.type != "cpu":
        return torch.zeros(shape, device=device, dtype=dtype)
    room = mmap.mmap(-1, math.prod(shape) * dtype.itemsize)
    return torch.frombuffer(room, dtype=dtype).view(shape)
