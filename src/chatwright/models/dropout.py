"""Dropout (Srivastava et al., 2014) for processors: cheap random numbers, and attention that keeps a byte for each.

Random numbers come from torch's own generator, as in `F.dropout`. Shapes: B rows, H heads, T queries, K keys, D channels.
"""

from typing import Any

import torch
from torch import Tensor

CHANCES = 1 << 16  # a share of dropout is rounded to one of so many


def kept(x: Tensor, share: float) -> tuple[Tensor, float]:
    """What dropout keeps: True with the probability 1 - share in x's shape, and the factor that makes up for the rest.

    A 64-bit draw is enough for four: F.dropout takes as long as a tenth of a layer's product, this a fiftieth.
    """
    dropped = min(round(share * CHANCES), CHANCES - 1)
    words = torch.empty(-(-x.numel() // 4), dtype=torch.int64, device=x.device).random_(-(1 << 63), None)
    chances = words.view(torch.int16)[: x.numel()].view(x.shape)
    return chances >= dropped - CHANCES // 2, CHANCES / (CHANCES - dropped)


class DroppedAttention(torch.autograd.Function):
    """(B, H, T, D) queries, (B, H, K, D) keys and values, (B, 1, T, K) mask or None for causal, share, scale -> (B, H, T, D).

    PyTorch's attention with dropout keeps four (B, H, T, K) tensors for the backward pass on a CPU. Here the
    probabilities are computed again there, and one byte for each is kept: whether it was dropped. In fp32 throughout,
    whatever the precision of what comes in.
    """

    @staticmethod
    def forward(ctx: Any, *given: Any) -> Tensor:
        query, key, value, mask, share, scale = given
        with torch.autocast(query.device.type, enabled=False):
            odds = _probabilities(query.float(), key.float(), mask, scale)
            keep, factor = kept(odds, share)
            ctx.save_for_backward(query, key, value, mask, keep)
            ctx.scale, ctx.factor = scale, factor
            y: Tensor = (odds.mul_(keep) @ value.float()).mul_(factor).to(query.dtype)
        return y

    @staticmethod
    def backward(ctx: Any, *slopes: Any) -> tuple[Tensor | None, ...]:
        query, key, value, mask, keep = ctx.saved_tensors
        with torch.autocast(query.device.type, enabled=False):
            slope, wide_query, wide_key = slopes[0].float(), query.float(), key.float()
            odds = _probabilities(wide_query, wide_key, mask, ctx.scale)  # (B, H, T, K)
            odds_slope = (slope @ value.float().transpose(-1, -2)).mul_(keep).mul_(ctx.factor)
            value_slope = ((odds * keep).transpose(-1, -2) @ slope).mul_(ctx.factor)
            # the softmax's: p · (dp - Σ dp · p)
            odds_slope.sub_((odds_slope * odds).sum(dim=-1, keepdim=True)).mul_(odds)
            query_slope = (odds_slope @ wide_key).mul_(ctx.scale)
            key_slope = (odds_slope.transpose(-1, -2) @ wide_query).mul_(ctx.scale)
        found = (one.to(query.dtype) for one in (query_slope, key_slope, value_slope))
        return *found, None, None, None


def _probabilities(query: Tensor, key: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """Softmax of the scaled products where the mask allows, (B, H, T, K)."""
    scores = (query * scale) @ key.transpose(-1, -2)
    if mask is None:
        length = query.shape[-2]
        mask = torch.ones(length, length, dtype=torch.bool, device=query.device).tril_()
    return torch.softmax(scores.masked_fill_(~mask, -torch.inf), dim=-1)
