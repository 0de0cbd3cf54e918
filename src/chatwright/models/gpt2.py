"""GPT-2 (Radford et al., 2019), in every size: learned positions, pre-norm blocks, GELU, embedding and head tied.

Module names are Hugging Face's, so weights keep their names; only their layout differs (its Conv1D holds the
transpose of a Linear). Shapes: B rows, T tokens, C channels, H heads, D = C / H, V vocabulary entries.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

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
from chatwright.models.parts import Parts

SIZES: dict[str, dict[str, Any]] = {
    "tiny": {"n_layer": 4, "n_embd": 192, "n_head": 6, "n_positions": 512},  # for two CPU cores and minutes
    "small": {"n_layer": 6, "n_embd": 384, "n_head": 6, "n_positions": 512},
    "gpt2": {"n_layer": 12, "n_embd": 768, "n_head": 12, "n_positions": 1024},  # 124M
    "gpt2-medium": {"n_layer": 24, "n_embd": 1024, "n_head": 16, "n_positions": 1024},  # 355M
    "gpt2-large": {"n_layer": 36, "n_embd": 1280, "n_head": 20, "n_positions": 1024},  # 774M
    "gpt2-xl": {"n_layer": 48, "n_embd": 1600, "n_head": 25, "n_positions": 1024},  # 1.5B
}


@dataclass(frozen=True, kw_only=True)
class GPT2Config(FamilyConfig):
    """`config.json` of a GPT-2."""

    MODEL_TYPE: ClassVar[str] = "gpt2"
    ARCHITECTURE: ClassVar[str] = "GPT2LMHeadModel"
    WHOLE: ClassVar[dict[str, int]] = {
        "vocab_size": MOST_VOCABULARY,
        "n_positions": MOST_POSITIONS,
        "n_embd": MOST_CHANNELS,
        "n_layer": MOST_LAYERS,
        "n_head": MOST_HEADS,
        "n_inner": 10 * MOST_CHANNELS,
    }
    SHARES: ClassVar[tuple[str, ...]] = (
        "resid_pdrop",
        "embd_pdrop",
        "attn_pdrop",
        "layer_norm_epsilon",
        "initializer_range",
    )
    FLAGS: ClassVar[tuple[str, ...]] = (
        "tie_word_embeddings",
        "scale_attn_weights",
        "scale_attn_by_inverse_layer_idx",
    )
    FIXED: ClassVar[dict[str, Any]] = {"add_cross_attention": False}

    vocab_size: int = 50257
    n_positions: int = 1024
    n_embd: int = 768
    n_layer: int = 12
    n_head: int = 12
    n_inner: int | None = None
    activation_function: str = "gelu_new"
    resid_pdrop: float = 0.1
    embd_pdrop: float = 0.1
    attn_pdrop: float = 0.1
    layer_norm_epsilon: float = 1e-5
    initializer_range: float = 0.02
    scale_attn_weights: bool = True
    scale_attn_by_inverse_layer_idx: bool = False
    tie_word_embeddings: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.share_equally("n_embd", "n_head")
        check_activation("activation_function", self.activation_function)

    @property
    def context_length(self) -> int:
        return self.n_positions

    @property
    def cache_shape(self) -> tuple[int, int, int]:
        return self.n_layer, self.n_head, self.n_embd // self.n_head


class Attention(nn.Module):
    def __init__(self, config: GPT2Config, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.n_head = config.n_head
        scale = (config.n_embd // config.n_head) ** -0.5 if config.scale_attn_weights else 1.0
        self.scale = scale / (layer + 1) if config.scale_attn_by_inverse_layer_idx else scale
        self.c_attn = nn.Linear(config.n_embd, 3 * config.n_embd)
        self.c_proj = nn.Linear(config.n_embd, config.n_embd)
        self.attn_dropout = nn.Dropout(config.attn_pdrop)
        self.resid_dropout = nn.Dropout(config.resid_pdrop)

    def forward(self, x: Tensor, attend: Attend, cache: KVCache | None) -> Tensor:
        B, T, C = x.shape
        heads = self.c_attn(x).view(B, T, 3, self.n_head, C // self.n_head)
        query, key, value = heads.permute(2, 0, 3, 1, 4)  # (B, T, 3, H, D) -> 3 × (B, H, T, D)
        key, value = remember(self.layer, key, value, attend, cache)
        dropout = self.attn_dropout.p if self.training else 0.0
        y = attention(query, key, value, attend, dropout=dropout, scale=self.scale)
        y = y.transpose(1, 2).reshape(B, T, C)  # (B, H, T, D) -> (B, T, C)
        out: Tensor = self.resid_dropout(self.c_proj(y))
        return out


class MLP(nn.Module):
    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        inner = config.n_inner or 4 * config.n_embd
        self.act = ACTIVATIONS[config.activation_function]
        self.c_fc = nn.Linear(config.n_embd, inner)
        self.c_proj = nn.Linear(inner, config.n_embd)
        self.dropout = nn.Dropout(config.resid_pdrop)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.dropout(self.c_proj(self.act(self.c_fc(x))))
        return out


class Block(nn.Module):
    def __init__(self, config: GPT2Config, layer: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.attn = Attention(config, layer)
        self.ln_2 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, attend: Attend, cache: KVCache | None) -> Tensor:
        x = x + self.attn(self.ln_1(x), attend, cache)
        out: Tensor = x + self.mlp(self.ln_2(x))
        return out

    def parts(self) -> Parts:
        attn, mlp = self.attn, self.mlp
        return Parts(
            layer=attn.layer, heads=attn.n_head, scale=attn.scale, norms=(self.ln_1, self.ln_2), act=mlp.act,
            query=attn.c_attn, mixed=attn.c_proj, up=mlp.c_fc, down=mlp.c_proj,
        )  # fmt: skip


class Transformer(nn.Module):
    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        # empty: what PyTorch would draw is drawn again below, and on the meta device costs a second of imports
        V, P, C = config.vocab_size, config.n_positions, config.n_embd
        self.wte = nn.Embedding(V, C, _weight=torch.empty(V, C))
        self.wpe = nn.Embedding(P, C, _weight=torch.empty(P, C))
        self.drop = nn.Dropout(config.embd_pdrop)
        self.h = nn.ModuleList(Block(config, layer) for layer in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)


class GPT2(Decoder):
    """The language model; random weights from torch's generator, as the paper initialises them."""

    CONFIG = GPT2Config
    LAYERS = "n_layer"
    BLOCKS = "transformer.h."
    EMBEDDING = "transformer.wte.weight"

    config: GPT2Config

    def __init__(self, config: GPT2Config) -> None:
        super().__init__(config)
        self.transformer = Transformer(config)
        self.lm_head = None if config.tie_word_embeddings else nn.Linear(config.n_embd, config.vocab_size, bias=False)
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
        positions = attend.positions if positions is None else positions
        x = self.transformer.drop(self.embed(ids) + self.transformer.wpe(positions))
        for block in self.transformer.h:
            x = self.through(block, x, attend, cache)
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
    def canonical_name(cls, name: str) -> str | None:
        """`h.0.ln_1.bias` -> `transformer.h.0.ln_1.bias`; None for the causal masks that old files carry along."""
        if name.endswith((".attn.bias", ".attn.masked_bias")):
            return None
        return name if name.startswith(("transformer.", "lm_head.", "score.")) else f"transformer.{name}"

    @classmethod
    def is_transposed(cls, name: str) -> bool:
        return name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight"))

    def stretch(self, length: int) -> None:
        """Interpolates the learned positions to a longer window: position p becomes p · (old - 1) / (new - 1)."""
        self.config = replace(self.config, n_positions=length)
        learned = stretched(self.transformer.wpe.weight.detach(), length)
        self.transformer.wpe = nn.Embedding(length, self.config.n_embd, _weight=learned)

    @torch.no_grad()
    def initialise(self) -> None:
        """Normal(0, 0.02); the two projections into the residual stream scaled by 1/sqrt(2 · layers); biases zero."""
        std = self.config.initializer_range
        for name, weight in self.named_parameters():
            if name.endswith("c_proj.weight"):
                weight.normal_(0.0, std / math.sqrt(2 * self.config.n_layer))
            elif weight.dim() == 2:
                weight.normal_(0.0, std)
            elif name.endswith("bias"):
                weight.zero_()


MODEL = GPT2
