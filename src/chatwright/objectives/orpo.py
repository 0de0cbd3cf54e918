"""ORPO (Hong et al., 2024, eq. 6): fine-tuning on the chosen answer, and its odds against the rejected one; no start model."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from chatwright.objectives.preference import Pairs, Preferring


@dataclass(frozen=True)
class Orpo(Preferring):
    """`beta` is the paper's lambda: what the odds count beside the mean loss of the chosen answer's tokens."""

    needs_start: ClassVar[bool] = False
    remedies: ClassVar[tuple[str, ...]] = ()  # a higher beta would drive it on, and the chosen answer's loss is in it

    def pair_loss(self, pairs: Pairs) -> Tensor:
        chosen, rejected = pairs.chosen / pairs.chosen_tokens, pairs.rejected / pairs.rejected_tokens
        return -chosen - self.beta * F.logsigmoid(_log_odds(chosen) - _log_odds(rejected))

    def rewards(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        return self.beta * pairs.chosen / pairs.chosen_tokens, self.beta * pairs.rejected / pairs.rejected_tokens

    @property
    def start_loss(self) -> float | None:
        return None


def _log_odds(mean: Tensor) -> Tensor:
    """log p / (1 - p) for the mean log p of a token (eq. 4); a mean of zero is one that rounding made so."""
    mean = mean.clamp_max(-1e-6)
    return mean - torch.log1p(-mean.exp())
