"""GPT-2 (Radford et al., 2019), in every size: learned positions, pre-norm blocks, GELU, embedding and head tied.

Module names are Hugging Face's, so weights keep their names; only their layout differs (its Conv1D holds the
transpose of a Linear). Shapes: B rows, T tokens, C channels, H heads, D = C / H, V vocabulary entries.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chatwright.errors import ConfigError, DataError
from chatwright.models.attention import Attend, attention, remember
from chatwright.models.cache import KVCache

SIZES: dict[str, dict[str, Any]] = {
    "tiny": {"n_layer": 4, "n_embd": 192, "n_head": 6, "n_positions": 512},  # for two CPU cores and minutes
    "small": {"n_layer": 6, "n_embd": 384, "n_head": 6, "n_positions": 512},
    "gpt2": {"n_layer": 12, "n_embd": 768, "n_head": 12, "n_positions": 1024},  # 124M
    "gpt2-medium": {"n_layer": 24, "n_embd": 1024, "n_head": 16, "n_positions": 1024},  # 355M
    "gpt2-large": {"n_layer": 36, "n_embd": 1280, "n_head": 20, "n_positions": 1024},  # 774M
    "gpt2-xl": {"n_layer": 48, "n_embd": 1600, "n_head": 25, "n_positions": 1024},  # 1.5B
}
# gelu_new is the tanh form of the paper's code; the others are spelled as Hugging Face spells them
ACTIVATIONS = {"gelu_new": "tanh", "gelu_pytorch_tanh": "tanh", "gelu": "none"}
# Far above any GPT-2, and low enough that a hostile config.json costs neither time nor memory before it is refused
LARGEST = {
    "vocab_size": 10_000_000, "n_positions": 10_000_000, "n_embd": 100_000, "n_layer": 1_000, "n_head": 10_000,
    "n_inner": 1_000_000,
}  # fmt: skip
FIXED = {"scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False, "add_cross_attention": False}


@dataclass(frozen=True)
class GPT2Config:
    """`config.json` of a GPT-2; `other` keeps the keys that this code does not use, so that saving loses none."""

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
    tie_word_embeddings: bool = True
    other: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, most in LARGEST.items():
            value = getattr(self, name)
            if name == "n_inner" and value is None:
                continue
            if type(value) is not int or not 1 <= value <= most:
                raise ConfigError(f"the config's {name} is {value!r}; it must be a whole number from 1 to {most:,}")
        if self.n_embd % self.n_head:
            raise ConfigError(f"n_embd {self.n_embd} is not divisible by n_head {self.n_head}; heads share it equally")
        if str(self.activation_function) not in ACTIVATIONS:
            known = ", ".join(ACTIVATIONS)
            raise ConfigError(f"activation_function {self.activation_function!r} is not supported; {known} are")
        for name in ("resid_pdrop", "embd_pdrop", "attn_pdrop", "layer_norm_epsilon", "initializer_range"):
            value = getattr(self, name)
            if type(value) not in (int, float) or not 0 <= value < 1:
                raise ConfigError(f"the config's {name} is {value!r}; it must be at least 0 and below 1")
        if type(self.tie_word_embeddings) is not bool:
            raise ConfigError(f"tie_word_embeddings is {self.tie_word_embeddings!r}; it must be true or false")
        for name, value in FIXED.items():
            if self.other.get(name, value) != value:
                raise ConfigError(f"{name}={self.other[name]!r} is not supported for gpt2; only {value!r} is")

    @classmethod
    def from_hf(cls, config: Mapping[str, Any]) -> "GPT2Config":
        """The fields this family knows, and the rest under `other`."""
        known = {f.name for f in fields(cls)} - {"other"}
        return cls(
            **{k: v for k, v in config.items() if k in known}, other={k: v for k, v in config.items() if k not in known}
        )

    def to_hf(self) -> dict[str, Any]:
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "other"}
        return {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", **self.other, **own}

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
        self.attn_pdrop = config.attn_pdrop
        self.c_attn = nn.Linear(config.n_embd, 3 * config.n_embd)
        self.c_proj = nn.Linear(config.n_embd, config.n_embd)
        self.resid_dropout = nn.Dropout(config.resid_pdrop)

    def forward(self, x: Tensor, attend: Attend, cache: KVCache | None) -> Tensor:
        B, T, C = x.shape
        heads = self.c_attn(x).view(B, T, 3, self.n_head, C // self.n_head)
        query, key, value = heads.permute(2, 0, 3, 1, 4)  # (B, T, 3, H, D) -> 3 × (B, H, T, D)
        dropout = self.attn_pdrop if self.training else 0.0
        key, value = remember(self.layer, key, value, attend, cache)
        y = attention(query, key, value, attend, dropout=dropout)
        y = y.transpose(1, 2).reshape(B, T, C)  # (B, H, T, D) -> (B, T, C)
        out: Tensor = self.resid_dropout(self.c_proj(y))
        return out


class MLP(nn.Module):
    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        inner = config.n_inner or 4 * config.n_embd
        self.approximate = ACTIVATIONS[config.activation_function]
        self.c_fc = nn.Linear(config.n_embd, inner)
        self.c_proj = nn.Linear(inner, config.n_embd)
        self.dropout = nn.Dropout(config.resid_pdrop)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.dropout(self.c_proj(F.gelu(self.c_fc(x), approximate=self.approximate)))
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


class GPT2(nn.Module):
    """The language model; random weights from torch's generator, as the paper initialises them."""

    def __init__(self, config: GPT2Config) -> None:
        super().__init__()
        self.config = config
        self.transformer = Transformer(config)
        self.lm_head = None if config.tie_word_embeddings else nn.Linear(config.n_embd, config.vocab_size, bias=False)
        if not self.output_weight.is_meta:
            self._initialise()

    def forward(
        self,
        ids: Tensor,
        *,
        positions: Tensor | None = None,
        attend: Attend | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """(B, T) ids -> (B, T, V) logits, always."""
        return self.head(self.trunk(ids, positions=positions, attend=attend, cache=cache))

    def trunk(
        self,
        ids: Tensor,
        *,
        positions: Tensor | None = None,
        attend: Attend | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """(B, T) ids -> (B, T, C) hidden states after the last norm."""
        attend = attend or Attend.causal(ids.shape[1], ids.device)
        positions = attend.positions if positions is None else positions
        x = self.transformer.drop(self.transformer.wte(ids) + self.transformer.wpe(positions))
        for block in self.transformer.h:
            x = block(x, attend, cache)
        hidden: Tensor = self.transformer.ln_f(x)
        return hidden

    def head(self, hidden: Tensor) -> Tensor:
        """(…, C) -> (…, V)."""
        return F.linear(hidden, self.output_weight)

    @property
    def output_weight(self) -> Tensor:
        """(V, C): the matrix of the head, which is the embedding's where the two are tied."""
        return self.transformer.wte.weight if self.lm_head is None else self.lm_head.weight

    @property
    def blocks(self) -> nn.ModuleList:
        return self.transformer.h

    def resize(self, vocab_size: int) -> "GPT2":
        """A copy with room for more tokens, whose new rows are the mean of the old ones."""
        config = GPT2Config.from_hf({**self.config.to_hf(), "vocab_size": vocab_size})
        weights = self.to_hf()
        for name in ("transformer.wte.weight", "lm_head.weight"):
            if name in weights:
                old = weights[name]
                mean = old.mean(dim=0, keepdim=True).expand(vocab_size - len(old), -1)
                weights[name] = torch.cat([old, mean])
        model = GPT2(config)
        model.load_hf(weights)
        return model

    def set_dropout(self, share: float) -> None:
        """Drops this share everywhere that GPT-2 drops anything: embeddings, attention, both residual branches."""
        for module in self.modules():
            if isinstance(module, nn.Dropout):
                module.p = share
            elif isinstance(module, Attention):
                module.attn_pdrop = share

    def to_hf(self) -> dict[str, Tensor]:
        """Hugging Face's names and layout: Linear weights of the blocks transposed, a tied head left out."""
        return {
            name: weight.detach().t().contiguous() if _is_conv1d(name) else weight.detach()
            for name, weight in self.state_dict().items()
        }

    def load_hf(self, weights: Mapping[str, Tensor]) -> None:
        """Takes weights with or without the `transformer.` prefix (the first GPT-2 files have none)."""
        own = self.state_dict()
        given = {own_name: name for name in weights if (own_name := canonical_name(name)) is not None}
        if self.lm_head is None:
            given.pop("lm_head.weight", None)
        missing, unknown = sorted(own.keys() - given.keys()), sorted(given.keys() - own.keys())
        if missing or unknown:
            says = f"lacks {missing[0]!r}" if missing else f"holds {unknown[0]!r}, which this GPT-2 has not"
            raise DataError(f"the weight file {says}; it does not belong to this config.json")
        with torch.no_grad():
            for name, weight in own.items():
                new = weights[given[name]]
                new = new.t() if _is_conv1d(name) else new
                if new.shape != weight.shape:
                    raise DataError(
                        f"{given[name]!r} has the shape {tuple(weights[given[name]].shape)} in the weight file, "
                        f"but config.json asks for {tuple(weight.t().shape if _is_conv1d(name) else weight.shape)}"
                    )
                weight.copy_(new)

    @torch.no_grad()
    def _initialise(self) -> None:
        """Normal(0, 0.02); the two projections into the residual stream scaled by 1/sqrt(2 · layers); biases zero."""
        std = self.config.initializer_range
        for name, weight in self.named_parameters():
            if name.endswith("c_proj.weight"):
                weight.normal_(0.0, std / math.sqrt(2 * self.config.n_layer))
            elif weight.dim() == 2:
                weight.normal_(0.0, std)
            elif name.endswith("bias"):
                weight.zero_()


def build(config: Mapping[str, Any]) -> GPT2:
    """A model with random weights from the contents of a `config.json`."""
    return GPT2(GPT2Config.from_hf(config))


def expected_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor that a weight file for this config must hold, without allocating any."""
    whole = GPT2Config.from_hf(config)
    with torch.device("meta"):
        shapes = {name: tuple(weight.shape) for name, weight in GPT2(replace(whole, n_layer=1)).to_hf().items()}
    first = "transformer.h.0."
    block = {name.removeprefix(first): shapes.pop(name) for name in list(shapes) if name.startswith(first)}
    layers = range(whole.n_layer)
    return shapes | {f"transformer.h.{layer}.{name}": shape for layer in layers for name, shape in block.items()}


def canonical_name(name: str) -> str | None:
    """`h.0.ln_1.bias` -> `transformer.h.0.ln_1.bias`; None for the causal masks that old files carry along."""
    if name.endswith((".attn.bias", ".attn.masked_bias")):
        return None
    return name if name.startswith(("transformer.", "lm_head.")) else f"transformer.{name}"


def _is_conv1d(name: str) -> bool:
    return name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight"))
