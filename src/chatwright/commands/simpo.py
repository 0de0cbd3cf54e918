"""SimPO: the better answer's mean log-probability is to lead by a margin; no start model holds the policy."""

from typing import Any

from pydantic import Field

from chatwright.train.settings import PreferenceSettings

POSITIONAL = ("model",)
EXAMPLES = ("chatwright simpo runs/sft --data preferences.json --nll-weight 0.1 --out runs/simpo",)
OWN = {"beta", "gamma", "nll_weight", "unlikelihood"}  # settings that the objective has under the same names


class Settings(PreferenceSettings):
    """The start model, the preferences, and what the loss weighs."""

    beta: float = Field(default=2.0, gt=0, description="what a nat a token is worth")
    gamma: float = Field(default=1.0, ge=0, description="the lead, in the same units")
    nll_weight: float = Field(default=0.0, ge=0, description="of the chosen answer's own loss, which holds on to it")
    unlikelihood: float = Field(default=0.0, ge=0, description="of making the rejected answer's repetitions unlikely")


def run(settings: Settings) -> dict[str, Any]:
    """The run's figures, with its proofs and what the panel saw."""
    from chatwright.commands import _preferring as preferring
    from chatwright.objectives.reference import Reference
    from chatwright.objectives.simpo import Simpo

    def make(given: Settings, reference: Reference | None) -> Simpo:
        own = given.model_dump(include=OWN)
        return Simpo(given.batch_size, given.seq_len, given.seed, reference=reference, **own)

    return preferring.learn("simpo", settings, make)
