"""Llama (Touvron et al., 2023), and the decoder that Mistral and Qwen share with it.

RMS norms before each part, rotary positions, heads that share keys and values (Ainslie et al., 2023), a gated
feed-forward layer (Shazeer, 2020). Module names are Hugging Face's, so weights keep their names.
Shapes: B rows, T tokens, C channels, H heads, H' key-value heads, D channels of a head, V vocabulary entries.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from chatwright.models.activations import ACTIVATIONS
from chatwright.models.attention import Attend, attention, remember
from chatwright.models.cache import KVCache
from chatwright.models.decoder import Decoder
from chatwright.models.llama_config import Biases, LlamaLikeConfig
from chatwright.models.parts import Parts
from chatwright.models.rope import Rotary, Rotation, rotate

SIZES: dict[str, dict[str, Any]] = {
    "llama-tiny": {  # for two CPU cores and minutes
        "hidden_size": 192,
        "intermediate_size": 512,
        "num_hidden_layers": 4,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "tie_word_embeddings": True,
    },
    "llama-160m": {
        "vocab_size": 32000,
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "max_position_embeddings": 2048,
    },
    "llama-1b": {  # the shape of Llama 3.2 1B
        "vocab_size": 128256,
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True,
        "rope_theta": 500000.0,
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": 32.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
    },
}


@dataclass(frozen=True, kw_only=True)
class LlamaConfig(LlamaLikeConfig):
    """`config.json` of a Llama."""

    MODEL_TYPE: ClassVar[str] = "llama"
    ARCHITECTURE: ClassVar[str] = "LlamaForCausalLM"
    FLAGS: ClassVar[tuple[str, ...]] = ("tie_word_embeddings", "attention_bias", "mlp_bias")
    FIXED: ClassVar[dict[str, Any]] = {"pretraining_tp": 1}

    attention_bias: bool = False
    mlp_bias: bool = False

    @property
    def biases(self) -> Biases:
        return Biases(self.attention_bias, self.attention_bias, self.mlp_bias)


class Attention(nn.Module):
    def __init__(self, config: LlamaLikeConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.head_dim = D = config.head_channels
        C, H, shared = config.hidden_size, config.num_attention_heads, config.key_value_heads
        self.n_head = H
        self.q_proj = nn.Linear(C, H * D, bias=config.biases.heads)
        self.k_proj = nn.Linear(C, shared * D, bias=config.biases.heads)
        self.v_proj = nn.Linear(C, shared * D, bias=config.biases.heads)
        self.o_proj = nn.Linear(H * D, C, bias=config.biases.output)
        self.attn_dropout = nn.Dropout(config.attention_dropout)

    def forward(self, x: Tensor, attend: Attend, rotation: Rotation, cache: KVCache | None) -> Tensor:
        query, key, value = self.heads(x)
        query, key = rotate(query, *rotation), rotate(key, *rotation)
        key, value = remember(self.layer, key, value, attend, cache)
        y = attention(query, key, value, attend, dropout=self.attn_dropout.p if self.training else 0.0)
        out: Tensor = self.o_proj(y.transpose(1, 2).flatten(2))  # (B, H, T, D) -> (B, T, H · D) -> (B, T, C)
        return out

    @property
    def head_norms(self) -> tuple[nn.Module, nn.Module] | None:
        """The norms of queries and keys, if they have any."""
        return None

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, T, C) -> queries (B, H, T, D), keys and values (B, H', T, D)."""
        flat = self.q_proj(x), self.k_proj(x), self.v_proj(x)  # (B, T, H · D), (B, T, H' · D) twice
        query, key, value = (one.unflatten(-1, (-1, self.head_dim)).transpose(1, 2) for one in flat)
        return query, key, value


class MLP(nn.Module):
    def __init__(self, config: LlamaLikeConfig) -> None:
        super().__init__()
        C, inner, bias = config.hidden_size, config.intermediate_size, config.biases.mlp
        self.activation = ACTIVATIONS[config.hidden_act]
        self.gate_proj = nn.Linear(C, inner, bias=bias)
        self.up_proj = nn.Linear(C, inner, bias=bias)
        self.down_proj = nn.Linear(inner, C, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down_proj(self.activation(self.gate_proj(x)) * self.up_proj(x))
        return out


class Block(nn.Module):
    def __init__(self, config: LlamaLikeConfig, self_attn: Attention) -> None:
        super().__init__()
        self.self_attn = self_attn
        self.mlp = MLP(config)
        self.input_layernorm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.post_attention_layernorm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def forward(self, x: Tensor, attend: Attend, rotation: Rotation, cache: KVCache | None) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), attend, rotation, cache)
        out: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return out

    def parts(self) -> Parts:
        attn, mlp, norms = self.self_attn, self.mlp, (self.input_layernorm, self.post_attention_layernorm)
        return Parts(
            layer=attn.layer, heads=attn.n_head, scale=attn.head_dim**-0.5, norms=norms,
            query=attn.q_proj, key=attn.k_proj, value=attn.v_proj, mixed=attn.o_proj, head_norms=attn.head_norms,
            up=mlp.up_proj, gate=mlp.gate_proj, down=mlp.down_proj, act=mlp.activation,
        )  # fmt: skip


class Stack(nn.Module):
    def __init__(self, config: LlamaLikeConfig, attention: type[Attention]) -> None:
        super().__init__()
        # empty: what PyTorch would draw is drawn again below, and on the meta device costs a second of imports
        V, C = config.vocab_size, config.hidden_size
        self.embed_tokens = nn.Embedding(V, C, _weight=torch.empty(V, C))
        layers = range(config.num_hidden_layers)
        self.layers = nn.ModuleList(Block(config, attention(config, layer)) for layer in layers)
        self.norm = nn.RMSNorm(C, eps=config.rms_norm_eps)


class Llama(Decoder):
    """The language model; random weights from torch's generator. A family that is built like it names its parts."""

    CONFIG: ClassVar[type[LlamaLikeConfig]] = LlamaConfig
    LAYERS = "num_hidden_layers"
    BLOCKS = "model.layers."
    EMBEDDING = "model.embed_tokens.weight"
    ATTENTION: ClassVar[type[Attention]] = Attention

    config: LlamaLikeConfig

    def __init__(self, config: LlamaLikeConfig) -> None:
        super().__init__(config)
        self.model = Stack(config, self.ATTENTION)
        tied = config.tie_word_embeddings
        self.lm_head = None if tied else nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.rotary = Rotary(config.rope)
        self.windows = config.windows
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
        seen = {window: attend if window is None else attend.within(window) for window in set(self.windows)}
        x = self.embed(ids)
        for block, window in zip(self.model.layers, self.windows, strict=True):
            x = self.through(block, x, seen[window], rotation, cache)
        hidden: Tensor = self.model.norm(x)
        return hidden

    @property
    def embedding(self) -> nn.Embedding:
        return self.model.embed_tokens

    @property
    def blocks(self) -> nn.ModuleList:
        return self.model.layers

    @property
    def final_norm(self) -> nn.RMSNorm:
        return self.model.norm

    @classmethod
    def canonical_name(cls, name: str) -> str | None:
        """`layers.0.mlp.up_proj.weight` -> `model.…`; None for the frequencies that old files carry along."""
        if name.endswith("rotary_emb.inv_freq"):
            return None
        return name if name.startswith(("model.", "lm_head.", "score.")) else f"model.{name}"

    def stretch(self, length: int) -> None:
        """Widens the window with YaRN (Peng et al., 2023); a narrower one takes only room away."""
        self.config = self.config.stretched(length)
        self.rotary = Rotary(self.config.rope)


MODEL = Llama
