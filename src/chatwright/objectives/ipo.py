"""IPO (Azar et al., 2023, eq. 17): the chosen answer's gain on the rejected one is to be a given number, and no more.

Log-probabilities are means over an answer's tokens, as in the authors' own experiments: a sum would grow with its length.
"""

from dataclasses import dataclass

from torch import Tensor

from chatwright.objectives.preference import Pairs, Preferring


@dataclass(frozen=True)
class Ipo(Preferring):
    """`beta` is the paper's tau: the gain that is aimed at is 1 / (2 beta) nats a token."""

    def pair_loss(self, pairs: Pairs) -> Tensor:
        gain = pairs.chosen_ratio / pairs.chosen_tokens - pairs.rejected_ratio / pairs.rejected_tokens
        return (gain - 1 / (2 * self.beta)).square()

    def rewards(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        chosen, rejected = pairs.chosen_ratio / pairs.chosen_tokens, pairs.rejected_ratio / pairs.rejected_tokens
        return self.beta * chosen, self.beta * rejected

    @property
    def start_loss(self) -> float | None:
        return None if self.added else 1 / (2 * self.beta) ** 2
