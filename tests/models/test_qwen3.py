"""Qwen3: queries and keys normalised in each head, heads of a size of their own, biases or none."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from family_laws import (
    every_law,
    model_of,
    parameters,
    random_ids,
    refused_by_name,
    same_as_theirs,
    senseless,
    starts_at_the_loss_of_chance,
    the_largest_config_is_looked_at_without_memory_or_time,
)

from chatwright.models.decoder import Decoder
from chatwright.models.qwen3 import Qwen3Config

SMALL: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 10,
    "max_position_embeddings": 64,
}
SLIDES = {"use_sliding_window": True, "sliding_window": 4}
CONFIGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "tied, biased": {"tie_word_embeddings": True, "attention_bias": True},
    "the second layer slides": {**SLIDES, "max_window_layers": 1, "rms_norm_eps": 1e-2},
    "the first layer slides, by its type": {
        **SLIDES,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        "num_hidden_layers": 3,
    },
    "every head its own": {"num_key_value_heads": 4, "head_dim": 6, "vocab_size": 311, "hidden_act": "relu"},
    "yarn": {
        "rope_theta": 1000.0,
        "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16},
        "num_key_value_heads": 1,
    },
}


@pytest.mark.parametrize("name", CONFIGS)
@every_law
def test_the_law_holds(law: Callable[[Decoder], None], name: str) -> None:
    law(model_of("qwen3", **{**SMALL, **CONFIGS[name]}))


def test_autocast_leaves_norms_in_their_precision_and_the_rest_in_its_own() -> None:
    """Queries and keys leave the norms in the precision of the values, as attention asks for."""
    model = model_of("qwen3", **SMALL)
    ids = random_ids(model, 2, 12)
    with torch.no_grad():
        exact = model(ids)
        with torch.autocast("cpu", torch.bfloat16):
            found = model(ids)
            heads = model.blocks[0].self_attn.heads(torch.randn(1, 3, 24))
    assert [one.dtype for one in heads] == [torch.bfloat16] * 3
    assert not same_as_theirs(found, exact)
    assert float((found.float() - exact).abs().max()) < 0.05 * float(exact.abs().max())


def test_a_head_has_128_channels_where_nobody_says_otherwise() -> None:
    config = {name: value for name, value in SMALL.items() if name != "head_dim"}
    assert Qwen3Config.from_hf(config).cache_shape == (2, 2, 128)


def test_a_new_model_starts_at_the_loss_of_chance() -> None:
    starts_at_the_loss_of_chance("qwen3", **{**SMALL, "hidden_size": 64, "vocab_size": 1000})


def test_the_size_has_the_published_number_of_parameters() -> None:
    assert parameters("qwen3", "qwen3-0.6b") == 596_049_920


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *senseless(sizes=("head_dim", "sliding_window"), flags=("attention_bias", "use_sliding_window")),
        ("num_key_value_heads", 3),
        ("layer_types", ["sliding_attention"] * 2),
        ("quantization_config", {"quant_method": "fp8"}),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(name: str, value: object) -> None:
    refused_by_name("qwen3", name, value, **SMALL)


def test_the_largest_config_is_looked_at_without_memory_or_time() -> None:
    the_largest_config_is_looked_at_without_memory_or_time("qwen3")
