"""Mistral: every layer looks through a sliding window, or none does."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from family_laws import (
    close,
    every_law,
    model_of,
    random_ids,
    refused_by_name,
    senseless,
    starts_at_the_loss_of_chance,
    the_largest_config_is_looked_at_without_memory_or_time,
)

from chatwright import registry
from chatwright.models.decoder import Decoder
from chatwright.models.mistral import MistralConfig

SMALL: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "a window of 4": {"sliding_window": 4},
    "no window, tied": {"sliding_window": None, "tie_word_embeddings": True},
    "a window of 2": {"sliding_window": 2, "num_hidden_layers": 3},
    "a window that is never full, wide heads": {"head_dim": 24, "vocab_size": 311},
    "a window of 7, one shared head": {
        "sliding_window": 7,
        "num_key_value_heads": 1,
        "num_attention_heads": 5,
        "hidden_size": 20,
        "hidden_act": "gelu",
    },
    "a window of 3, yarn": {
        "sliding_window": 3,
        "rms_norm_eps": 1e-3,
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": 100.0,
            "factor": 2.0,
            "beta_fast": 8.0,
            "original_max_position_embeddings": 32,
        },
    },
}


@pytest.mark.parametrize("name", CONFIGS)
@every_law
def test_the_law_holds(law: Callable[[Decoder], None], name: str) -> None:
    law(model_of("mistral", **{**SMALL, **CONFIGS[name]}))


def test_a_token_sees_as_many_tokens_as_the_window_says_itself_counted() -> None:
    model = model_of("mistral", **{**SMALL, "num_hidden_layers": 1, "sliding_window": 3})
    ids = random_ids(model, 1, 10)
    other = ids.clone()
    other[0, 4] = (ids[0, 4] + 1) % 97
    with torch.no_grad():
        changed = (model(ids) != model(other)).any(dim=-1)[0]
    assert changed.tolist() == [4 <= place < 7 for place in range(10)]


def test_a_window_that_is_not_named_has_4096_tokens_and_none_is_none() -> None:
    ids = random_ids(model_of("mistral", **SMALL), 1, 12)
    assert MistralConfig.from_hf(SMALL).windows == (4096, 4096)
    assert MistralConfig.from_hf({**SMALL, "sliding_window": None}).windows == (None, None)
    with torch.no_grad():
        wide = model_of("mistral", **SMALL)(ids)
        assert close(model_of("mistral", **SMALL, sliding_window=None)(ids), wide)
        assert not close(model_of("mistral", **SMALL, sliding_window=4)(ids), wide, 1e-2)


def test_a_new_model_starts_at_the_loss_of_chance() -> None:
    starts_at_the_loss_of_chance("mistral", **{**SMALL, "hidden_size": 64, "vocab_size": 1000})


def test_the_published_model_has_the_published_number_of_parameters() -> None:
    """The defaults are those of the 7B."""
    shapes = registry.load("models", "mistral").MODEL.expected_shapes({})
    assert sum(torch.Size(shape).numel() for shape in shapes.values()) == 7_241_732_096


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *senseless(sizes=("sliding_window", "num_key_value_heads"), flags=("tie_word_embeddings",)),
        ("num_key_value_heads", 3),
        ("attention_bias", True),
        ("mlp_bias", True),
        ("layer_types", ["full_attention", "sliding_attention"]),
        ("quantization_config", {"quant_method": "awq"}),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(name: str, value: object) -> None:
    refused_by_name("mistral", name, value, **SMALL)


def test_the_largest_config_is_looked_at_without_memory_or_time() -> None:
    the_largest_config_is_looked_at_without_memory_or_time("mistral")
