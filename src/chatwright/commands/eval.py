"""Measures one model: loss on data, graded questions, and the health of its chat.

With neither --data nor --task it answers the primer's questions. Conversations are scored on the assistant's turns,
documents on all of their text; problems among the data are answered and graded.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from chatwright import config, console
from chatwright.commands import _out
from chatwright.commands._loading import LoadInSetting
from chatwright.errors import ConfigError, DataError

if TYPE_CHECKING:
    from chatwright.checkpoint import Checkpoint
    from chatwright.evals.loss import LossReport
    from chatwright.objectives.protocol import Objective
    from chatwright.text.records import Problem, Record

POSITIONAL = ("model",)
EXAMPLES = (
    "chatwright eval runs/q/sft",
    "chatwright eval gpt2 --data chats.jsonl --split test",
    "chatwright eval runs/q/sft --task primer --max-samples 50 --out runs/q/sft --json",
)


class Settings(config.Settings):
    """What is measured, on what, and how the model decodes."""

    model: str = Field(description="a run folder, a model folder or a hub id")
    data: tuple[str, ...] = Field(default=(), description="files, folders, hub data sets or primer to take the loss on")
    split: Literal["all", "train", "validation", "test"] = Field(
        default="all", description="the part of the data, split as training splits it"
    )
    task: tuple[str, ...] = Field(default=(), description="graded question sets to answer, such as primer")
    prompts: Path | None = Field(default=None, description="a .txt or .jsonl file in place of the classic prompts")
    max_samples: int | None = Field(default=None, ge=1, description="at most so many records or problems of each set")
    max_tokens: int = Field(default=128, ge=1, description="longest answer, in tokens")
    temperature: float = Field(default=0.0, ge=0, description="0 always takes the likeliest token")
    seed: int = Field(default=0, description="for temperatures above 0: the same seed gives the same answers")
    seq_len: int | None = Field(default=None, ge=2, description="tokens a row; the model's window if not given")
    batch_size: int = Field(default=8, ge=1, description="rows that are scored together")
    template: str | None = Field(default=None, description="chat template in place of the model's own")
    load_in: LoadInSetting = None
    device: str = Field(default="auto", description="auto, cpu, cuda or mps")
    out: Path | None = Field(default=None, description="folder for report/; without one, nothing is written")


def run(settings: Settings) -> dict[str, Any]:
    """Losses by data, scores by question set, chat health, and where the report is (null without --out)."""
    from chatwright.evals import prompts, report
    from chatwright.evals.benchmark import problem_sets, ways
    from chatwright.evals.compare import Examination, evaluate
    from chatwright.evals.machine import machine
    from chatwright.evals.results import Report, Stage, as_json
    from chatwright.generate.chatbot import Chatbot
    from chatwright.generate.sampling import Sampling

    _out.check(settings.out)
    asked = prompts.default() if settings.prompts is None else prompts.read(settings.prompts)
    tasks = settings.task or (() if settings.data else ("primer",))
    sets = [problem_sets(task, settings.max_samples) for task in tasks]
    problems = {name: members for one in sets for name, members in one.items()}
    records = {name: _records(name, settings) for name in settings.data}
    problems |= _problems(records)
    chatbot = Chatbot.load(settings.model, device=settings.device, template=settings.template, load_in=settings.load_in)
    losses = _losses(chatbot.checkpoint, records, settings)
    sampling = Sampling(max_tokens=settings.max_tokens, temperature=settings.temperature, seed=settings.seed)
    own = {name: way for task in tasks for name, way in ways(task).items()}
    examination = Examination(tuple(asked), sampling, problems, own)
    stage = Stage(settings.model, evaluate(settings.model, chatbot, examination), losses)
    whole = Report(f"{settings.model} evaluated", (stage,), examination, machine=machine())
    page = None if settings.out is None else report.write(settings.out / "report", whole)
    if not settings.json:
        report.show(whole)
        if page is not None:
            console.out().print(f"The report: {page}", markup=False)
    return {**as_json(whole), "report": None if page is None else str(page)}


def _records(name: str, settings: Settings) -> list[Record]:
    """The wanted part of one source."""
    from chatwright.data import source
    from chatwright.data.split import split

    records = source.read(name).records
    if settings.split != "all":
        parts = split(records)
        records = {"train": parts.train, "validation": parts.validation, "test": parts.test}[settings.split]
        if not records:
            raise DataError(f"{name}: its {settings.split} split is empty; give more data, or --split all")
    return records[: settings.max_samples]


def _problems(records: dict[str, list[Record]]) -> dict[str, list[Problem]]:
    """The problems among the data, by source."""
    from chatwright.text.records import Problem

    found = {name: [one for one in members if isinstance(one, Problem)] for name, members in records.items()}
    ungraded = next((one for problems in found.values() for one in problems if not one.grader), None)
    if ungraded is not None:
        raise DataError(
            f"{ungraded.source}: a prompt without an answer, which no task can grade; eval has no use for it"
        )
    return {name: problems for name, problems in found.items() if problems}


def _losses(checkpoint: Checkpoint, records: dict[str, list[Record]], settings: Settings) -> dict[str, LossReport]:
    """The loss on each source, its documents and its conversations apart."""
    from chatwright.evals.loss import measure
    from chatwright.objectives.pretrain import Pretrain
    from chatwright.objectives.sft import Sft
    from chatwright.text.records import Conversation, Document, Problem

    room = checkpoint.model.config.context_length
    seq_len = settings.seq_len or room
    if seq_len > room:
        raise ConfigError(f"--seq-len is {seq_len}, but this model has {room} positions; give --seq-len {room} or less")
    objectives: dict[type, Objective[Any]] = {
        Document: Pretrain(settings.batch_size, seq_len),
        Conversation: Sft(settings.batch_size, seq_len),
    }
    found: dict[str, LossReport] = {}
    for name, members in records.items():
        wrong = next((one for one in members if not isinstance(one, Document | Conversation | Problem)), None)
        if wrong is not None:
            raise DataError(
                f"{wrong.source}: a {type(wrong).__name__.lower()}; eval reads documents, conversations and problems"
            )
        kinds = [kind for kind in objectives if any(isinstance(one, kind) for one in members)]
        for kind in kinds:
            objective = objectives[kind]
            label = f"{name} ({kind.__name__.lower()}s)" if len(kinds) > 1 else name
            prepared = objective.prepare([one for one in members if isinstance(one, kind)], checkpoint)
            found[label] = measure(
                checkpoint.model, objective, objective.once(prepared), checkpoint.tokenizer.byte_lengths
            )
    return found
