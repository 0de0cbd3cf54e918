"""SimPO (Meng et al., 2024, eq. 6): the chosen answer's mean log-probability is to lead by a margin; no start model."""

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from chatwright.objectives.preference import Pairs, Preferring


@dataclass(frozen=True)
class Simpo(Preferring):
    """`gamma` is the lead, in the units of the reward: beta times nats a token."""

    needs_start: ClassVar[bool] = False

    beta: float = 2.0
    gamma: float = 1.0

    def pair_loss(self, pairs: Pairs) -> Tensor:
        chosen, rejected = self.rewards(pairs)
        return -F.logsigmoid(chosen - rejected - self.gamma)

    def rewards(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        return self.beta * pairs.chosen / pairs.chosen_tokens, self.beta * pairs.rejected / pairs.rejected_tokens

    @property
    def start_loss(self) -> float | None:
        return None
