"""GPT-NeoX and Pythia: a part of each head is turned, residuals are parallel or serial, and old files are understood."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from family_laws import (
    close,
    dropped,
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
from chatwright.models.decoder import Decoder
from chatwright.models.gpt_neox import GPTNeoX, GPTNeoXConfig

SMALL: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "as Pythia": {},
    "serial, relu, half of a head": {"use_parallel_residual": False, "hidden_act": "relu", "rotary_pct": 0.5},
    "all of a head, one of them, another base": {"rotary_pct": 1.0, "num_attention_heads": 1, "rotary_emb_base": 100},
    "no biases, tied": {"attention_bias": False, "tie_word_embeddings": True, "hidden_act": "gelu_new"},
    "as transformers 5 writes it": {
        "rope_parameters": {"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 0.75},
        "hidden_act": "gelu_fast",
        "layer_norm_eps": 1e-3,
    },
    "linear, odd sizes": {
        "rope_scaling": {"type": "linear", "factor": 2.5},
        "vocab_size": 311,
        "hidden_size": 36,
        "num_attention_heads": 3,
        "intermediate_size": 37,
        "rotary_pct": 0.5,
    },
    "yarn, one layer": {
        "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16},
        "num_hidden_layers": 1,
        "hidden_act": "gelu_pytorch_tanh",
    },
}


@pytest.mark.parametrize("name", CONFIGS)
@every_law
def test_the_law_holds(law: Callable[[Decoder], None], name: str) -> None:
    law(model_of("gpt_neox", **{**SMALL, **CONFIGS[name]}))


def test_a_new_model_starts_at_the_loss_of_chance() -> None:
    starts_at_the_loss_of_chance("gpt_neox", **{**SMALL, "hidden_size": 64, "vocab_size": 1000})


def test_weights_start_with_the_deviation_of_the_config() -> None:
    torch.manual_seed(0)
    for name, weight in GPTNeoX.build({**SMALL, "hidden_size": 128, "initializer_range": 0.05}).named_parameters():
        if name.endswith("bias"):
            assert not weight.any(), name
        elif weight.dim() == 1:
            assert bool((weight == 1).all()), name
        else:
            assert abs(float(weight.detach().std()) / 0.05 - 1) < 0.05, name


@pytest.mark.parametrize("name", ["attention_dropout", "hidden_dropout"])
def test_each_dropout_of_the_config_acts(name: str) -> None:
    model = model_of("gpt_neox", **SMALL, **{name: 0.5}).train()
    ids = random_ids(model, 1, 12)
    with torch.no_grad():
        assert not torch.equal(model(ids), model(ids))


def test_hidden_dropout_follows_the_embedding_and_each_part_of_a_layer() -> None:
    assert dropped(model_of("gpt_neox", **SMALL, hidden_dropout=0.5)) == [0.5] * 5


@pytest.mark.parametrize(
    ("size", "count"),
    [
        ("pythia-14m", 14_067_712),
        ("pythia-70m", 70_426_624),
        ("pythia-160m", 162_322_944),
        ("pythia-410m", 405_334_016),
        ("pythia-1b", 1_011_781_632),
    ],
)
def test_the_sizes_have_the_published_number_of_parameters(size: str, count: int) -> None:
    assert parameters("gpt_neox", size) == count


def test_rows_that_pad_the_vocabulary_are_used_before_more_are_added() -> None:
    model = model_of("gpt_neox", **SMALL)
    old = {name: model.to_hf()[name].clone() for name in (model.EMBEDDING, model.HEAD)}
    model.grow(90, 94)
    assert model.config.vocab_size == 97
    for name, before in old.items():
        after = model.to_hf()[name]
        assert torch.equal(after[:90], before[:90])
        assert torch.equal(after[94:], before[94:])
        assert close(after[90:94], before[:90].mean(0).expand(4, -1), 1e-6)


# Files


def test_names_and_buffers_of_older_files_are_understood() -> None:
    model = model_of("gpt_neox", **SMALL)
    old = {name.removeprefix("gpt_neox."): weight for name, weight in model.to_hf().items()}
    for layer in range(2):
        old[f"layers.{layer}.attention.bias"] = torch.ones(1, 1, 64, 64)
        old[f"layers.{layer}.attention.masked_bias"] = torch.tensor(-1e9)
        old[f"layers.{layer}.attention.rotary_emb.inv_freq"] = torch.ones(1)
    again = GPTNeoX.build(model.config.to_hf()).eval()
    again.load_hf(old)
    ids = random_ids(model, 1, 12)
    with torch.no_grad():
        assert torch.equal(again(ids), model(ids))


def test_the_head_is_understood_as_transformers_calls_it_in_memory() -> None:
    model = model_of("gpt_neox", **SMALL)
    again = GPTNeoX.build(model.config.to_hf()).eval()
    again.load_hf(theirs(model).state_dict())
    assert torch.equal(again.output_weight, model.output_weight)
    assert "embed_out.weight" in again.to_hf()


def test_a_tied_head_in_the_file_is_passed_over() -> None:
    model = model_of("gpt_neox", **SMALL, tie_word_embeddings=True)
    model.load_hf({**model.to_hf(), "embed_out.weight": torch.zeros(97, 32)})
    assert "embed_out.weight" not in model.to_hf()


def test_weights_that_do_not_belong_to_the_config_are_refused_by_name() -> None:
    model = model_of("gpt_neox", **SMALL)
    weights = model.to_hf()
    norm = "gpt_neox.final_layer_norm.weight"
    with pytest.raises(DataError, match=rf"'{norm}' has the shape \(9,\).*asks for \(32,\)"):
        model.load_hf({**weights, norm: torch.zeros(9)})
    with pytest.raises(DataError, match=r"lacks 'embed_out.weight'"):
        model.load_hf({name: weight for name, weight in weights.items() if name != "embed_out.weight"})
    with pytest.raises(DataError, match=r"holds 'gpt_neox.layers.2.mlp.dense_h_to_4h.bias'"):
        model.load_hf({**weights, "gpt_neox.layers.2.mlp.dense_h_to_4h.bias": torch.zeros(48)})


# Rotary keys of all generations

GENERATIONS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "Pythia's": {"rotary_pct": 0.5, "rotary_emb_base": 777},
    "of transformers 4.46": {
        "rotary_pct": 0.5,
        "partial_rotary_factor": 0.5,
        "rotary_emb_base": 777,
        "rope_theta": 777,
        "rope_scaling": None,
    },
    "scaled, of transformers 4.46": {
        "rotary_pct": 0.5,
        "rotary_emb_base": 777,
        "rope_scaling": {"rope_type": "linear", "factor": 2.0},
    },
    "of transformers 5": {"rope_parameters": {"rope_type": "default", "rope_theta": 777, "partial_rotary_factor": 0.5}},
    "half of each": {"rotary_pct": 0.5, "rope_parameters": {"rope_type": "default", "rope_theta": 777}},
}


@pytest.mark.parametrize("said", GENERATIONS.values(), ids=GENERATIONS)
def test_rotary_keys_mean_what_they_mean_to_transformers(said: dict[str, Any]) -> None:
    """The config as it stands in the folder, not as we would write it."""
    from transformers import GPTNeoXConfig as TheirConfig
    from transformers import GPTNeoXForCausalLM

    other = GPTNeoXForCausalLM(TheirConfig(**{**SMALL, **said}, initializer_range=0.2)).eval()
    model = GPTNeoX.build({**SMALL, **said}).eval()
    model.load_hf(other.state_dict())
    ids = random_ids(model, 2, 12)
    with torch.no_grad():
        assert same_as_theirs(model(ids), other(ids).logits)


@pytest.mark.parametrize("name", sorted(set(GENERATIONS) - {"nothing", "scaled, of transformers 4.46"}))
def test_a_config_of_any_generation_is_written_for_all(name: str) -> None:
    written = GPTNeoXConfig.from_hf({**SMALL, **GENERATIONS[name]}).to_hf()
    assert written["rotary_pct"] == written["partial_rotary_factor"] == 0.5
    assert written["rotary_emb_base"] == written["rope_theta"] == 777
    assert written["rope_parameters"] == {"rope_type": "default", "rope_theta": 777, "partial_rotary_factor": 0.5}
    assert written["rope_scaling"] is None


@pytest.mark.parametrize(
    "said",
    [
        {"rotary_pct": 0.5, "rope_parameters": {"partial_rotary_factor": 1.0}},
        {"rotary_pct": 0.5, "partial_rotary_factor": 1.0},
        {"rotary_emb_base": 100, "rope_theta": 10_000},
        {"rope_theta": 100, "rope_parameters": {"rope_theta": 10_000}},
    ],
    ids=str,
)
def test_rotary_keys_that_contradict_each_other_are_refused(said: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"differ; they mean the same"):
        GPTNeoX.build({**SMALL, **said})


# A window that is changed


def test_a_wider_window_is_yarn_and_what_transformers_makes_of_it() -> None:
    model = model_of("gpt_neox", **SMALL, rotary_pct=0.5, rotary_emb_base=100)
    ids = random_ids(model, 1, 200)
    with torch.no_grad():
        before = model(ids)
    for length, factor in ((256, 4.0), (512, 8.0)):
        model.stretch(length)
        assert model.config.context_length == length
        parameters = model.config.to_hf()["rope_parameters"]
        assert (parameters["rope_type"], parameters["factor"]) == ("yarn", factor)
        assert (parameters["partial_rotary_factor"], parameters["rope_theta"]) == (0.5, 100)
        with torch.no_grad():
            assert not close(model(ids), before, 1e-3)
            assert same_as_theirs(model(ids), theirs(model)(ids).logits)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_narrower_window_changes_no_logit(name: str) -> None:
    model = model_of("gpt_neox", **{**SMALL, **CONFIGS[name]})
    ids = random_ids(model, 1, 12)
    with torch.no_grad():
        before = model(ids)
        model.stretch(32)
        assert model.config.context_length == 32
        assert torch.equal(model(ids), before)
    assert torch.equal(GPTNeoX.build(model.config.to_hf()).rotary.frequencies, model.rotary.frequencies)


# What a config may not say


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *senseless(
            sizes=GPTNeoXConfig.WHOLE,
            shares=("attention_dropout", "hidden_dropout", "layer_norm_eps", "initializer_range"),
            flags=("tie_word_embeddings", "use_parallel_residual", "attention_bias"),
        ),
        ("hidden_size", None),
        ("num_attention_heads", 3),
        ("hidden_act", "quick_gelu"),
        ("hidden_act", "softmax"),
        ("hidden_act", ["gelu"]),
        ("rotary_pct", 0),
        ("rotary_pct", -0.25),
        ("rotary_pct", 1.5),
        ("rotary_pct", True),
        ("rotary_pct", "all"),
        ("rotary_pct", math.nan),
        ("rotary_emb_base", 0),
        ("rotary_emb_base", "many"),
        ("rope_scaling", [2.0]),
        ("rope_scaling", {"type": "longrope"}),
        ("rope_scaling", {"type": "linear"}),
        ("rope_parameters", "yarn"),
        ("quantization_config", {"quant_method": "gptq"}),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(name: str, value: object) -> None:
    says = {"rotary_emb_base": "rope_theta", "rope_scaling": "rope", "rope_parameters": "rope"}.get(name, name)
    with pytest.raises(ConfigError, match=says) as caught:
        GPTNeoX.build({**SMALL, name: value})
    assert "\n" not in str(caught.value)


def test_a_part_of_a_head_that_makes_no_pairs_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"turn 3 channels of a head"):
        GPTNeoX.build({**SMALL, "rotary_pct": 0.4})


def test_the_largest_config_is_looked_at_without_memory_or_time() -> None:
    the_largest_config_is_looked_at_without_memory_or_time("gpt_neox")
