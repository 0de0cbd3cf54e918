"""GRPO (Shao et al., 2024, eq. 3): of several answers to a prompt, those that earn more than the others become likelier.

The mean of the group takes the place of a learned value. `dr_grpo` (Liu et al., 2025) leaves out what favours long wrong
answers and prompts that are nearly always or nearly never answered rightly. Shapes: n answers, N learned tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from chatwright.checkpoint import Checkpoint
from chatwright.models.protocol import LanguageModel
from chatwright.objectives.logprobs import by_answer, token_logprobs
from chatwright.objectives.protocol import Loss
from chatwright.objectives.reinforcing import Reinforcing, divergence
from chatwright.objectives.rollouts import Kept, Rollouts, Round

EPS = 1e-4  # beside the standard deviation of a group's rewards


@dataclass(frozen=True)
class Grpo(Reinforcing):
    """`formula`: an answer's loss is the mean over its tokens ("grpo"), or their sum by `max_tokens` ("dr_grpo").

    `scale_rewards`: a group's rewards are divided by their standard deviation; None: as the formula has it.
    """

    formula: Literal["grpo", "dr_grpo"] = "grpo"
    scale_rewards: bool | None = None

    def teaching(self, made: Round) -> Sequence[int]:
        """Equal rewards make equal advantages: none."""
        return made.different

    def priced(self, policy: Checkpoint, batch: Rollouts, kept: Kept) -> Rollouts:
        scaled = self.formula == "grpo" if self.scale_rewards is None else self.scale_rewards
        each = advantages(batch.labels.reshape(-1, kept.group), scaled).flatten()
        batch = replace(batch, advantages=batch.spread(each[batch.numbers]))
        if self.updates == 1:  # the policy that gave the answers is the one that learns from them
            return batch
        told = torch.tensor(kept.old, device=each.device) if kept.old else self.logprobs(policy, batch)
        return replace(batch, old=batch.spread(told))

    def answers_loss(self, model: LanguageModel, batch: Rollouts) -> Loss:
        found = by_answer(batch, token_logprobs(model, batch, self.asking.temperature))
        old = found.each.detach() if batch.old is None else batch.at(batch.old)
        ratio = (found.each - old).exp()
        each, clipped = self.surrogate(ratio, batch.at(batch.advantages))
        if self.beta:
            assert batch.start is not None
            # with the ratio, its gradient is that of the divergence (DeepSeek-AI, 2025, V3.2, eq. 7)
            each = each + self.beta * ratio * divergence(found.each, batch.at(batch.start))
        answers = found.per_answer(each)
        answers = answers / (found.tokens if self.formula == "grpo" else self.asking.max_tokens)
        weight = torch.tensor(float(batch.count), device=each.device)
        return Loss(answers.sum(), weight, self.measured(batch, found, clipped))

    @property
    def start_loss(self) -> float | None:
        """Advantages add up to zero over a group; over its tokens they do so where every answer counts the same."""
        return 0.0 if self.formula == "grpo" else None


def advantages(rewards: Tensor, scaled: bool) -> Tensor:
    """(prompts, group) rewards -> by how much each is above its group's mean, in standard deviations of the group or not.

    >>> advantages(torch.tensor([[1.0, 0.0, 0.5]]), False).tolist()
    [[0.5, -0.5, 0.0]]
    """
    above = rewards - rewards.mean(dim=1, keepdim=True)
    return above / (rewards.std(dim=1, keepdim=True) + EPS) if scaled else above
