"""NF4 with double quantisation: a matrix in 4.127 bits per weight, to and fro (Dettmers et al., 2023, QLoRA).

Every 64 weights are the nearest of 16 levels times their largest; these scales are kept in 8 bits, as deviations from
their mean, in units of the largest of 256. Shapes: `in` and `out` features; blocks = in · out / 64, rounded up.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from chatwright.errors import DataError
from chatwright.models.kernels import products

# The 16 numbers a weight can be, in units of its block's largest: quantiles of the normal distribution (appendix E)
LEVELS = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
    -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0,
    0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip
BLOCK = 64  # weights that share a scale
SCALES = 256  # scales that share a scale of their own
# Weights that are coded or decoded at a time on a processor, so that what is in between stays in its cache
PIECE = 1 << 18


@dataclass(frozen=True)
class NF4:
    """A matrix in NF4. Its weights, row after row, are cut into blocks of 64; the last is filled with zeros."""

    codes: Tensor  # (blocks, 32) uint8: indices of LEVELS, two in a byte, the first in its upper half
    scales: Tensor  # (blocks,) uint8: indices of the dynamic map
    steps: Tensor  # (blocks / 256,) fp32: the largest of 256 deviations from the mean
    mean: Tensor  # () fp32: the mean of all scales
    shape: tuple[int, int]
    wide_scales: Tensor | None = None  # what `block_scales` gives, where it is kept at hand

    def dequantise(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """(out, in): level times scale, computed in fp32 and rounded once."""
        return self.rows(0, self.shape[0], dtype)

    def rows(self, start: int, end: int, dtype: torch.dtype) -> Tensor:
        """(end - start, in): these rows; `start` is a multiple of 64, so that it begins a block."""
        width = self.shape[1]
        inside = slice(start * width // BLOCK, ceil(end * width, BLOCK))
        codes, scales = self.codes[inside], self.block_scales()[inside]
        found = products.dense(codes, scales, dtype)
        if found is None:
            found = decoded(codes, scales, dtype)
        return found.flatten()[: (end - start) * width].view(end - start, width)

    def block_scales(self) -> Tensor:
        """(blocks,) in fp32: the mean plus what the second quantisation kept of the deviations."""
        if self.wide_scales is not None:
            return self.wide_scales
        table = torch.tensor(dynamic_map(), device=self.scales.device)
        kept = table.index_select(0, self.scales.int())
        deviations = _blocks(kept, SCALES) * self.steps[:, None]
        return deviations.flatten()[: len(kept)] + self.mean


def decoded(codes: Tensor, scales: Tensor, dtype: torch.dtype) -> Tensor:
    """(blocks, 32) codes and their (blocks,) scales -> (blocks, 64) weights, in PyTorch alone."""
    device = codes.device
    levels = torch.tensor(LEVELS, device=device)
    # Two levels for every byte; the pair of fp32 numbers is moved as one of 64 bits, which is three times as fast
    pairs = torch.cartesian_prod(levels, levels).view(torch.int64).flatten()  # (256,)
    out = torch.empty(len(codes), BLOCK, dtype=dtype, device=device)
    for some in pieces(len(codes), BLOCK, device):
        found = pairs.index_select(0, codes[some].flatten().int()).view(torch.float32).view(-1, BLOCK)
        out[some] = found.mul_(scales[some, None])
    return out


@torch.no_grad()
def quantise_nf4(weight: Tensor) -> NF4:
    """(out, in) -> the same in NF4, on the same device. DataError for a matrix that is not finite."""
    rows, width = weight.shape
    blocks = ceil(rows * width, BLOCK)
    codes = torch.empty(blocks, BLOCK // 2, dtype=torch.uint8, device=weight.device)
    scales = torch.empty(blocks, device=weight.device)
    for some in pieces(ceil(rows, BLOCK), BLOCK * width, weight.device):  # 64 rows are `width` whole blocks
        values = _blocks(weight[some.start * BLOCK : some.stop * BLOCK].reshape(-1).float(), BLOCK)
        inside = slice(some.start * width, some.start * width + len(values))
        scales[inside] = values.abs().amax(dim=1)
        codes[inside] = _nearest(values / divisor(scales[inside, None]))
    check_finite(scales, weight)
    mean = scales.double().mean().float()
    deviations = _blocks(scales - mean, SCALES)
    steps = deviations.abs().amax(dim=1)
    table = torch.tensor(dynamic_map(), device=weight.device)
    between = (table[1:] + table[:-1]) / 2
    nearest = torch.bucketize(deviations / divisor(steps[:, None]), between).to(torch.uint8)
    return NF4(codes, nearest.flatten()[:blocks], steps, mean, (rows, width))


def _nearest(values: Tensor) -> Tensor:
    """(blocks, 64) from -1 to 1 -> (blocks, 32): the indices of the nearest levels, in pairs."""
    codes = torch.zeros(values.shape, dtype=torch.uint8, device=values.device)
    for below, above in pairwise(LEVELS):  # counting is twice as fast as a binary search
        codes += values > (below + above) / 2
    return codes[:, 0::2] << 4 | codes[:, 1::2]


@cache
def dynamic_map() -> tuple[float, ...]:
    """The 256 numbers of 8-bit dynamic quantisation (Dettmers et al., 2021, section 2.1): 7 decades, finer towards 1.

    Evenly spaced numbers come a little closer to the scales of most matrices, for nothing measurable, but where one scale
    in a few hundred is large they add 9 % to the error of the weights; these add 0.2 %.
    """
    positive = [10.0 ** (d - 6) * (0.1 + 0.9 * (step + 0.5) / 2**d) for d in range(7) for step in range(2**d)]
    return tuple(sorted([*(-number for number in positive), 0.0, *positive, 1.0]))


def pieces(count: int, size: int, device: torch.device) -> Iterator[slice]:
    """Slices of `count` things of `size` weights: small ones on a processor, all at once elsewhere."""
    step = max(1, PIECE // size if device.type == "cpu" else count)
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


def _blocks(values: Tensor, size: int) -> Tensor:
    """(n,) -> (blocks, size), filled up with zeros."""
    return F.pad(values, (0, -len(values) % size)).view(-1, size)


def divisor(scales: Tensor) -> Tensor:
    """The scales, and 1 in place of 0: what is all zeros is zero in any unit."""
    return torch.where(scales > 0, scales, 1.0)


def check_finite(largest: Tensor, weight: Tensor) -> None:
    """DataError unless the largest weights are numbers, and with them all."""
    if not bool(largest.isfinite().all()):
        raise DataError(
            f"a matrix of the shape {tuple(weight.shape)} holds NaN or infinity and cannot be quantised; "
            "the weights it comes from are broken"
        )


def ceil(count: int, size: int) -> int:
    """How many of this size hold so many."""
    return -(-count // size)
