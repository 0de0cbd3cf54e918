"""The reward model (Christiano et al., 2017, eq. 1; Ouyang et al., 2022, eq. 1): of two answers the better scores higher.

By the Bradley-Terry model, the sigmoid of the difference of two scores is how likely it is that the first answer is
preferred. Shapes: B rows, T tokens, C channels, n answers or pairs.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from chatwright.data.answers import Answers, Choices
from chatwright.data.examples import Examples
from chatwright.models.protocol import LanguageModel
from chatwright.objectives.answering import Answering
from chatwright.objectives.protocol import Loss, Unit


@dataclass(frozen=True)
class Reward(Answering):
    """`centre` weighs the square of what both scores add up to (Eisenstein et al., 2023): it keeps them around zero, which
    differences alone leave open.
    """

    rule: ClassVar[str] = "compared"
    unit: ClassVar[Unit] = "pair"

    centre: float = 0.0

    @property
    def start_loss(self) -> float | None:
        """No formula says it: the head is drawn at random, so that what lies before it learns from the first step on."""
        return None

    def of(self, examples: Examples) -> Choices:
        """Examples two by two, the chosen answer first."""
        return replace(Choices.of(examples, 2), scored=True)

    def loss(self, model: LanguageModel, batch: Answers) -> Loss:
        found = scores(model, batch)
        chosen, rejected = found[::2], found[1::2]
        each = self.pair_loss(chosen, rejected)
        weight = torch.tensor(float(len(each)), device=each.device)
        chosen, rejected = chosen.detach(), rejected.detach()
        right = (chosen > rejected).float() + (chosen == rejected).float() / 2
        metrics = {
            "accuracy": right.sum(),
            "margin": (chosen - rejected).sum(),
            "chosen": chosen.sum(),
            "rejected": rejected.sum(),
        }
        return Loss(each.sum(), weight, metrics)

    def pair_loss(self, chosen: Tensor, rejected: Tensor) -> Tensor:
        """(n,) scores of the better and of the worse answer -> (n,) the loss of each pair."""
        each = -F.logsigmoid(chosen - rejected)
        return each + self.centre * (chosen + rejected) ** 2 if self.centre else each


def scores(model: LanguageModel, batch: Answers) -> Tensor:
    """(n,): the score of each answer of a batch, read at its last id."""
    hidden = model.trunk(batch.ids, attend=batch.attend)  # (B, T, C)
    ends = batch.mask.flatten().nonzero().squeeze(1)  # (n,), in the order in which the answers lie in the rows
    found = model.rewards(hidden.flatten(0, 1).index_select(0, ends))
    return found[batch.answer.flatten()[ends].argsort()]
