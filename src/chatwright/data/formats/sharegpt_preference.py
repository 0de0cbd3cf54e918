"""LLaMA-Factory's preference rows: `{"conversations": [...], "chosen": {"from": "gpt", ...}, "rejected": {...}}`.

The two answers are one turn each, or texts, after a conversation that ends with the user's turn.
"""

from typing import Any

from chatwright.data.formats import fields, pairs, turns
from chatwright.text.records import Record

KIND = "preferences"
COLUMNS = {
    "conversations": ("conversations", "messages", "conversation"),
    "system": ("system",),
    **pairs.SIDES,
    **turns.COLUMNS,
}


def matches(row: dict[str, Any]) -> bool:
    """Whether the row has a conversation and two single answers to it."""
    talks = any(turns.is_list(row.get(column)) for column in COLUMNS["conversations"])
    return talks and pairs.is_continued(row)


def parse(row: dict[str, Any], columns: fields.Columns) -> Record:
    """The row as a Preference."""
    column = fields.name(row, columns, COLUMNS, "conversations")
    before = turns.listed(fields.items(row, column), column, columns)
    return pairs.preference([*turns.system(row, columns.get("system", "system")), *before], row, columns)
