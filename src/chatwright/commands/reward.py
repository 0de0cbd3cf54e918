"""Trains a reward model: the model gets a score in place of its words, and the better of two answers gets the higher one.

It judges answers for `compare`, and rewards them in `grpo` and `ppo`. All of the model is trained.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import Field

from chatwright import console
from chatwright.data.settings import Names
from chatwright.errors import ConfigError
from chatwright.train.settings import Lora, TuneSettings

if TYPE_CHECKING:
    from chatwright.commands._training import Data
    from chatwright.evals.calibration import Calibration
    from chatwright.evals.proofs import Proof
    from chatwright.objectives.reward import Reward
    from chatwright.train.stage import StageResult

POSITIONAL = ("model",)
EXAMPLES = (
    "chatwright reward runs/sft --data preferences.json --out runs/reward",
    "chatwright reward runs/sft --data primer:preferences --steps 100 --out runs/reward",
    "chatwright reward runs/reward --data more.jsonl --centre 0.01 --out runs/reward-2",
)


class Settings(TuneSettings):
    """The start model, a chatbot or a reward model to go on with, and the preferences."""

    data: Names = Field(
        min_length=1, description="preferences: files, folders, hub datasets or primer:preferences, each #N and @WEIGHT"
    )
    lr: float = Field(
        default=3e-4, gt=0, allow_inf_nan=False, description="highest learning rate; lower it for large models"
    )
    centre: float = Field(
        default=0.0, ge=0, allow_inf_nan=False, description="of the squared sum of both scores: keeps them around 0"
    )
    quick: bool = Field(default=False, description="100 pairs and 20 steps: see that data and model work")


def run(settings: Settings) -> dict[str, Any]:
    """The run's figures, with how often the model is right on held-out pairs and how sure of it."""
    from chatwright.commands import _training as training
    from chatwright.commands import _tuning as tuning
    from chatwright.objectives.reward import Reward
    from chatwright.train import stage

    settings = training.quick(settings) if settings.quick else settings
    _check(settings)
    streams = training.opened(settings, settings.data, "preferences")
    policy = tuning.policy(settings, kind="any").with_score(settings.seed)
    policy.model.set_dropout(settings.dropout or 0.0)  # drawn for each answer anew, it would be a difference of scores
    settings = settings.model_copy(update={"seq_len": training.window(settings, policy)})
    data = training.prepared(settings, policy, streams, Reward.rule)
    objective = Reward(settings.batch_size, settings.seq_len, settings.seed, settings.centre)
    pairs = {name: objective.of(examples) for name, examples in data.examples.items()}
    size = training.size_of(policy)
    console.note(f"{size}, {len(pairs['train']):,} pairs, template {policy.template.name}")
    result = stage.run(stage.Job("reward", settings, policy, objective, pairs, data.report))
    found = _calibration(settings, result, objective, data)
    return _concluded(settings, result, data, found)


def _check(settings: Settings) -> None:
    """ConfigError for settings of an adapter, before anything is read."""
    adapted = next((name for name, value in Lora() if getattr(settings.lora, name) != value), None)
    if adapted is not None:
        raise ConfigError(f"a reward model is trained whole, without an adapter; leave out --lora.{adapted}")
    if settings.load_in:
        raise ConfigError(f"--load-in {settings.load_in} holds weights that cannot be trained; leave it out")


def _calibration(settings: Settings, result: "StageResult", objective: "Reward", data: "Data") -> "Calibration | None":
    """Of all pairs that were held out; not of those by which --patience chose the weights."""
    from chatwright.data.examples import joined
    from chatwright.evals import calibration

    splits = ("test",) if settings.patience else ("validation", "test")
    held_out = [data.examples[name] for name in splits if name in data.examples]
    if not held_out:
        console.warn("no pairs were held out to say how often this model is right; raise --test-share")
        return None
    name = f"held out of {data.report['public_name']}"
    return calibration.measured(result.policy.model, objective, objective.of(joined(held_out)), name)


def _concluded(settings: Settings, result: "StageResult", data: "Data", found: "Calibration | None") -> dict[str, Any]:
    """Proofs and report, and what was measured beside the model, for those who ask it to judge."""
    from chatwright.commands import _training as training
    from chatwright.evals import calibration

    shown = [*_text_proofs(settings, result, data), *result.proofs]
    run = result.folder
    after = (
        f"chatwright compare M1 M2 --judge {run} --out DIR",
        f"chatwright grpo M --task T --reward {run} --out DIR",
    )
    report = replace(training.stage_report(settings, result, "reward"), next_commands=after)
    if found is not None:
        report = replace(report, sheets=[calibration.sheet(found)])
    _describe(result, found, shown)
    reached = training.conclude(settings, result, shown, report)
    return {**reached, "calibration": None if found is None else calibration.as_json(found)}


def _text_proofs(settings: Settings, result: "StageResult", data: "Data") -> "list[Proof]":
    """mask and parity, from what was trained on."""
    from chatwright.commands._training import PARITY_ROWS
    from chatwright.data.truncate import fit_answer
    from chatwright.evals import scored

    policy = result.policy
    whole = data.samples("train")[:PARITY_ROWS]
    fitted = [fit_answer(one, policy.tokenizer, policy.template, settings.seq_len).example for one in whole]
    return [
        scored.mask_proof(data.examples["train"], policy.stop_ids),
        scored.parity_proof(result.folder / "model", whole, [one for one in fitted if one is not None]),
    ]


def _describe(result: "StageResult", found: "Calibration | None", shown: "list[Proof]") -> None:
    """Writes what was measured into training_metadata.json, and the card anew with that and the proofs."""
    from chatwright import disk
    from chatwright.commands import _provenance as provenance

    folder = result.folder / "model"
    known = provenance.known(str(folder), folder)
    known = replace(known, metadata={**known.metadata, **(found.figures if found is not None else {})})
    disk.write_json(folder / provenance.METADATA, known.metadata)
    card = provenance.written_card(known, folder, result.folder.name, shown=shown)
    disk.write(folder / provenance.README, card)
