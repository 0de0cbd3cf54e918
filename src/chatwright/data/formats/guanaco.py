"""Guanaco's rows: `{"text": "### Human: Hi### Assistant: Hello!"}`, with any number of turns in the one text."""

import re
from typing import Any

from chatwright.data.formats import fields, turns
from chatwright.text.records import Conversation, Record

KIND = "conversations"
COLUMNS = {"text": ("text",)}
INSTEAD_OF = ("text",)
# the published rows have no line end before a label
LABEL = re.compile(r"### (Human|Assistant):")


def matches(row: dict[str, Any]) -> bool:
    """Whether the text begins with the human's label and the assistant answers."""
    text = row.get("text")
    return isinstance(text, str) and text.lstrip().startswith("### Human:") and "### Assistant:" in text


def parse(row: dict[str, Any], columns: fields.Columns) -> Record:
    """The row as a Conversation."""
    return Conversation(tuple(turns.labelled(fields.text(row, columns.get("text", "text")), LABEL)))
