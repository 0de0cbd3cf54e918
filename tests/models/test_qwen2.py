"""Qwen2: biases of queries, keys and values, and layers that slide or do not."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from family_laws import (
    every_law,
    model_of,
    parameters,
    refused_by_name,
    senseless,
    starts_at_the_loss_of_chance,
    the_largest_config_is_looked_at_without_memory_or_time,
)

from chatwright.errors import ConfigError
from chatwright.models.decoder import Decoder
from chatwright.models.qwen2 import Qwen2Config

SMALL: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
SLIDES = {"use_sliding_window": True, "sliding_window": 4}
CONFIGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "tied, the window unused": {"sliding_window": 4, "max_window_layers": 0, "tie_word_embeddings": True},
    "the second layer slides": {**SLIDES, "max_window_layers": 1},
    "the first layer slides, by its type": {**SLIDES, "layer_types": ["sliding_attention", "full_attention"]},
    "all slide, one shared head": {
        **SLIDES,
        "max_window_layers": 0,
        "num_key_value_heads": 1,
        "num_attention_heads": 3,
        "hidden_size": 30,
        "vocab_size": 311,
    },
    "linear": {"rope_scaling": {"rope_type": "linear", "factor": 3}, "num_key_value_heads": 4, "rms_norm_eps": 1e-3},
    "yarn, as Qwen2.5 is told to": {
        "rope_theta": 1000.0,
        "rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16},
        "num_hidden_layers": 3,
        "hidden_act": "gelu",
    },
}


@pytest.mark.parametrize("name", CONFIGS)
@every_law
def test_the_law_holds(law: Callable[[Decoder], None], name: str) -> None:
    law(model_of("qwen2", **{**SMALL, **CONFIGS[name]}))


def test_the_layers_from_max_window_layers_on_slide_where_no_types_are_named() -> None:
    def windows(**said: Any) -> tuple[int | None, ...]:
        return Qwen2Config.from_hf({**SMALL, "num_hidden_layers": 3, **said}).windows

    assert windows(**SLIDES, max_window_layers=2) == (None, None, 4)
    assert windows(**SLIDES) == (None, None, None)
    assert windows(sliding_window=4, max_window_layers=0) == (None, None, None)
    assert windows(use_sliding_window=True, sliding_window=None, max_window_layers=0) == (None, None, None)
    types = ["sliding_attention", "full_attention", "sliding_attention"]
    assert windows(**SLIDES, layer_types=types) == (4, None, 4)


def test_a_new_model_starts_at_the_loss_of_chance() -> None:
    starts_at_the_loss_of_chance("qwen2", **{**SMALL, "hidden_size": 64, "vocab_size": 1000})


def test_the_size_has_the_published_number_of_parameters() -> None:
    assert parameters("qwen2", "qwen2.5-0.5b") == 494_032_768


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *senseless(sizes=("sliding_window",), flags=("use_sliding_window",)),
        ("max_window_layers", -1),
        ("max_window_layers", 10**9),
        ("max_window_layers", True),
        ("num_key_value_heads", 3),
        ("layer_types", "full_attention"),
        ("layer_types", ["full_attention"]),
        ("layer_types", ["full_attention"] * 3),
        ("layer_types", ["sliding_attention", "full_attention"]),  # no window is in use
        ("quantization_config", {"quant_method": "gptq"}),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(name: str, value: object) -> None:
    refused_by_name("qwen2", name, value, **SMALL)


@pytest.mark.parametrize("kind", ["chunked_attention", 1, None, ["full_attention"]])
def test_an_unknown_type_of_layer_is_refused_by_name(kind: object) -> None:
    with pytest.raises(ConfigError, match=f"layer type {re.escape(repr(kind))} is not supported"):
        Qwen2Config.from_hf({**SMALL, "layer_types": ["full_attention", kind]})


def test_the_largest_config_is_looked_at_without_memory_or_time() -> None:
    the_largest_config_is_looked_at_without_memory_or_time("qwen2")
