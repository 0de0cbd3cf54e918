"""Graded problems: how often a chatbot's answer is right, with the interval that its number allows.

In come problems by set, out comes a `Score` for each. The same graders score evaluation and reward RL.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from chatwright import console, registry
from chatwright.errors import ConfigError, DataError
from chatwright.evals.intervals import wilson
from chatwright.text.records import Conversation, Problem

if TYPE_CHECKING:
    from chatwright.generate.chatbot import Chatbot
    from chatwright.generate.completion import Completion
    from chatwright.generate.sampling import Sampling

CHUNK = 256  # conversations between two updates of the progress bar; a chunk's last answers run in a thinner batch
QUESTIONS = "problems/"  # how a task names those of its parts that evaluation asks
PRACTICE = "practice/"  # and those that reinforcement learning trains on


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
    return _sets(task, QUESTIONS, limit, "grades answers but asks no questions; give --task primer")


def practice_sets(task: str, limit: int | None = None) -> dict[str, list[Problem]]:
    """What a task in `tasks/` has to practise, none of which evaluation asks; ConfigError when it has none."""
    return _sets(task, PRACTICE, limit, "has nothing to practise; give --task arithmetic")


def ways(task: str) -> dict[str, Sampling]:
    """Those question sets of a task that are answered in a way of their own, whatever the others are."""
    from chatwright.generate.sampling import Sampling

    given = vars(registry.load("tasks", task)).get("SAMPLED", {})
    return {part.removeprefix(QUESTIONS): Sampling(**how) for part, how in given.items()}


def grade(
    chatbot: Chatbot,
    problems: Mapping[str, Sequence[Problem]],
    sampling: Sampling | None = None,
    own: Mapping[str, Sampling] | None = None,
) -> dict[str, Score]:
    """Answers every problem, all sets in one batched run, and grades each set; greedy unless `sampling` says else.

    A set in `own` is answered in that way, every problem with luck of its own.
    """
    from chatwright.generate.sampling import Sampling

    usual, own = sampling or Sampling(), own or {}
    whole = [problem for members in problems.values() for problem in members]
    how = [
        replace(own[name], seed=usual.seed + number) if name in own else usual
        for name, members in problems.items()
        for number in range(len(members))
    ]
    completions = ask(chatbot, [problem.prompt for problem in whole], how, "answering problems")
    rows = iter(graded(whole, completions))
    return {name: Score(name, tuple(next(rows) for _ in members)) for name, members in problems.items()}


def ask(
    chatbot: Chatbot, conversations: Sequence[Conversation], sampling: Sampling | Sequence[Sampling], description: str
) -> list[Completion]:
    """`Chatbot.replies`, with its progress shown; all in one way, or each conversation in its own."""
    completions: list[Completion] = []
    ways = sampling if isinstance(sampling, Sequence) else [sampling] * len(conversations)
    with console.progress(description, len(conversations), unit="reply") as bar:
        for start in range(0, len(conversations), CHUNK):
            completions += chatbot.replies(conversations[start : start + CHUNK], ways[start : start + CHUNK])
            bar.update(len(completions))
    return completions


def graded(problems: Sequence[Problem], completions: Sequence[Completion]) -> list[Row]:
    """Each problem beside its answer and the grade that its own grader gives."""
    return [
        Row(problem, completion, grade_answer(problem, completion))
        for problem, completion in zip(problems, completions, strict=True)
    ]


def grade_answer(problem: Problem, said: Completion) -> float:
    """The grade of an answer as the engine gave it: 0 for one that had to be ended, where the grader wants a whole one."""
    needs_end = vars(registry.load("tasks", problem.grader)).get("NEEDS_END", False)
    return 0.0 if needs_end and said.finish in ("length", "context") else grade_one(problem, said.text)


def grade_one(problem: Problem, text: str) -> float:
    """The grade of one reply, in [0, 1]: the only place that asks a grader, for evaluation and for rewards alike.

    Raises DataError, with grader and problem, where the grader raises anything or gives something else.
    """
    module = registry.load("tasks", problem.grader)
    try:
        found = float(module.grade(text, problem.answer))
    except Exception as error:  # whatever a grader runs into
        why = "" if isinstance(error, DataError) else f"{type(error).__name__}: "
        raise DataError(f"{_named(problem)} cannot grade: {why}{' '.join(str(error).split())}") from None
    if not 0.0 <= found <= 1.0:  # NaN is neither
        wrong = "NaN" if math.isnan(found) else f"{found:g}"
        raise DataError(f"{_named(problem)} gave {wrong}; a grade is a number from 0 to 1")
    return found


def facts(problem: Problem, text: str) -> int | None:
    """How many of the facts that a problem wants a reply states; None where its grader counts none."""
    if not problem.grader:
        return None
    count = vars(registry.load("tasks", problem.grader)).get("facts")
    return None if count is None else int(count(text, problem.answer))


def _sets(task: str, kind: str, limit: int | None, otherwise: str) -> dict[str, list[Problem]]:
    """The parts of a task whose names begin with `kind`, by the rest of their names."""
    module = registry.load("tasks", task)
    parts = [part for part in vars(module).get("PARTS", ()) if part.startswith(kind)]
    if not parts:
        raise ConfigError(f"--task is {task!r}, which {otherwise}")
    found = {part: [record for record in module.records(part) if isinstance(record, Problem)] for part in parts}
    return {part.removeprefix(kind): problems[:limit] for part, problems in found.items()}


def _named(problem: Problem) -> str:
    """`primer:12: the grader number of 'What is 7 + 12?'`."""
    asked = " ".join(problem.prompt.messages[-1].content.split())
    place = f"{problem.source}: " if problem.source.file else ""
    return f"{place}the grader {problem.grader} of {asked[:60] + '…' if len(asked) > 60 else asked!r}"
