"""GPT-Neo and TinyStories: layers that see everything, layers that see the last tokens only, products that nothing scales."""

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

from chatwright.errors import ConfigError, DataError
from chatwright.models.decoder import Decoder
from chatwright.models.gpt_neo import GPTNeo, GPTNeoConfig

SMALL: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 32,
    "num_layers": 2,
    "num_heads": 4,
    "attention_types": [[["global", "local"], 1]],
    "window_size": 4,
    "max_position_embeddings": 64,
    "bos_token_id": 0,
    "eos_token_id": 0,
    # products are not scaled: with wider weights one bf16 pass differs from another by more than law 7 allows
    "initializer_range": 0.05,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "as TinyStories": {},
    "three groups, a narrow layer": {
        "num_layers": 5,
        "attention_types": [[["local"], 1], [["global", "local"], 1], [["local", "global"], 1]],
        "intermediate_size": 37,
        "window_size": 3,
    },
    "its own word only": {"window_size": 1, "num_heads": 1, "activation_function": "gelu"},
    "each layer named, all local": {
        "attention_types": None,
        "attention_layers": ["local", "local"],
        "hidden_size": 30,
        "num_heads": 3,
        "activation_function": "relu",
    },
    "untied, all global": {"attention_types": [[["global"], 2]], "tie_word_embeddings": False, "vocab_size": 311},
    "a window as wide as the model": {"window_size": 14, "max_position_embeddings": 14, "layer_norm_epsilon": 1e-3},
}


@pytest.mark.parametrize("name", CONFIGS)
@every_law
def test_the_law_holds(law: Callable[[Decoder], None], name: str) -> None:
    law(model_of("gpt_neo", **{**SMALL, **CONFIGS[name]}))


def test_a_local_layer_sees_the_last_tokens_its_own_counted() -> None:
    model = model_of("gpt_neo", **{**SMALL, "num_layers": 1, "attention_types": [[["local"], 1]]})
    ids = random_ids(model, 1, 12)
    other = ids.clone()
    other[0, 5] += 1
    with torch.no_grad():
        changed = (model(ids) != model(other)).any(-1)[0]
    assert changed.nonzero().flatten().tolist() == [5, 6, 7, 8]


def test_products_too_large_for_fp16_are_computed_as_transformers_does() -> None:
    model = model_of("gpt_neo", **SMALL)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith(("q_proj.weight", "k_proj.weight")):
                weight.mul_(300)
    other, ids = theirs(model).half(), random_ids(model, 2, 12)
    model = model.half()
    with torch.no_grad():
        assert close(model(ids), other(ids).logits.float(), 2e-2)


def test_a_new_model_starts_at_the_loss_of_chance() -> None:
    starts_at_the_loss_of_chance(
        "gpt_neo", **{**SMALL, "hidden_size": 64, "vocab_size": 1000, "initializer_range": 0.02}
    )


def test_weights_start_with_the_deviation_of_the_config() -> None:
    torch.manual_seed(0)
    for name, weight in GPTNeo.build({**SMALL, "hidden_size": 128, "vocab_size": 1000}).named_parameters():
        if name.endswith("bias"):
            assert not weight.any(), name
        elif weight.dim() == 1:
            assert bool((weight == 1).all()), name
        else:
            assert abs(float(weight.detach().std()) / 0.05 - 1) < 0.05, name


@pytest.mark.parametrize("name", ["resid_dropout", "embed_dropout", "attention_dropout"])
def test_each_dropout_of_the_config_acts(name: str) -> None:
    model = model_of("gpt_neo", **SMALL, **{name: 0.5}).train()
    ids = random_ids(model, 1, 12)
    with torch.no_grad():
        assert not torch.equal(model(ids), model(ids))


def test_dropout_follows_the_embedding_and_each_part_of_a_layer() -> None:
    assert dropped(model_of("gpt_neo", **SMALL, embed_dropout=0.1, resid_dropout=0.2)) == [0.1, *[0.2] * 4]


@pytest.mark.parametrize(("size", "count"), [("tinystories-1m", 3_745_984), ("tinystories-33m", 68_514_048)])
def test_the_sizes_have_the_published_number_of_parameters(size: str, count: int) -> None:
    assert parameters("gpt_neo", size) == count


# Files


def test_names_and_masks_of_older_files_are_understood() -> None:
    model = model_of("gpt_neo", **SMALL)
    old = {name.removeprefix("transformer."): weight for name, weight in model.to_hf().items()}
    for layer in range(2):
        old[f"h.{layer}.attn.attention.bias"] = torch.ones(1, 1, 64, 64)
        old[f"h.{layer}.attn.attention.masked_bias"] = torch.tensor(-1e9)
    again = GPTNeo.build(model.config.to_hf()).eval()
    again.load_hf({**old, "lm_head.weight": torch.zeros(97, 32)})  # tied, so passed over
    ids = random_ids(model, 1, 12)
    with torch.no_grad():
        assert torch.equal(again(ids), model(ids))


def test_weights_that_do_not_belong_to_the_config_are_refused_by_name() -> None:
    model = model_of("gpt_neo", **SMALL)
    weights, positions = model.to_hf(), "transformer.wpe.weight"
    with pytest.raises(DataError, match=rf"'{positions}' has the shape \(9, 32\).*asks for \(64, 32\)"):
        model.load_hf({**weights, positions: torch.zeros(9, 32)})
    with pytest.raises(DataError, match=rf"lacks '{positions}'"):
        model.load_hf({name: weight for name, weight in weights.items() if name != positions})
    with pytest.raises(DataError, match=r"holds 'transformer.h.0.attn.attention.q_proj.bias'"):
        model.load_hf({**weights, "h.0.attn.attention.q_proj.bias": torch.zeros(32)})


def test_the_pattern_of_the_layers_is_written_in_both_forms() -> None:
    layers = ["global", "local", "local"]
    types = [[["global"], 1], [["local"], 2]]
    both = {**SMALL, "num_layers": 3, "attention_types": types, "attention_layers": layers}
    written = GPTNeoConfig.from_hf(both).to_hf()
    assert (written["attention_types"], written["attention_layers"]) == (types, layers)
    written = GPTNeoConfig.from_hf({**both, "attention_types": None}).to_hf()
    assert (written["attention_types"], written["attention_layers"]) == ([[layers, 1]], layers)
    assert GPTNeoConfig.from_hf({}).kinds == ["global", "local"] * 12


# A window that is changed


def test_a_wider_window_interpolates_the_positions() -> None:
    model = model_of("gpt_neo", **SMALL)
    ids, old = random_ids(model, 1, 100), model.to_hf()["transformer.wpe.weight"].clone()
    model.stretch(127)
    new = model.to_hf()["transformer.wpe.weight"]
    assert model.config.context_length == 127
    assert close(new[::2], old)
    assert close(new[1::2], (old[:-1] + old[1:]) / 2)
    with torch.no_grad():
        assert same_as_theirs(model(ids), theirs(model)(ids).logits)


def test_a_narrower_window_changes_no_logit() -> None:
    model = model_of("gpt_neo", **SMALL)
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
            sizes=GPTNeoConfig.WHOLE,
            shares=("resid_dropout", "embed_dropout", "attention_dropout", "layer_norm_epsilon", "initializer_range"),
            flags=("tie_word_embeddings",),
        ),
        ("hidden_size", None),
        ("num_heads", 3),
        ("activation_function", "softmax"),
        ("activation_function", ["gelu"]),
        ("quantization_config", {"quant_method": "gptq"}),
        ("attention_types", None),  # the published pattern is for 24 layers
        ("attention_types", []),
        ("attention_types", "global"),
        ("attention_types", ["global", "local"]),
        ("attention_types", [["global", "local"], 1]),
        ("attention_types", [[["global"], 2, 1]]),
        ("attention_types", [[["global", "local"], 2]]),
        ("attention_types", [[["global"], 1]]),
        ("attention_types", [[["global"], 2.0]]),
        ("attention_types", [[["global"], True], [["local"], True]]),
        ("attention_types", [[["global"], 3], [["local"], -1]]),
        ("attention_types", [[["global", "sparse"], 1]]),
        ("attention_types", [[[["global"], "local"], 1]]),
        ("attention_types", [[["global"], 10**15]]),
        ("attention_types", [[["global"], 2], [[], 10**15]]),
        ("attention_layers", ["local", "global"]),
        ("attention_layers", "global"),
    ],
    ids=repr,
)
def test_what_makes_no_sense_is_refused_by_name(name: str, value: object) -> None:
    refused_by_name("gpt_neo", name, value, **SMALL)


@pytest.mark.parametrize(
    "layers", [["global"], ["global", "sparse"], ["global", 1], [], "global", {"global": 1}], ids=str
)
def test_layers_that_are_named_wrongly_are_refused_by_name(layers: object) -> None:
    with pytest.raises(ConfigError, match="attention_layers"):
        GPTNeo.build({**SMALL, "attention_types": None, "attention_layers": layers})


def test_the_largest_config_is_looked_at_without_memory_or_time() -> None:
    pattern = [[["global", "local"], 500]]
    the_largest_config_is_looked_at_without_memory_or_time("gpt_neo", attention_types=pattern)
