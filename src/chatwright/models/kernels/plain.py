"""What each kernel computes, written in PyTorch: what tests hold the kernels to. N rows, `in` and `out` features."""

import torch
import torch.nn.functional as F
from torch import Tensor

from chatwright.models.nf4 import BLOCK, decoded

GROUP = 128  # numbers of x that share a step, as in kernels.c


def fp32(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """(…, in) fp32 x, (out, in) fp32 -> (…, out)."""
    return F.linear(x, weight, bias)


def bf16(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The same with a bf16 matrix, to which x is rounded; sums and result are fp32."""
    return F.linear(x.bfloat16().float(), weight.float(), bias)


def int8(x: Tensor, codes: Tensor, scales: Tensor, bias: Tensor | None) -> Tensor:
    """The same with int8 codes and a scale for each output; x is rounded to 8 bits as well, in groups of 128."""
    return F.linear(rounded(x), codes.float() * scales[:, None], bias)


def nf4(x: Tensor, codes: Tensor, scales: Tensor, bias: Tensor | None) -> Tensor:
    """The same with (out, in / 2) codes of NF4 and a scale for every 64 weights, (out, in / 64)."""
    weight = decoded(codes.view(-1, BLOCK // 2), scales.flatten(), torch.float32)
    return F.linear(x, weight.view(len(codes), -1), bias)


def rounded(x: Tensor) -> Tensor:
    """(…, in) fp32: the nearest of -127 … 127 times a step, which is a 127th of the largest number of a group."""
    groups = F.pad(x, (0, -x.shape[-1] % GROUP)).view(*x.shape[:-1], -1, GROUP)
    largest = groups.abs().amax(dim=-1, keepdim=True)
    per = torch.where(largest > 1e-30, 127 / largest, 0.0)
    whole: Tensor = ((groups * per).round() * (largest / 127)).flatten(-2)
    return whole[..., : x.shape[-1]]


def attention(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """(B, H, 1, D) queries, (B, S, K, D) keys and values, (B, K) what is seen -> (B, H, 1, D), in fp32."""
    each = query.shape[1] // keys.shape[1]
    seen = None if mask is None else mask[:, None, None]
    key, value = keys.float().repeat_interleave(each, dim=1), values.float().repeat_interleave(each, dim=1)
    return F.scaled_dot_product_attention(query.float(), key, value, attn_mask=seen, scale=scale)
