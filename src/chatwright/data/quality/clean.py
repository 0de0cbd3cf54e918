"""The clean version of some data as JSONL, and beside it what was left out and why. Both appear whole or not at all.

Each record is written as the row that its format reads back as an equal record.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from chatwright import disk
from chatwright.data.rows import BadRow
from chatwright.errors import ConfigError, DataError
from chatwright.text.records import Conversation, Document, Message, Preference, Problem, Rated, Record


@dataclass
class Clean:
    """The two files while they are written."""

    path: Path
    kept_file: TextIO
    dropped_file: TextIO
    kept: int = 0
    dropped: int = 0
    kind: str = ""

    def keep(self, record: Record) -> None:
        """Writes a record. DataError where it is of another kind than those before: one file has one format."""
        kind = type(record).__name__.lower()
        self.kind = self.kind or kind
        if kind != self.kind:
            raise DataError(
                f"{record.source}: is a {kind}, but the rows before it are {self.kind}s, and one file holds one kind; "
                "check the files one by one, each with a --fix of its own"
            )
        self.kept_file.write(json.dumps(row_of(record), ensure_ascii=False) + "\n")
        self.kept += 1

    def drop(self, row: BadRow, name: str, records: Sequence[Record] = ()) -> None:
        """Writes what was left out, by which filter, and why."""
        place = {"file": row.file, "line": row.line, "filter": name, "reason": row.reason}
        line = {**place, "records": [row_of(record) for record in records]}
        self.dropped_file.write(json.dumps(line, ensure_ascii=False) + "\n")
        self.dropped += 1


@contextmanager
def writing(path: Path, overwrite: bool = False) -> Iterator[Clean]:
    """Opens `OUT.jsonl` and `OUT.dropped.jsonl`. ConfigError where one of them exists and may not be replaced."""
    if path.suffix != ".jsonl":
        raise ConfigError(f"--fix is {str(path)!r}; give the name of a .jsonl file")
    beside = dropped_path(path)
    for one in (path, beside):
        if one.exists() and not overwrite:
            raise ConfigError(f"--fix: {one} exists; give another name, or replace it with --overwrite")
    with disk.new_file(beside) as dropped, disk.new_file(path) as kept:
        yield Clean(path, kept, dropped)


def dropped_path(path: Path) -> Path:
    """Where the rows that were left out are listed."""
    return path.with_suffix(".dropped.jsonl")


def row_of(record: Record) -> dict[str, Any]:
    """The record as a row of the formats `text`, `messages` and `graded`, and of TRL's preferences, ratings and prompts."""
    match record:
        case Document():
            return {"text": record.text}
        case Conversation():
            return {"messages": _messages(record.messages)}
        case Preference():
            return {"chosen": _messages(record.chosen.messages), "rejected": _messages(record.rejected.messages)}
        case Rated():
            turns = record.conversation.messages
            return {"prompt": _messages(turns[:-1]), "completion": _messages(turns[-1:]), "label": record.good}
        case Problem():
            graded = {"grader": record.grader, "answer": record.answer} if record.grader else {}
            return {"prompt": _messages(record.prompt.messages), **graded}


def _messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """What differs from a message's defaults."""
    return [
        {"role": message.role, "content": message.content}
        | ({} if message.learn is None else {"learn": message.learn})
        | ({} if message.name is None else {"name": message.name})
        | ({"tool_calls": list(message.tool_calls)} if message.tool_calls else {})
        for message in messages
    ]
