"""KTO (Ethayarajh et al., 2024, eq. 8): answers that were found good or bad, without a pair, measured against the start.

What an answer gained is held against what any answer gained by now (z in the paper): the mean, over the batch, of what
answers to other prompts gained. So that mean is one of each forward pass, and is never below zero.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from chatwright.checkpoint import Checkpoint
from chatwright.data import lessons
from chatwright.data.answers import Answers, Choices, answers, once, with_strangers
from chatwright.data.examples import Examples
from chatwright.data.loader import Pack
from chatwright.models.protocol import LanguageModel
from chatwright.objectives.logprobs import answer_logprobs
from chatwright.objectives.protocol import Loss, Unit
from chatwright.objectives.reference import Reference, start_logprobs
from chatwright.text.records import Record


@dataclass(frozen=True)
class Kto:
    """`good_weight` and `bad_weight` balance the two kinds of answers where there are more of one (section 4.2).

    Its data are families of two: an answer to a prompt, and the answer to another prompt, which only tells z.
    """

    rule: ClassVar[str] = "rated"
    unit: ClassVar[Unit] = "answer"
    needs_start: ClassVar[bool] = True

    batch_size: int = 8
    seq_len: int = 512
    seed: int = 0
    beta: float = 0.1
    good_weight: float = 1.0
    bad_weight: float = 1.0
    reference: Reference | None = None

    @property
    def start_loss(self) -> float | None:
        """Where nothing is gained yet, every answer is worth one half of its weight."""
        return self.good_weight / 2 if self.good_weight == self.bad_weight else None

    def prepare(self, data: Sequence[Record], start: Checkpoint) -> Choices:
        """DataError where nothing is rated."""
        text = lessons.Text(start.tokenizer, start.template)
        found = list(lessons.labelled(data, lessons.RULES[self.rule], text, self.seq_len))
        return self.of(Examples.of(one for one, _ in found).labelled([label for _, label in found]))

    def of(self, examples: Examples) -> Choices:
        """Rated answers with a stranger beside each."""
        return with_strangers(Choices.of(examples, 1), self.seq_len + 1)

    def batches(
        self, data: Choices, policy: Checkpoint, start: Checkpoint, cursor: dict[str, Any] | None = None
    ) -> Iterator[Answers]:
        yield from answers(data, self._pack, cursor=cursor)

    def once(self, data: Choices, at_most: int | None = None) -> Iterator[Answers]:
        yield from once(data, self._pack, at_most)

    def steps_per_epoch(self, data: Choices) -> int:
        return -(-len(data) // self.batch_size)

    def loss(self, model: LanguageModel, batch: Answers) -> Loss:
        start = batch.reference
        if start is None:
            assert self.reference is not None
            start = start_logprobs(self.reference, batch)
        gained = answer_logprobs(model, batch).total - start.to(batch.ids.device)
        own, strangers, good = gained[::2], gained[1::2], batch.labels[::2] > 0
        usual = strangers.detach().mean().clamp_min(0)  # z
        each = self.answer_loss(own, usual, good)
        weight = torch.tensor(float(len(each)), device=each.device)
        ratio = own.detach()
        right = ((ratio > usual) == good).float().sum()
        signed = torch.where(good, ratio, -ratio)
        return Loss(each.sum(), weight, {"accuracy": right, "margin": self.beta * signed.sum(), "z": usual * weight})

    def answer_loss(self, gained: Tensor, usual: Tensor, good: Tensor) -> Tensor:
        """(n,) nats that answers gained, () z, (n,) whether they are good -> (n,) the loss of each."""
        worth = torch.sigmoid(self.beta * torch.where(good, gained - usual, usual - gained))
        weights = torch.where(good, self.good_weight, self.bad_weight)
        return weights * (1 - worth)

    @property
    def _pack(self) -> Pack:
        return Pack(self.batch_size, self.seq_len, self.seed)
