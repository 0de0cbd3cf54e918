"""Qwen3 (Yang et al., 2025): a Qwen2 without biases, whose queries and keys are normalised in each head.

Shapes: B rows, T tokens, C channels, H heads, H' key-value heads, D channels of a head.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from chatwright.models.llama import Attention
from chatwright.models.llama_config import Biases, LlamaLikeConfig
from chatwright.models.qwen2 import Qwen2, Qwen2Config

SIZES: dict[str, dict[str, Any]] = {
    "qwen3-0.6b": {
        "vocab_size": 151936,
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 40960,
        "rope_theta": 1000000.0,
        "tie_word_embeddings": True,
    },
}


@dataclass(frozen=True, kw_only=True)
class Qwen3Config(Qwen2Config):
    """`config.json` of a Qwen3."""

    MODEL_TYPE: ClassVar[str] = "qwen3"
    ARCHITECTURE: ClassVar[str] = "Qwen3ForCausalLM"
    FLAGS: ClassVar[tuple[str, ...]] = (*Qwen2Config.FLAGS, "attention_bias")

    head_dim: int | None = 128
    attention_bias: bool = False

    @property
    def biases(self) -> Biases:
        return Biases(heads=self.attention_bias, output=self.attention_bias, mlp=False)


class NormedAttention(Attention):
    """Attention whose queries and keys are normalised in each head (Henry et al., 2020)."""

    def __init__(self, config: LlamaLikeConfig, layer: int) -> None:
        super().__init__(config, layer)
        self.q_norm = nn.RMSNorm(self.head_dim, eps=config.rms_norm_eps)
        self.k_norm = nn.RMSNorm(self.head_dim, eps=config.rms_norm_eps)

    @property
    def head_norms(self) -> tuple[nn.Module, nn.Module]:
        return self.q_norm, self.k_norm

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = super().heads(x)
        wide = self.q_norm.weight.dtype  # under autocast the projections give less than the norms have
        query, key = self.q_norm(query.to(wide)), self.k_norm(key.to(wide))
        return query.to(value.dtype), key.to(value.dtype), value


class Qwen3(Qwen2):
    """The language model."""

    CONFIG = Qwen3Config
    ATTENTION = NormedAttention


MODEL = Qwen3
