"""Instruction rows: `{"instruction": ..., "input": ..., "output": ...}`; Dolly's `context` and `response` are known.

Instruction and input become ONE user turn, joined by an empty line, under every template: the same row then asks the
same question in all of them. `system` and `history` (pairs of earlier turns) are read where a file has them.
"""

from typing import Any

from chatwright.data.formats import fields
from chatwright.errors import DataError
from chatwright.text.records import Conversation, Message, Record

COLUMNS = {
    "instruction": ("instruction",),
    "input": ("input", "context"),
    "output": ("output", "response"),
    "system": ("system",),
    "history": ("history",),
}


def matches(row: dict[str, Any]) -> bool:
    """Whether the row has an instruction and an answer."""
    return "instruction" in row and ("output" in row or "response" in row)


def parse(row: dict[str, Any], columns: fields.Columns) -> Record:
    """The row as a Conversation of one exchange, after its history if it has one."""
    instruction = fields.text(row, columns.get("instruction", "instruction"))
    given = fields.optional_text(row, columns.get("input", "input"))
    if not instruction.strip():
        raise DataError("the instruction is empty")
    answer = fields.text(row, columns.get("output", "output"))
    system = fields.optional_text(row, columns.get("system", "system"))
    question = f"{instruction}\n\n{given}" if given.strip() else instruction
    return Conversation(
        (
            *([Message("system", system)] if system.strip() else []),
            *_history(row, columns.get("history", "history")),
            Message("user", question),
            Message("assistant", answer),
        )
    )


def _history(row: dict[str, Any], column: str) -> list[Message]:
    """Earlier turns, given as `[[question, answer], ...]`."""
    turns: list[Message] = []
    for pair in fields.items(row, column) if row.get(column) is not None else []:
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(turn, str) for turn in pair)):
            raise DataError(f"{column!r} holds {fields.kind_of(pair)}; it must hold pairs of question and answer")
        turns += [Message("user", pair[0]), Message("assistant", pair[1])]
    return turns
