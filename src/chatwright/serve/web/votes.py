"""Votes of the arena as files: preference pairs that `dpo` reads as they are, and beside them what teaches no preference.

Each vote is one line. The win rates are counted from the two files, so that they go on where they were.
"""

import json
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from chatwright import console
from chatwright.data import kept
from chatwright.errors import ConfigError
from chatwright.evals.intervals import wilson
from chatwright.text.records import Conversation, Message

Choice = Literal["left", "right", "tie", "bad"]
PAIRS = "votes-preferences.jsonl"
COUNTED = ("first_wins", "second_wins", "tie", "bad")


@dataclass(frozen=True)
class Answered:
    """Two models' answers to one prompt, as they stood on the left and on the right."""

    prompt: Conversation
    names: tuple[str, str]
    answers: tuple[Message, Message]


class Votes:
    """The two files. `path` has the pairs; ties, and votes on answers that are equal or empty, lie beside it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        stem = path.stem.removesuffix("-preferences")
        self.others = path.with_name(f"{stem}-ties{path.suffix or '.jsonl'}")
        self._counts: dict[tuple[str, str], dict[str, int]] = {}
        for row in (*_rows(self.path), *_rows(self.others)):
            self._count(row)

    def add(self, answered: Answered, choice: Choice) -> bool:
        """Keeps a vote; whether a pair came of it. Raises ConfigError where the file cannot be written, DiskFull."""
        texts = [answer.content for answer in answered.answers]
        pair = choice in ("left", "right") and all(texts) and texts[0] != texts[1]
        row = _pair(answered, choice) if pair else _other(answered, choice)
        self._append(self.path if pair else self.others, row)
        self._count(row)
        return pair

    def rates(self) -> list[dict[str, Any]]:
        """For each two models: votes, wins of the first, ties, both bad, and the first one's win rate with its 95 %
        interval (Wilson's), a tie or two bad answers counting half."""
        found = []
        for (first, second), counts in sorted(self._counts.items()):
            n = sum(counts.values())
            wins = counts["first_wins"] + (counts["tie"] + counts["bad"]) / 2
            low, high = wilson(wins, n)
            found.append(
                {"first": first, "second": second, "votes": n, **counts, "rate": wins / n, "low": low, "high": high}
            )
        return found

    def check(self) -> None:
        """Raises ConfigError where no vote could be kept, before anybody votes."""
        with self._alone(self.path):
            if self.path.is_dir() or (self.path.exists() and not os.access(self.path, os.W_OK)):
                raise ConfigError(f"--votes {self.path} is no file that can be written; give another path")

    def _count(self, row: dict[str, Any]) -> None:
        found = _voted(row)
        if found is not None:
            (left, right), won = found
            if left > right:  # each two models are counted once, whoever stood where
                left, right, won = right, left, {"left": "right", "right": "left"}.get(won, won)
            key = {"left": "first_wins", "right": "second_wins"}.get(won, won)
            self._counts.setdefault((left, right), dict.fromkeys(COUNTED, 0))[key] += 1

    def _append(self, path: Path, row: dict[str, Any]) -> None:
        with self._alone(path):
            old = path.read_bytes() if path.exists() else b""
            if old and not old.endswith(b"\n"):
                old += b"\n"
            kept.write(path, old + kept.line(row))

    def _alone(self, path: Path) -> AbstractContextManager[None]:
        """Two servers with one file take turns."""
        return kept.alone(path.parent, "give another path with --votes")


def _voted(row: dict[str, Any]) -> tuple[tuple[str, str], str] | None:
    """The two models of a row and the side that won; None for a row that a person wrote or changed."""
    pair = "chosen" in row
    names = [row.get("chosen_model"), row.get("rejected_model")] if pair else row.get("models")
    won = "left" if pair else row.get("vote")
    match names:
        case [str(left), str(right)] if won in get_args(Choice):
            return (left, right), str(won)
    return None


def _pair(answered: Answered, choice: Choice) -> dict[str, Any]:
    """The row that a vote for one side becomes."""
    better = 0 if choice == "left" else 1
    chosen, rejected = answered.answers[better], answered.answers[1 - better]
    names = {"chosen_model": answered.names[better], "rejected_model": answered.names[1 - better]}
    return {**kept.preference_row(answered.prompt.messages, chosen, rejected), **names}


def _other(answered: Answered, choice: Choice) -> dict[str, Any]:
    """The row that any other vote becomes."""
    prompt = [kept.message_row(message) for message in answered.prompt.messages]
    answers = [[kept.message_row(answer)] for answer in answered.answers]
    return {"prompt": prompt, "answers": answers, "models": list(answered.names), "vote": choice}


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--votes: {path} cannot be read ({error}); give another path") from None
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except ValueError:
            console.warn(f"{path}:{number} is no JSON; it is not counted")
            continue
        if isinstance(row, dict):
            yield row
