"""Makes a loaded model fast at answering, in place: quick layers and blocks replace its own. It is not to be trained after.

Weights keep the precision they were loaded in, and none is held twice, but for the table that is the head as well on a
machine without kernels; where that is 8 or 4 bits, the vocabulary's matrix gets 8 too.
"""

import torch
from torch import Tensor, nn

from chatwright.models.decoder import Decoder
from chatwright.models.kernels import pages
from chatwright.models.kernels.library import library
from chatwright.models.nf4 import BLOCK
from chatwright.models.quant import Linear4bit, Linear8bit, Quantised
from chatwright.models.quick import NoDropout, PackedLinear, PackedTable, Quick4bit, Quick8bit, QuickLinear, Table8bit
from chatwright.models.quick_blocks import quick_block


def prepare(model: Decoder) -> None:
    """Call it where the model is to answer: elsewhere than on a processor nothing changes. Adapters may come before or after."""
    if model.final_norm.weight.device.type != "cpu":
        return
    few = any(isinstance(module, Quantised) for module in model.modules())  # 8 bits or 4
    for path in [path for path, _ in model.named_modules()]:
        quick = _quick(model.get_submodule(path), few and path == "lm_head")
        if quick is not None:
            model.set_submodule(path, quick)
    if model.lm_head is None and type(model.embedding) is nn.Embedding:  # it is the head as well
        quick = _quick_table(model.embedding, few)
        model.set_submodule(model.EMBEDDING.removesuffix(".weight"), quick)
    model.requires_grad_(False)
    # fp32 is in large pages as far as they were asked for before it was read: to copy the rest takes longer than it saves
    pages.enlarge(one for one in (*model.parameters(), *model.buffers()) if one.itemsize < 4)
    model.matrix_dtype = None  # each layer says in what it computes


def _quick(module: nn.Module, in_8_bits: bool) -> nn.Module | None:
    """What replaces a layer or a block; None: it stays."""
    if type(module) is nn.Linear:
        if in_8_bits:
            return Quick8bit.from_linear(module)
        return PackedLinear.from_linear(module) if _gains_by_packing(module.weight) else QuickLinear.of(module)
    if type(module) is Linear8bit:
        return Quick8bit.of(module)
    if type(module) is Linear4bit:
        return None if module.in_features % BLOCK else Quick4bit.of(module)
    if type(module) is nn.Dropout:
        return NoDropout(module.p).train(module.training)
    return quick_block(module)


def _quick_table(table: nn.Embedding, in_8_bits: bool) -> nn.Module:
    if in_8_bits:
        return Table8bit.of_table(table)
    return PackedTable.of_table(table) if _gains_by_packing(table.weight) else table


def _gains_by_packing(weight: Tensor) -> bool:
    bf16 = weight.dtype == torch.bfloat16 and weight.device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
    return bf16 and library() is None and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
