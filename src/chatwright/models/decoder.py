"""What all families share: ids to logits, weights under Hugging Face's names, more tokens, and memory for training.

A family file says what its blocks are made of and writes `trunk`; its module names are Hugging Face's, so that weights
keep their names. Shapes: B rows, T tokens, C channels, V vocabulary entries.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as recompute

from chatwright.errors import ConfigError, DataError
from chatwright.models import reward
from chatwright.models.attention import Attend
from chatwright.models.cache import KVCache
from chatwright.models.config import FamilyConfig
from chatwright.models.kernels import products
from chatwright.models.lora import LowRank
from chatwright.models.quant import Quantised
from chatwright.models.quick import PackedTable
from chatwright.models.token_rows import TokenRows, grown, put

Place = Tensor | Quantised  # where a weight of a file goes


class Decoder(nn.Module):
    """A decoder-only transformer. `MODEL` of a family's file is its subclass."""

    CONFIG: ClassVar[type[FamilyConfig]]
    LAYERS: ClassVar[str]  # the field of the config that counts the blocks
    BLOCKS: ClassVar[str]  # how the names of the blocks' weights begin: "transformer.h."
    EMBEDDING: ClassVar[str]  # the name of the embedding's weight
    HEAD: ClassVar[str] = "lm_head.weight"  # the name of the head's weight, where it is not the embedding's

    config: FamilyConfig  # the family's own class of it
    lm_head: nn.Linear | None  # None where the embedding is the head
    score: nn.Linear | None  # of a reward model, which has no other head

    def __init__(self, config: FamilyConfig) -> None:
        super().__init__()
        self.config = config
        self.score = None
        self.checkpointing = False  # whether training keeps only what enters each block, and computes the rest again
        # the precision of frozen matrices, where that is lower than the stream's: products then run in it
        self.matrix_dtype: torch.dtype | None = None
        # rows that are trained while the rest is frozen: the embedding's, and those of a head of its own
        self.token_rows: TokenRows | None = None
        self.head_rows: TokenRows | None = None

    @property
    def embedding(self) -> nn.Embedding:
        raise NotImplementedError

    @property
    def blocks(self) -> nn.ModuleList:
        """The transformer blocks, in order."""
        raise NotImplementedError

    @property
    def final_norm(self) -> nn.LayerNorm | nn.RMSNorm:
        raise NotImplementedError

    @classmethod
    def build(cls, config: Mapping[str, Any]) -> Self:
        """A model with random weights from the contents of a `config.json`. ConfigError names what it may not say."""
        return reward.completed(cls(cls.CONFIG.from_hf(config)))

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
        raise NotImplementedError

    def head(self, hidden: Tensor) -> Tensor:
        """(…, C) -> (…, V)."""
        assert self.score is None, "a reward model has no words"
        table: nn.Module = self.embedding if self.lm_head is None else self.lm_head
        if isinstance(table, Quantised) or (isinstance(table, PackedTable) and self.output_rows is None):
            return table.product(hidden)
        weight = self.output_weight
        if products.takes(hidden, weight):
            return products.product(hidden, weight)
        return F.linear(hidden.to(weight.dtype), weight)

    def rewards(self, hidden: Tensor) -> Tensor:
        """(N, C) states at the ends of answers -> (N,) their scores, in fp32: good answers differ by little."""
        assert self.score is not None, "a language model has no score"
        with torch.autocast(hidden.device.type, enabled=False):
            return F.linear(hidden.float(), self.score.weight.float()).squeeze(-1)

    @property
    def output_weight(self) -> Tensor:
        """(V, C): the matrix of the head, which is the embedding's where the two are tied."""
        return self.embedding.weight if self.lm_head is None else self.lm_head.weight

    @property
    def output_rows(self) -> TokenRows | None:
        """The rows of the head that are trained while the rest of it is frozen."""
        return self.token_rows if self.lm_head is None else self.head_rows

    def embed(self, ids: Tensor) -> Tensor:
        """(B, T) -> (B, T, C) in the precision of the stream, which is that of the norms: a frozen table may have less."""
        self._write_rows()
        x: Tensor = self.embedding(ids).to(self.final_norm.weight.dtype)
        return x if self.token_rows is None else x + self.token_rows.slope(ids).to(x.dtype)

    def through(self, block: nn.Module, x: Tensor, *given: Any) -> Tensor:
        """`block(x, *given)`; with `checkpointing`, what it computes on the way is made again for the backward pass."""
        device = x.device.type
        lower = self.matrix_dtype if not torch.is_autocast_enabled(device) else None
        with torch.autocast(device, lower) if lower else nullcontext():
            if self.checkpointing and self.training and torch.is_grad_enabled():
                out: Tensor = recompute(block, x, *given, use_reentrant=False)
            else:
                out = block(x, *given)
        return out

    def set_dropout(self, share: float) -> None:
        """Drops this share wherever the family drops anything."""
        for module in self.modules():
            if isinstance(module, nn.Dropout):
                module.p = share

    @property
    def size(self) -> int:
        """Numbers in the base model's weights, those that a quantised matrix stands for included."""
        shapes = (_shape(place, transposed=False) for _, place in self.places())
        return sum(math.prod(shape) for shape in shapes)

    @property
    def trained_size(self) -> int:
        """Numbers that training changes: all of them, or those of an adapter."""
        return sum(weight.numel() for weight in self.parameters() if weight.requires_grad)

    @torch.no_grad()
    def initialise(self) -> None:
        """Normal(0, initializer_range) for matrices, zero for biases; norms are one already."""
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                weight.normal_(0.0, self.config.initializer_range)
            elif name.endswith("bias"):
                weight.zero_()

    # Weights under Hugging Face's names

    @classmethod
    def expected_shapes(cls, config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
        """Name and shape of every tensor that a weight file for this config must hold, without allocating any."""
        whole = cls.CONFIG.from_hf(config)
        with torch.device("meta"):
            one: Decoder = reward.completed(cls(cls.first_layer(whole)))
            shapes = {name: _shape(place, cls.is_transposed(name)) for name, place in one.places()}
        first = f"{cls.BLOCKS}0."
        block = {name.removeprefix(first): shapes.pop(name) for name in list(shapes) if name.startswith(first)}
        layers = range(vars(whole)[cls.LAYERS])
        return shapes | {f"{cls.BLOCKS}{layer}.{name}": shape for layer in layers for name, shape in block.items()}

    @classmethod
    def first_layer(cls, config: Any) -> Any:
        """The config of a model that has the first layer only; a family that says something of each layer cuts that too."""
        return replace(config, **{cls.LAYERS: 1})

    @classmethod
    def canonical_name(cls, name: str) -> str | None:
        """The name that this code gives a tensor of a file; None for one that holds nothing to learn, such as a mask."""
        return name

    @classmethod
    def is_transposed(cls, name: str) -> bool:
        """Whether files hold this matrix as (in, out)."""
        return False

    def places(self) -> Iterator[tuple[str, Place]]:
        """Every weight of the base model under its name, adapters apart; a quantised matrix as its layer."""
        for path, module in self.named_modules():
            if isinstance(module, LowRank | TokenRows):
                continue
            own = path.removesuffix(".base")  # what LoRA wraps keeps its name
            if isinstance(module, Quantised):
                yield f"{own}.weight", module
            for name, weight in module.named_parameters(recurse=False):
                yield f"{own}.{name}", weight

    def to_hf(self) -> dict[str, Tensor]:
        """Names and layout of Hugging Face; a tied head is left out, a quantised matrix is what it stands for, in fp32."""
        self._write_rows()
        weights = {}
        for name, place in self.places():
            weight = (place.dequantised if isinstance(place, Quantised) else place).detach()
            weights[name] = weight.t() if self.is_transposed(name) else weight
        return weights

    def load_hf(self, weights: Mapping[str, Tensor]) -> None:
        """Fills the model, one tensor after the other; DataError names what does not fit, before the first is touched."""
        own = dict(self.places())
        given = {known: name for name in weights if (known := self.canonical_name(name)) is not None}
        if self.lm_head is None:
            given.pop(self.HEAD, None)
        missing, unknown = sorted(own.keys() - given.keys()), sorted(given.keys() - own.keys())
        if missing or unknown:
            says = f"lacks {missing[0]!r}" if missing else f"holds {unknown[0]!r}, which this model has not"
            raise DataError(f"the weight file {says}; it does not belong to this config.json")
        with torch.no_grad():
            for name, place in own.items():
                new = weights[given[name]]
                if tuple(new.shape) != (asked := _shape(place, self.is_transposed(name))):
                    raise DataError(
                        f"{given[name]!r} has the shape {tuple(new.shape)} in the weight file, "
                        f"but config.json asks for {asked}"
                    )
                new = new.t() if self.is_transposed(name) else new
                if isinstance(place, Quantised):
                    place.fill(new)
                else:
                    place.copy_(new)

    # Room for more

    def add_score(self, padding: int, seed: int) -> None:
        """Makes it a reward model that pads with this token, in place; a head of the vocabulary's is dropped."""
        self.config = reward.as_reward(self.config, padding)
        reward.completed(self, seed)

    def grow(self, known: int, tokens: int) -> None:
        """Gives the tokens `known` … `tokens` - 1 rows that start as the mean of those before, in place.

        Rows that a padded embedding has to spare are used first; more are added where they do not suffice.
        """
        self.embedding.weight = grown(self.embedding.weight, known, tokens)
        if self.lm_head is not None:
            self.lm_head.weight = grown(self.lm_head.weight, known, tokens)
            self.lm_head.out_features = len(self.lm_head.weight)
        self.embedding.num_embeddings = len(self.embedding.weight)
        self.config = replace(self.config, vocab_size=len(self.embedding.weight))

    def fold_rows(self) -> None:
        """Makes the rows that were trained beside an adapter ordinary ones."""
        self._write_rows()
        self.token_rows = self.head_rows = None

    def set_rows(self, token_rows: TokenRows | None, head_rows: TokenRows | None) -> None:
        """Other trained rows, or none: what the former ones had replaced comes back first."""
        for rows, table in self._rows():
            put(table, rows.indices, rows.before)
        self.token_rows, self.head_rows = token_rows, head_rows

    def _write_rows(self) -> None:
        for rows, table in self._rows():
            put(table, rows.indices, rows.rows)

    def _rows(self) -> Iterator[tuple[TokenRows, nn.Module]]:
        """The rows that are trained, with the embedding or the head that they are rows of."""
        if self.token_rows is not None:
            yield self.token_rows, self.embedding
        if self.head_rows is not None:
            yield self.head_rows, self.embedding if self.lm_head is None else self.lm_head

    def stretch(self, length: int) -> None:
        """Makes the window `length` tokens wide, in place. ConfigError where the family cannot."""
        raise ConfigError(f"--context cannot be changed for {self.config.MODEL_TYPE}")


def stretched(table: Tensor, length: int) -> Tensor:
    """(P, C) learned positions -> (length, C): the first and the last stay, those between are interpolated.

    Fewer than P are the first ones, unchanged.
    """
    if length <= len(table):
        return table[:length].clone()
    columns = table.t()[None].float()  # (1, C, P)
    longer = F.interpolate(columns, size=length, mode="linear", align_corners=True)[0].t()
    return longer.to(table.dtype).contiguous()


def _shape(place: Place, transposed: bool) -> tuple[int, ...]:
    shape = (place.out_features, place.in_features) if isinstance(place, Quantised) else tuple(place.shape)
    return shape[::-1] if transposed else shape
