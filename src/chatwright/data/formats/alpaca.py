"""Instruction rows: `{"instruction": ..., "input": ..., "output": ...}`.

Instruction and input become ONE user turn, joined by an empty line, under every template: the same row then asks the
same question in all of them. `system` and `history` (pairs of earlier turns) are read where a file has them.
"""

from typing import Any

from chatwright.data.formats import fields, turns
from chatwright.errors import DataError
from chatwright.text.records import Conversation, Message, Record

KIND = "conversations"
QUESTION = {
    "instruction": ("instruction",),
    "input": ("input", "context"),
    "system": ("system",),
    "history": ("history",),
}
COLUMNS = {**QUESTION, "output": ("output", "response")}


def matches(row: dict[str, Any]) -> bool:
    """Whether the row has an instruction and an answer that nobody rated."""
    return "instruction" in row and "output" in row and "kto_tag" not in row


def parse(row: dict[str, Any], columns: fields.Columns) -> Record:
    """The row as a Conversation of one exchange, after its history if it has one."""
    answer = Message("assistant", fields.text(row, fields.name(row, columns, COLUMNS, "output")))
    return Conversation((*prompt(row, columns), answer))


def prompt(row: dict[str, Any], columns: fields.Columns) -> list[Message]:
    """What QUESTION's columns say: the system text, the history, and what is asked."""
    system = turns.system(row, columns.get("system", "system"))
    history = _history(row, columns.get("history", "history"))
    given = fields.name(row, columns, QUESTION, "input")
    return [*system, *history, question(row, columns.get("instruction", "instruction"), given)]


def question(row: dict[str, Any], instruction: str, given: str) -> Message:
    """The user's turn out of these two columns, the second of which may be missing, null or blank."""
    asked, rest = fields.text(row, instruction), fields.optional_text(row, given)
    if not asked.strip():
        raise DataError("the instruction is empty")
    return Message("user", f"{asked}\n\n{rest}" if rest.strip() else asked)


def _history(row: dict[str, Any], column: str) -> list[Message]:
    """Earlier turns, given as `[[question, answer], ...]`."""
    earlier: list[Message] = []
    for pair in fields.items(row, column) if row.get(column) is not None else []:
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(turn, str) for turn in pair)):
            raise DataError(f"{column!r} holds {fields.kind_of(pair)}; it must hold pairs of question and answer")
        earlier += [Message("user", pair[0]), Message("assistant", pair[1])]
    return earlier
