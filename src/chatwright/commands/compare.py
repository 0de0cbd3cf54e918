"""Asks several models the same, in the same way, and shows their answers side by side with what differs beyond chance.

The first model is what the others are held against. Models are loaded one after the other.
"""

from pathlib import Path
from typing import Any

from pydantic import Field

from chatwright import config, console
from chatwright.commands import _out
from chatwright.commands._loading import LoadInSetting
from chatwright.errors import ConfigError

POSITIONAL = ("models",)
EXAMPLES = (
    "chatwright compare gpt2 runs/ultrachat --out runs/compared",
    "chatwright compare runs/q/base runs/q/sft --prompts questions.txt --out runs/compared",
    "chatwright compare runs/q/base runs/q/sft --task primer --temperature 0.7 --seed 1 --out runs/compared",
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
    load_in: LoadInSetting = None
    device: str = Field(default="auto", description="auto, cpu, cuda or mps")


def run(settings: Settings) -> dict[str, Any]:
    """Answers, chat health and scores of each model, the differences, and where the report is."""
    from chatwright.evals import prompts, proofs, report
    from chatwright.evals.benchmark import problem_sets
    from chatwright.evals.compare import Comparison, Examination, evaluate
    from chatwright.evals.machine import machine
    from chatwright.evals.results import as_json, samples_text
    from chatwright.generate.chatbot import Chatbot
    from chatwright.generate.sampling import Sampling

    _out.check(settings.out)
    twice = [name for name in settings.models if settings.models.count(name) > 1]
    if twice:
        raise ConfigError(f"{twice[0]} is given twice; give models that differ")
    asked = prompts.default() if settings.prompts is None else prompts.read(settings.prompts)
    sets = [problem_sets(task, settings.max_samples) for task in settings.task]
    problems = {name: members for one in sets for name, members in one.items()}
    sampling = Sampling(max_tokens=settings.max_tokens, temperature=settings.temperature, seed=settings.seed)
    examination = Examination(tuple(asked), sampling, problems)
    device, template, load_in = settings.device, settings.template, settings.load_in
    evaluations = tuple(
        evaluate(name, Chatbot.load(name, device=device, template=template, load_in=load_in), examination)
        for name in settings.models
    )
    comparison = Comparison(examination, evaluations)
    shown = [proofs.before_after_proof({one.name: one for one in evaluations})]
    title = " and ".join(settings.models) + " compared"
    whole = report.of_comparison(comparison, title=title, machine=machine(), proofs=shown)
    page = report.write(settings.out / "report", whole)
    proofs.write(settings.out, shown)
    if not settings.json:
        console.out().print(samples_text(whole), markup=False)
        report.show(whole)
        console.out().print(f"The report: {page}", markup=False)
    return {**as_json(whole), "report": str(page)}
