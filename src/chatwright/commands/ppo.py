"""Reinforcement learning with a value for every token: what an answer earns is held against what was expected of it.

Graders of a task say what an answer earns, or a reward model, or both.
"""

from typing import Any

from pydantic import Field
from torch import nn

from chatwright.train.reinforce_settings import ReinforceSettings

POSITIONAL = ("model",)
EXAMPLES = (
    "chatwright ppo runs/sft --task arithmetic --out runs/rl",
    "chatwright ppo runs/sft --data problems.jsonl --reward runs/reward --beta 0.05 --out runs/rl",
)


class Settings(ReinforceSettings):
    """The start model, the problems, what an answer earns, and how it is shared out among the tokens."""

    gamma: float = Field(default=1.0, gt=0, le=1, description="what is earned a token later counts so much")
    lam: float = Field(default=0.95, ge=0, le=1, description="1 looks at what was earned, 0 at what is expected next")
    value_weight: float = Field(default=0.1, gt=0, allow_inf_nan=False, description="of the values' own loss")


def run(settings: Settings) -> dict[str, Any]:
    """The run's figures, with accuracy before and after, its proofs and what the panel saw."""
    from chatwright.commands import _reinforcing as reinforcing
    from chatwright.objectives.ppo import Ppo, ValueHead
    from chatwright.objectives.reinforcing import Reinforcing

    def make(given: Settings, parts: reinforcing.Parts) -> tuple[Reinforcing, nn.Module | None]:
        head = ValueHead(parts.policy.model.output_weight.shape[1])
        own = given.model_dump(include={"gamma", "lam", "value_weight"})
        return Ppo(**parts.shared, head=head, **own), head

    return reinforcing.learn("ppo", settings, make)
