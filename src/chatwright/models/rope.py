"""Rotary positions: each pair of channels of a query or key is turned by an angle that grows with its position.

In: what a config says, in the form of transformers 5 (`rope_parameters`) or of those before (`rope_theta`, `rope_scaling`).
Out: cosines and sines, computed once a pass, and `rotate`. Su et al., 2021, and the scalings that widen the window:
linear (Chen et al., 2023), dynamic (NTK-aware), yarn (Peng et al., 2023), llama3 (Dubey et al., 2024).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from chatwright.errors import ConfigError
from chatwright.models.config import MOST_POSITIONS

Rotation = tuple[Tensor, Tensor]  # cosines and sines, as `rotate` takes them
THETA = 10_000.0  # where a config does not name it

# From the least to the largest value that makes sense
RANGES = {
    "rope_theta": (2.0, 1e12),
    "factor": (1.0, 10_000.0),
    "low_freq_factor": (1e-3, 1e6),
    "high_freq_factor": (1e-3, 1e6),
    "beta_fast": (1e-3, 1e6),
    "beta_slow": (1e-3, 1e6),
    "attention_factor": (1e-2, 100.0),
    "mscale": (0.0, 100.0),
    "mscale_all_dim": (0.0, 100.0),
}
REQUIRED: dict[str, tuple[str, ...]] = {
    "default": (),
    "linear": ("factor",),
    "dynamic": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor"),
    "yarn": ("factor",),
}
OPTIONAL: dict[str, tuple[str, ...]] = {
    "llama3": ("original_max_position_embeddings",),
    "yarn": (
        "original_max_position_embeddings",
        "beta_fast",
        "beta_slow",
        "attention_factor",
        "mscale",
        "mscale_all_dim",
        "truncate",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Rope:
    """The angles that a config asks for, checked; names are those of `rope_parameters`.

    `channels`: how many of a head's channels are turned. `window`: the config's max_position_embeddings.
    """

    channels: int
    window: int
    rope_type: str = "default"
    rope_theta: float = THETA
    factor: float = 1.0
    original_max_position_embeddings: int
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float | None = None
    mscale: float | None = None
    mscale_all_dim: float | None = None
    truncate: bool = True

    @classmethod
    def from_hf(cls, said: Mapping[str, Any] | None, *, theta: float, channels: int, window: int) -> Self:
        """From `rope_parameters` or `rope_scaling`; its own rope_theta comes before `theta`.

        ConfigError names a type, a missing key or a value that is not supported. Keys that belong to other types are
        passed over, as transformers does.
        """
        given = _with_type(said)
        kind = given["rope_type"]
        names = {"rope_type", "rope_theta", *REQUIRED[kind], *OPTIONAL.get(kind, ())}
        own = {name: value for name, value in given.items() if name in names and value is not None}
        for name in REQUIRED[kind]:
            if name not in own:
                raise ConfigError(f"the config's rope scaling of type {kind!r} lacks {name}; give it one")
        defaults = {"rope_theta": theta, "original_max_position_embeddings": window}
        return cls(channels=channels, window=window, **{**defaults, **own})

    def __post_init__(self) -> None:
        for name, (least, most) in RANGES.items():
            value = vars(self)[name]
            if value is None and name in OPTIONAL["yarn"]:
                continue
            if type(value) not in (int, float) or not least <= value <= most:
                raise ConfigError(f"the config's {name} is {value!r}; it must be a number from {least:g} to {most:g}")
        original = self.original_max_position_embeddings
        if type(original) is not int or not 1 <= original <= MOST_POSITIONS:
            raise ConfigError(
                f"the config's original_max_position_embeddings is {original!r}; "
                f"it must be a whole number from 1 to {MOST_POSITIONS:,}"
            )
        if type(self.truncate) is not bool:
            raise ConfigError(f"the config's rope key truncate is {self.truncate!r}; it must be true or false")
        for low, high in (("low_freq_factor", "high_freq_factor"), ("beta_slow", "beta_fast")):
            if vars(self)[low] >= vars(self)[high]:
                raise ConfigError(f"the config's {low} is {vars(self)[low]!r}; it must be below {high}")
        least_channels = 4 if self.rope_type == "dynamic" else 2
        if self.channels % 2 or self.channels < least_channels:
            raise ConfigError(
                f"rotary positions of type {self.rope_type!r} turn {self.channels} channels of a head, "
                f"but it must be an even number, at least {least_channels}"
            )

    @property
    def attention_scaling(self) -> float:
        """What cosines and sines are multiplied by: 1, but with yarn 0.1 · ln(factor) + 1 (section 3.4 of its paper)."""
        if self.rope_type != "yarn":
            return 1.0
        if self.attention_factor is not None:
            return self.attention_factor
        if self.mscale and self.mscale_all_dim:
            return _temperature(self.factor, self.mscale) / _temperature(self.factor, self.mscale_all_dim)
        return _temperature(self.factor, 1.0)


class Rotary:
    """Positions to cosines and sines.

    Plain Python, not a module: its frequencies follow from the config, so they are neither weights nor buffers that
    `to_empty` would leave unset. With type `dynamic` all frequencies depend on the longest position of the pass once that
    is past the window, as in transformers: there, keys of a cache keep the angles of the step that wrote them, and cached
    steps equal an uncached pass only within the window.
    """

    def __init__(self, rope: Rope) -> None:
        self.rope = rope
        self.scaling = rope.attention_scaling
        self.frequencies = FREQUENCIES[rope.rope_type](rope, rope.window)  # (R / 2,)

    def __call__(self, positions: Tensor) -> Rotation:
        """(…, T) positions -> two of (…, T, R) in fp32, on the same device. The first half of the sines is negated."""
        frequencies = self.frequencies
        if self.rope.rope_type == "dynamic" and (length := int(positions.max()) + 1) > self.rope.window:
            frequencies = _dynamic(self.rope, length)
        angles = positions[..., None].float() * frequencies.to(positions.device)  # (…, T, R / 2)
        cos, sin = angles.cos() * self.scaling, angles.sin() * self.scaling
        return torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """(B, H, T, D) queries or keys -> the same with their first R channels turned, from (…, T, R) cosines and sines.

    Channel i makes a pair with channel i + R / 2, as in Hugging Face's files; R may be less than D (GPT-NeoX).
    """
    channels = cos.shape[-1]
    if channels < x.shape[-1]:
        return torch.cat((rotate(x[..., :channels], cos, sin), x[..., channels:]), dim=-1)
    # a roll and signed sines take a third of the time of negating and joining two halves, with the same numbers
    cos, sin = cos[..., None, :, :], sin[..., None, :, :]  # (…, T, R) -> (…, 1, T, R)
    return (x * cos + x.roll(channels // 2, dims=-1) * sin).to(x.dtype)


def in_force(
    scaling: dict[str, Any] | None, parameters: dict[str, Any] | None, other: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Which of `rope_scaling` and `rope_parameters` counts, in the order of transformers 5, which lets a key beside them
    come first."""
    said = scaling or parameters
    original = other.get("original_max_position_embeddings")
    if original is None or not isinstance(said, dict):
        return said
    return {**said, "original_max_position_embeddings": original}


def written(said: Mapping[str, Any] | None, rope: Rope) -> dict[str, Any]:
    """The keys of a config.json that say this to transformers 5 and to those before."""
    both = {**(said or {}), "rope_type": rope.rope_type}
    newer_only = ("rope_theta", "partial_rotary_factor")
    scaling = {name: value for name, value in both.items() if name not in newer_only}
    return {
        "rope_parameters": {**both, "rope_theta": rope.rope_theta},
        "rope_theta": rope.rope_theta,
        "rope_scaling": None if rope.rope_type == "default" else scaling,
    }


def widened(said: Mapping[str, Any] | None, rope: Rope, length: int) -> dict[str, Any]:
    """What a config must say for a window of `length` tokens: yarn, or a larger factor of it; less room scales nothing.

    ConfigError where the window is scaled in another way already.
    """
    kept = {name: value for name, value in (said or {}).items() if name != "type"}
    kept |= {"rope_type": rope.rope_type, "rope_theta": rope.rope_theta}
    if rope.rope_type in OPTIONAL:  # so that it does not follow the window
        kept["original_max_position_embeddings"] = rope.original_max_position_embeddings
    if length <= rope.window:
        return kept
    if rope.rope_type not in ("default", "yarn"):
        raise ConfigError(
            f"--context {length} is wider than the window of {rope.window} tokens, which rope_type {rope.rope_type!r} "
            f"has scaled already; give {rope.window} or less"
        )
    original = rope.original_max_position_embeddings
    factor = rope.factor * length / rope.window
    return {**kept, "rope_type": "yarn", "factor": factor, "original_max_position_embeddings": original}


def _with_type(said: Mapping[str, Any] | None) -> dict[str, Any]:
    """What is said, with a rope_type that is supported."""
    if said is not None and not isinstance(said, Mapping):
        raise ConfigError(f"the config's rope scaling is {said!r}; it must be an object with a rope_type")
    given = dict(said or {})
    kind = given.get("rope_type") or given.get("type") or "default"
    if not isinstance(kind, str) or kind not in REQUIRED:
        raise ConfigError(f"rope_type {kind!r} is not supported; {', '.join(REQUIRED)} are")
    for name, value in given.items():
        if isinstance(value, Mapping):
            raise ConfigError(f"rope parameters for {name!r} alone are not supported; one set for all layers is")
    return {**given, "rope_type": kind}


# Frequencies, (R / 2,): how far each pair turns from one position to the next, in fp32 as the models were trained


def _default(rope: Rope, length: int) -> Tensor:
    """theta^(-2i / R)."""
    return 1.0 / _periods(rope, rope.rope_theta)


def _linear(rope: Rope, length: int) -> Tensor:
    """Positions count as if they lay `factor` times as close."""
    return _default(rope, length) / rope.factor


def _dynamic(rope: Rope, length: int) -> Tensor:
    """A larger theta for a text of `length` tokens: the slowest pair stays inside the angles it was trained on."""
    R = rope.channels
    growth = rope.factor * torch.tensor(length, device="cpu") / rope.window - (rope.factor - 1)
    return 1.0 / _periods(rope, rope.rope_theta * growth ** (R / (R - 2)))


def _llama3(rope: Rope, length: int) -> Tensor:
    """Slow pairs as linear, fast ones untouched, those between blended by how often they turn in the old window."""
    fast = _default(rope, length)
    turns = rope.original_max_position_embeddings / (2 * math.pi / fast)
    keep = ((turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor)).clamp(0, 1)
    return (1 - keep) * (fast / rope.factor) + keep * fast


def _yarn(rope: Rope, length: int) -> Tensor:
    """Like llama3, but blended by the number of the pair (section 3.2 of the paper)."""
    R = rope.channels

    def pair(turns: float) -> float:
        """The pair that turns so often in the old window."""
        period = rope.original_max_position_embeddings / (turns * 2 * math.pi)
        return R * math.log(period) / (2 * math.log(rope.rope_theta))

    first, last = pair(rope.beta_fast), pair(rope.beta_slow)
    if rope.truncate:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, R - 1)
    width = last - first or 0.001
    keep = 1 - ((torch.arange(R // 2, dtype=torch.float32, device="cpu") - first) / width).clamp(0, 1)
    periods = _periods(rope, rope.rope_theta)
    return 1.0 / (rope.factor * periods) * (1 - keep) + 1.0 / periods * keep


def _periods(rope: Rope, theta: float | Tensor) -> Tensor:
    """(R / 2,): theta^(2i / R), the inverse of the frequencies."""
    return theta ** (torch.arange(0, rope.channels, 2, dtype=torch.float32, device="cpu") / rope.channels)


def _temperature(factor: float, scale: float) -> float:
    """How much sharper attention becomes over a window `factor` times as wide."""
    return 0.1 * scale * math.log(factor) + 1.0


FREQUENCIES: dict[str, Callable[[Rope, int], Tensor]] = {
    "default": _default,
    "linear": _linear,
    "dynamic": _dynamic,
    "llama3": _llama3,
    "yarn": _yarn,
}
