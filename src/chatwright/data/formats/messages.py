"""OpenAI's and TRL's rows: `{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", ...}]}`.

A content is text, or a list of `{"type": "text", "text": ...}` parts, which are joined by line ends. A message with
`"learn": false` or, as OpenAI says it, `"weight": 0` is not learned.
"""

from typing import Any

from chatwright.data.formats import fields, pairs, turns
from chatwright.text.records import Conversation, Record

KIND = "conversations"
COLUMNS = {"messages": ("messages", "conversations", "conversation"), **turns.OPENAI}


def matches(row: dict[str, Any]) -> bool:
    """Whether the row has a list of messages with roles, and no two answers to it beside them."""
    return any(turns.is_openai(row.get(column)) for column in COLUMNS["messages"]) and not pairs.is_continued(row)


def parse(row: dict[str, Any], columns: fields.Columns) -> Record:
    """The row as a Conversation."""
    found = fields.items(row, fields.name(row, columns, COLUMNS, "messages"))
    return Conversation(tuple(turns.openai(found, columns)))
