"""DPO (Rafailov et al., 2023, eq. 7): the chosen answer gains on the rejected one, measured against the start model."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from chatwright.objectives.preference import Pairs, Preferring


@dataclass(frozen=True)
class Dpo(Preferring):
    """`label_smoothing`: the share of pairs that may be labelled the wrong way round (Mitchell, 2023, cDPO).

    `length_normalised`: log-probabilities are means over an answer's tokens, so that a long one gains nothing by its
    length (Meng et al., 2024, section 2.2, with the start model kept).
    """

    remedies: ClassVar[tuple[str, ...]] = ("beta", "nll_weight", "length_normalised")

    label_smoothing: float = 0.0
    length_normalised: bool = False

    def pair_loss(self, pairs: Pairs) -> Tensor:
        chosen, rejected = self.rewards(pairs)
        margin = chosen - rejected
        right, wrong = 1 - self.label_smoothing, self.label_smoothing
        return -right * F.logsigmoid(margin) - wrong * F.logsigmoid(-margin)

    def rewards(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        if not self.length_normalised:
            return super().rewards(pairs)
        chosen, rejected = pairs.chosen_ratio / pairs.chosen_tokens, pairs.rejected_ratio / pairs.rejected_tokens
        return self.beta * chosen, self.beta * rejected

    @property
    def start_loss(self) -> float | None:
        return None if self.added else math.log(2)
