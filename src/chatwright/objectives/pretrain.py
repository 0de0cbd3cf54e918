"""Pretraining: every token of every document is predicted from those before it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from chatwright.checkpoint import Checkpoint
from chatwright.data.examples import Examples
from chatwright.data.lessons import Text, documents, examples
from chatwright.data.loader import Batch, Pack, batches_per_epoch, once, pack
from chatwright.models.protocol import LanguageModel
from chatwright.objectives.logprobs import token_loss
from chatwright.objectives.protocol import Loss, Unit
from chatwright.text.records import Record


@dataclass(frozen=True)
class Pretrain:
    """Documents, each ended by <|endoftext|>, cut into windows where they are longer than `seq_len`."""

    rule: ClassVar[str] = "documents"
    unit: ClassVar[Unit] = "token"
    start_loss: ClassVar[None] = None  # depends on what the model knows
    batch_size: int = 8
    seq_len: int = 512
    seed: int = 0

    def prepare(self, data: Sequence[Record], start: Checkpoint) -> Examples:
        return Examples.of(examples(data, documents, Text(start.tokenizer, start.template), self.seq_len))

    def batches(
        self, data: Examples, policy: Checkpoint, start: Checkpoint, cursor: dict[str, Any] | None = None
    ) -> Iterator[Batch]:
        yield from pack(data, self._pack, cursor=cursor)

    def once(self, data: Examples, at_most: int | None = None) -> Iterator[Batch]:
        yield from once(data, self._pack, at_most)

    def steps_per_epoch(self, data: Examples) -> int:
        return batches_per_epoch(data, self._pack)

    def loss(self, model: LanguageModel, batch: Batch) -> Loss:
        return token_loss(model, batch)

    @property
    def _pack(self) -> Pack:
        return Pack(self.batch_size, self.seq_len, self.seed)
