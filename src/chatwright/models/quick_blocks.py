"""Whole blocks for answering: where each row has one new token, a kernel computes all of the block, without Python between.

A block here is its family's own with another `forward`, which falls back on the family's for anything else.
Shapes: B rows, H heads, S key-value heads, K keys, D channels of a head, C channels, R of a head that are turned.
"""

from collections.abc import Callable
from ctypes import byref
from dataclasses import dataclass
from functools import cache as remembered
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chatwright.models.activations import tanh_gelu
from chatwright.models.attention import Attend
from chatwright.models.cache import KVCache
from chatwright.models.kernels import looking, products
from chatwright.models.kernels.layout import STORED, Block, Matrix, Sizes, Step, matrix
from chatwright.models.kernels.library import library
from chatwright.models.parts import Parts
from chatwright.models.quick import Quick4bit, Quick8bit, QuickLinear

ACTS = {tanh_gelu: 0, F.silu: 1, F.gelu: 2, F.relu: 3}  # as in block.h


@dataclass(frozen=True)
class Known:
    """What was found out of a block; it holds as long as every module in it is the one that it was."""

    modules: list[tuple[dict[str, nn.Module | None], str, nn.Module]]
    parts: Parts
    block: Block | None  # None where the kernel cannot compute it

    @property
    def holds(self) -> bool:
        return all(others[name] is module for others, name, module in self.modules)


class QuickBlock(nn.Module):
    """What `quick_block` puts before a family's block."""

    known: Known | None

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        """What `.to` does: the weights may lie elsewhere then, and the kernel's addresses of them are taken anew."""
        self.known = None
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]

    def forward(self, x: Tensor, attend: Attend, *given: Any) -> Tensor:
        """(B, T, C) -> (B, T, C); `given` ends with the cache, and begins with the rotation where the family has one."""
        *rotation, cache = given
        y = self._whole(x, attend, cache, *rotation) if is_step(x, attend, cache) else None
        if y is None:
            y = super().forward(x, attend, *given)
        return y

    def _whole(
        self, x: Tensor, attend: Attend, cache: KVCache, rotation: tuple[Tensor, Tensor] | None = None
    ) -> Tensor | None:
        if self.known is None or not self.known.holds:
            parts: Parts = self.parts()  # type: ignore[operator]
            self.known = Known(_modules(self), parts, described(parts))
        known = self.known
        if known.block is None:
            return None
        cached = cache.read(known.parts.layer, attend.first_row, len(x), attend.seen)
        if not looking.fits(*cached):
            return None
        if rotation is not None:
            known.block.turned = rotation[0].shape[-1]
        return step(known.block, x, attend, cached, (known.parts.heads, rotation))


def quick_block(block: nn.Module) -> nn.Module | None:
    """The same block, of the same modules; None for a family that does not tell its parts."""
    if not hasattr(block, "parts") or isinstance(block, QuickBlock):
        return None
    kind = _kind(type(block))  # type: ignore[arg-type]
    quick: QuickBlock = kind.__new__(kind)
    quick.__dict__.update(block.__dict__)  # its constructor would make modules
    quick.__dict__["_modules"] = dict(block._modules)
    quick.known = None
    return quick


@remembered
def _kind(family: type[nn.Module]) -> Any:
    return type(f"Quick{family.__name__}", (QuickBlock, family), {})


def _modules(block: nn.Module) -> list[tuple[dict[str, nn.Module | None], str, nn.Module]]:
    inside = block.modules()
    return [(one._modules, name, module) for one in inside for name, module in one.named_children()]


def described(parts: Parts) -> Block | None:
    """What the kernel is to know of the parts, which an adapter may have replaced; None where it cannot take them."""
    names = ("query", "mixed", "up", "down", *(n for n in ("key", "value", "gate") if getattr(parts, n) is not None))
    found = {name: _matrix(getattr(parts, name)) for name in names}
    norms = (*parts.norms, *(parts.head_norms or ()))
    if parts.act not in ACTS or None in found.values() or len({one.eps for one in norms}) > 1:
        return None
    first: Any = parts.norms[0]
    block = Block(first.normalized_shape[0], found["up"].outputs, epsilon=first.eps, scale=parts.scale, **found)  # type: ignore[union-attr]
    block.root, block.gated = isinstance(first, nn.RMSNorm), parts.gate is not None
    block.act, block.parallel = ACTS[parts.act], parts.parallel
    block.joined = 0 if parts.key is not None else 2 if parts.head_by_head else 1
    for place, norm in enumerate(parts.norms):
        block.norm[place], block.norm_bias[place] = _address(norm.weight), _address(getattr(norm, "bias", None))
    for place, norm in enumerate(parts.head_norms or ()):
        block.head_norm[place] = _address(norm.weight)
    return block


def _address(tensor: Any) -> int | None:
    return None if tensor is None else tensor.data_ptr()


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


def step(
    block: Block,
    x: Tensor,
    attend: Attend,
    cached: tuple[Tensor, Tensor],
    how: tuple[int, tuple[Tensor, Tensor] | None],
) -> Tensor:
    """(B, 1, C) -> (B, 1, C); the keys and values of the new tokens are put into the (B, S, K, D) cached ones.

    `how` is H, and the (B, 1, R) cosines and sines or None.
    """
    kernels = library()
    assert kernels is not None
    (keys, values), (heads, rotation) = cached, how
    x = x.contiguous()
    y = torch.empty_like(x)
    mask = None if attend.mask is None else attend.mask[:, 0, 0].contiguous()
    places = attend.positions.contiguous()
    B, S, K, D = keys.shape
    row, head, _, _ = keys.stride()
    given = Step(x.data_ptr(), y.data_ptr(), keys.data_ptr(), values.data_ptr())
    given.mask, given.places, given.threads = _address(mask), places.data_ptr(), torch.get_num_threads()
    if rotation is not None:
        rotation = rotation[0].contiguous(), rotation[1].contiguous()
        given.cos, given.sin = map(_address, rotation)
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
