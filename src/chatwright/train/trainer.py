"""The one training loop: pull batches, add up losses, scale the gradient once, clip, step, and write down what happened.

The gradient of a step is that of the mean over all its learned tokens, however they are cut into batches: losses are
sums, and the sum's gradient is divided by the whole weight at the end.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any

import torch
from torch import nn

from chatwright import console
from chatwright.checkpoint import Checkpoint
from chatwright.data.loader import Batch
from chatwright.errors import NotFinite
from chatwright.evals.loss import LossReport, measure
from chatwright.objectives.protocol import Objective
from chatwright.train import optim, resume
from chatwright.train.resume import Progress
from chatwright.train.run_folder import RunFolder
from chatwright.train.settings import TrainSettings, TuneSettings
from chatwright.train.signals import Interrupted, Signals

SHOWN = ("accuracy", "margin", "reward")  # of an objective's metrics, in the progress view


@dataclass(frozen=True)
class Schedule:
    """How many steps, and how often something else happens; all in optimizer steps."""

    steps: int
    save_every: int
    eval_every: int
    sample_every: int

    @classmethod
    def of(cls, settings: TrainSettings, per_epoch: int) -> "Schedule":
        """`--steps`, or as many as `--epochs` through the data take; a tenth of it between checkpoints and validations."""
        steps = settings.steps or max(1, math.ceil(settings.epochs * per_epoch / settings.accumulate))
        tenth = max(1, steps // 10)
        return cls(
            steps,
            settings.save_every or tenth,
            settings.eval_every or tenth,
            settings.sample_every or max(1, steps // 5),
        )


@dataclass
class Hooks:
    """What the loop calls on its way: batches to validate on, a live sample of what the model says, and the panel, which
    is given the step and what validation found, if there is one."""

    validation: Callable[[], Iterator[Batch]] | None = None
    sample: Callable[[], str] | None = None
    panel: Callable[[int, LossReport | None], None] | None = None


@dataclass
class Setup:
    """Everything that a Trainer works with. `identity` are the settings that a resumed run must share.

    `beside` is trained and resumed with the policy and is no part of what comes out of it: the value head of PPO.
    """

    policy: Checkpoint
    objective: Objective[Any]
    settings: TrainSettings
    schedule: Schedule
    run: RunFolder
    device: torch.device
    dtype: torch.dtype
    hooks: Hooks
    identity: dict[str, Any]
    beside: nn.Module | None = None


class Trainer:
    """Trains the policy of its setup in place."""

    def __init__(self, setup: Setup) -> None:
        self.policy, self.objective, self.settings = setup.policy, setup.objective, setup.settings
        self.schedule, self.run_folder, self.hooks = setup.schedule, setup.run, setup.hooks
        self.device, self.dtype, self.identity = setup.device, setup.dtype, setup.identity
        self.beside, self.module = setup.beside, resume.trained(setup.policy, setup.beside)
        self.module.to(self.device).train()
        setup.policy.model.checkpointing = self.settings.checkpointing
        plus = self.settings.lora.plus if isinstance(self.settings, TuneSettings) else 1.0
        self.optimizer = optim.build(self.module, self.settings.lr, self.settings.optim, plus=plus)
        # fp16 has 5 bits of exponent: without scaling, small gradients would vanish
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)
        self.progress = Progress()
        self._resumed_from = 0
        self._saved: Progress | None = None

    def restore(self) -> None:
        """Goes back to the newest whole checkpoint of the run."""
        default = resume.defaults(type(self.settings))
        self.progress = resume.load(self.run_folder, self.policy, self.optimizer, self.identity, default, self.beside)
        self._resumed_from, self._saved = self.progress.step, replace(self.progress)
        if self.progress.loss_scale is not None:
            self.scaler.load_state_dict(self.progress.loss_scale)
        self.run_folder.forget_after(self.progress.step)

    def train(self, batches: Iterator[Batch], signals: Signals) -> None:
        """Steps until the schedule's end, until validation stops improving, or until there are no more batches.

        Interrupted after saving on a signal.
        """
        signals.patient = True
        description = type(self.objective).__name__.lower()
        with console.progress(description, self.schedule.steps) as bar:
            self._after_step(signals)  # what the last step before a resume was not given the time for
            while self.progress.step < self.schedule.steps and not self._enough:
                row = self.step(batches, signals)
                if row is None:
                    self._check(signals)
                    self._ran_dry(signals)
                    break
                self.run_folder.measure(row)
                self._check(signals)
                shown = {name: row[name] for name in SHOWN if name in row}
                bar.update(self.progress.step, loss=row["loss"], **shown, **{"tok/s": row["tokens_per_second"]})
                self._after_step(signals)
                self._check(signals)
        signals.patient = False
        self._check(signals)

    def step(self, batches: Iterator[Batch], signals: Signals) -> dict[str, Any] | None:
        """One optimizer step; None, with no weight changed, where there are no batches for it.

        NotFinite, before any weight has changed, when the loss or the gradient is no number.
        """
        began, number = time.perf_counter(), self.progress.step + 1
        lr = optim.rate(number, self.schedule.steps, self.settings.lr, self.settings.optim)
        total = weight = tokens = waited = 0.0
        sums: dict[str, float] = {}
        cursor = self.progress.cursor
        for micro in range(self.settings.accumulate):
            # dropout is drawn from (seed, step, micro-batch), so an interrupted run draws the same again
            torch.manual_seed((self.settings.seed * 1_000_003 + number) * 1_009 + micro)
            asked = time.perf_counter()
            if (batch := next(batches, None)) is None:
                return None
            waited += time.perf_counter() - asked
            loss = self._backward(batch.to(self.device), number)
            total, weight, tokens = total + loss[0], weight + loss[1], tokens + batch.tokens
            sums = {name: sums.get(name, 0.0) + value for name, value in loss[2].items()}
            cursor = batch.cursor
            self._check(signals)
        norm = self._update(weight, lr, number)
        seconds = time.perf_counter() - began
        self.progress.step, self.progress.cursor = number, cursor
        self.progress.tokens += int(tokens)
        self.progress.seconds += seconds
        metrics = {name: value / weight for name, value in sums.items()}
        return {
            "step": number,
            "split": "train",
            "loss": total / weight,
            **metrics,
            "lr": lr,
            "grad_norm": norm,
            "tokens": self.progress.tokens,
            "tokens_per_second": round(tokens / seconds),
            "data_seconds": round(waited, 4),  # of this step, until its batches were there: RL makes them then
            "seconds": round(self.progress.seconds, 3),
        }

    def autocast(self) -> AbstractContextManager[Any]:
        """Arithmetic in the run's precision; the weights and the optimizer stay fp32."""
        if self.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, self.dtype)

    def validate(self, batches: Iterator[Batch]) -> LossReport:
        with self.autocast():
            return measure(self.policy.model, self.objective, batches, self.policy.tokenizer.byte_lengths)

    def save(self) -> None:
        """A checkpoint of this step, unless there is one. NotFinite rather than one that pushes out healthy ones."""
        if self._saved == self.progress:
            return
        self.progress.loss_scale = self.scaler.state_dict() if self.scaler.is_enabled() else None
        if not all(torch.isfinite(one).all() for one in self.module.parameters() if one.requires_grad):
            raise NotFinite(
                f"step {self.progress.step} made a weight infinite or NaN, so it is not saved; the checkpoint before "
                "it stands. Lower --lr"
            )
        folder = resume.save(self.run_folder, self.policy, self.optimizer, self.progress, self.identity, self.beside)
        self._saved = replace(self.progress)
        protected = {self._resumed_from} | ({self.progress.best_step} if self.settings.patience else set())
        self.run_folder.prune(self.settings.keep, protected, saved=folder)

    def _backward(self, batch: Batch, number: int) -> tuple[float, float, dict[str, float]]:
        with self.autocast():
            loss = self.objective.loss(self.policy.model, batch)
        if not torch.isfinite(loss.total):
            raise NotFinite(
                f"the loss is {loss.total.item()} at step {number} (batch before {_place(batch)}); the weights are those of "
                f"step {number - 1}. Lower --lr, or look at the data with `chatwright check`"
            )
        self.scaler.scale(loss.total).backward()  # type: ignore[no-untyped-call]
        return loss.total.item(), loss.weight.item(), {name: value.item() for name, value in loss.metrics.items()}

    def _update(self, weight: float, lr: float, number: int) -> float:
        """Divides the summed gradient by its weight, clips it, and steps. Returns its norm before clipping."""
        self.scaler.unscale_(self.optimizer)
        parameters = [p for p in self.module.parameters() if p.grad is not None]
        for parameter in parameters:
            assert parameter.grad is not None
            parameter.grad.div_(weight)
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.settings.optim.clip or math.inf)
        # fp16 may overflow and try again at half the scale, but not for ever
        if not torch.isfinite(norm) and (not self.scaler.is_enabled() or self.scaler.get_scale() <= 1):
            raise NotFinite(
                f"the gradient's norm is {norm.item()} at step {number}; the weights are those of step {number - 1}. "
                "Lower --lr, or look at the data with `chatwright check`"
            )
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group["times"]
        self.scaler.step(self.optimizer)  # fp16: left out, and the scale lowered, where the scaled gradient overflowed
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        return norm.item()

    @property
    def _enough(self) -> bool:
        """Whether validation has stopped improving."""
        return 0 < self.settings.patience <= self.progress.without_better

    def _after_step(self, signals: Signals) -> None:
        """Validation, sample and checkpoint where they are due, once a step; a signal leaves them to a resumed run."""
        step, plan = self.progress.step, self.schedule
        if self.progress.visited == step:
            return
        better, found = False, None
        due = step % plan.eval_every == 0 or step == plan.steps
        if due and self.hooks.validation is not None:
            found = self.validate(takewhile(lambda _: signals.received is None, self.hooks.validation()))
            if signals.received is not None:
                return
            better = self._weigh(found)
        if due and self.hooks.panel is not None:
            self.hooks.panel(step, found)
        self.progress.visited = step
        if self.hooks.sample is not None and step % plan.sample_every == 0 and step < plan.steps:
            console.note(f"step {step}: {self.hooks.sample()}")
        if step % plan.save_every == 0 or step == plan.steps or self._enough or (better and self.settings.patience):
            self.save()

    def _ran_dry(self, signals: Signals) -> None:
        """What is due after the last step of a run, where only now is known that it was the last."""
        self.optimizer.zero_grad(set_to_none=True)  # of a half-made step
        step, plan = self.progress.step, self.schedule
        self.schedule = replace(plan, steps=step)
        if step % plan.eval_every:  # nobody has looked yet
            self.progress.visited = step - 1
            self._after_step(signals)
        self._check(signals)
        self.save()

    def _weigh(self, found: LossReport) -> bool:
        """Writes a validation down; True when it is the best so far."""
        step, progress = self.progress.step, self.progress
        metrics = found.metrics or {"token_accuracy": found.token_accuracy}
        self.run_folder.measure({"step": step, "split": "validation", "loss": found.loss, **metrics})
        said = ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in metrics.items())
        self.run_folder.log(f"step {step}: validation loss {found.loss:.4f}, {said}")
        if math.isfinite(found.loss) and (progress.best_loss is None or found.loss < progress.best_loss):
            progress.best_loss, progress.best_step, progress.without_better = found.loss, step, 0
            return True
        progress.without_better += 1
        return False

    def _check(self, signals: Signals) -> None:
        """On a signal: forget a half-made step, save the last whole one unless that is done, and end."""
        if signals.received is None:
            return
        self.optimizer.zero_grad(set_to_none=True)
        if self.progress.step:
            self.save()
            raise Interrupted(
                signals.received,
                f"ended at step {self.progress.step}, saved in {self.run_folder.checkpoints}; "
                "--resume goes on from there",
            )
        raise Interrupted(signals.received, "ended before the first step was done; there was nothing to save")


def _place(batch: Batch) -> dict[str, Any]:
    """The cursor of a batch without the answers that one of reinforcement learning may hold."""
    return {name: value for name, value in batch.cursor.items() if isinstance(value, int)}
