"""Dolly's rows: `{"instruction": ..., "context": ..., "response": ..., "category": ...}`; the category is not learned."""

from typing import Any

from chatwright.data.formats import alpaca, fields
from chatwright.text.records import Conversation, Message, Record

KIND = "conversations"
COLUMNS = {"instruction": ("instruction",), "context": ("context", "input"), "response": ("response",)}


def matches(row: dict[str, Any]) -> bool:
    """Whether the row has an instruction and a response."""
    return "instruction" in row and "response" in row


def parse(row: dict[str, Any], columns: fields.Columns) -> Record:
    """The row as a Conversation of one exchange."""
    instruction, context, response = (fields.name(row, columns, COLUMNS, own) for own in COLUMNS)
    answer = Message("assistant", fields.text(row, response))
    return Conversation((alpaca.question(row, instruction, context), answer))
