"""TRL's and OpenAI's rows: `{"prompt": ..., "completion": ...}`, texts or lists of messages.

Only the completion is learned: what the assistant says in the prompt is not, unless it says so itself.
"""

from dataclasses import replace
from typing import Any

from chatwright.data.formats import fields, turns
from chatwright.text.records import Conversation, Message, Record

KIND = "conversations"
EXCHANGE = {"prompt": ("prompt",), "completion": ("completion", "response"), "system": ("system",), **turns.COLUMNS}
COLUMNS = EXCHANGE


def matches(row: dict[str, Any]) -> bool:
    """Whether the row has a prompt and a completion that nobody called good or bad."""
    rated = fields.is_flag(row.get("label")) or fields.is_flag(row.get("kto_tag"))
    return "prompt" in row and fields.has(row, COLUMNS, "completion") and not rated


def parse(row: dict[str, Any], columns: fields.Columns) -> Record:
    """The row as a Conversation."""
    prompt, completion = exchange(row, columns)
    given = (replace(one, learn=False) if one.learned and one.learn is None else one for one in prompt)
    return Conversation((*given, *completion))


def exchange(row: dict[str, Any], columns: fields.Columns) -> tuple[list[Message], list[Message]]:
    """The messages of the prompt, a system text of its own included, and those of the completion."""
    asked, answered = (fields.name(row, columns, EXCHANGE, name) for name in ("prompt", "completion"))
    system = turns.system(row, columns.get("system", "system"))
    prompt = turns.prompt(fields.present(row, asked), asked, columns)
    answer = fields.present(row, answered)
    texts = [Message("assistant", answer)] if isinstance(answer, str) else turns.listed(answer, answered, columns)
    return [*system, *prompt], texts
