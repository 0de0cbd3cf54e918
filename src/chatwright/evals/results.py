"""What a report is made of: stages with their evaluations, losses and curves, differences, proofs, and where it ran.

Plain data without any layout; a single run, a comparison and the whole road all fit in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from typing import TYPE_CHECKING, Any

from chatwright.console import clean
from chatwright.evals.compare import Change, Evaluation, Examination
from chatwright.evals.proofs import Proof

if TYPE_CHECKING:
    from chatwright.evals.loss import LossReport

FINISHES = {
    "stop": "stopped by itself",
    "string": "cut at a stop string",
    "length": "ran into the token limit",
    "context": "filled the window",
    "cancelled": "cancelled",
}


@dataclass(frozen=True)
class Stage:
    """One model of the report. Every part but the name may be missing: then its place on the page is left out.

    `losses` by split; `metrics` are the rows of metrics.jsonl (`plots.read_metrics`); `seconds` is the time that making
    this model took.
    """

    name: str
    evaluation: Evaluation | None = None
    losses: Mapping[str, LossReport] = field(default_factory=dict)
    metrics: Sequence[Mapping[str, Any]] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    seconds: float | None = None


@dataclass(frozen=True)
class Sheet:
    """A table of its own, as text: `columns` head the cells of each row, the first of which says what the row is."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    hint: str = ""

    def __post_init__(self) -> None:
        assert all(len(row) == len(self.columns) for row in self.rows)


@dataclass(frozen=True)
class Report:
    """Everything that is reported; `stages` stand from left to right, the others are held against the first."""

    title: str
    stages: tuple[Stage, ...]
    examination: Examination | None = None
    changes: Sequence[Change] = ()
    proofs: Sequence[Proof] = ()
    machine: Mapping[str, str] = field(default_factory=dict)
    next_commands: Sequence[str] = ()
    summary: str = ""
    sheets: Sequence[Sheet] = ()


@dataclass(frozen=True)
class Answer:
    """What a stage said, and why it ended there."""

    stage: str
    text: str
    finish: str


@dataclass(frozen=True)
class Sample:
    """One turn of a prompt, counted from 1: what is given as (role, content), and each stage's answer."""

    turn: int
    given: tuple[tuple[str, str], ...]
    answers: tuple[Answer, ...]


def samples(report: Report) -> list[Sample]:
    """Every turn of the prompts that the stages answered, side by side."""
    found = []
    for i, prompt in enumerate(report.examination.prompts if report.examination else ()):
        for k, segment in enumerate(prompt.segments):
            said = [(one.name, one.evaluation.answers[i][k]) for one in report.stages if one.evaluation]
            answers = tuple(Answer(name, completion.text, completion.finish) for name, completion in said)
            found.append(Sample(k + 1, tuple((message.role, message.content) for message in segment), answers))
    return found


def samples_text(report: Report) -> str:
    """The samples for reading in a terminal or an editor, without control characters."""
    blocks = [report.title]
    for sample in samples(report):
        lines = [f"{role}: {text}" for role, text in sample.given]
        lines += [f"--- {one.stage} ({FINISHES[one.finish]})\n{one.text.strip()}" for one in sample.answers]
        blocks.append("\n".join(lines))
    return clean("\n\n".join(blocks) + "\n")


def as_json(report: Report) -> dict[str, Any]:
    """The report as what JSON can hold; a figure without a value (NaN) is null."""
    return {
        "title": report.title,
        "summary": report.summary,
        "stages": [_stage(stage) for stage in report.stages],
        "changes": [{**plain(change), "worse": change.worse} for change in report.changes],
        "proofs": plain(report.proofs),
        "sheets": plain(report.sheets),
        "sampling": plain(report.examination.sampling) if report.examination else None,
        "samples": plain(samples(report)),
        "machine": plain(report.machine),
        "next_commands": plain(report.next_commands),
    }


def evaluation_json(evaluation: Evaluation) -> dict[str, Any]:
    """One model's chat health and scores, with every graded answer."""
    health = evaluation.health
    rates = {"stop_rate": health.stop_rate, "loop_rate": health.loop_rate, "leak_rate": health.leak_rate}
    scores = {}
    for name, score in evaluation.scores.items():
        rows = [
            {
                "prompt": [[message.role, message.content] for message in row.problem.prompt.messages],
                "reply": row.completion.text,
                "finish": row.completion.finish,
                "grade": row.grade,
            }
            for row in score.rows
        ]
        share = {"accuracy": score.accuracy, "low": score.low, "high": score.high}
        scores[name] = {"n": score.n, "correct": score.correct, **share, "rows": rows}
    whole = {
        "health": {**asdict(health), **rates},
        "scores": scores,
        "fingerprint": evaluation.fingerprint,
        "seconds": evaluation.seconds,
    }
    return dict(plain(whole))


def plain(value: Any) -> Any:
    """Dataclasses, tuples and mappings as JSON's own types; NaN and infinities as None, anything else as its text."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _stage(stage: Stage) -> dict[str, Any]:
    return {
        "name": stage.name,
        "seconds": stage.seconds,
        "settings": plain(stage.settings),
        "losses": plain(stage.losses),
        "evaluation": evaluation_json(stage.evaluation) if stage.evaluation else None,
    }
