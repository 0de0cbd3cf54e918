"""GPT-2 in every variant of its config: what OpenAI's files hold, and the ways in which others have changed it since."""

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
    refused_by_name,
    same_as_theirs,
    senseless,
    starts_at_the_loss_of_chance,
    the_largest_config_is_looked_at_without_memory_or_time,
    theirs,
)

from chatwright.errors import DataError
from chatwright.models.attention import Attend
from chatwright.models.decoder import Decoder
from chatwright.models.gpt2 import GPT2, GPT2Config

SMALL: dict[str, Any] = {
    "vocab_size": 300,
    "n_positions": 64,
    "n_embd": 16,
    "n_layer": 2,
    "n_head": 2,
    "resid_pdrop": 0.0,
    "embd_pdrop": 0.0,
    "attn_pdrop": 0.0,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "as OpenAI's": {},
    "a feed-forward layer of odd size": {"n_inner": 37, "n_embd": 20, "n_head": 5},
    "gelu, untied": {"activation_function": "gelu", "tie_word_embeddings": False, "vocab_size": 311},
    "relu, one head": {"activation_function": "relu", "n_head": 1},
    "one layer": {"n_layer": 1, "layer_norm_epsilon": 1e-3, "n_positions": 14, "vocab_size": 257},
    "products not scaled": {"scale_attn_weights": False, "activation_function": "gelu_pytorch_tanh"},
    "products scaled by the layer": {"scale_attn_by_inverse_layer_idx": True, "n_layer": 4},
    "products scaled by the layer alone": {
        "scale_attn_by_inverse_layer_idx": True,
        "scale_attn_weights": False,
        "n_layer": 3,
    },
}


@pytest.mark.parametrize("name", CONFIGS)
@every_law
def test_the_law_holds(law: Callable[[Decoder], None], name: str) -> None:
    law(model_of("gpt2", **{**SMALL, **CONFIGS[name]}))


def test_a_packed_token_sees_its_own_text_up_to_itself() -> None:
    attend = Attend.packed(torch.tensor([[0, 0, 1, 1, 1, 2]]))
    assert attend.positions.tolist() == [[0, 1, 0, 1, 2, 0]]
    assert attend.mask is not None
    assert attend.mask[0, 0].int().tolist()[3] == [0, 0, 1, 1, 0, 0]


def test_within_a_window_a_token_sees_the_last_ones_its_own_counted() -> None:
    whole = Attend.causal(5)
    near = whole.within(2)
    assert near.mask is not None
    assert near.mask[0, 0].int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [0, 1, 1, 0, 0],
        [0, 0, 1, 1, 0],
        [0, 0, 0, 1, 1],
    ]
    assert whole.within(5) is whole
    packed = Attend.packed(torch.tensor([[0, 0, 0, 1, 1]])).within(2)
    assert packed.mask is not None
    assert packed.mask[0, 0].int().tolist()[2:] == [[0, 1, 1, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 1, 1]]
    step = Attend.cached(torch.tensor([4, 2]), 1).within(3)  # rows of 4 and 2 tokens, and one new in each
    assert step.mask is not None
    assert step.mask[:, 0, 0].int().tolist() == [[0, 0, 1, 1, 1], [1, 1, 1, 0, 0]]
    level = Attend.cached(torch.tensor([4, 4]), 1).within(3)  # alike, so that nothing but the window hides a key
    assert level.mask is not None
    assert level.mask[:, 0, 0].int().tolist() == [[0, 0, 1, 1, 1], [0, 0, 1, 1, 1]]


# A new model


def test_a_new_model_starts_at_the_loss_of_chance() -> None:
    starts_at_the_loss_of_chance("gpt2", **{**SMALL, "n_embd": 64, "vocab_size": 1000})


def test_weights_start_with_the_deviations_of_the_paper() -> None:
    torch.manual_seed(0)
    layers = 8
    model = GPT2.build({**SMALL, "n_embd": 128, "n_head": 4, "n_layer": layers, "vocab_size": 2000})
    for name, weight in model.named_parameters():
        if name.endswith("bias"):
            assert not weight.any(), name
        elif weight.dim() == 1:
            assert bool((weight == 1).all()), name
        else:
            expected = 0.02 / math.sqrt(2 * layers) if name.endswith("c_proj.weight") else 0.02
            assert abs(float(weight.detach().std()) / expected - 1) < 0.05, name


@pytest.mark.parametrize("name", ["resid_pdrop", "embd_pdrop", "attn_pdrop"])
def test_each_dropout_of_the_config_acts(name: str) -> None:
    model = model_of("gpt2", **{**SMALL, name: 0.5}).train()
    ids = random_ids(model, 1, 12)
    with torch.no_grad():
        assert not torch.equal(model(ids), model(ids))


def test_dropout_follows_the_embedding_and_each_part_of_a_layer() -> None:
    assert dropped(model_of("gpt2", **{**SMALL, "embd_pdrop": 0.1, "resid_pdrop": 0.2})) == [0.1, *[0.2] * 4]


@pytest.mark.parametrize(
    ("size", "count"),
    [
        ("gpt2", 124_439_808),
        ("gpt2-medium", 354_823_168),
        ("gpt2-large", 774_030_080),
        ("gpt2-xl", 1_557_611_200),
    ],
)
def test_the_sizes_have_the_published_number_of_parameters(size: str, count: int) -> None:
    assert parameters("gpt2", size) == count


# Files


def test_the_names_of_the_first_gpt2_files_are_understood() -> None:
    known = GPT2.canonical_name
    assert known("h.0.ln_1.bias") == known("transformer.h.0.ln_1.bias") == "transformer.h.0.ln_1.bias"
    assert known("lm_head.weight") == "lm_head.weight"
    assert known("h.0.attn.c_attn.bias") == "transformer.h.0.attn.c_attn.bias"
    assert known("h.0.attn.bias") is known("h.0.attn.masked_bias") is None


def test_only_the_matrices_of_the_blocks_are_held_transposed() -> None:
    shapes = GPT2.expected_shapes(SMALL)
    assert shapes["transformer.h.1.attn.c_attn.weight"] == (16, 48)
    assert shapes["transformer.h.1.mlp.c_proj.weight"] == (64, 16)
    assert shapes["transformer.wte.weight"] == (300, 16)
    assert {GPT2.is_transposed(name) for name in shapes if name.endswith("c_fc.weight")} == {True}


def test_a_tied_head_in_the_file_is_passed_over() -> None:
    model = model_of("gpt2", **SMALL)
    model.load_hf({**model.to_hf(), "lm_head.weight": torch.zeros(300, 16)})
    assert "lm_head.weight" not in model.to_hf()


def test_weights_that_do_not_belong_to_the_config_are_refused_by_name() -> None:
    model = model_of("gpt2", **SMALL)
    weights = model.to_hf()
    wrong = {**weights, "transformer.wpe.weight": torch.zeros(9, 16)}
    with pytest.raises(DataError, match=r"'transformer.wpe.weight' has the shape \(9, 16\).*asks for \(64, 16\)"):
        model.load_hf(wrong)
    with pytest.raises(DataError, match=r"lacks 'transformer.ln_f.bias'"):
        model.load_hf({name: w for name, w in weights.items() if name != "transformer.ln_f.bias"})
    with pytest.raises(DataError, match=r"holds 'transformer.h.2.ln_1.bias'"):
        model.load_hf({**weights, "h.2.ln_1.bias": torch.zeros(16)})


def test_unknown_keys_of_a_config_are_kept() -> None:
    config = GPT2Config.from_hf({"vocab_size": 5, "summary_type": "cls_index", "my_own": {"a": [1]}})
    assert config.to_hf()["my_own"] == {"a": [1]}
    assert config.to_hf()["summary_type"] == "cls_index"


# Room for more


def test_rows_that_pad_the_vocabulary_are_used_before_more_are_added() -> None:
    for tied in (True, False):
        model = model_of("gpt2", **SMALL, tie_word_embeddings=tied)
        old = {name: model.to_hf()[name].clone() for name in [model.EMBEDDING, *[model.HEAD] * (not tied)]}
        model.grow(290, 294)
        assert model.config.vocab_size == 300
        for name, before in old.items():
            after = model.to_hf()[name]
            assert torch.equal(after[:290], before[:290])
            assert torch.equal(after[294:], before[294:])
            assert close(after[290:294], before[:290].mean(0).expand(4, -1), 1e-6)


def test_a_wider_window_interpolates_the_positions() -> None:
    model = model_of("gpt2", **SMALL)
    ids, old = random_ids(model, 1, 100), model.to_hf()["transformer.wpe.weight"].clone()
    model.stretch(127)
    new = model.to_hf()["transformer.wpe.weight"]
    assert model.config.context_length == 127
    assert close(new[::2], old)
    assert close(new[1::2], (old[:-1] + old[1:]) / 2)
    with torch.no_grad():
        assert same_as_theirs(model(ids), theirs(model)(ids).logits)


def test_a_wider_window_keeps_the_precision_of_the_positions() -> None:
    model = model_of("gpt2", **SMALL).to(torch.bfloat16)
    model.stretch(100)
    assert model.to_hf()["transformer.wpe.weight"].dtype == torch.bfloat16


def test_a_narrower_window_changes_no_logit() -> None:
    model = model_of("gpt2", **SMALL)
    ids = random_ids(model, 1, 12)
    with torch.no_grad():
        before = model(ids)
        model.stretch(32)
        assert torch.equal(model(ids), before)
    assert model.config.context_length == len(model.to_hf()["transformer.wpe.weight"]) == 32


# What a config may not say


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *senseless(
            sizes=GPT2Config.WHOLE,
            shares=("resid_pdrop", "embd_pdrop", "attn_pdrop", "layer_norm_epsilon", "initializer_range"),
            flags=("tie_word_embeddings", "scale_attn_weights", "scale_attn_by_inverse_layer_idx"),
        ),
        ("n_embd", None),
        ("n_head", 3),
        ("activation_function", "softmax"),
        ("activation_function", ["gelu"]),
        ("activation_function", None),
        ("add_cross_attention", True),
        ("quantization_config", {"quant_method": "gptq"}),
    ],
    ids=repr,
)
def test_what_a_config_may_not_say_is_refused_by_name(name: str, value: object) -> None:
    refused_by_name("gpt2", name, value, **SMALL)


def test_the_largest_config_is_looked_at_without_memory_or_time() -> None:
    the_largest_config_is_looked_at_without_memory_or_time("gpt2")
