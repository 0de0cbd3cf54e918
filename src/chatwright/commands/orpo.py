"""ORPO: fine-tuning and preferences in one stage, from a base model or a chatbot; no start model holds the policy."""

from typing import Any

from pydantic import Field

from chatwright.train.settings import PreferenceSettings

POSITIONAL = ("model",)
EXAMPLES = ("chatwright orpo gpt2 --data preferences.json --template chatml --lr 5e-5 --out runs/orpo",)
OWN = {"beta", "unlikelihood"}  # settings that the objective has under the same names


class Settings(PreferenceSettings):
    """The start model, the preferences, and what the loss weighs."""

    beta: float = Field(
        default=0.1, gt=0, description="what the odds of the pair count beside the chosen answer's loss"
    )
    unlikelihood: float = Field(default=0.0, ge=0, description="of making the rejected answer's repetitions unlikely")


def run(settings: Settings) -> dict[str, Any]:
    """The run's figures, with its proofs and what the panel saw."""
    from chatwright.commands import _preferring as preferring
    from chatwright.objectives.orpo import Orpo
    from chatwright.objectives.reference import Reference

    def make(given: Settings, reference: Reference | None) -> Orpo:
        own = given.model_dump(include=OWN)
        return Orpo(given.batch_size, given.seq_len, given.seed, reference=reference, **own)

    return preferring.learn("orpo", settings, make)
