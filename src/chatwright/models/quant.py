"""Frozen linear layers whose matrix is kept in 4 or 8 bits per weight, and is made dense, for a moment, when it is used.

4 bits: NF4 with double quantisation, for training adapters beside it (Dettmers et al., 2023, QLoRA). 8 bits: one scale for
each output channel, for inference (as in Dettmers et al., 2022, LLM.int8(), vector-wise, without its outliers). The rest
of the model stays as it is. Shapes: N rows of x, `in` and `out` features of a layer, W = in · out weights.
"""

from collections.abc import Callable, Iterator
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chatwright.errors import ConfigError, DataError
from chatwright.models.nf4 import BLOCK, NF4, SCALES, ceil, check_finite, divisor, pieces, quantise_nf4

# Bytes that are made dense at a time on a processor. The C library hands memory from 32 MiB on back to the system after
# use, and to be given it anew takes longer than to fill it: 27 ms against 10 for a 6400 × 1600 matrix in fp32.
DENSE = 24 << 20
# PyTorch's own product with int8 weights wins up to so many rows, and in bf16 only (benchmarks/quant.py). It loads 16
# numbers at a time from aligned addresses and checks neither: other sizes give garbage or end the process (torch 2.13).
FEW_ROWS = 16
KERNEL_SIZE, KERNEL_BYTES = 16, 64


class Quantised(nn.Module):
    """What both kinds share. Its buffers are in the state dict; of floating-point ones, none loses precision by `.to`."""

    codes: Tensor
    bias: nn.Parameter | None

    def __init__(self, in_features: int, out_features: int, bias: bool, device: torch.device | str = "cpu") -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        zeros = torch.zeros(out_features, device=device) if bias else None
        self.register_parameter("bias", None if zeros is None else nn.Parameter(zeros, requires_grad=False))

    @classmethod
    def empty(cls, in_features: int, out_features: int, bias: bool, device: torch.device | str = "cpu") -> Self:
        """A layer of zeros, in real memory also under `torch.device("meta")`; `fill` gives it its weights."""
        return cls(in_features, out_features, bias, device)

    @classmethod
    def from_linear(cls, linear: nn.Linear) -> Self:
        """The same layer with fewer bits, on the same device. DataError for weights that are not finite."""
        layer = cls(linear.in_features, linear.out_features, linear.bias is not None, linear.weight.device)
        layer.fill(linear.weight, linear.bias)
        return layer.train(linear.training)

    @torch.no_grad()
    def fill(self, weight: Tensor, bias: Tensor | None = None) -> None:
        """Takes an (out, in) matrix in any floating-point precision, and a bias if one is given.

        DataError for another shape, and for a matrix that is not finite.
        """
        own = (self.out_features, self.in_features)
        if tuple(weight.shape) != own or not weight.is_floating_point():
            is_what = f"{tuple(weight.shape)} in {weight.dtype}"
            raise DataError(f"a matrix to quantise is {is_what}; it must be {own} in floating point")
        self._encode(weight)
        if bias is not None and self.bias is not None:
            self.bias.copy_(bias)

    def _encode(self, weight: Tensor) -> None:
        raise NotImplementedError

    def rows(self, start: int, end: int, dtype: torch.dtype) -> Tensor:
        """(end - start, in): these rows of the matrix; `start` is a multiple of 64."""
        raise NotImplementedError

    def dequantise(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """(out, in): what the codes stand for, computed in fp32 and rounded once."""
        return self.rows(0, self.out_features, dtype)

    @property
    def dequantised(self) -> Tensor:
        """(out, in) in fp32: for merging and export."""
        return self.dequantise()

    def forward(self, x: Tensor) -> Tensor:
        """(…, in) -> (…, out), in the precision of autocast or, without it, that of x."""
        device = x.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
        y: Tensor = _Product.apply(x.to(dtype), self)  # type: ignore[no-untyped-call]
        return y

    def product(self, x: Tensor) -> Tensor:
        """(…, in) -> (…, out) in the precision of x, without a gradient."""
        bias = None if self.bias is None else self.bias.to(x.dtype)
        parts = [F.linear(x, dense, None if bias is None else bias[some]) for some, dense in self.slices(x.dtype)]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)

    def slices(self, dtype: torch.dtype) -> Iterator[tuple[slice, Tensor]]:
        """The dense matrix from top to bottom, in one or several slices of rows."""
        most = DENSE // (self.in_features * dtype.itemsize) // BLOCK * BLOCK
        on_cpu = self.codes.device.type == "cpu"
        step = max(BLOCK, most) if on_cpu else self.out_features
        for start in range(0, self.out_features, step):
            end = min(start + step, self.out_features)
            yield slice(start, end), self.rows(start, end, dtype)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """What `.to`, `.half` and the like do to every tensor: here they may move, never round, as scales need fp32."""

        def moved(tensor: Tensor) -> Tensor:
            other = fn(tensor)
            return other if other.dtype == tensor.dtype else tensor.to(other.device)

        super()._apply(moved, recurse)  # type: ignore[no-untyped-call]
        return self


class Linear4bit(Quantised):
    """A linear layer in NF4: 4.127 bits per weight."""

    scales: Tensor
    scale_steps: Tensor
    scale_mean: Tensor

    def __init__(self, in_features: int, out_features: int, bias: bool, device: torch.device | str = "cpu") -> None:
        super().__init__(in_features, out_features, bias, device)
        blocks = ceil(in_features * out_features, BLOCK)
        self.register_buffer("codes", torch.zeros(blocks, BLOCK // 2, dtype=torch.uint8, device=device))
        self.register_buffer("scales", torch.zeros(blocks, dtype=torch.uint8, device=device))
        self.register_buffer("scale_steps", torch.zeros(ceil(blocks, SCALES), device=device))
        self.register_buffer("scale_mean", torch.zeros((), device=device))

    @property
    def nf4(self) -> NF4:
        """The layer's numbers, shared, not copied."""
        shape = (self.out_features, self.in_features)
        return NF4(self.codes, self.scales, self.scale_steps, self.scale_mean, shape)

    def rows(self, start: int, end: int, dtype: torch.dtype) -> Tensor:
        return self.nf4.rows(start, end, dtype)

    def _encode(self, weight: Tensor) -> None:
        new = quantise_nf4(weight)
        self.codes.copy_(new.codes)
        self.scales.copy_(new.scales)
        self.scale_steps.copy_(new.steps)
        self.scale_mean.copy_(new.mean)


class Linear8bit(Quantised):
    """A linear layer whose weights are -127 … 127 times the scale of their output channel."""

    scales: Tensor

    def __init__(self, in_features: int, out_features: int, bias: bool, device: torch.device | str = "cpu") -> None:
        super().__init__(in_features, out_features, bias, device)
        self.register_buffer("codes", torch.zeros(out_features, in_features, dtype=torch.int8, device=device))
        self.register_buffer("scales", torch.zeros(out_features, device=device))

    def product(self, x: Tensor) -> Tensor:
        few = 0 < x.numel() <= FEW_ROWS * self.in_features
        if not (few and x.dtype == torch.bfloat16 and x.device.type == "cpu"):
            return super().product(x)
        x_rows = x.reshape(-1, self.in_features).contiguous()  # (N, in)
        if not self._fits_kernel(x_rows):
            return super().product(x)
        scales, most = self.scales.to(x.dtype), self.out_features // KERNEL_SIZE * KERNEL_SIZE
        y = torch._weight_int8pack_mm(x_rows, self.codes[:most], scales[:most])
        if most < self.out_features:  # a vocabulary is seldom a multiple of 16
            y = torch.cat([y, F.linear(x_rows, self.rows(most, self.out_features, x.dtype))], dim=-1)
        y = y.view(*x.shape[:-1], -1)
        return y if self.bias is None else y + self.bias.to(x.dtype)

    def _fits_kernel(self, x_rows: Tensor) -> bool:
        fits = not self.in_features % KERNEL_SIZE and self.out_features >= KERNEL_SIZE
        return fits and not (x_rows.data_ptr() % KERNEL_BYTES or self.codes.data_ptr() % KERNEL_BYTES)

    def rows(self, start: int, end: int, dtype: torch.dtype) -> Tensor:
        codes, scales = self.codes[start:end], self.scales[start:end]
        out = torch.empty(codes.shape, dtype=dtype, device=codes.device)
        for some in pieces(end - start, self.in_features, codes.device):
            out[some] = codes[some].float().mul_(scales[some, None])
        return out

    def _encode(self, weight: Tensor) -> None:
        parts = list(pieces(self.out_features, self.in_features, weight.device))
        largest = torch.cat([weight[some].float().abs().amax(dim=1) for some in parts])  # (out,)
        check_finite(largest, weight)
        scales = largest / 127
        self.scales.copy_(scales)
        for some in parts:
            self.codes[some] = _codes(weight[some], scales[some])

    def put(self, indices: Tensor, rows: Tensor) -> None:
        """Other weights (n, in) for the outputs at (n,) `indices`."""
        scales = rows.float().abs().amax(dim=1) / 127
        self.codes[indices], self.scales[indices] = _codes(rows, scales), scales


def _codes(weight: Tensor, scales: Tensor) -> Tensor:
    """(n, in), (n,) -> (n, in): the nearest codes."""
    exact = weight.float() / divisor(scales[:, None])
    return exact.round_().clamp_(-127, 127).to(torch.int8)


class _Product(torch.autograd.Function):
    """A frozen layer's product, which keeps the layer for the backward pass, and makes its matrix dense again there."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: Quantised) -> Tensor:
        ctx.layer = layer
        return layer.product(x)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None]:
        slope = slopes[0]  # (…, out)
        with torch.autocast(slope.device.type, enabled=False):
            parts = (slope[..., some] @ dense for some, dense in ctx.layer.slices(slope.dtype))
            x_slope = next(parts)  # (…, in)
            for part in parts:
                x_slope = x_slope + part
        return x_slope, None


KINDS: dict[str, type[Quantised]] = {"4bit": Linear4bit, "8bit": Linear8bit}


def quantise(model: nn.Module, how: Literal["4bit", "8bit"]) -> None:
    """Replaces every linear layer of `model.blocks`, one after the other, in place; all else stays as it is.

    DataError names the layer whose weights are not finite.
    """
    for path in _linears(model):
        linear = model.get_submodule(path)
        assert isinstance(linear, nn.Linear)
        try:
            model.set_submodule(path, KINDS[how].from_linear(linear))
        except DataError as error:
            raise DataError(f"{path}: {error}") from error


def quantised_skeleton(model: nn.Module, how: Literal["4bit", "8bit"]) -> None:
    """The same for a model on the meta device: the new layers are of zeros in real memory, and wait to be filled."""
    for path in _linears(model):
        linear = model.get_submodule(path)
        assert isinstance(linear, nn.Linear)
        model.set_submodule(path, KINDS[how].empty(linear.in_features, linear.out_features, linear.bias is not None))


def _linears(model: nn.Module) -> list[str]:
    """The paths of the linear layers of the blocks."""
    assert isinstance(model.blocks, nn.ModuleList)
    inside = set(model.blocks.modules())
    found = [path for path, module in model.named_modules() if module in inside and isinstance(module, nn.Linear)]
    if not found:
        raise ConfigError("the model's blocks have no linear layer left to quantise; quantise it once, before adapters")
    return found
