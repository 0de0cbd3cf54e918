"""Layers for answering: their products of few rows go through the kernels. None of them is to be trained.

Each shares the weights of the layer that it is made of. Shapes: B rows, T tokens, `in` and `out` features, V vocabulary
entries, C channels.
"""

from dataclasses import replace
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chatwright.models.device import dtype_of
from chatwright.models.kernels import products
from chatwright.models.nf4 import NF4
from chatwright.models.quant import Linear4bit, Linear8bit, Quantised


class QuickLinear(nn.Linear):
    """A linear layer whose few rows are a kernel's; PyTorch multiplies many, in the precision of the weights."""

    @classmethod
    def of(cls, linear: nn.Linear) -> Self:
        """The same layer; it shares the weights."""
        layer = cls.__new__(cls)  # its constructor would draw weights
        nn.Module.__init__(layer)
        layer.in_features, layer.out_features = linear.in_features, linear.out_features
        layer.weight = linear.weight
        layer.register_parameter("bias", linear.bias)
        return layer.train(linear.training)

    def forward(self, x: Tensor) -> Tensor:
        """(…, in) -> (…, out), in the precision of x."""
        weight, bias = self.weight, self.bias
        if products.takes(x, weight):
            return products.product(x, weight, bias).to(x.dtype)
        dtype = weight.dtype
        return F.linear(x.to(dtype), weight, None if bias is None else bias.to(dtype)).to(x.dtype)


class PackedLinear(Quantised):
    """The same for a machine without kernels: bf16 in the layout that oneDNN reads twice as fast with few rows."""

    def forward(self, x: Tensor) -> Tensor:
        """(…, in) -> (…, out), in the precision of x."""
        return self.product(x)

    def product(self, x: Tensor) -> Tensor:
        return packed_product(x, self.codes, self.bias)

    def rows(self, start: int, end: int, dtype: torch.dtype) -> Tensor:
        return self.codes.to_dense()[start:end].to(dtype)

    def _encode(self, weight: Tensor) -> None:
        self.codes = torch.ops.mkldnn._reorder_linear_weight(weight.detach().bfloat16().contiguous(), 1)


class PackedTable(nn.Embedding):
    """An embedding for such a machine; `product` is what a head that is tied to it does, with a packed copy of it.

    The copy stays as it was: rows that are written into the embedding later are not in it.
    """

    packed: Tensor

    @classmethod
    def of_table(cls, table: nn.Embedding) -> Self:
        """The same table; it shares the weights."""
        packed = cls(table.num_embeddings, table.embedding_dim, _weight=table.weight)
        packed.weight = table.weight
        packed.packed = torch.ops.mkldnn._reorder_linear_weight(table.weight.detach(), 1)
        return packed.train(table.training)

    def product(self, x: Tensor) -> Tensor:
        """(…, C) -> (…, V), in the precision of x."""
        return packed_product(x, self.packed, None)


class Quick8bit(Linear8bit):
    """A layer of 8 bits whose products are a kernel's, which rounds x to 8 bits as well, in groups."""

    @classmethod
    def of(cls, layer: Linear8bit) -> Self:
        """The same layer; it shares the codes."""
        quick = cls(layer.in_features, layer.out_features, layer.bias is not None, device="meta")
        quick.codes, quick.scales = layer.codes, layer.scales
        quick.register_parameter("bias", layer.bias)
        return quick.train(layer.training)

    def forward(self, x: Tensor) -> Tensor:
        return self.product(x)

    def product(self, x: Tensor) -> Tensor:
        """(…, in) -> (…, out), in the precision of x."""
        if products.takes(x, self.codes):
            return products.product(x, self.codes, self.bias, self.scales).to(x.dtype)
        return super().product(x.to(_computed(x))).to(x.dtype)


class Quick4bit(Linear4bit):
    """A layer of 4 bits whose few rows are a kernel's; it keeps the scales of its blocks in fp32, half a bit more."""

    wide_scales: Tensor  # (out, in / 64)

    @classmethod
    def of(cls, layer: Linear4bit) -> Self:
        """The same layer, whose inputs are a multiple of a block; it shares the codes."""
        quick = cls(layer.in_features, layer.out_features, layer.bias is not None, device="meta")
        for name, tensor in layer.named_buffers(recurse=False):
            setattr(quick, name, tensor)
        quick.register_parameter("bias", layer.bias)
        wide = layer.nf4.block_scales().view(layer.out_features, -1)
        quick.register_buffer("wide_scales", wide, persistent=False)
        return quick.train(layer.training)

    @property
    def nf4(self) -> NF4:
        return replace(super().nf4, wide_scales=self.wide_scales.flatten())

    @property
    def matrix(self) -> Tensor:
        """(out, in / 2): the codes, row by row."""
        return self.codes.view(self.out_features, -1)

    def forward(self, x: Tensor) -> Tensor:
        return self.product(x)

    def product(self, x: Tensor) -> Tensor:
        """(…, in) -> (…, out), in the precision of x."""
        if products.takes(x, self.matrix):
            return products.product(x, self.matrix, self.bias, self.wide_scales).to(x.dtype)
        return super().product(x.to(_computed(x))).to(x.dtype)


class Table8bit(Quick8bit):
    """An embedding in 8 bits; `product` is what a head that is tied to it does."""

    @classmethod
    def of_table(cls, table: nn.Embedding) -> Self:
        """(V, C) in any floating-point precision -> the same in 8 bits."""
        quick = cls(table.embedding_dim, table.num_embeddings, False, table.weight.device)
        quick.fill(table.weight)
        return quick.train(table.training)

    @property
    def weight(self) -> Tensor:
        """(V, C) in fp32: what the codes stand for."""
        return self.dequantised

    def forward(self, x: Tensor) -> Tensor:
        """(B, T) ids -> (B, T, C)."""
        return self.codes[x] * self.scales[x][..., None]


class NoDropout(nn.Dropout):
    """Dropout that is over: to find that out, PyTorch's own takes as long as the sum of two rows does."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def packed_product(x: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
    """(…, in) -> (…, out), in the precision of x, with a matrix in oneDNN's layout."""
    low = None if bias is None else bias.bfloat16()
    y: Tensor = torch.ops.mkldnn._linear_pointwise(x.bfloat16(), packed, low, "none", [], "")
    return y.to(x.dtype)


def _computed(x: Tensor) -> torch.dtype:
    """The precision for the products of quantised layers with many rows."""
    fast = dtype_of("auto", x.device)
    return fast if fast == torch.bfloat16 else x.dtype
