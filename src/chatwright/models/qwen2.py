"""Qwen2 and Qwen2.5 (Yang et al., 2024): a Llama whose queries, keys and values have biases."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from chatwright.errors import ConfigError
from chatwright.models.config import MOST_LAYERS, MOST_POSITIONS
from chatwright.models.llama import Llama
from chatwright.models.llama_config import Biases, LlamaLikeConfig

SIZES: dict[str, dict[str, Any]] = {
    "qwen2.5-0.5b": {
        "vocab_size": 151936,
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "max_position_embeddings": 32768,
        "rope_theta": 1000000.0,
        "tie_word_embeddings": True,
    },
}
FULL, SLIDING = "full_attention", "sliding_attention"


@dataclass(frozen=True, kw_only=True)
class Qwen2Config(LlamaLikeConfig):
    """`config.json` of a Qwen2. Which layers slide is said by `layer_types`, or else they do from max_window_layers on."""

    MODEL_TYPE: ClassVar[str] = "qwen2"
    ARCHITECTURE: ClassVar[str] = "Qwen2ForCausalLM"
    WHOLE: ClassVar[dict[str, int]] = {**LlamaLikeConfig.WHOLE, "sliding_window": MOST_POSITIONS}
    FLAGS: ClassVar[tuple[str, ...]] = ("tie_word_embeddings", "use_sliding_window")

    vocab_size: int = 151936
    intermediate_size: int = 22016
    num_key_value_heads: int | None = 32
    max_position_embeddings: int = 32768
    use_sliding_window: bool = False
    sliding_window: int | None = 4096
    max_window_layers: int = 28
    layer_types: list[str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        first = self.max_window_layers
        if type(first) is not int or not 0 <= first <= MOST_LAYERS:
            raise ConfigError(
                f"the config's max_window_layers is {first!r}; it must be a whole number from 0 to {MOST_LAYERS:,}"
            )
        if self.layer_types is None:
            return
        if not isinstance(self.layer_types, list):
            raise ConfigError(f"the config's layer_types are {self.layer_types!r}; they must be a list")
        for kind in self.layer_types:
            if kind not in (FULL, SLIDING):
                raise ConfigError(f"the layer type {kind!r} is not supported; {FULL} and {SLIDING} are")
        if len(self.layer_types) != self.num_hidden_layers:
            raise ConfigError(
                f"the config's layer_types name {len(self.layer_types)} layers, "
                f"but num_hidden_layers is {self.num_hidden_layers}; they must be as many"
            )
        if SLIDING in self.layer_types and self._window is None:
            raise ConfigError(f"the config's layer_types name {SLIDING!r}, but no sliding_window is in use; set both")

    @property
    def biases(self) -> Biases:
        return Biases(heads=True, output=False, mlp=False)

    @property
    def windows(self) -> tuple[int | None, ...]:
        layers = range(self.num_hidden_layers)
        if self.layer_types is not None:
            return tuple(self._window if self.layer_types[layer] == SLIDING else None for layer in layers)
        return tuple(self._window if layer >= self.max_window_layers else None for layer in layers)

    @property
    def _window(self) -> int | None:
        return self.sliding_window if self.use_sliding_window else None


class Qwen2(Llama):
    """The language model."""

    CONFIG = Qwen2Config

    @classmethod
    def first_layer(cls, config: Qwen2Config) -> Qwen2Config:
        kinds = config.layer_types and config.layer_types[:1]
        return replace(config, num_hidden_layers=1, layer_types=kinds)


MODEL = Qwen2
