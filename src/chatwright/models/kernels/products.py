"""y = x W' + b for a few rows on a processor without gradients, W in fp32, bf16 or int8: what decoding asks for.

Each row is computed alone, whatever stands beside it. Shapes: N rows, `in` and `out` features.
"""

from ctypes import byref

import torch
from torch import Tensor

from chatwright.models.kernels.layout import KINDS, matrix
from chatwright.models.kernels.library import library

# From so many rows on PyTorch's own products are faster (benchmarks/generate.py); those of int8 never are.
MOST_ROWS = {torch.float32: 24, torch.bfloat16: 24, torch.int8: 4096}


def takes(x: Tensor, weight: Tensor) -> bool:
    """Whether there is a kernel for (…, in) x and an (out, in) matrix."""
    return (
        not torch.is_grad_enabled()
        and 0 < x.numel() <= MOST_ROWS.get(weight.dtype, 0) * weight.shape[1]
        and x.device.type == "cpu"
        and fits(weight)
    )


def fits(weight: Tensor) -> bool:
    """Whether kernels can read this matrix."""
    return weight.dtype in KINDS and weight.device.type == "cpu" and weight.is_contiguous() and library() is not None


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None, scales: Tensor | None = None) -> Tensor:
    """(…, in) -> (…, out) in fp32, by the kernel for the type of the matrix; ask `takes` first.

    `scales` (out,) belong to a matrix of int8. `bias` is fp32.
    """
    kernels = library()
    assert kernels is not None
    outputs, inputs = weight.shape
    x = x.float().contiguous()
    y = torch.empty(*x.shape[:-1], outputs)
    given = byref(matrix(weight, bias, scales)), x.data_ptr(), y.data_ptr(), x.numel() // inputs
    if kernels.cw_linear(*given, torch.get_num_threads()):
        raise MemoryError("no memory for the numbers of a product")
    return y
