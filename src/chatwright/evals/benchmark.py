"""Graded problems: how often a chatbot's answer is right, with the interval that its number allows.

In come problems by set, out comes a `Score` for each. The same graders score evaluation and reward RL.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chatwright import console, registry
from chatwright.errors import ConfigError
from chatwright.evals.intervals import wilson
from chatwright.text.records import Conversation, Problem

if TYPE_CHECKING:
    from chatwright.generate.chatbot import Chatbot
    from chatwright.generate.engine import Completion
    from chatwright.generate.sampling import Sampling

CHUNK = 256  # conversations between two updates of the progress bar; a chunk's last answers run in a thinner batch
QUESTIONS = "problems/"  # how a task names those of its parts that are graded


@dataclass(frozen=True)
class Row:
    """One problem with the answer it got; `grade` is in [0, 1]."""

    problem: Problem
    completion: Completion
    grade: float


@dataclass(frozen=True)
class Score:
    """The grades of one set. `accuracy` is their mean, `low` and `high` its 95 % interval (Wilson)."""

    name: str
    rows: tuple[Row, ...]

    @property
    def n(self) -> int:
        return len(self.rows)

    @property
    def correct(self) -> float:
        """The sum of the grades: for graders that say 0 or 1, the number of right answers."""
        return sum(row.grade for row in self.rows)

    @property
    def accuracy(self) -> float:
        return self.correct / self.n if self.rows else float("nan")

    @property
    def low(self) -> float:
        return wilson(self.correct, self.n)[0]

    @property
    def high(self) -> float:
        return wilson(self.correct, self.n)[1]


def problem_sets(task: str, limit: int | None = None) -> dict[str, list[Problem]]:
    """The question sets of a task in `tasks/`, at most `limit` problems of each; ConfigError when it has none."""
    module = registry.load("tasks", task)
    parts = [part for part in vars(module).get("PARTS", ()) if part.startswith(QUESTIONS)]
    if not parts:
        raise ConfigError(f"--task is {task!r}, which grades answers but asks no questions; give --task primer")
    found = {part: [record for record in module.records(part) if isinstance(record, Problem)] for part in parts}
    return {part.removeprefix(QUESTIONS): problems[:limit] for part, problems in found.items()}


def grade(
    chatbot: Chatbot, problems: Mapping[str, Sequence[Problem]], sampling: Sampling | None = None
) -> dict[str, Score]:
    """Answers every problem, all sets in one batched run, and grades each set; greedy unless `sampling` says else."""
    from chatwright.generate.sampling import Sampling

    whole = [problem for members in problems.values() for problem in members]
    completions = ask(chatbot, [problem.prompt for problem in whole], sampling or Sampling(), "answering problems")
    rows = iter(graded(whole, completions))
    return {name: Score(name, tuple(next(rows) for _ in members)) for name, members in problems.items()}


def ask(
    chatbot: Chatbot, conversations: Sequence[Conversation], sampling: Sampling, description: str
) -> list[Completion]:
    """`Chatbot.replies`, with its progress shown."""
    completions: list[Completion] = []
    with console.progress(description, len(conversations), unit="reply") as bar:
        for start in range(0, len(conversations), CHUNK):
            completions += chatbot.replies(conversations[start : start + CHUNK], sampling)
            bar.update(len(completions))
    return completions


def graded(problems: Sequence[Problem], completions: Sequence[Completion]) -> list[Row]:
    """Each problem beside its answer and the grade that its own grader gives."""
    return [
        Row(problem, completion, float(registry.load("tasks", problem.grader).grade(completion.text, problem.answer)))
        for problem, completion in zip(problems, completions, strict=True)
    ]
