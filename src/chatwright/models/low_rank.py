"""The arithmetic of an adapter beside a frozen layer, for speed and little memory: y = W x + b + s · B A x.

Shapes: N tokens, `in` and `out` features of the layer, r the rank. x, A and B come in one precision, the one to compute in.
"""

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chatwright.models.quant import Quantised
from chatwright.models.quick import QuickLinear

Base = nn.Linear | Quantised  # the layers that can have an adapter


class LowRankProduct(torch.autograd.Function):
    """(N, in) x, (r, in) A, (out, r) B, None or (N, in) `keep` (what of x A sees), base, s -> (N, out).

    Only x, A x and `keep` wait for the backward pass, and no full-size product stands beside another. Autograd alone
    would also keep W in autocast's precision (of a quantised layer: what it stands for) and make three more (N, out).
    """

    @staticmethod
    def forward(ctx: Any, *given: Any) -> Tensor:
        x, A, B, keep, base, scaling = given
        y = frozen(base, x)
        seen = x if keep is None else x * keep
        low = F.linear(seen, A).mul_(scaling)  # (N, r), the smallest place to scale
        y.addmm_(low, B.t())
        ctx.save_for_backward(seen, low, A, B, keep)
        ctx.base, ctx.scaling = base, scaling
        return y

    @staticmethod
    def backward(ctx: Any, *slopes: Any) -> tuple[Tensor | None, ...]:
        slope = slopes[0]  # (N, out)
        seen, low, A, B, keep = ctx.saved_tensors
        with torch.autocast(slope.device.type, enabled=False):
            # the CPU library takes two to four times as long over a thin product whose thin side comes last
            low_slope = F.linear(slope, B.t().contiguous()).mul_(ctx.scaling)  # (N, r)
            A_slope, B_slope = low_slope.t() @ seen, (low.t() @ slope).t()
            x_slope = None
            if ctx.needs_input_grad[0]:
                x_slope = low_slope @ A if keep is None else (low_slope @ A).mul_(keep)
                for rows, part in _slices(ctx.base, slope.dtype):
                    x_slope.addmm_(slope[:, rows], part)
        return x_slope, A_slope, B_slope, None, None, None


def frozen(base: Base, x: Tensor) -> Tensor:
    """(N, in) -> (N, out): the layer alone, in the precision of x, whatever that of its weights is."""
    if isinstance(base, nn.Linear) and type(base) is not QuickLinear:
        return F.linear(x, base.weight.to(x.dtype), None if base.bias is None else base.bias.to(x.dtype))
    y: Tensor = base(x)
    return y


def matrix(base: Base, dtype: torch.dtype) -> Tensor:
    """(out, in): the layer's matrix, or what a quantised one stands for."""
    return base.weight.detach().to(dtype) if isinstance(base, nn.Linear) else base.dequantise(dtype)


def unquantised(base: Base) -> nn.Linear:
    """The layer itself, or the frozen one that a quantised layer stands for."""
    if isinstance(base, nn.Linear):
        return base
    plain = nn.Linear(base.in_features, base.out_features, bias=base.bias is not None, device="meta")
    plain.weight = nn.Parameter(base.dequantised, requires_grad=False)
    plain.register_parameter("bias", base.bias)
    return plain.train(base.training)


def _slices(base: Base, dtype: torch.dtype) -> Iterable[tuple[slice, Tensor]]:
    """The matrix from top to bottom: whole, or in the pieces that a quantised layer is made dense in."""
    return [(slice(None), matrix(base, dtype))] if isinstance(base, nn.Linear) else base.slices(dtype)
