"""KTO (Ethayarajh et al., 2024, eq. 8): answers that were found good or bad, without a pair, measured against the start.

What an answer gained is held against what any answer gained by now (z in the paper): the mean, over the batch, of what
answers to other prompts gained. So that mean is one of each forward pass, and is never below zero.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from chatwright.data.answers import Answers, Choices, with_strangers
from chatwright.data.examples import Examples
from chatwright.models.protocol import LanguageModel
from chatwright.objectives.answering import Answering
from chatwright.objectives.logprobs import answer_logprobs
from chatwright.objectives.protocol import Loss, Unit
from chatwright.objectives.reference import Reference, start_logprobs


@dataclass(frozen=True)
class Kto(Answering):
    """`good_weight` and `bad_weight` balance the two kinds of answers where there are more of one (section 4.2).

    Its data are families of two: an answer to a prompt, and the answer to another prompt, which only tells z.
    """

    rule: ClassVar[str] = "rated"
    unit: ClassVar[Unit] = "answer"
    needs_start: ClassVar[bool] = True
    remedies: ClassVar[tuple[str, ...]] = ("beta",)

    beta: float = 0.1
    good_weight: float = 1.0
    bad_weight: float = 1.0
    reference: Reference | None = None

    @property
    def start_loss(self) -> float | None:
        """Where nothing is gained yet, every answer is worth one half of its weight."""
        return self.good_weight / 2 if self.good_weight == self.bad_weight else None

    def of(self, examples: Examples) -> Choices:
        """Rated answers with a stranger beside each."""
        return with_strangers(Choices.of(examples, 1), self.seq_len + 1)

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
        metrics = {"accuracy": right, "margin": self.beta * signed.sum(), "z": usual * weight}
        # sums over the answers of one kind, of which there may be few or none in a batch; their share makes means of them
        gains = {"good_gained": ratio[good].sum(), "bad_gained": ratio[~good].sum(), "good": good.float().sum()}
        return Loss(each.sum(), weight, {**metrics, **gains})

    def answer_loss(self, gained: Tensor, usual: Tensor, good: Tensor) -> Tensor:
        """(n,) nats that answers gained, () z, (n,) whether they are good -> (n,) the loss of each."""
        worth = torch.sigmoid(self.beta * torch.where(good, gained - usual, usual - gained))
        weights = torch.where(good, self.good_weight, self.bad_weight)
        return weights * (1 - worth)
