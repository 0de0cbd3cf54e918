"""What the verbs of reinforcement learning share: problems found and held out, rewards, the policy watched, the report."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import zip_longest
from typing import Any, TypeVar

import torch
from torch import nn

from chatwright import console
from chatwright.checkpoint import Checkpoint
from chatwright.commands import _training as training
from chatwright.commands import _tuning as tuning
from chatwright.commands._problems import Problems, found
from chatwright.data.loader import Pack
from chatwright.errors import ConfigError
from chatwright.evals import guards, proofs, rollouts
from chatwright.evals.benchmark import grade_answer
from chatwright.evals.compare import Examination
from chatwright.evals.prompts import NO_ANSWER
from chatwright.evals.prompts import default as default_prompts
from chatwright.evals.results import Report, plain
from chatwright.evals.rollouts import RolloutLog, Totals
from chatwright.generate.completion import Completion
from chatwright.generate.judge import RewardModel
from chatwright.generate.sampling import Sampling
from chatwright.models.device import device_of, dtype_of
from chatwright.objectives.reference import FrozenCopy, OnDisk, Reference, WithoutAdapter
from chatwright.objectives.reinforcing import Reinforcing
from chatwright.objectives.rollouts import Asking, Earned, Rehearsal, Worth
from chatwright.text.pieces import Example
from chatwright.text.records import Problem
from chatwright.train import stage
from chatwright.train.panel import Panel
from chatwright.train.reinforce_settings import ReinforceSettings
from chatwright.train.run_folder import RunFolder
from chatwright.train.stage import Job, StageResult

S = TypeVar("S", bound=ReinforceSettings)
# settings that the other verbs share and that change nothing here, the second ones where nothing is rehearsed
UNUSED = ("patience", "eval_batches")
OF_DATA = ("seq_len", "max_truncated_share", "prepared", "workers")
PARITY_ROWS = 200
REHEARSED_ROWS = 4  # of --seq-len tokens, in every step
LONGEST = 64  # tokens of an answer when start and result are compared, or --max-tokens where that is more


@dataclass(frozen=True)
class Parts:
    """What an objective is made of, besides its own settings; `policy` is the model that will learn."""

    policy: Checkpoint
    shared: Mapping[str, Any]


Make = Callable[
    [S, Parts], tuple[Reinforcing, nn.Module | None]
]  # the objective, and what is trained beside the policy


def learn(verb: str, settings: S, make: Make[S]) -> dict[str, Any]:
    """Runs the verb whose objective `make` builds."""
    settings = tuning.with_default_rate(training.quick(settings) if settings.quick else settings)
    _check(settings)
    problems = found(settings)
    worth = Rewards.of(settings)
    policy = tuning.policy(settings)
    settings = settings.model_copy(update={"seq_len": training.window(settings, policy)})
    policy.model.set_dropout(0.0)  # or an answer's probability would change without any learning
    problems.check_room(policy, settings.max_tokens)
    job, panel, log = _job(verb, settings, policy, problems, make, worth)
    result = stage.run(job)
    panel.recall(training.metrics(result))
    return _concluded(job, result, problems, panel, log)


@dataclass(frozen=True)
class Rewards:
    """What answers earn: grades of the tasks, scores of a reward model, or both, each with its weight."""

    grader_weight: float
    model: RewardModel | None
    model_weight: float

    @classmethod
    def of(cls, settings: ReinforceSettings) -> "Rewards":
        model = None if settings.reward is None else RewardModel.load(settings.reward, settings.device)
        return cls(settings.grader_weight, model, settings.reward_weight)

    def __call__(self, problems: Sequence[Problem], completions: Sequence[Completion]) -> Earned:
        asked = list(zip(problems, completions, strict=True))
        grades = [grade_answer(*one) for one in asked] if self.grader_weight else []
        rewards = [self.grader_weight * grade for grade in grades] or [0.0] * len(asked)
        if self.model is not None and self.model_weight:
            # a conversation holds no empty answer
            said = [one.prompt.add("assistant", said.text if said.text.strip() else NO_ANSWER) for one, said in asked]
            scores = self.model.score(said)
            rewards = [reward + self.model_weight * score for reward, score in zip(rewards, scores, strict=True)]
        return Earned(rewards, grades)


def _check(settings: ReinforceSettings) -> None:
    """ConfigError for settings that contradict each other or change nothing, before anything is read."""
    if bool(settings.task) == bool(settings.data):
        both = "are both given" if settings.task else "are both missing"
        raise ConfigError(f"--task and --data {both}; give --task arithmetic, or --data with a file of problems")
    usual = type(settings).model_fields
    unused = UNUSED if settings.rehearse_data else (*UNUSED, *OF_DATA)
    idle = next((name for name in unused if getattr(settings, name) != usual[name].get_default()), None)
    if idle is not None:
        flag = idle.replace("_", "-")
        raise ConfigError(
            f"--{flag} is given, but changes nothing where a model learns from its own answers; leave it out"
        )
    if settings.lora.dropout or settings.dropout:
        name = "--lora.dropout" if settings.lora.dropout else "--dropout"
        raise ConfigError(f"{name} is given, but answers are made and learned from without any dropout; leave it out")
    if settings.updates > 1 and settings.accumulate > 1:
        raise ConfigError(
            f"--updates {settings.updates} learns from a round in several steps, and --accumulate "
            f"{settings.accumulate} from several rounds in one; give one of the two"
        )
    if not settings.grader_weight and (settings.reward is None or not settings.reward_weight):
        raise ConfigError("nothing grades the answers: --grader-weight is 0; raise it, or give --reward FOLDER")


def _job(
    verb: str, settings: S, policy: Checkpoint, problems: Problems, make: Make[S], worth: Worth
) -> tuple[Job, Panel, RolloutLog]:
    """What is trained, what watches it, and where its answers are kept."""
    device = device_of(settings.device)
    in_steps, in_panel = _references(settings, policy)
    asking = Asking(
        prompts=settings.batch_size,
        **settings.model_dump(include={"group", "max_tokens", "temperature", "length_penalty", "seed"}),
    )
    log = RolloutLog(RunFolder(settings.out).path)
    shared = {
        "asking": asking,
        "worth": worth,
        "reference": in_steps,
        "log": log,
        "dtype": dtype_of(settings.dtype, device),
        **settings.model_dump(include={"beta", "clip", "clip_high", "updates", "accumulate"}),
    }
    if settings.rehearse_data and settings.rehearse:
        told = training.rehearsal(settings, policy, settings.rehearse_data, "rehearsed").examples["train"]
        how = Pack(REHEARSED_ROWS, settings.seq_len, settings.seed)
        shared |= {"rehearse": settings.rehearse, "rehearsal": Rehearsal(told, how)}
    objective, beside = make(settings, Parts(policy, shared))
    practice = objective.prepare(problems.practice, policy)
    asked = f"{len(practice):,} problems, {settings.group} answers to each, template {policy.template.name}"
    console.note(f"{training.size_of(policy)}, {asked}")
    watched = [one for some in zip_longest(*problems.held.values()) for one in some if one is not None]
    watched = watched[: settings.guards.prompts]
    way = Sampling(settings.guards.max_tokens, settings.guards.temperature, seed=settings.seed)
    prompts = [one.prompt for one in watched]
    panel = Panel(
        policy, prompts, way, in_panel, lambda answers: list(worth(watched, answers).rewards), objective.remedies
    )
    live = prompts[0] if prompts else practice.problems[0].prompt
    job = Job(verb, settings, policy, objective, {"train": practice}, problems.report, live_prompt=live, panel=panel)
    return replace(job, beside=beside), panel, log


def _references(settings: ReinforceSettings, policy: Checkpoint) -> tuple[Reference | None, Reference]:
    """Whom the loss asks in every step (nobody where leaving the start costs nothing), and whom the panel asks."""
    if policy.adapter:
        own = WithoutAdapter(policy)
        return own if settings.beta else None, own
    device = str(device_of(settings.device))
    if not settings.beta:
        return None, OnDisk(lambda: tuning.start(settings, policy), device)
    start = tuning.start(settings, policy)
    start.model.to(torch.device(device))
    return FrozenCopy(start), FrozenCopy(start)


def _concluded(job: Job, result: StageResult, problems: Problems, panel: Panel, log: RolloutLog) -> dict[str, Any]:
    """The report: before and after on what was held out, the panel, what the rounds cost, and the page of rollouts."""
    settings, seconds = job.settings, _seconds(result)
    assert isinstance(settings, ReinforceSettings)
    shown = [*result.proofs, _parity(job.policy, problems, result), guards.proof(panel.readings, panel.alarms)]
    totals = Totals.of(log.rows())
    sheets = [rollouts.sheet(totals, seconds["updates"])]
    sheets += [guards.sheet(panel.readings)] if guards.measured(panel.readings) else []
    report = replace(training.stage_report(settings, result, job.verb), sheets=sheets)
    report = replace(report, stages=(replace(report.stages[0], losses={}),))  # its advantages add up to zero by design
    if settings.compare:
        way = Sampling(max_tokens=max(LONGEST, settings.max_tokens))
        examination = Examination(tuple(default_prompts()), way, problems.graded, problems.ways)
        report = training.asked_twice(report, settings, examination, tuning.load_in(settings))
        shown.append(proofs.before_after_proof({one.name: one.evaluation for one in report.stages}))
    page = rollouts.write(result.folder / "report", log, f"{job.verb} {result.folder}: what it said")
    reached = training.conclude(settings, result, shown, report)
    alarms = [f"step {alarm.step}: {alarm.says}" for alarm in panel.alarms]
    seen = {"panel": [guards.as_row(one) for one in panel.readings], "alarms": alarms}
    told = {"file": str(log.path), "page": str(page), **asdict(totals)}
    return {**reached, **_compared(report), **seen, "rollouts": told, "clock": seconds}


def _seconds(result: StageResult) -> dict[str, float]:
    """Of the steps: answering and grading, and learning."""
    steps = [row for row in training.metrics(result) if row.get("split") == "train"]
    waited = sum(row["data_seconds"] for row in steps)
    return {
        "rollouts": round(waited, 2),
        "updates": round(max((row["seconds"] for row in steps), default=0.0) - waited, 2),
    }


def _parity(policy: Checkpoint, problems: Problems, result: StageResult) -> proofs.Proof:
    """The prompts that answers were learned after are those that the saved model is given."""
    some = problems.practice[:PARITY_ROWS]
    asked = [policy.render(one.prompt, reply=True).ids for one in some]
    trained = [Example(ids, [0] * len(ids)) for ids in asked]
    talks = [one.prompt.add("assistant", NO_ANSWER) for one in some]
    return proofs.parity_proof(result.folder / "model", talks, trained, now=policy.template.now)


def _compared(report: Report) -> dict[str, Any]:
    """Accuracy on what was held out, before and after, by set, and the paired differences; nothing if not compared."""
    if report.examination is None:
        return {}
    accuracies = [
        {
            name: {"n": one.n, "accuracy": one.accuracy, "low": one.low, "high": one.high}
            for name, one in (stage.evaluation.scores.items() if stage.evaluation else ())
        }
        for stage in report.stages
    ]
    changes = [{**plain(change), "worse": change.worse} for change in report.changes]
    return {"before": accuracies[0], "after": accuracies[-1], "changes": changes}
