"""KTO: the model learns from answers that were found good or bad, one by one; of preferences, both answers count."""

from typing import Any

from pydantic import Field

from chatwright.train.settings import PreferenceSettings

POSITIONAL = ("model",)
EXAMPLES = (
    "chatwright kto runs/sft --data thumbs.jsonl --out runs/kto",
    "chatwright kto runs/sft --data preferences.json --bad-weight 1.5 --out runs/kto",
)


class Settings(PreferenceSettings):
    """The start model, the rated answers, and what the loss weighs."""

    beta: float = Field(
        default=0.1, gt=0, description="how dear it is to leave the start model; lower leaves it further"
    )
    good_weight: float = Field(default=1.0, gt=0, description="of good answers")
    bad_weight: float = Field(default=1.0, gt=0, description="of bad answers: raise it where they are few")


def run(settings: Settings) -> dict[str, Any]:
    """The run's figures, with its proofs and what the panel saw."""
    from chatwright.commands import _preferring as preferring
    from chatwright.objectives.kto import Kto
    from chatwright.objectives.reference import Reference

    def make(given: Settings, reference: Reference | None) -> Kto:
        weights = given.model_dump(include={"beta", "good_weight", "bad_weight"})
        return Kto(given.batch_size, given.seq_len, given.seed, reference=reference, **weights)

    return preferring.learn("kto", settings, make)
