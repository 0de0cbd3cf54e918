"""Rotary positions: angles as `transformers` computes them, rotations that know distances only, and what a config may say."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from chatwright.errors import ConfigError
from chatwright.models.rope import Rope, Rotary, rotate, widened, written

WINDOW = 256
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
SCALINGS: dict[str, dict[str, Any]] = {
    "default": {},
    "linear": {"rope_type": "linear", "factor": 3.3},
    "dynamic": {"rope_type": "dynamic", "factor": 2.5},
    "llama3": {**LLAMA3, "original_max_position_embeddings": 64},
    "yarn": YARN,
    "yarn, not cut to whole pairs": {**YARN, "truncate": False, "beta_fast": 16, "beta_slow": 2},
    "yarn, with two scales": {**YARN, "mscale": 1.2, "mscale_all_dim": 0.7},
    "yarn, with a factor of its own": {**YARN, "attention_factor": 1.7},
    "yarn, scales that are zero": {**YARN, "mscale": 0.0, "mscale_all_dim": 0.0},
    "yarn, one pair between": {**YARN, "beta_fast": 1.0001, "beta_slow": 1.0},
}


def rope(said: dict[str, Any] | None = None, channels: int = 32, window: int = WINDOW, theta: float = 5000.0) -> Rope:
    return Rope.from_hf(said, theta=theta, channels=channels, window=window)


def judged(said: dict[str, Any], positions: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines of `transformers`, (1, T, R) each."""
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    parameters = {"rope_type": "default", "rope_theta": 5000.0, **said}
    config = LlamaConfig(
        hidden_size=128, num_attention_heads=4, max_position_embeddings=WINDOW, rope_parameters=parameters
    )
    cos, sin = LlamaRotaryEmbedding(config)(torch.zeros(1), positions[None])
    return cos, sin


@pytest.mark.parametrize("length", [WINDOW, 3 * WINDOW])
@pytest.mark.parametrize("name", SCALINGS)
def test_angles_equal_those_of_transformers_to_the_bit(name: str, length: int) -> None:
    positions = torch.arange(length)
    cos, sin = Rotary(rope(SCALINGS[name]))(positions)
    expected_cos, expected_sin = judged(SCALINGS[name], positions)
    assert torch.equal(cos, expected_cos[0])
    assert torch.equal(sin[:, 16:], expected_sin[0, :, 16:])
    assert torch.equal(sin[:, :16], -expected_sin[0, :, :16])


def test_two_pairs_by_hand() -> None:
    """theta^(-2i / R) for R = 4 and theta = 100: one radian a position, and a tenth of one."""
    cos, sin = Rotary(rope(channels=4, theta=100.0))(torch.tensor([2]))
    assert cos[0].tolist() == pytest.approx([math.cos(2), math.cos(0.2), math.cos(2), math.cos(0.2)])
    x = torch.tensor([[[[1.0, 0.0, 0.0, 3.0]]]])  # (1, 1, 1, 4): channel 0 pairs with 2, channel 1 with 3
    turned = rotate(x, cos, sin)[0, 0, 0].tolist()
    assert turned == pytest.approx([math.cos(2), -3 * math.sin(0.2), math.sin(2), 3 * math.cos(0.2)])


def test_products_of_queries_and_keys_depend_on_their_distance_only() -> None:
    rotary = Rotary(rope(SCALINGS["llama3"]))
    query, key = torch.randn(1, 3, 1, 32), torch.randn(1, 3, 1, 32)

    def product(here: int, there: int) -> Tensor:
        turned = rotate(query, *rotary(torch.tensor([here]))), rotate(key, *rotary(torch.tensor([there])))
        return (turned[0] * turned[1]).sum(-1)

    assert torch.allclose(product(7, 2), product(105, 100), atol=1e-4)
    assert not torch.allclose(product(7, 2), product(7, 3), atol=1e-2)


def test_rows_have_positions_of_their_own() -> None:
    rotary, x = Rotary(rope()), torch.randn(2, 3, 4, 32)  # (B, H, T, D)
    positions = torch.tensor([[0, 1, 2, 3], [5, 6, 0, 1]])
    together = rotate(x, *rotary(positions))
    for row in (0, 1):
        assert torch.equal(together[row], rotate(x[row, None], *rotary(positions[row]))[0])


def test_channels_past_the_rotary_ones_stay_as_they_are() -> None:
    x, angles = torch.randn(2, 3, 5, 32), Rotary(rope(channels=8))(torch.arange(5))
    turned = rotate(x, *angles)
    assert torch.equal(turned[..., 8:], x[..., 8:])
    assert torch.equal(turned[..., :8], rotate(x[..., :8], *angles))
    assert not torch.equal(turned[:, :, 1:, :8], x[:, :, 1:, :8])


def test_angles_are_exact_whatever_the_precision_and_the_device_of_the_model() -> None:
    with torch.device("meta"):
        rotary = Rotary(rope(SCALINGS["dynamic"]))
    for length in (9, 2 * WINDOW):
        with torch.autocast("cpu", torch.bfloat16):
            cos, sin = rotary(torch.arange(length))
        assert cos.dtype == sin.dtype == torch.float32
        assert torch.equal(cos, Rotary(rope(SCALINGS["dynamic"]))(torch.arange(length))[0])
    x = torch.randn(1, 1, 512, 32)
    assert rotate(x.bfloat16(), cos, sin).dtype == torch.bfloat16
    assert torch.allclose(rotate(x.bfloat16(), cos, sin).float(), rotate(x, cos, sin), atol=0.05)


def test_a_larger_factor_than_the_text_needs_changes_nothing_when_dynamic() -> None:
    short, long = (Rotary(rope(SCALINGS["dynamic"]))(torch.arange(length))[0] for length in (WINDOW, WINDOW + 1))
    assert torch.equal(short, Rotary(rope())(torch.arange(WINDOW))[0])
    assert not torch.allclose(long[:WINDOW], short, atol=1e-3)


# What a config says


def test_both_generations_of_keys_say_the_same() -> None:
    assert rope({"type": "linear", "factor": 2.0}) == rope({"rope_type": "linear", "factor": 2.0})
    assert rope({"rope_theta": 300.0}) == rope(None, theta=300.0) != rope(None)
    assert rope(None) == rope({}) == rope({"rope_type": "default"})


def test_the_old_window_is_the_config_s_where_it_is_not_named() -> None:
    assert rope({"rope_type": "yarn", "factor": 2.0}).original_max_position_embeddings == WINDOW
    assert rope(LLAMA3).original_max_position_embeddings == WINDOW
    assert rope(YARN).original_max_position_embeddings == 64


def test_keys_of_other_types_are_passed_over_and_kept() -> None:
    said = {"type": "linear", "factor": 2.0, "beta_fast": "none of mine", "finetuned": True}
    assert rope(said) == rope({"rope_type": "linear", "factor": 2.0})
    scaling = {**said, "rope_type": "linear"}
    assert written(said, rope(said)) == {
        "rope_theta": 5000.0,
        "rope_scaling": scaling,
        "rope_parameters": {**scaling, "rope_theta": 5000.0},
    }


def test_unscaled_positions_are_written_without_a_scaling() -> None:
    assert written(None, rope()) == {
        "rope_theta": 5000.0,
        "rope_scaling": None,
        "rope_parameters": {"rope_type": "default", "rope_theta": 5000.0},
    }


def test_a_wider_window_is_yarn() -> None:
    said = widened(None, rope(), 4 * WINDOW)
    assert said == {
        "rope_type": "yarn",
        "rope_theta": 5000.0,
        "factor": 4.0,
        "original_max_position_embeddings": WINDOW,
    }
    twice = widened(said, rope(said, window=4 * WINDOW), 8 * WINDOW)
    assert twice == {**said, "factor": 8.0}


def test_a_narrower_window_keeps_the_angles() -> None:
    for said in (*SCALINGS.values(), LLAMA3, {"rope_type": "yarn", "factor": 2.0}):
        narrow = widened(said, rope(said), WINDOW // 2)
        assert torch.equal(Rotary(rope(narrow, window=WINDOW // 2)).frequencies, Rotary(rope(said)).frequencies)


@pytest.mark.parametrize("name", ["linear", "dynamic", "llama3"])
def test_a_window_scaled_otherwise_is_not_widened(name: str) -> None:
    with pytest.raises(ConfigError, match=f"--context 512 .*'{name}'.*give 256 or less"):
        widened(SCALINGS[name], rope(SCALINGS[name]), 512)


@pytest.mark.parametrize("kind", ["longrope", "su", "mrope", "proportional", 3, ["yarn"], {"yarn": 1}])
def test_an_unknown_type_is_refused_by_name(kind: object) -> None:
    for key in ("type", "rope_type"):
        with pytest.raises(ConfigError, match=r"rope_type .* is not supported; default, linear, dynamic, llama3, yarn"):
            rope({key: kind, "factor": 2.0})


@pytest.mark.parametrize(
    ("base", "name"),
    [("linear", "factor"), ("dynamic", "factor"), ("yarn", "factor")]
    + [("llama3", name) for name in ("factor", "low_freq_factor", "high_freq_factor")],
)
def test_a_key_that_is_missing_is_named(base: str, name: str) -> None:
    for wrong in ({}, {name: None}):
        said = {key: value for key, value in SCALINGS[base].items() if key != name}
        with pytest.raises(ConfigError, match=rf"'{base}' lacks {name}"):
            rope({**said, **wrong})


@pytest.mark.parametrize(
    ("base", "name", "value"),
    [
        (base, "factor", value)
        for base in ("linear", "dynamic", "llama3", "yarn")
        for value in (0.5, -2.0, 0, math.nan, math.inf, 10**9, "2", True, [2.0])
    ]
    + [
        ("default", "rope_theta", 1.0),
        ("default", "rope_theta", -10000.0),
        ("default", "rope_theta", math.nan),
        ("default", "rope_theta", 10**400),
        ("default", "rope_theta", "10000"),
        ("llama3", "low_freq_factor", 0.0),
        ("llama3", "low_freq_factor", 4.0),
        ("llama3", "high_freq_factor", math.inf),
        ("yarn", "beta_fast", 0.5),
        ("yarn", "beta_slow", -1.0),
        ("yarn", "attention_factor", -1.0),
        ("yarn", "mscale", math.nan),
        ("yarn", "mscale_all_dim", "1"),
        ("yarn", "truncate", "yes"),
        ("yarn", "original_max_position_embeddings", 0),
        ("yarn", "original_max_position_embeddings", 64.0),
        ("llama3", "original_max_position_embeddings", True),
        ("llama3", "original_max_position_embeddings", 10**12),
    ],
)
def test_an_absurd_value_is_refused_by_name(base: str, name: str, value: object) -> None:
    shown = "low_freq_factor|beta_slow" if name in ("high_freq_factor", "beta_fast") else name
    with pytest.raises(ConfigError, match=f"{name}|{shown}") as caught:
        rope({**SCALINGS[base], name: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("base", "channels"), [("default", 5), ("default", 0), ("dynamic", 2), ("yarn", 7)])
def test_a_number_of_channels_that_makes_no_pairs_is_refused(base: str, channels: int) -> None:
    with pytest.raises(ConfigError, match=f"{channels} channels of a head"):
        rope(SCALINGS[base], channels=channels)


def test_parameters_for_one_type_of_layer_alone_are_refused() -> None:
    with pytest.raises(ConfigError, match="'sliding_attention' alone"):
        rope({"sliding_attention": {"rope_type": "default", "rope_theta": 10.0}})
