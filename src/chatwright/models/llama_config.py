"""`config.json` of the families that are built like Llama: its fields, its checks, and what follows from them.

Both generations of the rotary keys are read and written. Shapes: H heads, H' key-value heads, D channels of a head.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple, Self

from chatwright.models.activations import check_activation
from chatwright.models.config import (
    MOST_CHANNELS,
    MOST_HEADS,
    MOST_LAYERS,
    MOST_POSITIONS,
    MOST_VOCABULARY,
    FamilyConfig,
)
from chatwright.models.rope import THETA, Rope, in_force, widened, written


class Biases(NamedTuple):
    """Which linear layers have a bias: queries, keys and values; what leaves attention; the feed-forward layers."""

    heads: bool
    output: bool
    mlp: bool


@dataclass(frozen=True, kw_only=True)
class LlamaLikeConfig(FamilyConfig):
    """What `config.json` says in all families that are built like Llama."""

    WHOLE: ClassVar[dict[str, int]] = {
        "vocab_size": MOST_VOCABULARY,
        "hidden_size": MOST_CHANNELS,
        "intermediate_size": 10 * MOST_CHANNELS,
        "num_hidden_layers": MOST_LAYERS,
        "num_attention_heads": MOST_HEADS,
        "num_key_value_heads": MOST_HEADS,
        "head_dim": MOST_CHANNELS,
        "max_position_embeddings": MOST_POSITIONS,
    }
    SHARES: ClassVar[tuple[str, ...]] = ("attention_dropout", "rms_norm_eps", "initializer_range")
    FLAGS: ClassVar[tuple[str, ...]] = ("tie_word_embeddings",)

    vocab_size: int = 32000
    hidden_size: int = 4096
    intermediate_size: int = 11008
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    num_key_value_heads: int | None = None  # as many as attention heads
    head_dim: int | None = None  # hidden_size / num_attention_heads
    hidden_act: str = "silu"
    max_position_embeddings: int = 2048
    initializer_range: float = 0.02
    rms_norm_eps: float = 1e-6
    attention_dropout: float = 0.0
    tie_word_embeddings: bool = False
    rope_theta: float = THETA
    rope_scaling: dict[str, Any] | None = None
    rope_parameters: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_activation("hidden_act", self.hidden_act)
        if self.head_dim is None:
            self.share_equally("hidden_size", "num_attention_heads")
        if self.num_key_value_heads is not None:
            self.share_equally("num_attention_heads", "num_key_value_heads")
        assert self.rope  # checks what is said of it

    def to_hf(self) -> dict[str, Any]:
        resolved = {"head_dim": self.head_channels, "num_key_value_heads": self.key_value_heads}
        return {**super().to_hf(), **resolved, **written(self._said_of_rope, self.rope)}

    @property
    def context_length(self) -> int:
        return self.max_position_embeddings

    @property
    def cache_shape(self) -> tuple[int, int, int]:
        return self.num_hidden_layers, self.key_value_heads, self.head_channels

    @property
    def head_channels(self) -> int:
        """D."""
        return self.head_dim or self.hidden_size // self.num_attention_heads

    @property
    def key_value_heads(self) -> int:
        """H'."""
        return self.num_key_value_heads or self.num_attention_heads

    @property
    def biases(self) -> Biases:
        return Biases(heads=False, output=False, mlp=False)

    @property
    def windows(self) -> tuple[int | None, ...]:
        """How many tokens each layer looks back, itself counted; None where it sees all."""
        return (None,) * self.num_hidden_layers

    @property
    def rope(self) -> Rope:
        window = self.max_position_embeddings
        return Rope.from_hf(self._said_of_rope, theta=self.rope_theta, channels=self.head_channels, window=window)

    def stretched(self, length: int) -> Self:
        """The same with a window of `length` tokens; ConfigError where it is scaled already, in a way that is not yarn."""
        scaling = widened(self._said_of_rope, self.rope, length)
        other = {name: value for name, value in self.other.items() if name != "original_max_position_embeddings"}
        return replace(self, max_position_embeddings=length, rope_scaling=scaling, rope_parameters=None, other=other)

    @property
    def _said_of_rope(self) -> dict[str, Any] | None:
        return in_force(self.rope_scaling, self.rope_parameters, self.other)
