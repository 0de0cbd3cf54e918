"""GPT-NeoX (Black et al., 2022), which Pythia is (Biderman et al., 2023): rotary positions for a part of each head, and
attention and feed-forward layer that may read the same residual stream.

Module names are Hugging Face's. Shapes: B rows, T tokens, C channels, H heads, D = C / H, V vocabulary entries.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

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
from chatwright.models.decoder import Decoder
from chatwright.models.parts import Parts
from chatwright.models.rope import THETA, Rope, Rotary, Rotation, in_force, rotate, widened, written

PART = 0.25  # of a head's channels is turned where a config does not name it
# layers, channels, heads, channels of the feed-forward layer; Pythia's paper, table 1, and for 14M its config.json
SHAPES = {
    "pythia-14m": (6, 128, 4, 512),
    "pythia-70m": (6, 512, 8, 2048),
    "pythia-160m": (12, 768, 12, 3072),
    "pythia-410m": (24, 1024, 16, 4096),
    "pythia-1b": (16, 2048, 8, 8192),
}
SIZES: dict[str, dict[str, Any]] = {
    name: {
        "vocab_size": 50304,  # padded: the tokenizer has 50277
        "num_hidden_layers": layers,
        "hidden_size": channels,
        "num_attention_heads": heads,
        "intermediate_size": inner,
    }
    for name, (layers, channels, heads, inner) in SHAPES.items()
}


@dataclass(frozen=True, kw_only=True)
class GPTNeoXConfig(FamilyConfig):
    """`config.json` of a GPT-NeoX; each generation of `transformers` has its own keys for the rotary positions."""

    MODEL_TYPE: ClassVar[str] = "gpt_neox"
    ARCHITECTURE: ClassVar[str] = "GPTNeoXForCausalLM"
    WHOLE: ClassVar[dict[str, int]] = {
        "vocab_size": MOST_VOCABULARY,
        "max_position_embeddings": MOST_POSITIONS,
        "hidden_size": MOST_CHANNELS,
        "num_hidden_layers": MOST_LAYERS,
        "num_attention_heads": MOST_HEADS,
        "intermediate_size": 10 * MOST_CHANNELS,
    }
    SHARES: ClassVar[tuple[str, ...]] = ("attention_dropout", "hidden_dropout", "layer_norm_eps", "initializer_range")
    FLAGS: ClassVar[tuple[str, ...]] = ("tie_word_embeddings", "use_parallel_residual", "attention_bias")

    vocab_size: int = 50432
    max_position_embeddings: int = 2048
    hidden_size: int = 6144
    num_hidden_layers: int = 44
    num_attention_heads: int = 64
    intermediate_size: int = 24576
    hidden_act: str = "gelu"
    attention_dropout: float = 0.0
    hidden_dropout: float = 0.0
    layer_norm_eps: float = 1e-5
    initializer_range: float = 0.02
    use_parallel_residual: bool = True
    attention_bias: bool = True
    tie_word_embeddings: bool = False
    rotary_pct: float | None = None
    partial_rotary_factor: float | None = None
    rotary_emb_base: float | None = None
    rope_theta: float | None = None
    rope_scaling: dict[str, Any] | None = None
    rope_parameters: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.share_equally("hidden_size", "num_attention_heads")
        check_activation("hidden_act", self.hidden_act)
        assert self.rope  # checks what is said of it

    def to_hf(self) -> dict[str, Any]:
        """As always, with the rotary positions in the words of each generation."""
        rope, part = self.rope, self.rotary_part
        new = written(self._said_of_rope, rope)
        parameters = new.pop("rope_parameters") | {"partial_rotary_factor": part}
        old = {"rotary_pct": part, "partial_rotary_factor": part, "rotary_emb_base": rope.rope_theta}
        return {**super().to_hf(), **old, **new, "rope_parameters": parameters}

    @property
    def context_length(self) -> int:
        return self.max_position_embeddings

    @property
    def cache_shape(self) -> tuple[int, int, int]:
        return self.num_hidden_layers, self.num_attention_heads, self.head_channels

    @property
    def head_channels(self) -> int:
        """D."""
        return self.hidden_size // self.num_attention_heads

    @property
    def rotary_part(self) -> float:
        """How much of a head is turned. ConfigError where the config's keys for it differ."""
        part = self._agreed("partial_rotary_factor", "rotary_pct", PART)
        if type(part) not in (int, float) or not 0 < part <= 1:
            raise ConfigError(f"the config's rotary_pct is {part!r}; it must be above 0 and at most 1")
        return float(part)

    @property
    def rope(self) -> Rope:
        """The angles. ConfigError where they are not supported, or the config's keys for them differ."""
        return Rope.from_hf(
            self._said_of_rope,
            theta=self._agreed("rope_theta", "rotary_emb_base", THETA),
            channels=int(self.head_channels * self.rotary_part),
            window=self.max_position_embeddings,
        )

    def stretched(self, length: int) -> Self:
        """The same with a window of `length` tokens; ConfigError where it is scaled already, in a way that is not yarn."""
        scaling = widened(self._said_of_rope, self.rope, length)
        return replace(self, max_position_embeddings=length, rope_scaling=scaling, rope_parameters=None)

    @property
    def _said_of_rope(self) -> dict[str, Any] | None:
        return in_force(self.rope_scaling, self.rope_parameters, self.other)

    def _agreed(self, name: str, old: str, default: float) -> Any:
        """What the config says under the name, in `rope_parameters` or beside them, and under the old name."""
        said = self._said_of_rope
        inner = said.get(name) if isinstance(said, Mapping) else None
        given = [one for one in (inner, vars(self)[old], vars(self)[name]) if one is not None]
        if any(one != given[0] for one in given):
            raise ConfigError(f"the config's {name} and {old} differ; they mean the same, so leave one of them")
        return given[0] if given else default


class Attention(nn.Module):
    def __init__(self, config: GPTNeoXConfig, layer: int) -> None:
        super().__init__()
        C = config.hidden_size
        self.layer = layer
        self.n_head = config.num_attention_heads
        self.scale = (C // self.n_head) ** -0.5
        self.query_key_value = nn.Linear(C, 3 * C, bias=config.attention_bias)
        self.dense = nn.Linear(C, C, bias=config.attention_bias)
        self.attn_dropout = nn.Dropout(config.attention_dropout)

    def forward(self, x: Tensor, attend: Attend, rotation: Rotation, cache: KVCache | None) -> Tensor:
        # query, key and value of a head lie together: (B, T, H, 3, D) -> 3 × (B, H, T, D)
        heads = self.query_key_value(x).unflatten(-1, (self.n_head, 3, -1))
        query, key, value = heads.permute(3, 0, 2, 1, 4)
        query, key = rotate(query, *rotation), rotate(key, *rotation)
        key, value = remember(self.layer, key, value, attend, cache)
        y = attention(query, key, value, attend, dropout=self.attn_dropout.p if self.training else 0.0)
        out: Tensor = self.dense(y.transpose(1, 2).flatten(2))  # (B, H, T, D) -> (B, T, C)
        return out


class MLP(nn.Module):
    def __init__(self, config: GPTNeoXConfig) -> None:
        super().__init__()
        self.dense_h_to_4h = nn.Linear(config.hidden_size, config.intermediate_size)
        self.dense_4h_to_h = nn.Linear(config.intermediate_size, config.hidden_size)
        self.act = ACTIVATIONS[config.hidden_act]

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.dense_4h_to_h(self.act(self.dense_h_to_4h(x)))
        return out


class Block(nn.Module):
    def __init__(self, config: GPTNeoXConfig, layer: int) -> None:
        super().__init__()
        self.parallel = config.use_parallel_residual
        self.input_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_attention_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.attention = Attention(config, layer)
        self.mlp = MLP(config)
        self.dropout = nn.Dropout(config.hidden_dropout)

    def forward(self, x: Tensor, attend: Attend, rotation: Rotation, cache: KVCache | None) -> Tensor:
        after = x + self.dropout(self.attention(self.input_layernorm(x), attend, rotation, cache))
        read = x if self.parallel else after
        out: Tensor = after + self.dropout(self.mlp(self.post_attention_layernorm(read)))
        return out

    def parts(self) -> Parts:
        attn, mlp, norms = self.attention, self.mlp, (self.input_layernorm, self.post_attention_layernorm)
        return Parts(
            layer=attn.layer, heads=attn.n_head, scale=attn.scale, norms=norms, act=mlp.act, parallel=self.parallel,
            query=attn.query_key_value, mixed=attn.dense, head_by_head=True, up=mlp.dense_h_to_4h, down=mlp.dense_4h_to_h,
        )  # fmt: skip


class Stack(nn.Module):
    def __init__(self, config: GPTNeoXConfig) -> None:
        super().__init__()
        V, C = config.vocab_size, config.hidden_size
        self.embed_in = nn.Embedding(V, C, _weight=torch.empty(V, C))  # empty: drawn below
        self.emb_dropout = nn.Dropout(config.hidden_dropout)
        self.layers = nn.ModuleList(Block(config, layer) for layer in range(config.num_hidden_layers))
        self.final_layer_norm = nn.LayerNorm(C, eps=config.layer_norm_eps)


class GPTNeoX(Decoder):
    """The language model; random weights from torch's generator."""

    CONFIG = GPTNeoXConfig
    LAYERS = "num_hidden_layers"
    BLOCKS = "gpt_neox.layers."
    EMBEDDING = "gpt_neox.embed_in.weight"
    HEAD = "embed_out.weight"

    config: GPTNeoXConfig

    def __init__(self, config: GPTNeoXConfig) -> None:
        super().__init__(config)
        self.gpt_neox = Stack(config)
        C, V = config.hidden_size, config.vocab_size
        self.embed_out = None if config.tie_word_embeddings else nn.Linear(C, V, bias=False)
        self.rotary = Rotary(config.rope)
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
        rotation = self.rotary(attend.positions if positions is None else positions)
        x = self.gpt_neox.emb_dropout(self.embed(ids))
        for block in self.gpt_neox.layers:
            x = self.through(block, x, attend, rotation, cache)
        hidden: Tensor = self.gpt_neox.final_layer_norm(x)
        return hidden

    @property
    def lm_head(self) -> nn.Linear | None:  # type: ignore[override]
        return self.embed_out

    @property
    def embedding(self) -> nn.Embedding:
        return self.gpt_neox.embed_in

    @property
    def blocks(self) -> nn.ModuleList:
        return self.gpt_neox.layers

    @property
    def final_norm(self) -> nn.LayerNorm:
        return self.gpt_neox.final_layer_norm

    @classmethod
    def canonical_name(cls, name: str) -> str | None:
        """`layers.0.mlp.…` -> `gpt_neox.layers.0.mlp.…`; None for the masks and frequencies that old files carry along."""
        if name.endswith((".attention.bias", ".attention.masked_bias", "rotary_emb.inv_freq")):
            return None
        if name == "lm_head.weight":  # as transformers 5 calls it in memory
            return cls.HEAD
        return name if name.startswith(("gpt_neox.", "embed_out.", "score.")) else f"gpt_neox.{name}"

    def stretch(self, length: int) -> None:
        """Widens the window with YaRN (Peng et al., 2023); a narrower one takes only room away."""
        self.config = self.config.stretched(length)
        self.rotary = Rotary(self.config.rope)


MODEL = GPTNeoX
