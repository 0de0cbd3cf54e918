"""What the verbs over preferences share: pairs read and split, the start model asked, the policy watched, the report."""

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any, Protocol, TypeVar

import numpy as np

from chatwright import console
from chatwright.checkpoint import Checkpoint
from chatwright.commands import _training as training
from chatwright.commands import _tuning as tuning
from chatwright.data.answers import Choices, first_epoch
from chatwright.data.examples import Examples
from chatwright.errors import ConfigError
from chatwright.evals import guards, proofs
from chatwright.generate.sampling import Sampling
from chatwright.models.device import device_of
from chatwright.objectives import reference as references
from chatwright.objectives.protocol import Objective
from chatwright.objectives.reference import FrozenCopy, OnDisk, Reference, WithoutAdapter
from chatwright.train import resume, stage
from chatwright.train.panel import Panel
from chatwright.train.settings import PreferenceSettings
from chatwright.train.trainer import Trainer

S = TypeVar("S", bound=PreferenceSettings)
FILE = "reference.safetensors"  # in the run's folder: what the start model gave to every answer


class Preferring(Objective[Choices], Protocol):
    """An objective that measures a policy against its start."""

    @property
    def needs_start(self) -> bool: ...

    @property
    def remedies(self) -> Collection[str]:
        """The settings that alarms may name."""
        ...

    def of(self, examples: Examples) -> Choices:
        """Its data of prepared examples."""
        ...


Make = Callable[[S, Reference | None], Preferring]  # of its settings, and the start model that it may ask in every step


def learn(verb: str, settings: S, make: Make[S]) -> dict[str, Any]:
    """Runs the verb whose objective `make` builds."""
    settings = tuning.with_default_rate(training.quick(settings) if settings.quick else settings)
    _check(settings)
    rule = make(settings, None).rule
    streams = training.opened(settings, settings.data, rule)
    policy = tuning.policy(settings)
    policy.model.set_dropout(0.0)  # or policy and start would differ by chance
    settings = settings.model_copy(update={"seq_len": training.window(settings, policy)})
    data = training.prepared(settings, policy, streams, rule)
    job, panel = _job(verb, settings, policy, data, make)
    result = stage.run(job)
    panel.recall(training.metrics(result))
    shown = [*training.text_proofs(policy, data, result.folder / "model"), *result.proofs]
    shown.append(guards.proof(panel.readings, panel.alarms))
    sheets = [guards.sheet(panel.readings)] if guards.measured(panel.readings) else []
    report = replace(training.stage_report(settings, result, verb), sheets=sheets)
    if settings.compare:
        report = training.with_start(report, settings, data.samples("validation", "test"), tuning.load_in(settings))
        shown.append(proofs.before_after_proof({one.name: one.evaluation for one in report.stages}))
    reached = training.conclude(settings, result, shown, report)
    alarms = [f"step {alarm.step}: {alarm.says}" for alarm in panel.alarms]
    return {**reached, "panel": [guards.as_row(one) for one in panel.readings], "alarms": alarms}


def _job(verb: str, settings: S, policy: Checkpoint, data: training.Data, make: Make[S]) -> tuple[stage.Job, Panel]:
    """What is trained, and what watches it."""
    in_steps, in_panel = _references(settings, policy)
    objective = make(settings, in_steps)
    held = {name: objective.of(examples) for name, examples in data.examples.items()}
    if objective.unit == "answer":
        _warn_of_one_kind(data.examples["train"])
    console.note(
        f"{training.size_of(policy)}, {len(held['train']):,} {objective.unit}s, template {policy.template.name}"
    )
    prompts = [one[:-1] for one in data.samples("validation", "test", "train") if one.messages[-1].role == "assistant"]
    own = [one[:-1] for one in data.samples("validation", "test")]
    way = Sampling(settings.guards.max_tokens, settings.guards.temperature, seed=settings.seed)
    panel = Panel(policy, own[: settings.guards.prompts], way, in_panel, remedies=objective.remedies)
    job = stage.Job(verb, settings, policy, objective, held, data.report, panel=panel, live_prompt=prompts[0])
    if in_steps is None:
        job = replace(job, begin=lambda trainer, some: _with_start(trainer, some, objective, data.fingerprint))
    return job, panel


def _check(settings: PreferenceSettings) -> None:
    """ConfigError for settings that contradict each other, before anything is read."""
    if settings.lora.dropout or settings.dropout:
        name = "--lora.dropout" if settings.lora.dropout else "--dropout"
        raise ConfigError(f"{name} is given, but policy and start are compared without any dropout; leave it out")
    if settings.reference == "adapter" and not settings.lora.rank:
        raise ConfigError(
            "--reference adapter switches an adapter off, and there is none; add --lora.rank 8, or give cached"
        )


def _warn_of_one_kind(answers: Examples) -> None:
    """Says when answers are all good or all bad: there is nothing that they could be told apart from."""
    good = int(answers.labels.sum())
    if good == len(answers):
        console.warn(
            f"all {good:,} answers are good: nothing shows what to avoid; `sft` learns from good answers alone"
        )
    if not good:
        console.warn(f"all {len(answers):,} answers are bad: the model learns what to avoid, and may say anything else")


def _references(settings: PreferenceSettings, policy: Checkpoint) -> tuple[Reference | None, Reference | None]:
    """Whom the objective asks in every step (None: the numbers are computed before), and whom the panel asks."""
    how = settings.reference
    if how == "auto":
        how = "adapter" if settings.lora.rank else "cached"
    if how == "adapter":
        return WithoutAdapter(policy), WithoutAdapter(policy)
    device = str(device_of(settings.device))
    if how == "copy":
        start = tuning.start(settings, policy)
        start.model.to(device)
        return FrozenCopy(start), FrozenCopy(start)
    panel: Reference = OnDisk(lambda: tuning.start(settings, policy), device)
    return None, WithoutAdapter(policy) if policy.adapter else panel


def _with_start(
    trainer: Trainer, data: Mapping[str, Choices], objective: Preferring, fingerprint: str
) -> dict[str, Choices]:
    """The data with what the start model gives to its answers: read from the run's folder, or computed and put there.

    Of the training data, what the run will come to; nothing where the loss does not ask.
    """
    settings, path, model = trainer.settings, trainer.run_folder.path / FILE, trainer.policy.model
    resume.check(trainer.run_folder, trainer.identity, type(settings))  # a run that is refused computes nothing first
    wanted = {name: np.arange(len(one)) for name, one in data.items()}
    visited = trainer.schedule.steps * settings.accumulate * settings.batch_size
    if not objective.needs_start:
        wanted.pop("train")
    elif visited < len(data["train"]):
        wanted["train"] = np.sort(first_epoch(data["train"], settings.seed)[:visited])
    several = {name: data[name] for name in wanted}
    asked = (objective.rule, visited, settings.seq_len, settings.seed, str(trainer.dtype))
    decides = (fingerprint, *asked, references.identity(model))
    key = hashlib.sha256(repr(decides).encode()).hexdigest()
    found = references.load(path, several, key)
    if found is None:
        with trainer.autocast():
            size = settings.batch_size
            found = {name: references.computed(model, one, size, wanted[name]) for name, one in several.items()}
        references.save(path, found, key)
    return {**data, **found}
