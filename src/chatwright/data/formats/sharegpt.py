"""ShareGPT's rows: `{"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello!"}]}`.

The many names that such files give to the speakers are mapped to user, assistant, system and tool.
"""

from typing import Any

from chatwright.data.formats import fields
from chatwright.errors import DataError
from chatwright.text.records import Conversation, Message, Record, Role

COLUMNS = {
    "conversations": ("conversations", "conversation"),
    "from": ("from",),
    "value": ("value",),
    "system": ("system",),
}
SPEAKERS: dict[str, Role] = {
    "human": "user",
    "user": "user",
    "prompter": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "assistant": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "claude": "assistant",
    "system": "system",
    "tool": "tool",
    "observation": "tool",
}


def matches(row: dict[str, Any]) -> bool:
    """Whether the row has a list of turns with speakers."""
    return any("from" in fields.first_item(row, column) for column in COLUMNS["conversations"])


def parse(row: dict[str, Any], columns: fields.Columns) -> Record:
    """The row as a Conversation."""
    speaker, value = columns.get("from", "from"), columns.get("value", "value")
    turns = fields.items(row, columns.get("conversations", "conversations"))
    system = fields.optional_text(row, columns.get("system", "system"))
    head = [Message("system", system)] if system.strip() else []
    return Conversation((*head, *(_turn(turn, speaker, value, number) for number, turn in enumerate(turns, start=1))))


def _turn(turn: Any, speaker: str, value: str, number: int) -> Message:
    """One turn; what is wrong is said with its number."""
    if not isinstance(turn, dict):
        raise DataError(f"turn {number} is {fields.kind_of(turn)}; it must be an object with {speaker!r} and {value!r}")
    try:
        name = fields.text(turn, speaker)
        if name.lower() not in SPEAKERS:
            raise DataError(f"the speaker is {name!r}; known are {', '.join(SPEAKERS)}")
        return Message(SPEAKERS[name.lower()], fields.text(turn, value))
    except DataError as error:
        reason = str(error).replace("the row has", "it has", 1)
        raise DataError(f"turn {number}: {reason}") from None
