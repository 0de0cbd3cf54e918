"""The stages of `quickstart`, each one verb's own code, and the report of the whole road."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from chatwright import console, registry
from chatwright.checkpoint import Checkpoint, read_json
from chatwright.commands import _training as training
from chatwright.commands import pretrain as pretrain_verb
from chatwright.commands import sft as sft_verb
from chatwright.commands import tokenizer as tokenizer_verb
from chatwright.evals import proofs
from chatwright.evals import report as reports
from chatwright.evals.benchmark import problem_sets
from chatwright.evals.compare import Comparison, Evaluation, Examination
from chatwright.evals.compare import evaluate as examine
from chatwright.evals.loss import LossReport
from chatwright.evals.machine import machine
from chatwright.evals.plots import read_metrics
from chatwright.evals.prompts import default as default_prompts
from chatwright.evals.proofs import Proof
from chatwright.evals.results import Report, Stage
from chatwright.generate.chatbot import Chatbot
from chatwright.generate.sampling import Sampling
from chatwright.models.device import device_of, dtype_of
from chatwright.objectives.pretrain import Pretrain
from chatwright.text.records import Record
from chatwright.text.tokenizer import Tokenizer
from chatwright.train import optim
from chatwright.train.settings import Optim

if TYPE_CHECKING:
    from chatwright.commands.quickstart import Settings

DATA = ("primer:documents", "primer:conversations")
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
PRETRAIN = {"batch_size": 16, "seq_len": 128}  # the primer's documents are short
SFT = {"batch_size": 10, "seq_len": 192}
ANSWER = 72  # tokens: the primer's longest reply has fewer
MEASURED_SECONDS = 5.0  # of training, from which --seconds is turned into steps
SHARES = (0.5, 0.27)  # of --seconds for pretraining and fine-tuning; the rest is tokenizer, evaluation and report


@contextmanager
def timed(clock: dict[str, float], name: str) -> Iterator[None]:
    """Adds the block's wall time to the clock, and says on stderr that it began."""
    console.note(f"{name} …")
    began = time.perf_counter()
    yield
    clock[name] = time.perf_counter() - began


def steps_for(settings: "Settings", seconds: float) -> tuple[int, int]:
    """Steps of pretraining and fine-tuning that fit, from a few seconds of training this model on this machine."""
    documents = list(_records(DATA[0]))
    tokenizer = Tokenizer.train((text for text in _texts(documents)), settings.vocab_size, SPECIAL)
    start = training.new_model(settings.model, tokenizer, seed=0, dropout=None)
    objective = Pretrain(**PRETRAIN)
    device = device_of(settings.device)
    assert isinstance(start.model, torch.nn.Module)
    start.model.to(device)
    optimizer = optim.build(start.model, settings.lr, Optim())
    batches = objective.batches(objective.prepare(documents, start), start, start)
    took: list[float] = []
    while sum(took) < MEASURED_SECONDS or len(took) < 4:
        began = time.perf_counter()
        with torch.autocast(device.type, dtype_of("auto", device)):
            loss = objective.loss(start.model, next(batches).to(device))
        loss.total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        took.append(time.perf_counter() - began)
    step = sorted(took)[len(took) // 2]
    return max(10, int(seconds * SHARES[0] / step)), max(10, int(seconds * SHARES[1] / step))


def tokenizer(settings: "Settings") -> None:
    """A vocabulary of the primer's texts, unless it is there."""
    out = settings.out / "tokenizer"
    if not out.exists():
        tokenizer_verb.run(
            tokenizer_verb.Settings(
                data=list(DATA), out=out, vocab_size=settings.vocab_size, special=SPECIAL, json=True
            )
        )


def pretrain(settings: "Settings") -> dict[str, Any]:
    """The base model, from random weights; resumed where it was begun."""
    given = {
        "data": [DATA[0]],
        "model": settings.model,
        "tokenizer": settings.out / "tokenizer",
        "out": str(settings.out / "base"),
        "steps": settings.pretrain_steps,
        "lr": settings.lr,
        **PRETRAIN,
        **_shared(settings),
    }
    return pretrain_verb.run(pretrain_verb.Settings.model_validate(given))


def sft(settings: "Settings") -> dict[str, Any]:
    """The chatbot, from the base model; resumed where it was begun."""
    given = {
        "model": str(settings.out / "base"),
        "data": [DATA[1]],
        "template": "chatml",
        "rehearse_data": DATA[0],
        "rehearse": settings.rehearse,
        "compare": False,  # the road compares at its end
        "out": str(settings.out / "sft"),
        "steps": settings.sft_steps,
        "lr": settings.sft_lr,
        **SFT,
        **_shared(settings),
    }
    return sft_verb.run(sft_verb.Settings.model_validate(given))


def evaluate(settings: "Settings") -> tuple[dict[str, Evaluation], Examination]:
    """Base and chatbot in one examination: the classic prompts and every graded set, greedily."""
    problems = problem_sets("primer", settings.max_problems)
    examination = Examination(tuple(default_prompts()), Sampling(max_tokens=ANSWER), problems)
    found = {}
    for name in ("base", "sft"):
        bot = Chatbot(Checkpoint.load(settings.out / name, quiet=True), device=settings.device, max_batch=128)
        found[name] = examine(name, bot, examination)
    return found, examination


def report(
    settings: "Settings", evaluations: Mapping[str, Evaluation], examination: Examination, clock: Mapping[str, float]
) -> Report:
    """The page of the whole road, and its proofs, in runs/q/report and runs/q/proofs.json."""
    stages = tuple(_stage(settings, name, evaluations[name], clock) for name in ("base", "sft"))
    shown = _proofs(settings, evaluations)
    changes = Comparison(examination, tuple(evaluations.values())).changes
    out = settings.out
    commands = (
        f"chatwright chat {out}/sft",
        f'chatwright chat {out}/sft -p "What is the capital of Italy?"',
        f"chatwright check primer --model {out}/sft",
        f"chatwright compare {out}/base {out}/sft --out {out}/compared",
    )
    whole = Report(
        "From nothing to a chatbot", stages, examination, changes, shown, machine(), commands,
        summary=f"A {settings.model} GPT-2, pretrained and fine-tuned on the primer.",
    )  # fmt: skip
    proofs.write(out, shown)
    reports.write(out / "report", whole)
    return whole


def summary(settings: "Settings", whole: Report, clock: Mapping[str, float]) -> dict[str, Any]:
    """The one JSON object: seconds, losses, accuracies and chat health before and after, the answers, the proofs."""
    stages: dict[str, Any] = {}
    for stage in whole.stages:
        assert stage.evaluation is not None
        health = stage.evaluation.health
        scores = stage.evaluation.scores.items()
        stages[stage.name] = {
            "loss": {name: found["loss"] for name, found in _result(settings, stage.name)["losses"].items()},
            "accuracy": {name: {"n": s.n, "accuracy": s.accuracy, "low": s.low, "high": s.high} for name, s in scores},
            "stop_rate": health.stop_rate,
            "loop_rate": health.loop_rate,
            "leak_rate": health.leak_rate,
            "replies": health.n,
        }
    chatbot = whole.stages[-1].evaluation
    assert chatbot is not None
    answers = {row.problem.prompt.messages[-1].content: row.completion.text for row in chatbot.scores["classic"].rows}
    return {
        "out": str(settings.out),
        "report": str(settings.out / "report" / "index.html"),
        "seconds": {name: round(value, 1) for name, value in clock.items()},
        "steps": {"pretrain": settings.pretrain_steps, "sft": settings.sft_steps},
        "before": stages["base"],
        "after": stages["sft"],
        "answers": answers,
        "proofs": {proof.name: proof.state for proof in whole.proofs},
    }


def show(whole: Report, reached: Mapping[str, Any]) -> None:
    """The before/after table, the classic prompts answered, and what to type next."""
    reports.show(whole)
    out = console.out()
    for question, answer in reached["answers"].items():
        out.print(f"\n> {question}", style="bold", markup=False, highlight=False)
        out.print(console.clean(answer), markup=False, highlight=False)
    seconds = ", ".join(f"{name} {value:.0f} s" for name, value in reached["seconds"].items())
    out.print(f"\n{seconds}\nThe report: {reached['report']}\nNext:", markup=False, highlight=False)
    for command in whole.next_commands:
        out.print(f"  {command}", style="cyan", markup=False, highlight=False, soft_wrap=True)


def _shared(settings: "Settings") -> dict[str, Any]:
    """What both training stages are given alike. Problems are held out from the primer itself, so all of it trains."""
    return {
        "seed": settings.seed,
        "device": settings.device,
        "resume": True,
        "json": True,
        "proofs": "warn",
        "validation_share": 0.02,
        "test_share": 0.02,
        "eval_batches": 4,
        "optim": {"final": 0.02},
    }


def _stage(settings: "Settings", name: str, evaluation: Evaluation, clock: Mapping[str, float]) -> Stage:
    folder = settings.out / name
    result = _result(settings, name)
    losses = {split: LossReport(**found) for split, found in result["losses"].items()}
    return Stage(
        name,
        evaluation,
        losses,
        read_metrics(folder / "metrics.jsonl"),
        {"steps": result["steps"], "tokens": result["tokens"]},
        clock["pretrain" if name == "base" else name],
    )


def _proofs(settings: "Settings", evaluations: Mapping[str, Evaluation]) -> list[Proof]:
    """Those of the stages, the stop proof with the measured rate, and before/after."""
    found = {name: {proof.name: proof for proof in proofs.load(settings.out / name)} for name in ("base", "sft")}
    health = evaluations["sft"].health
    stop = proofs.with_measured(found["sft"]["stop"], health)
    base_sanity = replace(found["base"]["sanity"], name="sanity (base)")
    rest = [found["sft"]["parity"], stop, found["sft"]["mask"], base_sanity, found["sft"]["sanity"]]
    return [*rest, proofs.before_after_proof(evaluations)]


def _result(settings: "Settings", name: str) -> dict[str, Any]:
    return read_json(settings.out / name / "result.json")


def _records(data: str) -> Iterator[Record]:
    name, part = data.split(":")
    yield from registry.load("tasks", name).records(part)


def _texts(records: list[Record]) -> Iterator[str]:
    for record in records:
        yield from tokenizer_verb.contents(record)
