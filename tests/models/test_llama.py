"""Llama: grouped heads, biases, head sizes of their own, and every scaling of rotary positions."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from family_laws import (
    close,
    empty_cache,
    every_law,
    model_of,
    parameters,
    random_ids,
    same_as_theirs,
    senseless,
    starts_at_the_loss_of_chance,
    the_largest_config_is_looked_at_without_memory_or_time,
    theirs,
)

from chatwright.errors import ConfigError, DataError
from chatwright.models.attention import Attend
from chatwright.models.decoder import Decoder
from chatwright.models.llama import Llama, LlamaConfig

SMALL: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "grouped, tied, biased": {
        "num_key_value_heads": 2,
        "tie_word_embeddings": True,
        "attention_bias": True,
        "mlp_bias": True,
    },
    "wide heads, one shared": {"num_attention_heads": 3, "num_key_value_heads": 1, "head_dim": 10, "hidden_size": 21},
    "llama3": {
        "num_key_value_heads": 1,
        "rope_theta": 500.0,
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 16,
        },
    },
    "linear, as it was written first": {"rope_scaling": {"type": "linear", "factor": 2.5}, "vocab_size": 311},
    "dynamic": {"rope_scaling": {"type": "dynamic", "factor": 2.0}, "rms_norm_eps": 1e-3, "num_hidden_layers": 1},
    "yarn, as transformers 5 writes it": {
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": 100.0,
            "factor": 4.0,
            "original_max_position_embeddings": 16,
        },
        "hidden_act": "gelu_pytorch_tanh",
    },
}


@pytest.mark.parametrize("name", CONFIGS)
@every_law
def test_the_law_holds(law: Callable[[Decoder], None], name: str) -> None:
    law(model_of("llama", **{**SMALL, **CONFIGS[name]}))


def test_a_new_model_starts_at_the_loss_of_chance() -> None:
    starts_at_the_loss_of_chance("llama", **{**SMALL, "hidden_size": 64, "vocab_size": 1000})


def test_weights_start_with_the_deviation_of_the_config() -> None:
    torch.manual_seed(0)
    model = Llama.build({**SMALL, "hidden_size": 128, "initializer_range": 0.05, "attention_bias": True})
    for name, weight in model.named_parameters():
        if name.endswith("bias"):
            assert not weight.any(), name
        elif weight.dim() == 1:
            assert bool((weight == 1).all()), name
        else:
            assert abs(float(weight.detach().std()) / 0.05 - 1) < 0.05, name


def test_dropout_of_the_config_acts_in_training() -> None:
    model = model_of("llama", **SMALL, attention_dropout=0.5).train()
    ids = random_ids(model, 1, 12)
    with torch.no_grad():
        assert not torch.equal(model(ids), model(ids))


@pytest.mark.parametrize(("size", "count"), [("llama-160m", 162_417_408), ("llama-1b", 1_235_814_400)])
def test_the_sizes_have_the_published_number_of_parameters(size: str, count: int) -> None:
    assert parameters("llama", size) == count


# Files


def test_names_of_older_files_are_understood() -> None:
    model = model_of("llama", **SMALL)
    old = {name.removeprefix("model."): weight for name, weight in model.to_hf().items()}
    old["layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)
    again = Llama.build(model.config.to_hf()).eval()
    again.load_hf(old)
    ids = random_ids(model, 1, 12)
    with torch.no_grad():
        assert torch.equal(again(ids), model(ids))


def test_a_tied_head_in_the_file_is_passed_over() -> None:
    model = model_of("llama", **SMALL, tie_word_embeddings=True)
    model.load_hf({**model.to_hf(), "lm_head.weight": torch.zeros(97, 32)})
    assert "lm_head.weight" not in model.to_hf()


def test_weights_that_do_not_belong_to_the_config_are_refused_by_name() -> None:
    model = model_of("llama", **SMALL)
    weights = model.to_hf()
    with pytest.raises(DataError, match=r"'model.norm.weight' has the shape \(9,\).*asks for \(32,\)"):
        model.load_hf({**weights, "model.norm.weight": torch.zeros(9)})
    with pytest.raises(DataError, match=r"lacks 'lm_head.weight'"):
        model.load_hf({name: weight for name, weight in weights.items() if name != "lm_head.weight"})
    with pytest.raises(DataError, match=r"holds 'model.layers.0.self_attn.q_proj.bias'"):
        model.load_hf({**weights, "model.layers.0.self_attn.q_proj.bias": torch.zeros(32)})


# Rotary keys of both generations

SCALINGS = {
    "none": ({}, None),
    "linear": ({"rope_type": "linear", "factor": 2.0}, {"rope_type": "linear", "factor": 2.0}),
}


@pytest.mark.parametrize(("own", "scaling"), SCALINGS.values(), ids=SCALINGS)
def test_a_config_in_either_form_is_written_in_both(own: dict[str, Any], scaling: dict[str, Any] | None) -> None:
    newer = {"rope_parameters": {"rope_type": "default", "rope_theta": 777.0, **own}}
    older = {"rope_theta": 777.0, "rope_scaling": scaling}
    for said in (newer, older):
        written = LlamaConfig.from_hf({**SMALL, **said}).to_hf()
        assert written["rope_theta"] == 777.0
        assert written["rope_scaling"] == scaling
        assert written["rope_parameters"] == newer["rope_parameters"]


def test_theta_is_ten_thousand_where_nobody_names_it() -> None:
    assert LlamaConfig.from_hf(SMALL).to_hf()["rope_theta"] == 10_000


# A window that is changed


def test_a_wider_window_is_yarn_and_what_transformers_makes_of_it() -> None:
    model = model_of("llama", **SMALL, rope_theta=100.0)
    ids = random_ids(model, 1, 200)
    before = model(ids)
    model.stretch(256)
    assert model.config.context_length == 256
    parameters = {"rope_type": "yarn", "rope_theta": 100.0, "factor": 4.0, "original_max_position_embeddings": 64}
    assert model.config.to_hf()["rope_parameters"] == parameters
    with torch.no_grad():
        assert not close(model(ids), before, 1e-3)
        assert same_as_theirs(model(ids), theirs(model)(ids).logits)
    model.stretch(512)
    assert model.config.to_hf()["rope_parameters"] == {**parameters, "factor": 8.0}
    with torch.no_grad():
        assert same_as_theirs(model(ids), theirs(model)(ids).logits)


def test_the_old_window_may_stand_beside_the_scaling_and_comes_first_there() -> None:
    said = {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 32}
    beside = LlamaConfig.from_hf({**SMALL, "rope_scaling": said, "original_max_position_embeddings": 16})
    assert beside.rope.original_max_position_embeddings == 16
    assert LlamaConfig.from_hf(beside.to_hf()).rope == beside.rope
    unscaled = LlamaConfig.from_hf({**SMALL, "original_max_position_embeddings": 16})
    assert unscaled.stretched(128).rope.original_max_position_embeddings == 64


@pytest.mark.parametrize("name", CONFIGS)
def test_a_narrower_window_changes_no_logit(name: str) -> None:
    model = model_of("llama", **{**SMALL, **CONFIGS[name]})
    ids = random_ids(model, 1, 12)
    with torch.no_grad():
        before = model(ids)
        model.stretch(32)
        assert model.config.context_length == 32
        assert torch.equal(model(ids), before)
    assert torch.equal(Llama.build(model.config.to_hf()).rotary.frequencies, model.rotary.frequencies)


def test_a_window_that_is_scaled_in_another_way_is_not_widened() -> None:
    for name in ("llama3", "dynamic", "linear, as it was written first"):
        with pytest.raises(ConfigError, match=r"--context 128 .* 64 tokens.*give 64 or less"):
            model_of("llama", **{**SMALL, **CONFIGS[name]}).stretch(128)


def test_dynamic_positions_equal_transformers_past_the_window() -> None:
    """In a prefill, and in cached steps that cross its end; rows of a batch share the frequencies of the longest."""
    short = {**SMALL, "max_position_embeddings": 8, "rope_theta": 100.0}
    model = model_of("llama", **short, rope_scaling={"type": "dynamic", "factor": 2.0})
    ids = random_ids(model, 2, 20)
    with torch.no_grad():
        assert same_as_theirs(model(ids), theirs(model)(ids).logits)
        assert not close(model(ids), model_of("llama", **short)(ids), 1e-2)
        cache, other, kept = empty_cache(model, 2, 20), theirs(model), None
        for place in range(20):
            now = ids[:, place : place + 1]
            ours = model(now, attend=Attend.cached(torch.full((2,), place), 1), cache=cache)
            expected = other(now, past_key_values=kept, use_cache=True)
            kept = expected.past_key_values
            assert same_as_theirs(ours, expected.logits), place


# What a config may not say

SIZES = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "max_position_embeddings",
)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *senseless(
            sizes=SIZES,
            shares=("attention_dropout", "rms_norm_eps", "initializer_range"),
            flags=("tie_word_embeddings", "attention_bias", "mlp_bias"),
        ),
        ("hidden_size", None),
        ("num_attention_heads", 3),
        ("num_key_value_heads", 3),
        ("head_dim", 5),
        ("hidden_act", "softmax"),
        ("hidden_act", ["silu"]),
        ("pretraining_tp", 2),
        ("quantization_config", {"quant_method": "gptq", "bits": 4}),
        ("quantization_config", "bnb"),
        ("rope_theta", math.nan),
        ("rope_theta", None),
        ("rope_scaling", [2.0]),
        ("rope_parameters", "yarn"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(name: str, value: object) -> None:
    says = {"rope_scaling": "rope scaling", "rope_parameters": "rope scaling", "head_dim": "head"}.get(name, name)
    with pytest.raises(ConfigError, match=says) as caught:
        Llama.build({**SMALL, name: value})
    assert "\n" not in str(caught.value)


def test_the_largest_config_is_looked_at_without_memory_or_time() -> None:
    the_largest_config_is_looked_at_without_memory_or_time("llama")
