"""Whole blocks for answering: where each row has one new token, a kernel computes all of the block, without Python between.

A block here is its family's own with another `forward`, which falls back on the family's for anything else.
Shapes: B rows, H heads, S key-value heads, K keys, D channels of a head, C channels.
"""

from collections.abc import Callable
from ctypes import byref
from typing import Any, Self

import torch
from torch import Tensor, nn

from chatwright.models import gpt2
from chatwright.models.activations import tanh_gelu
from chatwright.models.attention import Attend
from chatwright.models.cache import KVCache
from chatwright.models.kernels import looking, products
from chatwright.models.kernels.layout import STORED, Block, Matrix, Sizes, Step, matrix
from chatwright.models.kernels.library import library
from chatwright.models.quick import Quick4bit, Quick8bit, QuickLinear


class QuickGPT2Block(gpt2.Block):
    """A block of GPT-2."""

    made: tuple[tuple[nn.Module, ...], Block] | None

    @classmethod
    def of(cls, block: gpt2.Block) -> Self:
        """The same block, of the same parts."""
        quick = cls.__new__(cls)
        nn.Module.__init__(quick)
        for name, part in block.named_children():
            quick.add_module(name, part)
        quick.made = None
        return quick.train(block.training)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """What `.to` does: the weights may lie elsewhere then, and the kernel's addresses of them are taken anew."""
        self.made = None
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call,no-any-return]

    def forward(self, x: Tensor, attend: Attend, cache: KVCache | None) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        if not is_step(x, attend, cache):
            return super().forward(x, attend, cache)
        attn, mlp = self.attn, self.mlp
        parts = (self.ln_1, attn.c_attn, attn.c_proj, self.ln_2, mlp.c_fc, mlp.c_proj)
        block = self._block(parts)
        if block is None or cache is None:
            return super().forward(x, attend, cache)
        cached = cache.read(attn.layer, attend.first_row, len(x), attend.seen)
        return (
            step(block, x, attend, cached, attn.n_head) if looking.fits(*cached) else super().forward(x, attend, cache)
        )

    def _block(self, parts: tuple[Any, ...]) -> Block | None:
        """What the kernel is to know of the parts, which an adapter may have replaced; None where it cannot take them."""
        if self.made is not None and all(old is new for old, new in zip(self.made[0], parts, strict=True)):
            return self.made[1]
        first, query, mixed, second, up, down = parts
        matrices = [_matrix(layer) for layer in (query, mixed, up, down)]
        if self.mlp.act is not tanh_gelu or any(one is None for one in matrices):
            return None
        block = Block(first.normalized_shape[0], up.out_features, epsilon=first.eps, scale=self.attn.scale)
        block.query, block.mixed, block.up, block.down = matrices
        for place, norm in enumerate((first, second)):
            block.norm[place], block.norm_bias[place] = norm.weight.data_ptr(), norm.bias.data_ptr()
        self.made = parts, block
        return block


def is_step(x: Tensor, attend: Attend, cache: KVCache | None) -> bool:
    """Whether each row of (B, T, C) has one new token, which sees others in the cache, and there are few rows."""
    return (
        x.shape[1] == 1
        and cache is not None
        and attend.seen > 0
        and len(x) <= products.MOST_ROWS[torch.float32]
        and x.dtype == torch.float32
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and library() is not None
    )


def step(block: Block, x: Tensor, attend: Attend, cached: tuple[Tensor, Tensor], heads: int) -> Tensor:
    """(B, 1, C) -> (B, 1, C); the keys and values of the new tokens are put into the (B, S, K, D) cached ones."""
    kernels = library()
    assert kernels is not None
    keys, values = cached
    x = x.contiguous()
    y = torch.empty_like(x)
    mask = None if attend.mask is None else attend.mask[:, 0, 0].contiguous()
    places = attend.positions.contiguous()
    B, S, K, D = keys.shape
    row, head, _, _ = keys.stride()
    given = Step(x.data_ptr(), y.data_ptr(), keys.data_ptr(), values.data_ptr())
    given.mask = None if mask is None else mask.data_ptr()
    given.places, given.threads = places.data_ptr(), torch.get_num_threads()
    given.sizes = Sizes(B, heads, S, K, D, 0, D, row, head, K, STORED[keys.dtype])
    if kernels.cw_block(byref(block), byref(given)):
        raise MemoryError("no memory for the numbers of a block")
    return y


def _matrix(layer: nn.Module) -> Matrix | None:
    if type(layer) is QuickLinear:
        return matrix(layer.weight, layer.bias) if products.fits(layer.weight) else None
    if type(layer) is Quick8bit:
        return matrix(layer.codes, layer.bias, layer.scales) if products.fits(layer.codes) else None
    if type(layer) is Quick4bit:
        return matrix(layer.matrix, layer.bias, layer.wide_scales) if products.fits(layer.matrix) else None
    return None
