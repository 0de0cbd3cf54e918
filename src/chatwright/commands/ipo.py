"""Identity preference optimisation: as dpo, but the better answer is to lead by a given distance and no more."""

from typing import Any

from pydantic import Field

from chatwright.train.settings import PreferenceSettings

POSITIONAL = ("model",)
EXAMPLES = ("chatwright ipo runs/sft --data preferences.json --out runs/ipo",)
OWN = {"beta", "nll_weight", "unlikelihood"}  # settings that the objective has under the same names


class Settings(PreferenceSettings):
    """The start model, the preferences, and what the loss weighs."""

    beta: float = Field(default=0.1, gt=0, description="the lead that is aimed at is 1 / (2 beta) nats a token")
    nll_weight: float = Field(default=0.0, ge=0, description="of the chosen answer's own loss, which holds on to it")
    unlikelihood: float = Field(default=0.0, ge=0, description="of making the rejected answer's repetitions unlikely")


def run(settings: Settings) -> dict[str, Any]:
    """The run's figures, with its proofs and what the panel saw."""
    from chatwright.commands import _preferring as preferring
    from chatwright.objectives.ipo import Ipo
    from chatwright.objectives.reference import Reference

    def make(given: Settings, reference: Reference | None) -> Ipo:
        own = given.model_dump(include=OWN)
        return Ipo(given.batch_size, given.seq_len, given.seed, reference=reference, **own)

    return preferring.learn("ipo", settings, make)
