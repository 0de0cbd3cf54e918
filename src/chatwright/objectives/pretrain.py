"""Pretraining: every token of every document is predicted from those before it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from chatwright.checkpoint import Checkpoint
from chatwright.data.loader import Batch, Examples, Pack, batches_per_epoch, once, pack
from chatwright.errors import DataError
from chatwright.models.protocol import LanguageModel
from chatwright.objectives.logprobs import token_loss
from chatwright.objectives.protocol import Loss
from chatwright.text.records import Conversation, Document, Record
from chatwright.text.template import Example, render_document
from chatwright.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Pretrain:
    """Documents, each ended by <|endoftext|>, cut into windows where they are longer than `seq_len`."""

    batch_size: int = 8
    seq_len: int = 512
    seed: int = 0

    def prepare(self, data: Sequence[Record], start: Checkpoint) -> Examples:
        return document_examples(data, start.tokenizer, self.seq_len)

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


def document_examples(data: Sequence[Record], tokenizer: Tokenizer, seq_len: int) -> Examples:
    """Windows of at most `seq_len` predictions; a window begins with the token that the one before ended with,
    so that each token but a document's first is predicted exactly once."""
    return Examples(window for record in data for window in _windows(_document(record, tokenizer), seq_len))


def _document(record: Record, tokenizer: Tokenizer) -> Example:
    if isinstance(record, Conversation):
        raise DataError(
            f"{record.source}: a conversation; pretraining reads documents, use `chatwright sft` for this data"
        )
    if not isinstance(record, Document):
        raise DataError(f"{record.source}: a {type(record).__name__.lower()}; pretraining reads documents")
    return render_document(record, tokenizer)


def _windows(example: Example, seq_len: int) -> Iterator[Example]:
    for at in range(0, max(1, len(example.ids) - 1), seq_len):
        yield Example(example.ids[at : at + seq_len + 1], example.mask[at : at + seq_len + 1])
