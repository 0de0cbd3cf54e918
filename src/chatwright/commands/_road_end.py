"""The end of the road of `quickstart`: all its stages examined alike, the one report, and what is printed."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from chatwright import console
from chatwright.checkpoint import Checkpoint, read_json
from chatwright.evals import guards, informativeness, proofs
from chatwright.evals import report as reports
from chatwright.evals.benchmark import problem_sets, ways
from chatwright.evals.compare import Evaluation, Examination, changes
from chatwright.evals.compare import evaluate as examine
from chatwright.evals.loss import LossReport
from chatwright.evals.machine import machine
from chatwright.evals.plots import read_metrics
from chatwright.evals.prompts import default as default_prompts
from chatwright.evals.proofs import Proof
from chatwright.evals.results import Report, Sheet, Stage
from chatwright.generate.capacity import Capacity
from chatwright.generate.chatbot import Chatbot
from chatwright.generate.sampling import Sampling

if TYPE_CHECKING:
    from chatwright.commands.quickstart import Settings

STAGES = {"base": "pretrain", "sft": "sft", "dpo": "dpo", "grpo": "grpo"}  # folder -> what made it
LAST = list(STAGES)[-1]
EXAMINED = ("phrasings", "unseen_phrasings", "never_asked", "follow_ups", "arithmetic", "classic", "open")
ANSWER = 72  # tokens: the primer's longest reply to a closed question has fewer


def evaluate(settings: "Settings") -> tuple[dict[str, Evaluation], Examination]:
    """Every stage in one examination: the classic prompts and the graded sets greedily, open requests by chance."""
    most = settings.max_problems
    sets = problem_sets("primer", None if most is None else 2 * most)  # open requests: chance makes them less sure
    problems = {name: sets[name] if name == "open" else sets[name][:most] for name in EXAMINED}
    own = {name: way for name, way in ways("primer").items() if name in problems}
    examination = Examination(tuple(default_prompts()), Sampling(max_tokens=ANSWER), problems, own)
    found = {}
    for name in STAGES:
        checkpoint = Checkpoint.load(settings.out / name, quiet=True)
        bot = Chatbot(checkpoint, device=settings.device, capacity=Capacity(max_batch=128))
        found[name] = examine(name, bot, examination)
    return found, examination


def report(
    settings: "Settings", evaluations: Mapping[str, Evaluation], examination: Examination, clock: Mapping[str, float]
) -> Report:
    """The page of the whole road, and its proofs, in runs/q/report and runs/q/proofs.json. A stage is held against the
    one before it."""
    stages = tuple(_stage(settings, name, evaluations[name], clock) for name in STAGES)
    shown = _proofs(settings, evaluations)
    found = [change for first, second in pairwise(evaluations.values()) for change in changes(first, second)]
    out = settings.out
    commands = (
        f"chatwright chat {out}/{LAST}",
        f'chatwright chat {out}/{LAST} -p "What is the capital of Italy?"',
        f"chatwright check primer --model {out}/sft",
        f"chatwright compare {out}/sft {out}/dpo --task primer --out {out}/compared",
    )
    whole = Report(
        "From nothing to a chatbot", stages, examination, found, shown, machine(), commands,
        summary=f"A {settings.model} GPT-2 on the primer: pretrained, fine-tuned, taught manners, and drilled in sums.",
        sheets=_sheets(settings, evaluations),
    )  # fmt: skip
    proofs.write(out, shown)
    reports.write(out / "report", whole)
    return whole


def summary(settings: "Settings", whole: Report, clock: Mapping[str, float]) -> dict[str, Any]:
    """The one JSON object: seconds, and of every stage losses, accuracies and chat health; the answers, the proofs.

    `before` is the first stage and `after` the last.
    """
    stages = {stage.name: _figures(settings, stage) for stage in whole.stages}
    chatbot = whole.stages[-1].evaluation
    assert chatbot is not None
    answers = {row.problem.prompt.messages[-1].content: row.completion.text for row in chatbot.scores["classic"].rows}
    return {
        "out": str(settings.out),
        "report": str(settings.out / "report" / "index.html"),
        "seconds": {name: round(value, 1) for name, value in clock.items()},
        "steps": {verb: vars(settings)[f"{verb}_steps"] for verb in STAGES.values()},
        "stages": stages,
        "before": stages["base"],
        "after": stages[LAST],
        "answers": answers,
        "proofs": {proof.name: proof.state for proof in whole.proofs},
    }


def show(whole: Report, reached: Mapping[str, Any]) -> None:
    """The table of all stages, the classic prompts answered, and what to type next."""
    reports.show(whole)
    out = console.out()
    for question, answer in reached["answers"].items():
        out.print(f"\n> {question}", style="bold", markup=False, highlight=False)
        out.print(console.clean(answer), markup=False, highlight=False)
    seconds = ", ".join(f"{name} {value:.0f} s" for name, value in reached["seconds"].items())
    out.print(f"\n{seconds}\nThe report: {reached['report']}\nNext:", markup=False, highlight=False)
    for command in whole.next_commands:
        out.print(f"  {command}", style="cyan", markup=False, highlight=False, soft_wrap=True)


def _figures(settings: "Settings", stage: Stage) -> dict[str, Any]:
    assert stage.evaluation is not None
    health, scores = stage.evaluation.health, stage.evaluation.scores.items()
    return {
        "loss": {name: found["loss"] for name, found in _result(settings, stage.name)["losses"].items()},
        "accuracy": {name: {"n": s.n, "accuracy": s.accuracy, "low": s.low, "high": s.high} for name, s in scores},
        "stop_rate": health.stop_rate,
        "loop_rate": health.loop_rate,
        "leak_rate": health.leak_rate,
        "replies": health.n,
    }


def _stage(settings: "Settings", name: str, evaluation: Evaluation, clock: Mapping[str, float]) -> Stage:
    result = _result(settings, name)
    losses = {split: LossReport.of(found) for split, found in result["losses"].items()}
    made = {"steps": result["steps"], "tokens": result["tokens"]}
    return Stage(name, evaluation, losses, _metrics(settings, name), made, clock[STAGES[name]])


def _sheets(settings: "Settings", evaluations: Mapping[str, Evaluation]) -> list[Sheet]:
    """How much the answers tell beside how long they are, and what the panels saw."""
    told = informativeness.sheet(list(evaluations.values()))
    looked = {name: guards.readings(_metrics(settings, name)) for name in STAGES}
    panels = [guards.sheet(found, f"Guard rails of {name}") for name, found in looked.items() if guards.measured(found)]
    return [*([told] if told else []), *panels]


def _proofs(settings: "Settings", evaluations: Mapping[str, Evaluation]) -> list[Proof]:
    """Those of the stages, the stop proof with the measured rate, and before/after."""
    found = {name: {proof.name: proof for proof in proofs.load(settings.out / name)} for name in STAGES}
    stop = proofs.with_measured(found["sft"]["stop"], evaluations[LAST].health)
    sanity = [replace(found[name]["sanity"], name=f"sanity ({name})") for name in STAGES]
    rails = [replace(found[name]["guard rails"], name=f"guard rails ({name})") for name in ("dpo", "grpo")]
    first = [found["sft"]["parity"], stop, found["sft"]["mask"]]
    return [*first, *sanity, *rails, proofs.before_after_proof(evaluations, consecutive=True)]


def _metrics(settings: "Settings", name: str) -> list[dict[str, Any]]:
    return read_metrics(settings.out / name / "metrics.jsonl")


def _result(settings: "Settings", name: str) -> dict[str, Any]:
    return dict(read_json(settings.out / name / "result.json"))
