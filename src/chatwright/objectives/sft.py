"""Supervised fine-tuning: the assistant's turns and their ends are learned, everything else is only read.

Part of the rows may rehearse documents, so that what pretraining taught is not forgotten while the manner is learned.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from chatwright.checkpoint import Checkpoint
from chatwright.data.loader import Batch, Examples, Pack, batches_per_epoch, once, pack
from chatwright.data.truncate import fit
from chatwright.errors import DataError
from chatwright.models.protocol import LanguageModel
from chatwright.objectives.logprobs import token_loss
from chatwright.objectives.pretrain import document_examples
from chatwright.objectives.protocol import Loss
from chatwright.text.records import Conversation, Document, Record


@dataclass(frozen=True)
class Lessons:
    """Conversations to learn, and documents to rehearse, as ids."""

    conversations: Examples
    documents: Examples | None = None


@dataclass(frozen=True)
class Sft:
    """`rehearse` is the share of rows that come from the documents among the data, when there are any."""

    batch_size: int = 8
    seq_len: int = 512
    seed: int = 0
    rehearse: float = 0.0

    def prepare(self, data: Sequence[Record], start: Checkpoint) -> Lessons:
        """Conversations cut to whole turns; DataError when none can be learned from."""
        documents = [record for record in data if isinstance(record, Document)]
        others = [record for record in data if not isinstance(record, Document)]
        conversations = [record for record in others if isinstance(record, Conversation)]
        if len(conversations) < len(others):
            wrong = next(record for record in others if not isinstance(record, Conversation))
            raise DataError(f"{wrong.source}: a {type(wrong).__name__.lower()}; sft learns from conversations")
        if not conversations:
            raise DataError(
                "there is no conversation in the data; sft learns from conversations, `pretrain` from documents"
            )
        room = self.seq_len + 1  # ids; the shift by one makes seq_len predictions of them
        fitted = (fit(one, start.tokenizer, start.template, room) for one in conversations)
        learned = Examples(one.example for one in fitted if one.example is not None)
        rehearsed = document_examples(documents, start.tokenizer, self.seq_len) if documents and self.rehearse else None
        return Lessons(learned, rehearsed)

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
