"""What the configs of all families share: fields under Hugging Face's names, checked before any memory is taken.

A family adds its fields as a frozen dataclass; keys that it does not know are kept under `other`, so that saving loses none.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import NoneType
from typing import Any, ClassVar, Self, get_args

from chatwright.errors import ConfigError

# Far above any model of these families, and low enough that a hostile config.json costs neither time nor memory
MOST_VOCABULARY, MOST_POSITIONS, MOST_CHANNELS, MOST_LAYERS, MOST_HEADS = 10_000_000, 10_000_000, 100_000, 1_000, 10_000


@dataclass(frozen=True, kw_only=True)
class FamilyConfig:
    """`config.json` of one family.

    WHOLE: the largest value of each size (smallest: 1). SHARES: numbers from 0 to below 1. FLAGS: true or false.
    FIXED: features that are not written here, each with the only value that is supported.
    A size may be None where the field's type says so. Weights that a `quantization_config` speaks of are refused.
    """

    MODEL_TYPE: ClassVar[str]
    ARCHITECTURE: ClassVar[str]
    WHOLE: ClassVar[Mapping[str, int]]
    SHARES: ClassVar[tuple[str, ...]] = ()
    FLAGS: ClassVar[tuple[str, ...]] = ()
    FIXED: ClassVar[Mapping[str, Any]] = {}

    vocab_size: int
    initializer_range: float
    other: dict[str, Any] = field(default_factory=dict)

    @property
    def context_length(self) -> int:
        """Tokens that fit into the window."""
        raise NotImplementedError

    @property
    def cache_shape(self) -> tuple[int, int, int]:
        """(layers, key-value heads, channels of a head)."""
        raise NotImplementedError

    def __post_init__(self) -> None:
        optional = {one.name for one in fields(self) if NoneType in get_args(one.type)}
        for name, most in self.WHOLE.items():
            value = vars(self)[name]
            if (value is not None or name not in optional) and (type(value) is not int or not 1 <= value <= most):
                raise ConfigError(f"the config's {name} is {value!r}; it must be a whole number from 1 to {most:,}")
        for name in self.SHARES:
            value = vars(self)[name]
            if type(value) not in (int, float) or not 0 <= value < 1:
                raise ConfigError(f"the config's {name} is {value!r}; it must be at least 0 and below 1")
        for name in self.FLAGS:
            value = vars(self)[name]
            if type(value) is not bool:
                raise ConfigError(f"the config's {name} is {value!r}; it must be true or false")
        for name, only in self.FIXED.items():
            if self.other.get(name, only) != only:
                raise ConfigError(
                    f"{name}={self.other[name]!r} is not supported for {self.MODEL_TYPE}; only {only!r} is"
                )
        if quantised := self.other.get("quantization_config"):
            method = quantised.get("quant_method") if isinstance(quantised, Mapping) else quantised
            raise ConfigError(
                f"the config's quantization_config says that the weights are quantised already, by {method!r}; "
                "give the model whose weights are fp32, bf16 or fp16"
            )

    @classmethod
    def from_hf(cls, config: Mapping[str, Any]) -> Self:
        """The fields this family knows, and the rest under `other`."""
        own = {one.name for one in fields(cls)} - {"other"}
        known = {name: value for name, value in config.items() if name in own}
        return cls(**known, other={name: value for name, value in config.items() if name not in own})

    def to_hf(self) -> dict[str, Any]:
        """The contents of `config.json`, unknown keys of the original included."""
        own = {one.name: vars(self)[one.name] for one in fields(self) if one.name != "other"}
        return {"architectures": [self.ARCHITECTURE], "model_type": self.MODEL_TYPE, **self.other, **own}

    def share_equally(self, channels: str, heads: str) -> None:
        """ConfigError where the heads cannot share the channels equally; for `__post_init__` of a family."""
        if vars(self)[channels] % vars(self)[heads]:
            raise ConfigError(
                f"{channels} {vars(self)[channels]} is not divisible by {heads} {vars(self)[heads]}; "
                "heads share it equally"
            )
