"""The GPT-2 of the book "Build a Large Language Model (From Scratch)" (Raschka, 2024): its names, its three matrices.

Its GELU is the tanh form and its norms are GPT-2's own; only names differ, and queries, keys and values stand apart.
"""

import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from chatwright.convert.layouts.old import Old, Pieces, Translated, family
from chatwright.errors import ConfigError, DataError

OPTIONS: tuple[str, ...] = ("heads", "activation")
KEEPS_TEXTS = False
EMBEDDING, POSITIONS, HEAD = "tok_emb.weight", "pos_emb.weight", "out_head.weight"
QUERY_KEY_VALUE = ("W_query", "W_key", "W_value")
TOP = {
    "transformer.wte.weight": EMBEDDING,
    "transformer.wpe.weight": POSITIONS,
    "transformer.ln_f.weight": "final_norm.scale",
    "transformer.ln_f.bias": "final_norm.shift",
    "lm_head.weight": HEAD,
}
BLOCK = {
    "ln_1.weight": "norm1.scale",
    "ln_1.bias": "norm1.shift",
    "ln_2.weight": "norm2.scale",
    "ln_2.bias": "norm2.shift",
    "attn.c_proj.weight": "att.out_proj.weight",
    "attn.c_proj.bias": "att.out_proj.bias",
    "mlp.c_fc.weight": "ff.layers.0.weight",
    "mlp.c_fc.bias": "ff.layers.0.bias",
    "mlp.c_proj.weight": "ff.layers.2.weight",
    "mlp.c_proj.bias": "ff.layers.2.bias",
}


def recognises(old: Old) -> bool:
    """By the names, which nobody else uses."""
    return any(name.startswith("trf_blocks.") for name in old.tensors)


def translate(old: Old) -> Translated:
    """Names and matrices as GPT-2's; the three of attention joined, their biases zeros where there are none."""
    pieces = Pieces(old)
    tied = pieces.ties(HEAD, EMBEDDING)
    has_biases = f"trf_blocks.0.att.{QUERY_KEY_VALUE[0]}.bias" in old.tensors
    config = _config(old, tied, has_biases)
    model = family("gpt2")
    weights: dict[str, Tensor] = {}
    for name, shape in model.expected_shapes(config).items():
        if name in TOP:
            weights[name] = pieces.take(TOP[name], shape)
            continue
        _, _, layer, inner = name.split(".", 3)  # transformer.h.0.attn.c_attn.weight
        block = f"trf_blocks.{layer}."
        if inner in BLOCK:
            asked = shape[::-1] if model.is_transposed(name) else shape
            tensor = pieces.take(block + BLOCK[inner], asked)
            weights[name] = tensor.t() if model.is_transposed(name) else tensor
        else:
            weights[name] = _joined(pieces, block, inner.rpartition(".")[2], shape, has_biases)
    pieces.check_all_taken(".att.mask")
    return Translated("the book's GPT-2", config, weights, tuple(_notes(has_biases)))


def _joined(pieces: Pieces, block: str, kind: str, shape: tuple[int, ...], has_biases: bool) -> Tensor:
    """(C, 3C) matrix or (3C,) bias of c_attn, from the three of queries, keys and values."""
    channels = shape[-1] // 3
    names = [f"{block}att.{part}.{kind}" for part in QUERY_KEY_VALUE]
    if kind == "weight":
        return torch.cat([pieces.take(name, (channels, channels)) for name in names]).t()
    take = pieces.take if has_biases else pieces.take_or_zeros
    return torch.cat([take(name, (channels,)) for name in names])


def _config(old: Old, tied: bool, has_biases: bool) -> dict[str, Any]:
    """Sizes from the weights; heads and dropout from the settings, which must not contradict the weights."""
    vocabulary, channels = old.sizes(EMBEDDING, 2)
    positions, _ = old.sizes(POSITIONS, 2)
    numbers = [re.match(r"trf_blocks\.([0-9]{1,6})\.", name) for name in old.tensors]
    layers = 1 + max((int(found[1]) for found in numbers if found), default=0)
    seen = {
        "vocab_size": vocabulary,
        "context_length": positions,
        "emb_dim": channels,
        "n_layers": layers,
        "qkv_bias": has_biases,
    }
    settings = old.settings_with("n_heads")
    values = {} if settings is None else settings.values
    for key, value in seen.items():
        if values.get(key, value) != value:
            assert settings is not None
            raise DataError(f"{settings.place}: {key} is {values[key]!r}, but the weights of {old.name} have {value!r}")
    heads = values.get("n_heads", old.options.heads)
    if heads is None:
        raise ConfigError(
            f"{old.name}: how many heads attention has cannot be seen from weights; give --heads, 12 for 124M"
        )
    if old.options.heads not in (None, heads):
        raise ConfigError(f"--heads is {old.options.heads}, but n_heads in {settings and settings.place} is {heads!r}")
    return {
        "model_type": "gpt2",
        "vocab_size": vocabulary,
        "n_positions": positions,
        "n_embd": channels,
        "n_layer": layers,
        "n_head": heads,
        "activation_function": old.options.activation or "gelu_new",
        "tie_word_embeddings": tied,
        **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), values.get("drop_rate", 0.0)),
    }


def _notes(has_biases: bool) -> Iterator[str]:
    if not has_biases:
        yield "queries, keys and values have no biases in the old model; they are zeros in the new one"
