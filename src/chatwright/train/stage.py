"""One stage of the road: a start model and data in, a run folder with the trained model and its proofs out."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from chatwright import config, console, disk
from chatwright.checkpoint import Checkpoint, checkpoints, read_json
from chatwright.data.loader import Batch
from chatwright.errors import ChatwrightError, ConfigError, DataError, NoCheckpoint, NotFinite
from chatwright.evals.loss import LossReport
from chatwright.evals.proofs import Proof
from chatwright.evals.results import plain
from chatwright.generate.chatbot import Chatbot
from chatwright.generate.sampling import Sampling
from chatwright.models.device import device_of, dtype_of
from chatwright.objectives.protocol import Objective
from chatwright.text.records import Conversation
from chatwright.train import card, resume, sanity
from chatwright.train.card import Card
from chatwright.train.panel import Panel
from chatwright.train.run_folder import RunFolder
from chatwright.train.settings import TrainSettings
from chatwright.train.signals import Signals
from chatwright.train.trainer import Hooks, Schedule, Setup, Trainer

# settings that may differ between a run and its resumption, because they do not change the weights
FREE = {"out", "resume", "json", "save_every", "keep", "sample_every", "proofs", "device", "compare", "checkpointing"}
FREE |= {"prepared", "workers"}
DATA_REPORT = "data_report.json"
FINAL = 3  # times --eval-batches are measured of each split before the first step and after the last
LIVE_TOKENS = 40  # of a sample shown while training


@dataclass
class Job:
    """What a verb hands over. `data`: "train", and "validation" and "test" where there are any, as the objective has it.

    `loaded`: the weights came from a file (sanity then expects them to know language). `begin` makes of the data what can
    only be made with the model in its place, before anything is measured. `panel` makes what looks at the policy during
    the run, from the run's folder.
    """

    verb: str
    settings: TrainSettings
    policy: Checkpoint
    objective: Objective[Any]
    data: Mapping[str, Any]
    data_report: Mapping[str, Any] = field(default_factory=dict)
    loaded: bool = True
    live_prompt: Conversation | str = ""
    begin: Callable[[Trainer, Mapping[str, Any]], Mapping[str, Any]] | None = None
    panel: Panel | None = None
    beside: torch.nn.Module | None = None


@dataclass(frozen=True)
class StageResult:
    """What came out: the trained checkpoint, losses by split before and after, the sanity proof, wall seconds."""

    folder: Path
    policy: Checkpoint
    steps: int
    tokens: int
    seconds: float
    loss_before: float
    losses: Mapping[str, LossReport]
    proofs: tuple[Proof, ...]

    def as_dict(self) -> dict[str, Any]:
        return {
            "out": str(self.folder),
            "model": str(self.folder / "model"),
            "steps": self.steps,
            "tokens": self.tokens,
            "seconds": round(self.seconds, 2),
            "loss_before": self.loss_before,
            "losses": {name: asdict(report) for name, report in self.losses.items()},
            "proofs": {proof.name: proof.state for proof in self.proofs},
        }


def run(job: Job) -> StageResult:
    """Trains, from the newest checkpoint when the settings say resume, and writes the run folder.

    A run that is finished gives the result it has.
    Raises Interrupted after saving on SIGINT or SIGTERM, NotFinite before a bad step, DiskFull with the last
    checkpoint intact, ConfigError for a folder in use.
    """
    folder = RunFolder(job.settings.out)
    with Signals() as signals, folder.locked(resume=job.settings.resume):
        return _stored(job, folder) if folder.finished else _Stage(job, folder).run(signals)


def _stored(job: Job, folder: RunFolder) -> StageResult:
    """What a finished run wrote down, its weights in the job's policy. ConfigError when it had other settings."""
    stored = read_json(folder.result)
    resume.check_settings(folder, stored.get("settings", {}), _identity(job), resume.defaults(type(job.settings)))
    console.note(f"{folder.path} is finished: this is its result")
    job.policy.restore(folder.model)
    return StageResult(
        folder.path,
        job.policy,
        stored["steps"],
        stored["tokens"],
        stored["seconds"],
        stored["loss_before"],
        {split: LossReport.of(report) for split, report in stored["losses"].items()},
        tuple(Proof(**proof) for proof in stored["shown"]),
    )


def template_time(settings: TrainSettings) -> datetime | None:
    """The time that the template of an earlier start told; None where it told none, or there was no such start."""
    try:
        return datetime.fromisoformat(read_json(Path(settings.out) / DATA_REPORT)["template_time"])
    except (ChatwrightError, OSError, KeyError, ValueError, TypeError):
        return None  # the data then have another fingerprint, and the run is not gone on with


def _identity(job: Job) -> dict[str, Any]:
    """The settings, and the data they stand for, that a resumed run must share."""
    settings = {k: v for k, v in job.settings.model_dump(mode="json").items() if k not in FREE}
    return {**settings, "data fingerprint": job.data_report.get("fingerprint")}


class _Stage:
    def __init__(self, job: Job, folder: RunFolder) -> None:
        settings = job.settings
        self.job, self.folder, self.began = job, folder, time.perf_counter()
        if settings.threads:
            torch.set_num_threads(settings.threads)
        if "train" not in job.data:
            raise DataError("there is nothing to train on: the training split is empty")
        self.device = device_of(settings.device)
        # the frozen model it began as shares the policy's weights: objectives here ask it for text only
        self.start = job.policy
        self.data = dict(job.data)
        per_epoch = job.objective.steps_per_epoch(self.data["train"])
        setup = Setup(
            policy=job.policy,
            objective=job.objective,
            settings=settings,
            schedule=Schedule.of(settings, per_epoch),
            run=folder,
            device=self.device,
            dtype=dtype_of(settings.dtype, self.device),
            hooks=Hooks(
                self._validation if "validation" in self.data else None,
                self._sample if job.live_prompt else None,
                self._look if job.panel is not None else None,
            ),
            identity=_identity(job),
            beside=job.beside,
        )
        self.trainer = Trainer(setup)

    def run(self, signals: Signals) -> StageResult:
        job, trainer = self.job, self.trainer
        self._check_room()
        if job.begin is not None:
            self.data = dict(job.begin(trainer, self.data))
        if job.settings.resume and checkpoints(self.folder.path):
            checks = {name: float(value) for name, value in read_json(self.folder.path / "sanity.json").items()}
            trainer.restore()
            batches = self._batches()
            if job.panel is not None:
                job.panel.recall(self.folder.rows())
            console.note(f"resuming {self.folder.path} at step {trainer.progress.step} of {trainer.schedule.steps}")
        else:
            self.folder.forget_after(0)
            self._describe()
            checks, batches = self._check_before()
            disk.write_json(self.folder.path / "sanity.json", checks)
            if job.panel is not None:
                self._look(0, self._losses("validation") if "validation" in self.data else None)
        before = sanity.fingerprint(trainer.module)
        first = trainer.progress.step
        trainer.train(batches, signals)
        moved = sanity.fingerprint(trainer.module) != before if trainer.progress.step > first else None
        if job.settings.patience:
            self._take_best()
        return self._finish(checks, moved)

    def _check_room(self) -> None:
        """Weights and two moments of AdamW in fp32 for each checkpoint, one more while it is written, and the model."""
        plan, parameters = self.trainer.schedule, self.job.policy.model.trained_size
        count = min(self.job.settings.keep + 1, math.ceil(plan.steps / plan.save_every))
        self.folder.check_room(4 * parameters * (3 * count + 1))

    def _batches(self) -> Iterator[Batch]:
        return self.job.objective.batches(self.data["train"], self.job.policy, self.start, self.trainer.progress.cursor)

    def _check_before(self) -> tuple[dict[str, float], Iterator[Batch]]:
        """Loss of the start model, how far accumulated and whole gradients are apart, and the batches to train on."""
        job, batches = self.job, self._batches()
        first = next(batches)
        batch = first.to(self.device)
        self.folder.log(f"{job.verb}: {self.trainer.schedule.steps} steps, first batch {tuple(batch.ids.shape)}")
        start_loss = self._losses("validation" if "validation" in self.data else "train").loss
        if not math.isfinite(start_loss):
            raise NotFinite(f"the start model's loss is {start_loss} before any step; its weights are damaged")
        difference = sanity.gradient_difference(self.trainer.module, job.policy, job.objective, batch)
        return {"start_loss": start_loss, "gradient_difference": difference}, chain([first], batches)

    def _validation(self) -> Iterator[Batch]:
        return self.job.objective.once(self.data["validation"], self.job.settings.eval_batches)

    def _losses(self, split: str) -> LossReport:
        batches = self.job.objective.once(self.data[split], FINAL * self.job.settings.eval_batches)
        return self.trainer.validate(batches)

    def _look(self, step: int, found: LossReport | None) -> None:
        """What the panel sees goes into metrics.jsonl and, in a line, to stderr, with each alarm that is new."""
        assert self.job.panel is not None
        row, says, alarms = self.job.panel.look(step, found)
        self.folder.measure(row)
        if says:  # nothing is known without validation and prompts
            console.note(f"step {step}: {says}")
        for alarm in alarms:
            self.folder.log(f"step {step}: {alarm}")
            console.warn(alarm)

    def _sample(self) -> str:
        """What the model says right now to the live prompt, greedily."""
        training = self.trainer.module.training
        bot = Chatbot(self.job.policy, device=str(self.device))
        try:
            text = "".join(bot.reply(self.job.live_prompt, Sampling(max_tokens=LIVE_TOKENS)))
        except ConfigError as error:  # too long for the window: no reason to stop the training
            text = f"no sample: {error}"
        finally:
            self.trainer.module.train(training)
        return console.clean(text).replace("\n", "\\n")

    def _take_best(self) -> None:
        """Early stopping keeps the weights of the best validation, whose checkpoint was saved and protected."""
        step = self.trainer.progress.best_step
        if step in (0, self.trainer.progress.step):
            return
        best = self.folder.checkpoints / f"step-{step:06d}"
        try:
            disk.verify(best)
        except NoCheckpoint as error:
            console.warn(f"{error}; it was the best validation, and the result is the last step instead")
            return
        self.job.policy.restore(best)
        self.folder.log(f"the result is step {step}, the best validation")

    def _describe(self) -> None:
        """config.yaml, from which --config repeats the run, and what the data were."""
        job = self.job
        info = {"version": version("chatwright"), "torch": str(torch.__version__), "threads": torch.get_num_threads()}
        info["data"] = {k: v for k, v in job.data_report.items() if k in ("name", "fingerprint")}
        disk.write(self.folder.path / "config.yaml", config.dump(job.settings, info, job.verb))
        time_told = {"template_time": told.isoformat()} if (told := job.policy.template.now) else {}
        disk.write_json(self.folder.path / DATA_REPORT, {**job.data_report, **time_told})

    def _finish(self, checks: Mapping[str, float], moved: bool | None) -> StageResult:
        job, progress = self.job, self.trainer.progress
        losses = {split: self._losses(split) for split in self.data}
        seconds = time.perf_counter() - self.began
        metadata = self._metadata(seconds, losses)
        kind = (job.policy.own_template, job.policy.adapter is not None, job.policy.model.score is not None)
        described = card.text(Card(self.folder.path.name, self.folder.model, metadata, *kind))
        job.policy.save(self.folder.model, metadata=metadata, card=described)
        proof = sanity.proof(checks, job.policy, sanity.Expected.of(job.objective, job.loaded), moved)
        done = (progress.step, progress.tokens, seconds, checks["start_loss"])
        result = StageResult(self.folder.path, job.policy, *done, losses, (proof,))
        stored = {**result.as_dict(), "settings": _identity(job), "shown": [asdict(proof)]}
        disk.write_json(self.folder.result, plain(stored))
        return result

    def _metadata(self, seconds: float, losses: Mapping[str, LossReport]) -> dict[str, Any]:
        job, progress = self.job, self.trainer.progress
        return {
            "base_model": job.policy.origin,
            "stage": job.verb,
            "dataset": job.data_report.get("public_name", ""),
            "num_samples": len(job.data["train"]),
            "num_epochs": job.settings.epochs if job.settings.steps is None else None,
            "num_steps": progress.step,
            "num_tokens": progress.tokens,
            "learning_rate": job.settings.lr,
            "batch_size": job.settings.batch_size * job.settings.accumulate,
            "seed": job.settings.seed,
            "model_parameters": job.policy.model.size,
            "trained_parameters": job.policy.model.trained_size,
            "validation_loss": losses["validation"].loss if "validation" in losses else None,
            "training_seconds": round(seconds, 1),
            "chatwright_version": version("chatwright"),
        }
