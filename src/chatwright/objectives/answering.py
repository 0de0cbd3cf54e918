"""What all objectives over given answers share: families of them as data, batch by batch; a file says what the loss is."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from chatwright.checkpoint import Checkpoint
from chatwright.data import lessons
from chatwright.data.answers import Answers, Choices, answers, once
from chatwright.data.examples import Examples
from chatwright.data.loader import Pack
from chatwright.text.records import Record


@dataclass(frozen=True)
class Answering:
    """The base of the objectives over pairs, over rated answers and of the reward model; `batch_size` counts prompts."""

    rule: ClassVar[str]

    batch_size: int = 8
    seq_len: int = 512
    seed: int = 0

    def of(self, examples: Examples) -> Choices:
        """Its data, of prepared examples."""
        raise NotImplementedError

    def prepare(self, data: Sequence[Record], start: Checkpoint) -> Choices:
        """DataError where nothing can be learned."""
        text = lessons.Text(start.tokenizer, start.template)
        found = list(lessons.labelled(data, lessons.RULES[self.rule], text, self.seq_len))
        return self.of(Examples.of(one for one, _ in found).labelled([label for _, label in found]))

    def batches(
        self, data: Choices, policy: Checkpoint, start: Checkpoint, cursor: dict[str, Any] | None = None
    ) -> Iterator[Answers]:
        yield from answers(data, self._pack, cursor=cursor)

    def once(self, data: Choices, at_most: int | None = None) -> Iterator[Answers]:
        yield from once(data, self._pack, at_most)

    def steps_per_epoch(self, data: Choices) -> int:
        return -(-len(data) // self.batch_size)

    @property
    def _pack(self) -> Pack:
        return Pack(self.batch_size, self.seq_len, self.seed)
