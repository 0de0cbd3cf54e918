"""Several models on the same prompts, problems, seeds and decoding: what each says, and how sure the differences are.

In come chatbots by name, out comes a `Comparison`: one `Evaluation` for each model and its changes against the first.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from chatwright.evals import benchmark, health, intervals
from chatwright.evals.benchmark import Score
from chatwright.evals.health import Health
from chatwright.evals.intervals import Difference
from chatwright.evals.prompts import Prompt, prompt
from chatwright.text.manners import leaks_role, loops, words
from chatwright.text.records import Conversation, Problem

if TYPE_CHECKING:
    from chatwright.generate.chatbot import Chatbot
    from chatwright.generate.completion import Completion
    from chatwright.generate.sampling import Sampling


@dataclass(frozen=True)
class Examination:
    """What every model is asked and how it decodes; `fingerprint` is equal exactly where all of it is."""

    prompts: tuple[Prompt, ...]
    sampling: Sampling
    problems: Mapping[str, Sequence[Problem]] = field(default_factory=dict)
    ways: Mapping[str, Sampling] = field(default_factory=dict)  # of sets that are answered in one of their own

    @property
    def fingerprint(self) -> str:
        """SHA-256 of prompts, problems and decoding, seed included."""
        asked: Any = {
            "prompts": [[_turns(segment) for segment in one.segments] for one in self.prompts],
            "problems": {
                name: [[_turns(problem.prompt.messages), problem.grader, problem.answer] for problem in members]
                for name, members in self.problems.items()
            },
            "sampling": asdict(self.sampling),
            "ways": {name: asdict(way) for name, way in self.ways.items()},
        }
        return hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()


@dataclass(frozen=True)
class Evaluation:
    """What one model did in an examination. `answers[i][k]` answers segment k of prompt i; `seconds` is wall time.

    `apart` are the sets that were answered in a way of their own.
    """

    name: str
    fingerprint: str
    answers: tuple[tuple[Completion, ...], ...]
    scores: Mapping[str, Score]
    seconds: float
    apart: frozenset[str] = frozenset()

    @property
    def completions(self) -> list[Completion]:
        """Every reply that was decoded alike: the prompts' in order, then the problems'."""
        alike = (score for name, score in self.scores.items() if name not in self.apart)
        graded = (row.completion for score in alike for row in score.rows)
        return [*(completion for answers in self.answers for completion in answers), *graded]

    @property
    def health(self) -> Health:
        return health.measure(self.completions)


@dataclass(frozen=True)
class Change:
    """How one figure of the model `second` differs from the model `first`; `better` is +1 where more is better,
    -1 where less is, 0 where neither. `unit` is "share" or "words"."""

    what: str
    unit: str
    first: str
    second: str
    difference: Difference
    better: int

    @property
    def worse(self) -> bool:
        """Whether the interval lies wholly on the worse side."""
        return self.difference.certain and self.difference.value * self.better < 0


@dataclass(frozen=True)
class Comparison:
    """Every model's evaluation in one examination, and each later model's changes against the first."""

    examination: Examination
    evaluations: tuple[Evaluation, ...]

    @property
    def changes(self) -> list[Change]:
        first, *others = self.evaluations
        return [change for other in others for change in changes(first, other)]


def compare(
    chatbots: Mapping[str, Chatbot],
    prompts: Sequence[Prompt | Conversation],
    sampling: Sampling,
    problems: Mapping[str, Sequence[Problem]] | None = None,
) -> Comparison:
    """Asks each chatbot the same in the same way. A Conversation ends with the user's turn."""
    asked = tuple(one if isinstance(one, Prompt) else prompt(one.messages) for one in prompts)
    examination = Examination(asked, sampling, problems or {})
    return Comparison(examination, tuple(evaluate(name, bot, examination) for name, bot in chatbots.items()))


def evaluate(name: str, chatbot: Chatbot, examination: Examination) -> Evaluation:
    """One model's answers and grades. Prompts run side by side, turn after turn, each on the model's own history."""
    start = time.perf_counter()
    said: list[list[Completion]] = [[] for _ in examination.prompts]
    for turn in range(max((len(one.segments) for one in examination.prompts), default=0)):
        waiting = [i for i, one in enumerate(examination.prompts) if len(one.segments) > turn]
        histories = [examination.prompts[i].history([answer.text for answer in said[i]]) for i in waiting]
        replies = benchmark.ask(chatbot, histories, examination.sampling, "answering prompts")
        for i, completion in zip(waiting, replies, strict=True):
            said[i].append(completion)
    scores = {}
    if examination.problems:
        scores = benchmark.grade(chatbot, examination.problems, examination.sampling, examination.ways)
    seconds = time.perf_counter() - start
    apart = frozenset(examination.ways) & scores.keys()
    return Evaluation(name, examination.fingerprint, tuple(map(tuple, said)), scores, seconds, apart)


def changes(first: Evaluation, second: Evaluation) -> list[Change]:
    """The second model against the first: chat health over all replies, then the accuracy of each graded set.

    Raises ValueError when the two were not evaluated under the same settings: such figures have no pairs.
    """
    if first.fingerprint != second.fingerprint:
        raise ValueError(f"{first.name} and {second.name} were evaluated under different settings")

    def change(what: str, unit: str, better: int, figure: Callable[[Completion], float]) -> Change:
        pairs = [[figure(completion) for completion in one.completions] for one in (first, second)]
        return Change(what, unit, first.name, second.name, intervals.paired_bootstrap(*pairs), better)

    found = [
        change("stops by itself", "share", 1, lambda c: float(c.finish == "stop")),
        change("loops", "share", -1, lambda c: float(loops(c.text))),
        change("speaks for the user", "share", -1, lambda c: float(leaks_role(c.text))),
        change("words per reply", "words", 0, lambda c: float(len(words(c.text)))),
        change("distinct word pairs", "share", 0, lambda c: health.distinct(c.text, 2)),
        change("repeated 4-grams", "share", 0, lambda c: 1 - health.distinct(c.text, 4)),
    ]
    for name, score in first.scores.items():
        grades = [[row.grade for row in one.rows] for one in (score, second.scores[name])]
        found.append(Change(name, "share", first.name, second.name, intervals.paired_bootstrap(*grades), 1))
    return found


def _turns(messages: Sequence[Any]) -> list[list[str]]:
    return [[message.role, message.content] for message in messages]
