"""Supervised fine-tuning: the assistant's turns and their ends are learned, everything else is only read.

Part of the rows may rehearse documents, so that what pretraining taught is not forgotten while the manner is learned.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from chatwright.checkpoint import Checkpoint
from chatwright.data import lessons
from chatwright.data.examples import Examples
from chatwright.data.loader import Batch, Pack, batches_per_epoch, once, pack
from chatwright.errors import DataError
from chatwright.models.protocol import LanguageModel
from chatwright.objectives.logprobs import token_loss
from chatwright.objectives.protocol import Loss, Unit
from chatwright.text.records import Document, Record


@dataclass(frozen=True)
class Lessons:
    """Conversations to learn, and documents to rehearse, as ids."""

    conversations: Examples
    documents: Examples | None = None

    def __len__(self) -> int:
        return len(self.conversations)


@dataclass(frozen=True)
class Sft:
    """`rehearse` is the share of rows that come from the documents among the data, when there are any."""

    rule: ClassVar[str] = "conversations"
    unit: ClassVar[Unit] = "token"
    start_loss: ClassVar[None] = None  # depends on what the model knows
    batch_size: int = 8
    seq_len: int = 512
    seed: int = 0
    rehearse: float = 0.0

    def prepare(self, data: Sequence[Record], start: Checkpoint) -> Lessons:
        """Conversations cut to whole turns; DataError when none can be learned from."""
        documents = [record for record in data if isinstance(record, Document)]
        others = [record for record in data if not isinstance(record, Document)]
        if not others:
            raise DataError(
                "there is no conversation in the data; sft learns from conversations, `pretrain` from documents"
            )
        text = lessons.Text(start.tokenizer, start.template)
        learned = Examples.of(lessons.examples(others, lessons.conversations, text, self.seq_len))
        if not documents or not self.rehearse:
            return Lessons(learned)
        return Lessons(learned, Examples.of(lessons.examples(documents, lessons.documents, text, self.seq_len)))

    def batches(
        self, data: Lessons, policy: Checkpoint, start: Checkpoint, cursor: dict[str, Any] | None = None
    ) -> Iterator[Batch]:
        share = self.rehearse if data.documents else 0.0
        yield from pack(data.conversations, self._pack, rehearsed=data.documents, share=share, cursor=cursor)

    def once(self, data: Lessons, at_most: int | None = None) -> Iterator[Batch]:
        yield from once(data.conversations, self._pack, at_most)

    def steps_per_epoch(self, data: Lessons) -> int:
        return batches_per_epoch(data.conversations, self._pack, self.rehearse if data.documents else 0.0)

    def loss(self, model: LanguageModel, batch: Batch) -> Loss:
        return token_loss(model, batch)

    @property
    def _pack(self) -> Pack:
        return Pack(self.batch_size, self.seq_len, self.seed)
