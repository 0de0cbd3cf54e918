"""What the objectives over pairs share: a chosen and a rejected answer to one prompt, and what they are worth to a model.

A file of the family says what the loss of a pair is. Shapes: n pairs; all log-probabilities in nats.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from chatwright.data.answers import Answers, Choices
from chatwright.data.examples import Examples
from chatwright.models.protocol import LanguageModel
from chatwright.objectives.answering import Answering
from chatwright.objectives.logprobs import AnswerLogprobs, answer_logprobs
from chatwright.objectives.protocol import Loss, Unit
from chatwright.objectives.reference import Reference, start_logprobs
from chatwright.objectives.unlikelihood import unlikelihood


@dataclass(frozen=True)
class Pairs:
    """(n,) each: what the policy and its start give to both answers, and how many tokens these have, their ends included.

    Where the start was not asked, its figures are NaN.
    """

    chosen: Tensor
    rejected: Tensor
    start_chosen: Tensor
    start_rejected: Tensor
    chosen_tokens: Tensor
    rejected_tokens: Tensor

    @classmethod
    def of(cls, policy: AnswerLogprobs, start: Tensor | None) -> "Pairs":
        asked = torch.full_like(policy.total, torch.nan) if start is None else start.to(policy.total.device)
        tokens = policy.tokens
        return cls(policy.total[::2], policy.total[1::2], asked[::2], asked[1::2], tokens[::2], tokens[1::2])

    @property
    def chosen_ratio(self) -> Tensor:
        """log p / p_start of the chosen answers: by how many nats they became likelier."""
        return self.chosen - self.start_chosen

    @property
    def rejected_ratio(self) -> Tensor:
        return self.rejected - self.start_rejected


@dataclass(frozen=True)
class Preferring(Answering):
    """The base of the objectives over pairs; dropout is off in all of them, or policy and start would differ by chance.

    `nll_weight` adds the chosen answer's mean loss a token (Pang et al., 2024, Iterative RPO, eq. 1), which holds on to
    it. `unlikelihood` adds that of the rejected answer's repeated tokens (`unlikelihood.py`).
    """

    rule: ClassVar[str] = "preferences"
    unit: ClassVar[Unit] = "pair"
    needs_start: ClassVar[bool] = True  # whether the loss asks the start model
    remedies: ClassVar[tuple[str, ...]] = ("beta", "nll_weight")  # settings that the panel's alarms may name

    beta: float = 0.1
    nll_weight: float = 0.0
    unlikelihood: float = 0.0
    reference: Reference | None = None

    def pair_loss(self, pairs: Pairs) -> Tensor:
        """(n,): the loss of each pair."""
        raise NotImplementedError

    def rewards(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """(n,) each: what the policy implicitly gives to chosen and rejected (Rafailov et al., 2023, section 5.1)."""
        return self.beta * pairs.chosen_ratio, self.beta * pairs.rejected_ratio

    @property
    def start_loss(self) -> float | None:
        """Only of the pair's own loss; what is added to it is the data's."""
        raise NotImplementedError

    @property
    def added(self) -> bool:
        """Whether anything is added to the pair's own loss."""
        return bool(self.nll_weight or self.unlikelihood)

    def of(self, examples: Examples) -> Choices:
        """Examples two by two, the chosen answer first."""
        return Choices.of(examples, 2)

    def loss(self, model: LanguageModel, batch: Answers) -> Loss:
        start = batch.reference
        if start is None and self.reference is not None and (self.needs_start or not torch.is_grad_enabled()):
            start = start_logprobs(self.reference, batch)
        policy = answer_logprobs(model, batch)
        pairs = Pairs.of(policy, start)
        each = self.pair_loss(pairs)
        if self.nll_weight:
            each = each - self.nll_weight * pairs.chosen / pairs.chosen_tokens
        if self.unlikelihood:
            each = each + self.unlikelihood * unlikelihood(policy, batch)[1::2] / pairs.rejected_tokens
        weight = torch.tensor(float(len(each)), device=each.device)
        return Loss(each.sum(), weight, self._metrics(pairs))

    def _metrics(self, pairs: Pairs) -> dict[str, Tensor]:
        """Sums over pairs; `chosen` and `rejected` are by how many nats an answer became likelier than at the start.

        `likelier` counts the pairs whose chosen answer has the higher mean log-probability, without any start model: so
        the start itself can be held against what became of it.
        """
        chosen, rejected = (reward.detach() for reward in self.rewards(pairs))
        chosen_mean = (pairs.chosen / pairs.chosen_tokens).detach()
        rejected_mean = (pairs.rejected / pairs.rejected_tokens).detach()
        right = (chosen > rejected).float() + (chosen == rejected).float() / 2  # before the first step, all are equal
        return {
            "accuracy": right.sum(),
            "margin": (chosen - rejected).sum(),
            "chosen": pairs.chosen_ratio.detach().sum(),
            "rejected": pairs.rejected_ratio.detach().sum(),
            "nll": (-chosen_mean).sum(),
            "likelier": (chosen_mean > rejected_mean).float().sum(),
        }
