"""OpenAI's and TRL's rows: `{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", ...}]}`.

A content is text, or a list of `{"type": "text", "text": ...}` parts, which are joined by line ends.
"""

from typing import Any, cast

from chatwright.data.formats import fields
from chatwright.errors import DataError
from chatwright.text.records import ROLES, Conversation, Message, Record, Role

COLUMNS = {
    "messages": ("messages", "conversations", "conversation"),
    "role": ("role",),
    "content": ("content",),
}
_ITEM = ("role", "content")  # these two are keys of each message, not of the row


def matches(row: dict[str, Any]) -> bool:
    """Whether the row has a list of messages with roles."""
    return any("role" in fields.first_item(row, column) for column in COLUMNS["messages"])


def parse(row: dict[str, Any], columns: fields.Columns) -> Record:
    """The row as a Conversation."""
    role, content = (columns.get(name, name) for name in _ITEM)
    found = fields.items(row, columns.get("messages", "messages"))
    return Conversation(tuple(_message(item, role, content, number) for number, item in enumerate(found, start=1)))


def _message(item: Any, role: str, content: str, number: int) -> Message:
    """One message; what is wrong is said with its number."""
    if not isinstance(item, dict):
        keys = f"{role!r} and {content!r}"
        raise DataError(f"message {number} is {fields.kind_of(item)}; it must be an object with {keys}")
    try:
        name = fields.text(item, role)
        name = "system" if name == "developer" else name
        if name not in ROLES:
            raise DataError(f"the role is {name!r}; known are {', '.join(ROLES)} and developer")
        learn = item.get("learn")
        if learn is not None and not isinstance(learn, bool):
            raise DataError(f"'learn' is {fields.kind_of(learn)}; it must be true or false")
        calls = tuple(item.get("tool_calls") or ())
        text = _content(item, content, may_be_missing=bool(calls))
        return Message(cast(Role, name), text, learn=learn, name=item.get("name"), tool_calls=calls)
    except DataError as error:
        reason = str(error).replace("the row has", "it has", 1)
        raise DataError(f"message {number}: {reason}") from None


def _content(item: dict[str, Any], column: str, may_be_missing: bool) -> str:
    """The text of one message, its parts joined."""
    value = item.get(column)
    if value is None and may_be_missing:
        return ""
    if not isinstance(value, list):
        return fields.text(item, column)
    return "\n".join(_part(part) for part in value)


def _part(part: Any) -> str:
    """The text of one part; images and sounds are refused by name."""
    if not isinstance(part, dict):
        raise DataError(f"a part of the content is {fields.kind_of(part)}; it must be an object with 'type' and 'text'")
    if part.get("type") != "text":
        raise DataError(f"a part of the content has the type {part.get('type')!r}; only 'text' can be learned")
    return fields.text(part, "text")
