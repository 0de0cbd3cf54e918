"""UltraChat's rows: `{"id": ..., "data": ["Hi", "Hello!", ...]}`, the user's turn and the assistant's by turns.

Also those of its filtered edition, `{"prompt", "prompt_id", "messages": [...]}`, whose prompt is the first message.
"""

from typing import Any

from chatwright.data.formats import fields, turns
from chatwright.errors import DataError
from chatwright.text.records import Conversation, Message, Record

KIND = "conversations"
COLUMNS = {"data": ("data",), "messages": ("messages",), **turns.OPENAI}
INSTEAD_OF = ("messages",)


def matches(row: dict[str, Any]) -> bool:
    """Whether the row is a list of texts with an id, or messages with their prompt and its id."""
    data = row.get("data")
    if isinstance(data, list) and data and all(isinstance(turn, str) for turn in data):
        return "id" in row
    named = isinstance(row.get("prompt"), str) and "prompt_id" in row
    return named and turns.is_openai(row.get("messages")) and "chosen" not in row


def parse(row: dict[str, Any], columns: fields.Columns) -> Record:
    """The row as a Conversation."""
    column = columns.get("messages", "messages")
    if row.get(column) is not None:
        return Conversation(tuple(turns.openai(fields.items(row, column), columns)))
    column = columns.get("data", "data")
    said = fields.items(row, column)
    for number, turn in enumerate(said, start=1):
        if not isinstance(turn, str):
            raise DataError(f"turn {number} of {column!r} is {fields.kind_of(turn)}; it must be text")
    return Conversation(tuple(Message("user" if n % 2 == 0 else "assistant", turn) for n, turn in enumerate(said)))
