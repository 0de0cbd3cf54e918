"""ShareGPT's rows: `{"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello!"}]}`.

The many names that such files give to the speakers are mapped to user, assistant, system and tool. `system` is the
system text of LLaMA-Factory's files; a `function_call` of theirs is a call of a tool by the assistant.
"""

from typing import Any

from chatwright.data.formats import fields, pairs, turns
from chatwright.text.records import Conversation, Record

KIND = "conversations"
COLUMNS = {"conversations": ("conversations", "conversation"), "system": ("system",), **turns.SHAREGPT}


def matches(row: dict[str, Any]) -> bool:
    """Whether the row has a list of turns with speakers, and neither two answers to it nor a rating of its own."""
    speaks = any(turns.is_sharegpt(row.get(column)) for column in COLUMNS["conversations"])
    return speaks and "kto_tag" not in row and not pairs.is_continued(row)


def parse(row: dict[str, Any], columns: fields.Columns) -> Record:
    """The row as a Conversation."""
    found = fields.items(row, fields.name(row, columns, COLUMNS, "conversations"))
    return Conversation((*turns.system(row, columns.get("system", "system")), *turns.sharegpt(found, columns)))
