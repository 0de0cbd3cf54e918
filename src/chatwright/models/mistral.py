"""Mistral (Jiang et al., 2023): a Llama without biases, whose layers may all look through a sliding window."""

from dataclasses import dataclass
from typing import Any, ClassVar

from chatwright.models.config import MOST_POSITIONS
from chatwright.models.llama import Llama
from chatwright.models.llama_config import LlamaLikeConfig

SIZES: dict[str, dict[str, Any]] = {
    "mistral-tiny": {  # for two CPU cores and minutes
        "hidden_size": 192,
        "intermediate_size": 512,
        "num_hidden_layers": 4,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "sliding_window": 256,
        "tie_word_embeddings": True,
    },
}


@dataclass(frozen=True, kw_only=True)
class MistralConfig(LlamaLikeConfig):
    """`config.json` of a Mistral."""

    MODEL_TYPE: ClassVar[str] = "mistral"
    ARCHITECTURE: ClassVar[str] = "MistralForCausalLM"
    WHOLE: ClassVar[dict[str, int]] = {**LlamaLikeConfig.WHOLE, "sliding_window": MOST_POSITIONS}
    FIXED: ClassVar[dict[str, Any]] = {"attention_bias": False, "mlp_bias": False, "layer_types": None}

    intermediate_size: int = 14336
    num_key_value_heads: int | None = 8
    max_position_embeddings: int = 131072
    sliding_window: int | None = 4096

    @property
    def windows(self) -> tuple[int | None, ...]:
        return (self.sliding_window,) * self.num_hidden_layers


class Mistral(Llama):
    """The language model."""

    CONFIG = MistralConfig


MODEL = Mistral
