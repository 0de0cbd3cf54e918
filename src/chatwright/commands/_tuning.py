"""The start of every verb that goes on with a trained model: loaded, its window stretched, all of it or an adapter learning.

An adapter is saved without its base, so the base has to lie somewhere as it is: where it was found or, when it was given
new rows, another window or an adapter's changes, in the run's own base/.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from chatwright import console, hub
from chatwright.checkpoint import Checkpoint, LoadIn, find
from chatwright.checkpoint.reward import Kind
from chatwright.commands import _training as training
from chatwright.data.examples import Examples
from chatwright.errors import ConfigError
from chatwright.evals.loss import measure
from chatwright.models import lora
from chatwright.models.device import device_of, dtype_of
from chatwright.models.lora import LoraConfig
from chatwright.objectives.sft import Lessons, Sft
from chatwright.train import stage
from chatwright.train.run_folder import RunFolder
from chatwright.train.settings import Lora, TuneSettings

T = TypeVar("T", bound=TuneSettings)
LORA_LR = 2e-4  # adapters start from nothing and take a higher rate than weights that know something


def policy(settings: TuneSettings, kind: Kind = "language") -> Checkpoint:
    """The model to train. Raises ConfigError for settings that contradict each other, before anything is read."""
    _check(settings)
    found = _adapted(settings) if settings.lora.rank else _whole(settings, kind=kind)
    found.template.check(found.tokenizer)
    told = stage.template_time(settings) if settings.resume else None
    return replace(found, template=found.template.at(told)) if told else found


def start(settings: TuneSettings, policy: Checkpoint) -> Checkpoint:
    """What `policy` began as, read anew and frozen; rows and window that training adds are there.

    Under an adapter that is its base, the matrices held as the policy's are: quantised ones are another model.
    """
    if policy.adapter is None or policy.folder is None:
        found = _whole(settings, quiet=True)
    else:
        found = Checkpoint.load(policy.folder, template=settings.template, quiet=True, load_in=load_in(settings))
        found = found.with_template(found.template)
        _stretch(found, settings)
        lora.freeze(found.model, policy.model.matrix_dtype or torch.float32)
        found.model.matrix_dtype = policy.model.matrix_dtype
    found.model.requires_grad_(False).eval()
    return found


def with_default_rate(settings: T) -> T:
    """The learning rate of adapters, where none was given."""
    if settings.lora.rank and "lr" not in settings.model_fields_set:
        return settings.model_copy(update={"lr": LORA_LR})
    return settings


def stretching(settings: TuneSettings, policy: Checkpoint, objective: Sft, held: Examples) -> dict[str, Any]:
    """What a longer window costs before any training: losses of the model as it was and as it is, said on stderr.

    Empty when --context was not given.
    """
    if not settings.context or settings.resume:
        return {}
    former = Checkpoint.load(settings.model, template=settings.template, quiet=True)
    former = former.merged().with_template(former.template)
    for one in (former, policy):
        one.model.to(device_of(settings.device))
    window = former.model.config.context_length
    short = replace(objective, seq_len=min(window, objective.seq_len))

    def loss(one: Checkpoint, how: Sft) -> float:
        batches = how.once(Lessons(held.shortened(how.seq_len + 1)), settings.eval_batches)
        return measure(one.model, how, batches, policy.tokenizer.byte_lengths).loss

    figures = {
        "from": window,
        "to": settings.context,
        "loss_before": loss(former, short),
        "loss_stretched": loss(policy, short),
        "loss_stretched_full_rows": loss(policy, objective),
    }
    console.note(
        f"the window goes from {window} to {settings.context} tokens: the loss on rows of up to {short.seq_len} tokens is "
        f"{figures['loss_before']:.3f} before and {figures['loss_stretched']:.3f} after, "
        f"{figures['loss_stretched_full_rows']:.3f} on rows of up to {objective.seq_len}"
    )
    return {"context": figures}


def load_in(settings: TuneSettings) -> LoadIn | None:
    """How the frozen model is held: as asked for, else in bf16 where the arithmetic is. None: in full."""
    lower = settings.lora.rank and dtype_of(settings.dtype, device_of(settings.device)) == torch.bfloat16
    return settings.load_in or ("bf16" if lower else None)


def lora_config(given: Lora) -> LoraConfig:
    assert given.rank is not None
    return LoraConfig(
        r=given.rank,
        lora_alpha=2 * given.rank if given.alpha is None else given.alpha,
        lora_dropout=given.dropout,
        target_modules="all-linear" if given.targets == ["all-linear"] else tuple(given.targets),
        use_rslora=given.rslora,
        use_dora=given.dora,
    )


def _check(settings: TuneSettings) -> None:
    if settings.lora.rank is None:
        others = [name for name, value in Lora() if settings.lora.model_dump()[name] != value]
        if others:
            raise ConfigError(
                f"--lora.{others[0]} is given without --lora.rank; give --lora.rank 8 to train an adapter"
            )
        if settings.load_in:
            raise ConfigError(
                f"--load-in {settings.load_in} holds weights that cannot be trained; add --lora.rank 8 to train an adapter"
            )


def _whole(settings: TuneSettings, *, quiet: bool = False, kind: Kind = "language") -> Checkpoint:
    """All of the model, an adapter that it came with folded in."""
    found = Checkpoint.load(settings.model, template=settings.template, quiet=quiet, kind=kind)
    found = found.merged().with_template(found.template)
    found.model.requires_grad_(True)  # an adapter had frozen it
    _stretch(found, settings)
    return found


def _adapted(settings: TuneSettings) -> Checkpoint:
    """The frozen model with a new adapter on it, its base written to the run folder if it is found nowhere else."""
    dtype = dtype_of(settings.dtype, device_of(settings.device))
    dtype = dtype if dtype == torch.bfloat16 else torch.float32
    held = load_in(settings)
    found = Checkpoint.load(settings.model, template=settings.template, load_in=held)
    found = found.with_template(found.template)
    _stretch(found, settings)
    config = lora_config(settings.lora)
    _check_fit(settings, config, found)
    base, origin = _place(settings.model), found.origin
    # a checkpoint of a run may be deleted by that run
    if found.changed or found.adapter or Path(base).parent.name == "checkpoints":
        del found
        folder = Path(settings.out) / "base"
        _write_base(settings, folder)
        found = Checkpoint.load(folder, template=settings.template, quiet=True, load_in=held)
        found = found.with_template(found.template)
        base, found.origin = str(folder.resolve()), origin
    return found.with_lora(config, base, dtype=dtype, seed=settings.seed)


def _check_fit(settings: TuneSettings, config: LoraConfig, found: Checkpoint) -> None:
    """ConfigError for settings that do not fit the model, before a base is written for it."""
    lora.targets(found.model, config)
    training.window(settings, found)
    found.template.check(found.tokenizer)


def _write_base(settings: TuneSettings, folder: Path) -> None:
    """The base as the adapter needs it, in fp32, unless a run that is resumed has written it already."""
    run = RunFolder(settings.out)
    with run.locked(resume=settings.resume):
        # one without a run was left by a start that failed, and may be of another model
        if not (run.checkpoints.exists() or run.model.exists()) or not (folder / "config.json").exists():
            found = _whole(settings)
            # a template that it never learned is none of its own
            replace(found, own_template=found.learned_template).save(folder)
            console.note(f"the base of the adapter differs from {settings.model}; it is written to {folder}")


def _stretch(found: Checkpoint, settings: TuneSettings) -> None:
    if settings.context and settings.context != found.model.config.context_length:
        found.model.stretch(settings.context)
        found.changed = True


def _place(model: str) -> str:
    """How the adapter names its base: a hub id as it is, a folder by its whole path."""
    return model if not Path(model).exists() and hub.is_repo_id(model) else str(find(model).resolve())
