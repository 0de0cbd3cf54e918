"""The structures that kernels.c takes, as it declares them; who fills one in keeps the tensors that it points to."""

from ctypes import Structure, c_float, c_int64, c_void_p

import torch
from torch import Tensor

KINDS = {torch.float32: 0, torch.bfloat16: 1, torch.int8: 2, torch.uint8: 3}  # of matrices; uint8 holds NF4
STORED = {torch.float32: 0, torch.bfloat16: 1}  # of caches


class Matrix(Structure):
    """(out, in) weights, with the scales that belong to them where they are int8 or NF4, and an (out,) bias or none."""

    _fields_ = (
        ("kind", c_int64),
        ("inputs", c_int64),
        ("outputs", c_int64),
        ("weight", c_void_p),
        ("scales", c_void_p),
        ("bias", c_void_p),
    )


class Sizes(Structure):
    """B rows, H heads, S key-value heads, K keys seen, D channels, and strides in numbers, not bytes."""

    _fields_ = tuple(
        (name, c_int64)
        for name in ("rows", "heads", "shared", "seen", "channels", "query_row", "query_head", "row", "head",
                     "mask_row", "narrow")
    )  # fmt: skip


class Block(Structure):
    """What a block is made of."""

    _fields_ = (
        ("channels", c_int64),
        ("inner", c_int64),
        ("root", c_int64),
        ("gated", c_int64),
        ("act", c_int64),
        ("joined", c_int64),
        ("parallel", c_int64),
        ("turned", c_int64),
        ("epsilon", c_float),
        ("scale", c_float),
        ("norm", c_void_p * 2),
        ("norm_bias", c_void_p * 2),
        ("head_norm", c_void_p * 2),
        *((name, Matrix) for name in ("query", "key", "value", "mixed", "up", "gate", "down")),
    )


class Step(Structure):
    """One new token in each row."""

    _fields_ = (
        *((name, c_void_p) for name in ("x", "y", "keys", "values", "mask", "places", "cos", "sin")),
        ("sizes", Sizes),
        ("threads", c_int64),
    )


def matrix(weight: Tensor, bias: Tensor | None, scales: Tensor | None = None) -> Matrix:
    """Of (out, in) weights, NF4 having two in a byte, an fp32 bias, and the scales that belong to int8 and NF4."""
    outputs, inputs = weight.shape[0], inputs_of(weight)
    scaled, biased = (None if one is None else one.data_ptr() for one in (scales, bias))
    return Matrix(KINDS[weight.dtype], inputs, outputs, weight.data_ptr(), scaled, biased)


def inputs_of(weight: Tensor) -> int:
    """The inputs of a stored matrix."""
    return weight.shape[1] * (2 if weight.dtype == torch.uint8 else 1)


def sizes(new: Tensor, stored: Tensor) -> Sizes:
    """Of (B, H or S, 1, D) new numbers and (B, S, K, D) of a cache."""
    B, H, _, D = new.shape
    _, S, K, _ = stored.shape
    query_row, query_head, _, _ = new.stride()
    row, head, _, _ = stored.stride()
    return Sizes(B, H, S, K, D, query_row, query_head, row, head, K, STORED[stored.dtype])
