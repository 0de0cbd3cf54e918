"""Reinforcement learning with groups: of several answers to a problem, those that earn more become likelier.

Graders of a task say what an answer earns, or a reward model, or both.
"""

from typing import Any, Literal

from pydantic import Field
from torch import nn

from chatwright.train.reinforce_settings import ReinforceSettings

POSITIONAL = ("model",)
EXAMPLES = (
    "chatwright grpo runs/sft --task arithmetic --out runs/rl",
    "chatwright grpo runs/sft --data gsm8k.jsonl --max-tokens 256 --lora.rank 8 --out runs/rl",
    "chatwright grpo runs/sft --task formats --reward runs/reward --reward-weight 0.2 --beta 0.05 --out runs/rl",
)


class Settings(ReinforceSettings):
    """The start model, the problems, what an answer earns, and the formula."""

    group: int = Field(default=8, ge=2, description="answers to each prompt, which are held against each other")
    loss: Literal["grpo", "dr_grpo"] = Field(
        default="grpo",
        description="mean over an answer's tokens; or their sum by --max-tokens, which favours no length",
    )
    scale_rewards: bool | None = Field(
        default=None, description="divide by the standard deviation of a group's rewards; as --loss has it if not given"
    )


def run(settings: Settings) -> dict[str, Any]:
    """The run's figures, with accuracy before and after, its proofs and what the panel saw."""
    from chatwright.commands import _reinforcing as reinforcing
    from chatwright.objectives.grpo import Grpo
    from chatwright.objectives.reinforcing import Reinforcing

    def make(given: Settings, parts: reinforcing.Parts) -> tuple[Reinforcing, nn.Module | None]:
        return Grpo(**parts.shared, formula=given.loss, scale_rewards=given.scale_rewards), None

    return reinforcing.learn("grpo", settings, make)
