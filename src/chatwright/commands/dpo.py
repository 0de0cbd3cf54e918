"""Direct preference optimisation: the model learns which of two answers is better, held to where it started from."""

from typing import Any

from pydantic import Field

from chatwright.train.settings import PreferenceSettings

POSITIONAL = ("model",)
EXAMPLES = (
    "chatwright dpo runs/sft --data preferences.json --out runs/dpo",
    "chatwright dpo runs/sft --data HuggingFaceH4/ultrafeedback_binarized#5000 --lora.rank 8 --out runs/dpo",
    "chatwright dpo runs/sft --data loops.jsonl --nll-weight 0.2 --unlikelihood 0.5 --out runs/fewer-loops",
)
# settings that the objective has under the same names
OWN = {"beta", "label_smoothing", "length_normalised", "nll_weight", "unlikelihood"}


class Settings(PreferenceSettings):
    """The start model, the preferences, and what the loss weighs."""

    beta: float = Field(
        default=0.1, gt=0, description="how dear it is to leave the start model; lower leaves it further"
    )
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5, description="share of pairs that may be labelled wrongly")
    length_normalised: bool = Field(default=False, description="compare means of an answer's tokens, not sums")
    nll_weight: float = Field(default=0.0, ge=0, description="of the chosen answer's own loss, which holds on to it")
    unlikelihood: float = Field(default=0.0, ge=0, description="of making the rejected answer's repetitions unlikely")


def run(settings: Settings) -> dict[str, Any]:
    """The run's figures, with its proofs and what the panel saw."""
    from chatwright.commands import _preferring as preferring
    from chatwright.objectives.dpo import Dpo
    from chatwright.objectives.reference import Reference

    def make(given: Settings, reference: Reference | None) -> Dpo:
        own = given.model_dump(include=OWN)
        return Dpo(given.batch_size, given.seq_len, given.seed, reference=reference, **own)

    return preferring.learn("dpo", settings, make)
