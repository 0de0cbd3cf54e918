"""The problems of reinforcement learning: those that are practised, and those that are held out to see what it gave."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chatwright.checkpoint import Checkpoint
from chatwright.data import source
from chatwright.data.lessons import located
from chatwright.data.split import split
from chatwright.errors import DataError
from chatwright.evals.benchmark import practice_sets, problem_sets, ways
from chatwright.generate.sampling import Sampling
from chatwright.text.records import Problem, Record
from chatwright.train.reinforce_settings import ReinforceSettings


@dataclass(frozen=True)
class Problems:
    """`held` by set; `ways` are of the sets that are answered in a way of their own."""

    practice: Sequence[Problem]
    held: Mapping[str, Sequence[Problem]]
    name: str
    public_name: str
    ways: Mapping[str, Sampling] = field(default_factory=dict)

    @property
    def graded(self) -> dict[str, list[Problem]]:
        """What of the held-out problems a task grades."""
        some = {name: [one for one in members if one.grader] for name, members in self.held.items()}
        return {name: members for name, members in some.items() if members}

    @property
    def report(self) -> dict[str, Any]:
        """What the run writes down of its data; a resumed run needs the same fingerprint."""
        parts = [source.fingerprint(self.practice), *(source.fingerprint(members) for members in self.held.values())]
        return {
            "name": self.name,
            "public_name": self.public_name,
            "fingerprint": hashlib.sha256(" ".join(parts).encode()).hexdigest(),
            "problems": {"practised": len(self.practice), **{name: len(one) for name, one in self.held.items()}},
        }

    def check_room(self, policy: Checkpoint, max_tokens: int) -> None:
        """DataError for the first problem whose prompt leaves no room for an answer in the model's window."""
        window = policy.model.config.context_length
        for problem in self.practice:
            length = len(policy.render(problem.prompt, reply=True).ids)
            if length + max_tokens > window:
                says = (
                    f"the prompt has {length} tokens, and --max-tokens {max_tokens} more are no longer in the model's"
                )
                raise DataError(located(problem, f"{says} window of {window}; leave it out, or lower --max-tokens"))


def found(settings: ReinforceSettings) -> Problems:
    """Of tasks, or of files. DataError for what is no problem, or has no grader where graders are asked."""
    problems = _of_files(settings) if settings.data else _of_tasks(settings)
    ungraded = next((one for one in problems.practice if not one.grader), None)
    if ungraded is not None and settings.grader_weight:
        says = "a prompt without an answer, which no task can grade"
        raise DataError(located(ungraded, f"{says}; give --reward FOLDER and --grader-weight 0"))
    return problems


def _of_tasks(settings: ReinforceSettings) -> Problems:
    practice = [one for task in settings.task for some in practice_sets(task).values() for one in some]
    held = {name: some for task in settings.task for name, some in problem_sets(task, settings.max_problems).items()}
    own = {name: way for task in settings.task for name, way in ways(task).items()}
    name = ", ".join(settings.task)
    return Problems(practice[: settings.max_samples], held, name, name, own)


def _of_files(settings: ReinforceSettings) -> Problems:
    """Each source in its own set; the validation and the test split are held out together."""
    practice: list[Problem] = []
    held: dict[str, list[Problem]] = {}
    public = []
    validation, test = settings.validation_share, settings.test_share
    for name in settings.data:
        stream = source.open(name, "problems", settings.read_options())
        public.append(stream.public_name)
        read = source.read(
            name,
            kind="problems",
            options=settings.read_options(),
            skip_bad_rows=settings.skip_bad_rows,
            max_bad_share=settings.max_bad_share,
        )
        parts = split([_problem(one) for one in read.records], (1 - validation - test, validation, test))
        practice += [one for one in parts.train if isinstance(one, Problem)]
        asked = [one for one in (*parts.validation, *parts.test) if isinstance(one, Problem)]
        if asked:
            short = Path(stream.source.name).name
            held[name if short in held else short] = asked[: settings.max_problems]
    if not practice:
        raise DataError(f"{', '.join(settings.data)}: there is nothing to practise: its training split is empty")
    return Problems(practice[: settings.max_samples], held, ", ".join(settings.data), ", ".join(public))


def _problem(record: Record) -> Record:
    if not isinstance(record, Problem):
        kind = type(record).__name__.lower()
        raise DataError(located(record, f"a {kind}; reinforcement learning asks problems, whose answers can be graded"))
    return record
