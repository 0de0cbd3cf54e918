"""GPT-2 gives the logits of `transformers`, and the same ones cached or not, alone, batched or packed."""

import math
from typing import Any

import pytest
import torch
from tiny_models import random_ids, theirs, tiny_config, tiny_model
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from chatwright import registry
from chatwright.errors import ConfigError, DataError
from chatwright.models.attention import Attend
from chatwright.models.cache import KVCache
from chatwright.models.gpt2 import GPT2, GPT2Config, build, canonical_name, expected_shapes

LENGTHS = (1, 7, 3, 12)
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}


def close(ours: Tensor, expected: Tensor, dtype: torch.dtype = torch.float32) -> bool:
    """Within law 7's tolerance, relative to the largest logit where that is above 1."""
    scale = max(1.0, float(expected.abs().max()))
    return float((ours.float() - expected.float()).abs().max()) <= TOLERANCE[dtype] * scale


# ---- the judge


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"n_inner": 37, "n_embd": 20, "n_head": 5},
        {"activation_function": "gelu"},
        {"activation_function": "gelu_pytorch_tanh", "n_head": 1},
        {"tie_word_embeddings": False, "vocab_size": 311},
        {"vocab_size": 257, "n_layer": 1, "layer_norm_epsilon": 1e-3, "n_positions": 12},
    ],
    ids=str,
)
def test_logits_equal_those_of_transformers(changes: dict[str, Any]) -> None:
    model = tiny_model(**changes)
    with torch.no_grad():
        for parameter in model.parameters():  # biases and norms that start at 0 and 1 would hide a mistake in them
            parameter.add_(torch.randn_like(parameter) * 0.1)
        ids = random_ids(3, 12, vocab_size=257)
        expected = theirs(model)(ids).logits
        difference = (model(ids) - expected).abs().max()
    assert difference <= 1e-4 * max(1.0, float(expected.abs().max()))


def test_positions_that_are_given_are_used() -> None:
    model, ids = tiny_model(), random_ids(1, 5)
    shifted = torch.arange(7, 12)
    with torch.no_grad():
        assert close(model(ids, positions=shifted), theirs(model)(ids, position_ids=shifted[None]).logits)
        assert not close(model(ids, positions=shifted), model(ids))


# ---- law 7


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("prefill", [1, 5, 11])
def test_prefill_and_cached_steps_equal_one_uncached_pass(prefill: int, dtype: torch.dtype) -> None:
    model, ids = tiny_model().to(dtype), random_ids(2, 12)
    cache = KVCache(model.config.cache_shape, 2, 12, device=torch.device("cpu"), dtype=dtype)
    with torch.no_grad():
        whole = model(ids)
        parts = [model(ids[:, :prefill], attend=Attend.cached(cache.lengths, prefill), cache=cache)]
        for place in range(prefill, 12):
            lengths = torch.full((2,), place)
            parts.append(model(ids[:, place : place + 1], attend=Attend.cached(lengths, 1), cache=cache))
    assert close(torch.cat(parts, dim=1), whole, dtype)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_rows_of_different_length_decode_together_as_one_by_one(dtype: torch.dtype) -> None:
    model, rows = tiny_model().to(dtype), [random_ids(n, seed=n) for n in LENGTHS]
    lengths = torch.tensor(LENGTHS)
    cache = KVCache(model.config.cache_shape, 4, 20, device=torch.device("cpu"), dtype=dtype)
    following = random_ids(4, 2, seed=9)
    with torch.no_grad():
        first = model(
            pad_sequence(rows, batch_first=True), attend=Attend.cached(torch.zeros_like(lengths), 12), cache=cache
        )
        later = [
            model(following[:, i : i + 1], attend=Attend.cached(lengths + i, 1), cache=cache)[:, 0] for i in (0, 1)
        ]
        for row, ids in enumerate(rows):
            alone = model(torch.cat([ids, following[row]])[None])[0]
            together = torch.cat([first[row, : len(ids)], later[0][row, None], later[1][row, None]])
            assert close(together, alone, dtype)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_packed_texts_equal_one_by_one(dtype: torch.dtype) -> None:
    model, texts = tiny_model().to(dtype), [random_ids(n, seed=n) for n in LENGTHS]
    row = torch.cat([*texts, torch.zeros(4, dtype=torch.long)])  # the padding at the end is a segment of its own
    numbers = torch.cat([torch.full((n,), i) for i, n in enumerate(LENGTHS)] + [torch.full((4,), -1)])
    with torch.no_grad():
        packed = model(row[None], attend=Attend.packed(numbers[None]))[0]
        start = 0
        for text in texts:
            assert close(packed[start : start + len(text)], model(text[None])[0], dtype)
            start += len(text)


def test_what_stands_in_the_padding_changes_neither_logits_nor_gradients() -> None:
    model = tiny_model()
    segments = torch.tensor([[0, 0, 0, 0, -1, -1]])
    found = []
    for padding in (0, 7):
        ids = torch.cat([random_ids(1, 4), torch.full((1, 2), padding)], dim=1)
        model.zero_grad()
        logits = model(ids, attend=Attend.packed(segments))[:, :4]
        logits.square().sum().backward()
        found.append((logits.detach(), [p.grad.clone() for p in model.parameters() if p.grad is not None]))
    assert torch.equal(found[0][0], found[1][0])
    assert all(torch.equal(a, b) for a, b in zip(found[0][1], found[1][1], strict=True))


def test_a_packed_token_sees_its_own_text_up_to_itself() -> None:
    attend = Attend.packed(torch.tensor([[0, 0, 1, 1, 1, 2]]))
    assert attend.positions.tolist() == [[0, 1, 0, 1, 2, 0]]
    assert attend.mask is not None
    assert attend.mask[0, 0].int().tolist()[3] == [0, 0, 1, 1, 0, 0]


# ---- a new model


def test_a_new_model_starts_at_the_loss_of_chance() -> None:
    torch.manual_seed(0)
    model = GPT2(tiny_config(n_embd=64, vocab_size=1000)).eval()
    ids = random_ids(8, 33, vocab_size=1000)
    with torch.no_grad():
        loss = torch.nn.functional.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
    assert abs(float(loss) - math.log(1000)) < 0.05 * math.log(1000)


def test_weights_start_with_the_deviations_of_the_paper() -> None:
    torch.manual_seed(0)
    layers = 8
    model = GPT2(tiny_config(n_embd=128, n_head=4, n_layer=layers, vocab_size=2000))
    for name, weight in model.named_parameters():
        if name.endswith("bias"):
            assert not weight.any(), name
        elif weight.dim() == 1:
            assert bool((weight == 1).all()), name
        else:
            expected = 0.02 / math.sqrt(2 * layers) if name.endswith("c_proj.weight") else 0.02
            assert abs(float(weight.detach().std()) / expected - 1) < 0.05, name


def test_dropout_acts_only_in_training() -> None:
    model, ids = tiny_model(), random_ids(1, 12)
    model.set_dropout(0.5)
    with torch.no_grad():
        still = model(ids)
        assert torch.equal(still, model(ids))
        model.train()
        assert not torch.equal(model(ids), model(ids))
        model.set_dropout(0.0)
        assert close(model(ids), still)


def test_each_of_the_three_dropouts_of_the_config_acts() -> None:
    ids = random_ids(1, 12)
    for name in ("resid_pdrop", "embd_pdrop", "attn_pdrop"):
        model = tiny_model(**{name: 0.5}).train()
        with torch.no_grad():
            assert not torch.equal(model(ids), model(ids)), name


@pytest.mark.parametrize(
    ("name", "parameters"), [("gpt2", 124_439_808), ("gpt2-medium", 354_823_168), ("gpt2-xl", 1_557_611_200)]
)
def test_the_sizes_have_the_published_number_of_parameters(name: str, parameters: int) -> None:
    size = registry.load("models", "gpt2").SIZES[name]
    shapes = expected_shapes({"vocab_size": 50257, **size})
    assert sum(math.prod(shape) for shape in shapes.values()) == parameters


# ---- Hugging Face's names


@pytest.mark.parametrize("tied", [True, False])
def test_the_expected_shapes_are_those_that_are_written(tied: bool) -> None:
    config = tiny_config(n_layer=3, n_inner=40, tie_word_embeddings=tied)
    written = {name: tuple(weight.shape) for name, weight in GPT2(config).to_hf().items()}
    assert expected_shapes(config.to_hf()) == written
    assert ("lm_head.weight" in written) is not tied


def test_the_names_of_the_first_gpt2_files_are_understood() -> None:
    assert canonical_name("h.0.ln_1.bias") == canonical_name("transformer.h.0.ln_1.bias") == "transformer.h.0.ln_1.bias"
    assert canonical_name("lm_head.weight") == "lm_head.weight"
    assert canonical_name("h.0.attn.bias") is None
    assert canonical_name("h.0.attn.c_attn.bias") == "transformer.h.0.attn.c_attn.bias"


def test_new_rows_of_the_vocabulary_are_the_mean_of_the_old() -> None:
    for tied in (True, False):
        model = tiny_model(tie_word_embeddings=tied)
        grown = model.resize(303)
        for name in ["transformer.wte.weight"] + ["lm_head.weight"] * (not tied):
            old, new = model.to_hf()[name], grown.to_hf()[name]
            assert torch.equal(new[:300], old)
            assert torch.equal(new[300:], old.mean(0).expand(3, -1))
        with torch.no_grad():
            assert close(grown(random_ids(1, 9))[..., :300], model(random_ids(1, 9)))


def test_weights_that_do_not_belong_to_the_config_are_refused_by_name() -> None:
    weights = tiny_model().to_hf()
    wrong = {**weights, "transformer.wpe.weight": torch.zeros(9, 16)}
    with pytest.raises(DataError, match=r"'transformer.wpe.weight' has the shape \(9, 16\).*asks for \(64, 16\)"):
        tiny_model().load_hf(wrong)
    with pytest.raises(DataError, match=r"lacks 'transformer.ln_f.bias'"):
        tiny_model().load_hf({name: w for name, w in weights.items() if name != "transformer.ln_f.bias"})
    with pytest.raises(DataError, match=r"holds 'transformer.h.2.ln_1.bias'"):
        tiny_model().load_hf({**weights, "h.2.ln_1.bias": torch.zeros(16)})


# ---- sizes and features that make no sense


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("vocab_size", 0),
        ("vocab_size", 10**12),
        ("n_embd", -16),
        ("n_embd", 16.0),
        ("n_embd", math.nan),
        ("n_layer", 10**7),
        ("n_layer", True),
        ("n_head", 3),
        ("n_head", None),
        ("n_inner", -1),
        ("n_inner", "64"),
        ("n_positions", 2**63),
        ("resid_pdrop", math.nan),
        ("resid_pdrop", 1.0),
        ("attn_pdrop", "0.1"),
        ("layer_norm_epsilon", math.inf),
        ("initializer_range", -0.02),
        ("tie_word_embeddings", "no"),
        ("activation_function", "relu"),
        ("activation_function", ["gelu"]),
        ("scale_attn_weights", False),
        ("scale_attn_by_inverse_layer_idx", True),
        ("add_cross_attention", True),
    ],
)
def test_what_a_config_may_not_say_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=name):
        build({**tiny_config().to_hf(), name: value})


def test_unknown_keys_of_a_config_are_kept() -> None:
    config = GPT2Config.from_hf({"vocab_size": 5, "summary_type": "cls_index", "my_own": {"a": [1]}})
    assert config.to_hf()["my_own"] == {"a": [1]}
    assert config.to_hf()["summary_type"] == "cls_index"
