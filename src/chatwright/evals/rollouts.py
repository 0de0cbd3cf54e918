"""What a policy said while it was reinforced: kept round by round in rollouts.jsonl, and a page to browse some of it.

The page opens offline, runs no script and loads nothing; all text that a model or a user wrote is escaped.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chatwright import console, disk
from chatwright.evals.results import FINISHES, Sheet
from chatwright.evals.tables import duration
from chatwright.objectives.rollouts import Round

FILE, PAGE = "rollouts.jsonl", "rollouts.html"
SHOWN = 12  # rounds of the page: the first, the last, and some between at even distances
Row = dict[str, Any]


@dataclass
class RolloutLog:
    """A line for each round, in the folder of a run; what a resumed run does again is written again."""

    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / FILE

    def begin(self, number: int) -> None:
        """Drops the rounds from this one on, and a line that a crash cut short. Raises DiskFull."""
        if self.path.exists():
            with disk.new_file(self.path) as file:
                file.writelines(
                    json.dumps(row, ensure_ascii=False) + "\n" for row in self.rows() if row["round"] < number
                )

    def add(self, made: Round, step: int, learned: Sequence[int]) -> None:
        """Appends a round. A full disk does not stop the training for it, but is said."""
        try:
            with self.path.open("a", encoding="utf-8", newline="\n") as file:
                file.write(json.dumps(_row(made, step, learned), ensure_ascii=False) + "\n")
        except OSError as error:
            console.warn(f"{self.path} cannot be written ({error.strerror}); the run goes on")

    def rows(self) -> Iterator[Row]:
        """The rounds in order."""
        if not self.path.exists():
            return
        with self.path.open(encoding="utf-8") as file:
            for line in file:
                try:
                    row = json.loads(line)
                except ValueError:
                    continue
                yield row


@dataclass(frozen=True)
class Totals:
    """Of all rounds of a run: how many, the answers and tokens in them, and those from which nothing was learned."""

    rounds: int
    skipped: int
    answers: int
    tokens: int
    prompts: int
    equal: int
    seconds: float

    @classmethod
    def of(cls, rows: Iterator[Row]) -> Totals:
        found = Counter[str]()
        seconds = 0.0
        for row in rows:
            learned = [one["learned"] for one in row["prompts"]]
            said = [answer for one in row["prompts"] for answer in one["answers"]]
            found.update(rounds=1, skipped=not any(learned), answers=len(said), prompts=len(learned))
            found.update(tokens=sum(one["tokens"] for one in said), equal=learned.count(False))
            seconds += row["seconds"]
        names = ("rounds", "skipped", "answers", "tokens", "prompts", "equal")
        return cls(**{name: found[name] for name in names}, seconds=seconds)


def sheet(totals: Totals, update_seconds: float) -> Sheet:
    """What the rounds cost, for the report."""
    rate = totals.tokens / totals.seconds if totals.seconds else 0.0
    rows = (
        ("rounds", f"{totals.rounds:,}", f"{totals.skipped:,} taught nothing"),
        ("prompts asked", f"{totals.prompts:,}", f"{totals.equal:,} whose answers all earned the same"),
        ("answers", f"{totals.answers:,}", f"{totals.tokens:,} tokens"),
        ("answering and grading", duration(totals.seconds), f"{rate:,.0f} tokens/s"),
        ("learning", duration(update_seconds), ""),
    )
    return Sheet(
        "Rollouts", ("", "in all", ""), rows, f"All of them are in {FILE}, some on the page {PAGE} beside this."
    )


def write(folder: Path, log: RolloutLog, title: str) -> Path:
    """`rollouts.html` in `folder`, whole or not at all; the path that it has. Raises DiskFull."""
    count = sum(1 for _ in log.rows())
    most = min(SHOWN, count)
    wanted = {round(place * (count - 1) / max(1, most - 1)) for place in range(most)}
    chosen = [row for number, row in enumerate(log.rows()) if number in wanted]
    disk.write(folder / PAGE, html(chosen, count, title))
    return folder / PAGE


def html(rows: Sequence[Row], count: int, title: str) -> str:
    """The page of some rounds out of `count`."""
    from importlib.resources import files

    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, finalize=_cleaned, trim_blocks=True, lstrip_blocks=True
    )
    source = files("chatwright.evals").joinpath("rollouts.html.jinja").read_text(encoding="utf-8")
    shown = [{**row, "prompts": [_merged(one) for one in row["prompts"]]} for row in rows]
    return environment.from_string(source).render(rounds=shown, count=count, title=title, finishes=FINISHES)


def _row(made: Round, step: int, learned: Sequence[int]) -> Row:
    answers = [
        {"text": one.text, "reward": float(reward), "finish": one.finish, "tokens": length}
        for one, reward, length in zip(made.completions, made.rewards, made.lengths, strict=True)
    ]
    for answer, grade in zip(answers, made.grades, strict=False):
        answer["grade"] = grade
    prompts = [
        {
            "prompt": [[message.role, message.content] for message in problem.prompt.messages],
            "learned": number in learned,
            "answers": answers[number * made.group : (number + 1) * made.group],
        }
        for number, problem in enumerate(made.problems)
    ]
    told = {name: round(value, 6) for name, value in made.told.items()}
    return {"round": made.number, "step": step, "seconds": round(made.seconds, 4), **told, "prompts": prompts}


def _merged(prompt: Mapping[str, Any]) -> dict[str, Any]:
    """A prompt of the page: answers that are the same word for word stand once, the best first."""
    found: dict[tuple[Any, ...], int] = Counter(
        (one["text"], one["reward"], one["finish"]) for one in prompt["answers"]
    )
    answers = [
        {"text": text, "reward": reward, "finish": finish, "times": times}
        for (text, reward, finish), times in sorted(found.items(), key=lambda one: -one[0][1])
    ]
    rewards = [one["reward"] for one in prompt["answers"]]
    return {**prompt, "answers": answers, "mean": sum(rewards) / len(rewards)}


def _cleaned(value: Any) -> Any:
    """Control characters have no place in a page; what is escaped already stays so."""
    return type(value)(console.clean(value)) if isinstance(value, str) else value
