"""y = x W' + b for a few rows on a processor without gradients, W in fp32, bf16, int8 or NF4: what decoding asks for.

Each row is computed alone, whatever stands beside it. Shapes: N rows, `in` and `out` features.
"""

from ctypes import byref

import torch
from torch import Tensor

from chatwright.models.kernels.layout import KINDS, STORED, inputs_of, matrix
from chatwright.models.kernels.library import library

# From so many rows on PyTorch's own products are as fast or faster (benchmarks/generate.py); those of int8 never are.
MOST_ROWS = {torch.float32: 256, torch.bfloat16: 64, torch.int8: 4096, torch.uint8: 48}


def takes(x: Tensor, weight: Tensor) -> bool:
    """Whether there is a kernel for (…, in) x and an (out, in) matrix."""
    return (
        not torch.is_grad_enabled()
        and 0 < x.numel() <= MOST_ROWS.get(weight.dtype, 0) * inputs_of(weight)
        and x.device.type == "cpu"
        and fits(weight)
    )


def fits(weight: Tensor) -> bool:
    """Whether kernels can read this matrix."""
    return weight.dtype in KINDS and weight.device.type == "cpu" and weight.is_contiguous() and library() is not None


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None, scales: Tensor | None = None) -> Tensor:
    """(…, in) -> (…, out) in fp32, by the kernel for the type of the matrix; ask `takes` first.

    `scales` are (out,) for int8, (out, in / 64) for NF4, whose matrix is (out, in / 2). `bias` is fp32.
    """
    kernels = library()
    assert kernels is not None
    outputs, inputs = weight.shape[0], inputs_of(weight)
    x = x.float().contiguous()
    y = torch.empty(*x.shape[:-1], outputs)
    given = byref(matrix(weight, bias, scales)), x.data_ptr(), y.data_ptr(), x.numel() // inputs
    if kernels.cw_linear(*given, torch.get_num_threads()):
        raise MemoryError("no memory for the numbers of a product")
    return y


def dense(codes: Tensor, scales: Tensor, dtype: torch.dtype) -> Tensor | None:
    """(blocks, 32) NF4 codes and their (blocks,) scales -> (blocks, 64) weights; None where no kernel makes them."""
    kernels = library() if codes.device.type == "cpu" and dtype in STORED else None
    if kernels is None:
        return None
    codes, scales = codes.contiguous(), scales.contiguous()
    out = torch.empty(len(codes), 2 * codes.shape[1], dtype=dtype)
    given = codes.data_ptr(), scales.data_ptr(), out.data_ptr(), len(codes), STORED[dtype]
    kernels.cw_nf4(*given, torch.get_num_threads())
    return out
