"""What every model family looks like to the trainer, the engine and the checkpoint.

Shapes: B rows, T tokens in a row, C channels of the hidden state, V vocabulary entries.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor, nn

from chatwright.models.attention import Attend
from chatwright.models.cache import KVCache
from chatwright.models.token_rows import TokenRows


class ModelConfig(Protocol):
    """The part of `config.json` that others ask for; a family adds its own fields, under Hugging Face's names."""

    @property
    def vocab_size(self) -> int: ...
    @property
    def context_length(self) -> int:
        """Tokens that fit into the window."""
        ...

    @property
    def cache_shape(self) -> tuple[int, int, int]:
        """(layers, key-value heads, channels of a head): what a KVCache is made from."""
        ...

    def to_hf(self) -> dict[str, Any]:
        """The contents of `config.json`, unknown keys of the original included."""
        ...


class LanguageModel(Protocol):
    """A causal language model. `forward` is `head(trunk(ids))`; who needs fewer logits calls the two by themselves."""

    @property
    def config(self) -> ModelConfig: ...
    @property
    def blocks(self) -> nn.ModuleList:
        """The transformer blocks, which a distributed trainer shards one by one."""
        ...

    def trunk(
        self,
        ids: Tensor,
        *,
        positions: Tensor | None = None,
        attend: Attend | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """(B, T) ids -> (B, T, C) hidden states after the last norm."""
        ...

    def head(self, hidden: Tensor) -> Tensor:
        """(…, C) hidden states -> (…, V) logits."""
        ...

    def rewards(self, hidden: Tensor) -> Tensor:
        """(N, C) hidden states at the ends of answers -> (N,) scores, of a reward model only."""
        ...

    @property
    def output_weight(self) -> Tensor:
        """(V, C): the matrix of the head."""
        ...

    @property
    def output_rows(self) -> TokenRows | None:
        """Rows of the head that are trained while the rest of it is frozen."""
        ...

    def set_dropout(self, share: float) -> None:
        """Overrides every dropout of the model."""
        ...

    def to_hf(self) -> dict[str, Tensor]:
        """The weights under Hugging Face's names and in its layout; tied copies left out."""
        ...

    def load_hf(self, weights: Mapping[str, Tensor]) -> None:
        """Fills the model from weights under Hugging Face's names; DataError names what does not fit."""
        ...
