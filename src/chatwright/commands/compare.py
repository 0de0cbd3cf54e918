"""Asks several models the same, in the same way, and shows their answers side by side with what differs beyond chance.

The first model is what the others are held against. Models are loaded one after the other.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from chatwright import config, console
from chatwright.commands import _out
from chatwright.commands._loading import LoadInSetting
from chatwright.errors import ConfigError

if TYPE_CHECKING:
    from chatwright.evals.compare import Comparison, Examination

POSITIONAL = ("models",)
EXAMPLES = (
    "chatwright compare gpt2 runs/ultrachat --out runs/compared",
    "chatwright compare runs/q/base runs/q/sft --prompts questions.txt --out runs/compared",
    "chatwright compare runs/q/base runs/q/sft --task primer --temperature 0.7 --seed 1 --out runs/compared",
    "chatwright compare runs/q/sft runs/dpo --judge runs/reward --judge-data pairs.jsonl --out runs/judged",
)


class Settings(config.Settings):
    """Which models, what they are asked, and how they decode."""

    models: tuple[str, ...] = Field(
        min_length=2, description="run folders, model folders or hub ids, the baseline first"
    )
    out: Path = Field(description="folder for report/ and proofs.json")
    prompts: Path | None = Field(
        default=None, description="a .txt (a prompt a line) or .jsonl file; without one, the classic prompts"
    )
    task: tuple[str, ...] = Field(default=(), description="graded question sets to answer too, such as primer")
    max_samples: int | None = Field(default=None, ge=1, description="at most so many problems of each question set")
    max_tokens: int = Field(default=128, ge=1, description="longest answer, in tokens")
    temperature: float = Field(default=0.0, ge=0, description="0 always takes the likeliest token")
    seed: int = Field(default=0, description="for temperatures above 0: the same seed gives the same answers")
    template: str | None = Field(default=None, description="chat template for all models, in place of their own")
    judge: str | None = Field(
        default=None, description="win rates against the first model: grader (of --task), or a reward model's folder"
    )
    judge_data: str | None = Field(default=None, description="labelled pairs that show how often the judge is right")
    judge_split: Literal["all", "validation", "test"] = Field(
        default="test", description="the part of them, split as training splits it"
    )
    load_in: LoadInSetting = None
    device: str = Field(default="auto", description="auto, cpu, cuda or mps")


def run(settings: Settings) -> dict[str, Any]:
    """Answers, chat health and scores of each model, the differences, the win rates, and where the report is."""
    from chatwright.commands._judging import judge_of
    from chatwright.evals import informativeness, proofs, report, winrate
    from chatwright.evals.machine import machine
    from chatwright.evals.results import as_json, plain, samples_text

    _out.check(settings.out)
    twice = [name for name in settings.models if settings.models.count(name) > 1]
    if twice:
        raise ConfigError(f"{twice[0]} is given twice; give models that differ")
    examination = _examination(settings)
    data, part, graded = settings.judge_data, settings.judge_split, bool(examination.problems)
    judge = judge_of(settings.judge, data, part, settings.device, graded=graded)
    comparison = _compared(settings, examination)
    rates = judge(comparison)
    said = informativeness.sheet(comparison.evaluations)
    sheets = [*([winrate.sheet(rates)] if rates else []), *([said] if said else [])]
    shown = [proofs.before_after_proof({one.name: one for one in comparison.evaluations})]
    title = " and ".join(settings.models) + " compared"
    whole = report.of_comparison(comparison, title=title, machine=machine(), proofs=shown, sheets=sheets)
    page = report.write(settings.out / "report", whole)
    proofs.write(settings.out, shown)
    if not settings.json:
        console.out().print(samples_text(whole), markup=False)
        report.show(whole)
        console.out().print(f"The report: {page}", markup=False)
    return {**as_json(whole), "win_rates": [{**plain(rate), "says": rate.says} for rate in rates], "report": str(page)}


def _examination(settings: Settings) -> Examination:
    """What every model is asked, and how it decodes."""
    from chatwright.evals import prompts
    from chatwright.evals.benchmark import problem_sets, ways
    from chatwright.evals.compare import Examination
    from chatwright.generate.sampling import Sampling

    asked = prompts.default() if settings.prompts is None else prompts.read(settings.prompts)
    sets = [problem_sets(task, settings.max_samples) for task in settings.task]
    problems = {name: members for one in sets for name, members in one.items()}
    sampling = Sampling(max_tokens=settings.max_tokens, temperature=settings.temperature, seed=settings.seed)
    own = {name: way for task in settings.task for name, way in ways(task).items()}
    return Examination(tuple(asked), sampling, problems, own)


def _compared(settings: Settings, examination: Examination) -> Comparison:
    """The models asked, one after the other."""
    from chatwright.evals.compare import Comparison, evaluate
    from chatwright.generate.chatbot import Chatbot

    device, template, load_in = settings.device, settings.template, settings.load_in
    evaluations = tuple(
        evaluate(name, Chatbot.load(name, device=device, template=template, load_in=load_in), examination)
        for name in settings.models
    )
    return Comparison(examination, evaluations)
