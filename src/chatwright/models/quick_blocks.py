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
from chatwright.models.rope import Rotation

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

    def _whole(self, x: Tensor, attend: Attend, cache: KVCache, rotation: Rotation | None = None) -> Tensor | None:
        known = self.known
        if known is None or not known.holds:
            parts: Parts = self.parts()  # type: ignore[operator]
            known = self.known = Known(_modules(self), parts, described(parts))
        if known.block is None:
            return None
        shared = attend.worked_out
        if shared is None or not shared.is_for(x, cache, known.parts.heads, rotation):
            shared = attend.worked_out = Shared(x, attend, cache, (known.parts.heads, rotation))
        return shared.computed(known, x) if shared.fits else None


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


class Shared:
    """What a step is to all blocks: (B, 1, C) x, whom each row sees, the cache, H, and the (B, 1, R) rotation or None."""

    def __init__(self, x: Tensor, attend: Attend, cache: KVCache, how: tuple[int, Rotation | None]) -> None:
        self.cache, self.rows, (self.heads, self.rotation) = cache, len(x), how
        rotation = self.rotation
        keys, values = cache.keys[0], cache.values[0]
        self.fits = looking.fits(keys, values)
        mask = None if attend.mask is None else attend.mask[:, 0, 0].contiguous()
        places = attend.positions.contiguous()
        cos, sin = (None, None) if rotation is None else (one.contiguous() for one in rotation)
        self.kept = mask, places, cos, sin  # as long as their addresses are used
        self.turned = 0 if cos is None else cos.shape[-1]
        _, S, _, D = keys.shape
        row, head, _, _ = keys.stride()
        self.first = attend.first_row * row * keys.itemsize  # bytes
        self.step = Step(mask=_address(mask), places=_address(places), cos=_address(cos), sin=_address(sin))
        self.step.sizes = Sizes(
            self.rows, self.heads, S, attend.seen, D, 0, D, row, head, attend.seen, STORED.get(keys.dtype, 0)
        )
        self.step.threads = torch.get_num_threads()

    def is_for(self, x: Tensor, cache: KVCache, heads: int, rotation: Rotation | None) -> bool:
        same = cache is self.cache and rotation is self.rotation
        return same and len(x) == self.rows and heads == self.heads

    def computed(self, known: Known, x: Tensor) -> Tensor:
        """(B, 1, C) -> (B, 1, C); the keys and values of the new tokens are put into the cache."""
        kernels, step, layer = library(), self.step, known.parts.layer
        assert kernels is not None
        assert known.block is not None
        x = x.contiguous()
        y = torch.empty_like(x)
        step.x, step.y = x.data_ptr(), y.data_ptr()
        step.keys = self.cache.keys[layer].data_ptr() + self.first
        step.values = self.cache.values[layer].data_ptr() + self.first
        known.block.turned = self.turned
        if kernels.cw_block(byref(known.block), byref(step)):
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
