"""GPT-Neo (Black et al., 2021), which the TinyStories models are: GPT-2 whose layers see everything or the last tokens only.

Products of queries and keys are not scaled. Module names are Hugging Face's. Shapes: B rows, T tokens, C channels,
H heads, D = C / H, V vocabulary entries.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from chatwright.errors import ConfigError
from chatwright.models.activations import ACTIVATIONS, check_activation
from chatwright.models.attention import Attend, attention, remember
from chatwright.models.cache import KVCache
from chatwright.models.config import (
    MOST_CHANNELS,
    MOST_HEADS,
    MOST_LAYERS,
    MOST_POSITIONS,
    MOST_VOCABULARY,
    FamilyConfig,
)
from chatwright.models.decoder import Decoder, stretched

GLOBAL, LOCAL = "global", "local"
PATTERN: list[Any] = [[[GLOBAL, LOCAL], 12]]  # of the published models, where a config gives none
SIZES: dict[str, dict[str, Any]] = {  # Eldan and Li, 2023; all with 2048 positions and windows of 256 tokens
    "tinystories-1m": {"num_layers": 8, "hidden_size": 64, "num_heads": 16, "attention_types": [[[GLOBAL, LOCAL], 4]]},
    "tinystories-33m": {
        "num_layers": 4,
        "hidden_size": 768,
        "num_heads": 16,
        "attention_types": [[[GLOBAL, LOCAL], 2]],
    },
}


@dataclass(frozen=True, kw_only=True)
class GPTNeoConfig(FamilyConfig):
    """`config.json` of a GPT-Neo. What its layers see is said by `attention_types`, or by `attention_layers` alone."""

    MODEL_TYPE: ClassVar[str] = "gpt_neo"
    ARCHITECTURE: ClassVar[str] = "GPTNeoForCausalLM"
    WHOLE: ClassVar[dict[str, int]] = {
        "vocab_size": MOST_VOCABULARY,
        "max_position_embeddings": MOST_POSITIONS,
        "hidden_size": MOST_CHANNELS,
        "num_layers": MOST_LAYERS,
        "num_heads": MOST_HEADS,
        "intermediate_size": 10 * MOST_CHANNELS,
        "window_size": MOST_POSITIONS,
    }
    SHARES: ClassVar[tuple[str, ...]] = (
        "resid_dropout",
        "embed_dropout",
        "attention_dropout",
        "layer_norm_epsilon",
        "initializer_range",
    )
    FLAGS: ClassVar[tuple[str, ...]] = ("tie_word_embeddings",)

    vocab_size: int = 50257
    max_position_embeddings: int = 2048
    hidden_size: int = 2048
    num_layers: int = 24
    num_heads: int = 16
    intermediate_size: int | None = None
    attention_types: list[Any] | None = None
    attention_layers: list[str] | None = None
    window_size: int = 256
    activation_function: str = "gelu_new"
    resid_dropout: float = 0.0
    embed_dropout: float = 0.0
    attention_dropout: float = 0.0
    layer_norm_epsilon: float = 1e-5
    initializer_range: float = 0.02
    tie_word_embeddings: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.share_equally("hidden_size", "num_heads")
        check_activation("activation_function", self.activation_function)
        self._check_pattern()

    @property
    def pattern(self) -> list[Any]:
        """[kinds, how often they repeat] for each group of layers."""
        if self.attention_types is not None:
            return self.attention_types
        return PATTERN if self.attention_layers is None else [[self.attention_layers, 1]]

    @property
    def kinds(self) -> list[str]:
        """What each layer sees: `global`, everything before it, or `local`, the last `window_size` tokens."""
        return [kind for kinds, times in self.pattern for _ in range(times) for kind in kinds]

    @property
    def context_length(self) -> int:
        return self.max_position_embeddings

    @property
    def cache_shape(self) -> tuple[int, int, int]:
        return self.num_layers, self.num_heads, self.hidden_size // self.num_heads

    def to_hf(self) -> dict[str, Any]:
        """As always, with the pattern in both forms: which of them is read depends on the program."""
        return super().to_hf() | {"attention_types": self.pattern, "attention_layers": self.kinds}

    def _check_pattern(self) -> None:
        """ConfigError unless each layer is given one of the two kinds; counts before it repeats anything."""
        name = (
            "attention_layers"
            if self.attention_types is None and self.attention_layers is not None
            else "attention_types"
        )
        pattern = self.pattern
        if not isinstance(pattern, list) or not all(_is_group(group) for group in pattern):
            raise ConfigError(f"the config's {name} is not such a list as {PATTERN}, or one kind for each layer")
        count = sum(len(kinds) * times for kinds, times in pattern)
        if count != self.num_layers:
            raise ConfigError(f"the config's {name} gives {count} layers, but num_layers is {self.num_layers}")
        for kind in self.kinds:
            if kind not in (GLOBAL, LOCAL):
                raise ConfigError(f"the config's {name} says {kind!r}; only {GLOBAL} and {LOCAL} are supported")
        if self.attention_layers is not None and self.attention_layers != self.kinds:
            raise ConfigError("the config's attention_layers are not those that its attention_types give")


def _is_group(group: object) -> bool:
    """Whether it is `[kinds, how often they repeat]`."""
    if not isinstance(group, list) or len(group) != 2:
        return False
    kinds, times = group
    return isinstance(kinds, list) and len(kinds) > 0 and type(times) is int and times > 0


class SelfAttention(nn.Module):
    def __init__(self, config: GPTNeoConfig, layer: int) -> None:
        super().__init__()
        C = config.hidden_size
        self.layer = layer
        self.num_heads = config.num_heads
        self.q_proj = nn.Linear(C, C, bias=False)
        self.k_proj = nn.Linear(C, C, bias=False)
        self.v_proj = nn.Linear(C, C, bias=False)
        self.out_proj = nn.Linear(C, C)
        self.attn_dropout = nn.Dropout(config.attention_dropout)
        self.resid_dropout = nn.Dropout(config.resid_dropout)

    def forward(self, x: Tensor, attend: Attend, cache: KVCache | None) -> Tensor:
        query, key, value = (
            project(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # (B, T, C) -> (B, H, T, D)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        key, value = remember(self.layer, key, value, attend, cache)
        dropout = self.attn_dropout.p if self.training else 0.0
        y = attention(query, key, value, attend, dropout=dropout, scale=1.0)
        out: Tensor = self.resid_dropout(self.out_proj(y.transpose(1, 2).flatten(2)))  # (B, H, T, D) -> (B, T, C)
        return out


class MLP(nn.Module):
    def __init__(self, config: GPTNeoConfig) -> None:
        super().__init__()
        inner = config.intermediate_size or 4 * config.hidden_size
        self.c_fc = nn.Linear(config.hidden_size, inner)
        self.c_proj = nn.Linear(inner, config.hidden_size)
        self.act = ACTIVATIONS[config.activation_function]
        self.dropout = nn.Dropout(config.resid_dropout)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.dropout(self.c_proj(self.act(self.c_fc(x))))
        return out


class Block(nn.Module):
    def __init__(self, config: GPTNeoConfig, layer: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_epsilon)
        self.attn = nn.ModuleDict({"attention": SelfAttention(config, layer)})
        self.ln_2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_epsilon)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, attend: Attend, cache: KVCache | None) -> Tensor:
        x = x + self.attn["attention"](self.ln_1(x), attend, cache)
        out: Tensor = x + self.mlp(self.ln_2(x))
        return out


class Transformer(nn.Module):
    def __init__(self, config: GPTNeoConfig) -> None:
        super().__init__()
        V, P, C = config.vocab_size, config.max_position_embeddings, config.hidden_size
        self.wte = nn.Embedding(V, C, _weight=torch.empty(V, C))  # empty: drawn below
        self.wpe = nn.Embedding(P, C, _weight=torch.empty(P, C))
        self.drop = nn.Dropout(config.embed_dropout)
        self.h = nn.ModuleList(Block(config, layer) for layer in range(config.num_layers))
        self.ln_f = nn.LayerNorm(C, eps=config.layer_norm_epsilon)


class GPTNeo(Decoder):
    """The language model; random weights from torch's generator."""

    CONFIG = GPTNeoConfig
    LAYERS = "num_layers"
    BLOCKS = "transformer.h."
    EMBEDDING = "transformer.wte.weight"

    config: GPTNeoConfig

    def __init__(self, config: GPTNeoConfig) -> None:
        super().__init__(config)
        self.transformer = Transformer(config)
        C, V = config.hidden_size, config.vocab_size
        self.lm_head = None if config.tie_word_embeddings else nn.Linear(C, V, bias=False)
        if not self.output_weight.is_meta:
            self.initialise()

    def trunk(
        self,
        ids: Tensor,
        *,
        positions: Tensor | None = None,
        attend: Attend | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        attend = attend or Attend.causal(ids.shape[1], ids.device)
        sights = {GLOBAL: attend, LOCAL: attend.within(self.config.window_size)}
        positions = attend.positions if positions is None else positions
        x = self.transformer.drop(self.embed(ids) + self.transformer.wpe(positions))
        for block, kind in zip(self.transformer.h, self.config.kinds, strict=True):
            x = self.through(block, x, sights[kind], cache)
        hidden: Tensor = self.transformer.ln_f(x)
        return hidden

    @property
    def embedding(self) -> nn.Embedding:
        return self.transformer.wte

    @property
    def blocks(self) -> nn.ModuleList:
        return self.transformer.h

    @property
    def final_norm(self) -> nn.LayerNorm:
        return self.transformer.ln_f

    @classmethod
    def first_layer(cls, config: GPTNeoConfig) -> GPTNeoConfig:
        return replace(config, num_layers=1, attention_types=None, attention_layers=config.kinds[:1])

    @classmethod
    def canonical_name(cls, name: str) -> str | None:
        """`h.0.ln_1.bias` -> `transformer.h.0.ln_1.bias`; None for the causal masks that old files carry along."""
        if name.endswith((".attention.bias", ".attention.masked_bias")):
            return None
        return name if name.startswith(("transformer.", "lm_head.", "score.")) else f"transformer.{name}"

    def stretch(self, length: int) -> None:
        """Interpolates the learned positions to a longer window; local layers see as many tokens as before."""
        self.config = replace(self.config, max_position_embeddings=length)
        learned = stretched(self.transformer.wpe.weight.detach(), length)
        self.transformer.wpe = nn.Embedding(length, self.config.hidden_size, _weight=learned)


MODEL = GPTNeo
