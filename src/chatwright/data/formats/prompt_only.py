"""TRL's rows without an answer: `{"prompt": ...}`, a text or a list of messages, for which answers are made later."""

from typing import Any

from chatwright.data.formats import fields, turns
from chatwright.errors import DataError
from chatwright.text.records import Conversation, Problem, Record

KIND = "problems"
COLUMNS = {"prompt": ("prompt",), "system": ("system",), **turns.COLUMNS}
ANSWERS = (  # with one of these the row is of another format
    "completion",
    "completions",
    "response",
    "output",
    "chosen",
    "rejected",
    "messages",
    "conversations",
    "conversation",
    "text",
)


def matches(row: dict[str, Any]) -> bool:
    """Whether the row has a prompt and nothing that answers it."""
    asks = isinstance(row.get("prompt"), str) or turns.is_list(row.get("prompt"))
    return asks and not any(column in row for column in ANSWERS)


def parse(row: dict[str, Any], columns: fields.Columns) -> Record:
    """The row as a Problem that no task grades."""
    column = columns.get("prompt", "prompt")
    asked = turns.prompt(fields.present(row, column), column, columns)
    prompt = Conversation((*turns.system(row, columns.get("system", "system")), *asked))
    last = prompt.messages[-1].role
    if last not in ("user", "tool"):
        raise DataError(f"the prompt ends with {last}; it must end with the turn that is to be answered")
    return Problem(prompt, "", {})
