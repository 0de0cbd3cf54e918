"""What the trainer asks of an objective: batches to learn from, and a loss as a sum with its weight."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, TypeVar

from torch import Tensor

from chatwright.checkpoint import Checkpoint
from chatwright.data.loader import Batch
from chatwright.models.protocol import LanguageModel
from chatwright.text.records import Record

Unit = Literal["token", "pair", "answer"]


@dataclass
class Loss:
    """`total` is a sum and `weight` what it is a sum over (learned tokens, pairs …), so that batches of any size add up.

    `metrics` are sums over the same weight, such as the number of right predictions under "token_accuracy".
    """

    total: Tensor
    weight: Tensor
    metrics: dict[str, Tensor] = field(default_factory=dict)


Prepared = TypeVar("Prepared")


class Objective(Protocol[Prepared]):
    """A settings dataclass; its file is its name. `Prepared` is its data as ids, made once and used many times.

    `rule` names the entry of `data.lessons` that makes ids of a record, here and in the processes that prepare data.
    `unit` is what the loss is a sum over.
    """

    rule: ClassVar[str]
    unit: ClassVar[Unit]

    @property
    def start_loss(self) -> float | None:
        """The loss of a model that is its own start, where the formula says it; the sanity proof holds it against that."""
        ...

    def prepare(self, data: Sequence[Record], start: Checkpoint) -> Prepared:
        """Records at hand as the ids and masks to learn from. DataError for those that nothing can be learned from."""
        ...

    def batches(
        self, data: Prepared, policy: Checkpoint, start: Checkpoint, cursor: dict[str, Any] | None = None
    ) -> Iterator[Batch]:
        """Batches from `cursor` on, without end unless nothing is left to learn.

        `policy` is being trained, `start` is the frozen model it began as.
        """
        ...

    def once(self, data: Prepared, at_most: int | None = None) -> Iterator[Batch]:
        """Each record one time, for evaluation; with `at_most`, so many batches from all over the data."""
        ...

    def steps_per_epoch(self, data: Prepared) -> int:
        """Batches that go once through the data."""
        ...

    def loss(self, model: LanguageModel, batch: Any) -> Loss:
        """Of a batch that this objective made."""
        ...
