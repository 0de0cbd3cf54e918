"""Who may look at whom: an `Attend` says it once, and becomes what PyTorch's attention takes.

Model families never see segments, padding or caches; they call `attention` with the `Attend` they were given.
Shapes: B rows, H heads, T new tokens, K tokens that can be seen, D channels of a head.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from chatwright.models.cache import KVCache
from chatwright.models.device import dtype_of
from chatwright.models.dropout import DroppedAttention
from chatwright.models.kernels import looking


@dataclass
class Attend:
    """Positions of the new tokens, and a boolean mask of what each may see (None: everything before it).

    `positions` is (T,) or (B, T); `mask` is (B, 1, T, K), True where a query sees a key.
    """

    positions: Tensor
    mask: Tensor | None = None
    is_causal: bool = True
    first_row: int = 0  # where in the cache the rows of this batch begin
    seen: int = 0  # K: how much of the cache is read
    worked_out: Any = field(default=None, init=False, repr=False, compare=False)  # once, for all layers, by kernels

    @classmethod
    def causal(cls, length: int, device: torch.device | str = "cpu") -> "Attend":
        """Every token sees itself and all before it."""
        return cls(torch.arange(length, device=device))

    @classmethod
    def packed(cls, segments: Tensor) -> "Attend":
        """Several texts in a row: (B, T) segment numbers; a token sees only its own, and positions restart in each.

        >>> Attend.packed(torch.tensor([[0, 0, 1, 1, 1]])).positions.tolist()
        [[0, 1, 0, 1, 2]]
        """
        positions, causal = _places(segments)
        same = segments[:, :, None] == segments[:, None, :]  # (B, T, T)
        return cls(positions, mask=(same & causal)[:, None], is_causal=False)

    @classmethod
    def shared_prefix(cls, segments: Tensor, parents: Tensor) -> "Attend":
        """Texts that go on from one beginning: (B, T) segment numbers, and those of the segments they go on from.

        A token sees its own segment and its parent, which stands before it whole; its position counts on from there, as
        if the two stood alone. A segment that goes on from nothing has a parent that is no segment's number.

        >>> Attend.shared_prefix(torch.tensor([[0, 0, 1, 2, 2]]), torch.tensor([[-9, -9, 0, 0, 0]])).positions.tolist()
        [[0, 1, 2, 2, 3]]
        """
        positions, causal = _places(segments)
        same = segments[:, :, None] == segments[:, None, :]  # (B, T, T)
        before = parents[:, :, None] == segments[:, None, :]
        return cls(positions + before.sum(dim=-1), mask=((same | before) & causal)[:, None], is_causal=False)

    @classmethod
    def cached(cls, lengths: Tensor, width: int, first_row: int = 0) -> "Attend":
        """`width` new tokens in each row, after the (B,) `lengths` tokens that the cache holds already."""
        new = torch.arange(width, device=lengths.device)
        positions = lengths[:, None] + new  # (B, T)
        longest = int(lengths.max()) + width if len(lengths) else width
        if longest == width:  # nothing in the cache yet: an ordinary causal prefill
            return cls(positions, first_row=first_row)
        mask = None
        if width > 1 or not bool((lengths == lengths[0]).all()):  # else every key is visible
            keys = torch.arange(longest, device=lengths.device)
            mask = (keys[None, None, :] <= positions[:, :, None])[:, None]  # (B, 1, T, K)
        return cls(positions, mask, is_causal=False, first_row=first_row, seen=longest)

    def within(self, window: int) -> "Attend":
        """The same, but no token sees further back than `window` tokens, itself counted (Beltagy et al., 2020)."""
        queries = self.positions
        # in a step over the cache, keys stand at their positions
        keys = torch.arange(self.seen, device=queries.device) if self.seen else queries
        if keys.shape[-1] <= window:
            return self
        distance = queries[..., :, None] - keys[..., None, :]  # ([B,] T, K)
        near = (distance < window) & (distance >= 0)
        near = near[:, None] if near.dim() == 3 else near[None, None]
        return replace(self, mask=near if self.mask is None else self.mask & near, is_causal=False)

    def to(self, device: torch.device | str) -> "Attend":
        """The same on another device."""
        mask = None if self.mask is None else self.mask.to(device)
        return Attend(self.positions.to(device), mask, self.is_causal, self.first_row, self.seen)


def _places(segments: Tensor) -> tuple[Tensor, Tensor]:
    """(B, T) segment numbers -> each token's place in its segment (B, T), and which tokens stand before which (T, T)."""
    index = torch.arange(segments.shape[1], device=segments.device)
    starts = torch.ones_like(segments, dtype=torch.bool)
    starts[:, 1:] = segments[:, 1:] != segments[:, :-1]
    first = torch.where(starts, index, 0).cummax(dim=1).values  # (B, T): where the token's segment begins
    return index - first, index[:, None] >= index[None, :]


def remember(layer: int, key: Tensor, value: Tensor, attend: Attend, cache: KVCache | None) -> tuple[Tensor, Tensor]:
    """Stores the new tokens' keys and values, and gives those of everything that they may see: (B, H, K, D) each.

    They are seen as they are stored, so that it does not matter which of them were there before.
    """
    if cache is None:
        return key, value
    if not attend.seen:  # a prefill sees itself only
        cache.write(layer, key, value, attend.positions, attend.first_row)
        return key.to(cache.dtype), value.to(cache.dtype)
    keys, values = cache.read(layer, attend.first_row, key.shape[0], attend.seen)
    if looking.takes(key, keys, values) and looking.takes(value, keys, values):
        looking.store(key, value, keys, values, attend.positions)
    else:
        cache.write(layer, key, value, attend.positions, attend.first_row)
    return keys, values


def attention(
    query: Tensor, key: Tensor, value: Tensor, attend: Attend, *, dropout: float = 0.0, scale: float | None = None
) -> Tensor:
    """(B, H, T, D) queries, (B, H', K, D) keys and values -> (B, H, T, D), looking where `attend` allows.

    H may be a multiple of H': then each key-value head serves H / H' query heads next to each other (Ainslie et al.,
    2023). `scale` multiplies the products of queries and keys; 1 / sqrt(D) if None.
    """
    if query.requires_grad and query.device.type == "cpu" and query.dtype == torch.bfloat16 and not dropout:
        # forward and backward of the CPU kernel take 1.2 to 2.5 times as long in bf16 as in fp32 (benchmarks/attention.py)
        with torch.autocast("cpu", enabled=False):
            wide = (query.float(), key.float(), value.float())
            return _grouped(*wide, attend, (dropout, scale)).to(query.dtype)
    return _grouped(query, key, value, attend, (dropout, scale))


def _grouped(query: Tensor, key: Tensor, value: Tensor, attend: Attend, how: tuple[float, float | None]) -> Tensor:
    """Lets the query heads that share a key-value head look together. Keys may be kept in fewer bits than queries have."""
    (B, H, T, D), shared = query.shape, key.shape[1]
    if T == 1 and not attend.is_causal and not how[0] and looking.takes(query, key, value):
        mask = None if attend.mask is None else attend.mask[:, 0, 0]
        return looking.attention(query, key, value, mask, D**-0.5 if how[1] is None else how[1])
    if key.dtype != query.dtype:
        common = dtype_of("auto", query.device) if key.dtype == torch.bfloat16 else query.dtype
        return _grouped(query.to(common), key.to(common), value.to(common), attend, how).to(query.dtype)
    if shared == H:
        return _sdpa(query, key, value, attend, how)
    if (
        T == 1 and not attend.is_causal
    ):  # one new token: the heads of a group are as good as several queries, without a copy
        together = _sdpa(query.view(B, shared, H // shared, D), key, value, attend, how)
        return together.reshape(B, H, 1, D)
    each = H // shared
    return _sdpa(query, key.repeat_interleave(each, dim=1), value.repeat_interleave(each, dim=1), attend, how)


def _sdpa(query: Tensor, key: Tensor, value: Tensor, attend: Attend, how: tuple[float, float | None]) -> Tensor:
    dropout, scale = how
    if dropout and query.device.type == "cpu":
        scale = query.shape[-1] ** -0.5 if scale is None else scale
        y: Tensor = DroppedAttention.apply(query, key, value, attend.mask, dropout, scale)  # type: ignore[no-untyped-call]
        return y
    return F.scaled_dot_product_attention(
        query, key, value, attn_mask=attend.mask, dropout_p=dropout, is_causal=attend.is_causal, scale=scale
    )
