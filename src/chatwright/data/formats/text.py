"""A row with one text: `{"text": "Once upon a time ..."}`. Text files come as such a row each."""

from typing import Any

from chatwright.data.formats import fields
from chatwright.text.records import Document, Record

KIND = "documents"
COLUMNS = {"text": ("text",)}


def matches(row: dict[str, Any]) -> bool:
    """Whether the row looks like plain text."""
    return isinstance(row.get("text"), str)


def parse(row: dict[str, Any], columns: fields.Columns) -> Record:
    """The row as a Document."""
    return Document(fields.text(row, columns.get("text", "text")))
