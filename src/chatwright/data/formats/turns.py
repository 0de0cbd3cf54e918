"""The messages inside of rows: `{"role", "content"}` as OpenAI writes them, `{"from", "value"}` as ShareGPT does.

What is wrong with a message is said with its number. Text that marks its speakers by labels is cut here as well.
"""

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, cast

from chatwright.data.formats import fields
from chatwright.errors import DataError
from chatwright.text.records import ROLES, Message, Role

OPENAI = {"role": ("role",), "content": ("content",)}
SHAREGPT = {"from": ("from",), "value": ("value",)}
COLUMNS = OPENAI | SHAREGPT
SPEAKERS: dict[str, Role] = {
    "human": "user",
    "user": "user",
    "prompter": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "assistant": "assistant",
    "ai": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "claude": "assistant",
    "system": "system",
    "tool": "tool",
    "observation": "tool",
    "function_response": "tool",
    "tool_response": "tool",
}
DEEPEST_CALL = 50
CALLS = ("function_call", "tool_call")  # an assistant's turn whose value is the call in JSON


def is_openai(value: Any) -> bool:
    """Whether it is a list whose first object has a role."""
    return isinstance(value, list) and "role" in fields.first_item({"it": value}, "it")


def is_sharegpt(value: Any) -> bool:
    """Whether it is a list whose first object names who it is from."""
    return isinstance(value, list) and "from" in fields.first_item({"it": value}, "it")


def is_list(value: Any) -> bool:
    """Whether it is a list of messages of either kind."""
    return is_openai(value) or is_sharegpt(value)


def openai(found: Sequence[Any], columns: fields.Columns) -> list[Message]:
    """Messages with role and content."""
    role, content = (columns.get(name, name) for name in OPENAI)
    return [_numbered("message", number, item, (role, content), _openai) for number, item in enumerate(found, start=1)]


def sharegpt(found: Sequence[Any], columns: fields.Columns) -> list[Message]:
    """Turns with from and value."""
    speaker, value = (columns.get(name, name) for name in SHAREGPT)
    return [_numbered("turn", number, item, (speaker, value), _sharegpt) for number, item in enumerate(found, start=1)]


def either(found: Sequence[Any], columns: fields.Columns) -> list[Message]:
    """Messages of the kind that the first one is of."""
    first = found[0] if found else {}
    speaks = isinstance(first, dict) and columns.get("from", "from") in first
    return sharegpt(found, columns) if speaks else openai(found, columns)


def prompt(value: Any, column: str, columns: fields.Columns) -> list[Message]:
    """What comes before an answer: a text is one turn of the user's."""
    if isinstance(value, str):
        return [Message("user", value)]
    return listed(value, column, columns)


def listed(value: Any, column: str, columns: fields.Columns) -> list[Message]:
    """A list of messages, or one of them; what is wrong is said with the column."""
    if not isinstance(value, list | dict):
        raise DataError(f"{column!r} is {fields.kind_of(value)}; it must be text or a list of messages")
    try:
        found = either(value if isinstance(value, list) else [value], columns)
    except DataError as error:
        raise DataError(f"{column!r}: {error}") from None
    if not found:
        raise DataError(f"{column!r} has no messages")
    return found


def labelled(text: str, label: re.Pattern[str]) -> list[Message]:
    """The turns of a text in which `label` stands before each; its first group is the speaker."""
    marks = list(label.finditer(text))
    if not marks or text[: marks[0].start()].strip():
        raise DataError("the text begins with no speaker's label")
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    return [
        Message(SPEAKERS[mark.group(1).lower()], text[mark.end() : end].strip())
        for mark, end in zip(marks, ends, strict=True)
    ]


def system(row: dict[str, Any], column: str) -> list[Message]:
    """The system message of a column that may be missing, null or blank."""
    text = fields.optional_text(row, column)
    return [Message("system", text)] if text.strip() else []


def _numbered(
    word: str, number: int, item: Any, keys: tuple[str, str], read: Callable[[dict[str, Any], str, str], Message]
) -> Message:
    """One message; what is wrong is said with its number."""
    if not isinstance(item, dict):
        raise DataError(
            f"{word} {number} is {fields.kind_of(item)}; it must be an object with {keys[0]!r} and {keys[1]!r}"
        )
    try:
        return read(item, *keys)
    except DataError as error:
        reason = str(error).replace("the row has", "it has", 1)
        raise DataError(f"{word} {number}: {reason}") from None


def _openai(item: dict[str, Any], role: str, content: str) -> Message:
    name = fields.text(item, role)
    name = "system" if name == "developer" else name
    if name not in ROLES:
        raise DataError(f"the role is {fields.shown(name)}; known are {', '.join(ROLES)} and developer")
    calls = _calls(item)
    text = _content(item, content, may_be_missing=bool(calls))
    speaker = fields.optional_text(item, "name") or None
    ended = item.get("finish_reason") != "length"  # OpenAI's word for an answer that ran into its limit
    return Message(cast(Role, name), text, learn=_learn(item), name=speaker, tool_calls=calls, ended=ended)


def _sharegpt(item: dict[str, Any], speaker: str, value: str) -> Message:
    name = fields.text(item, speaker)
    known = name.lower().replace("-", "_")
    if known in CALLS:
        return Message("assistant", "", learn=_learn(item), tool_calls=_spelled_calls(fields.text(item, value)))
    if known not in SPEAKERS:
        raise DataError(f"the speaker is {fields.shown(name)}; known are {', '.join([*SPEAKERS, *CALLS])}")
    return Message(SPEAKERS[known], fields.text(item, value), learn=_learn(item))


def _learn(item: dict[str, Any]) -> bool | None:
    """`learn` as it stands; OpenAI's `weight` can only say that a message is not learned."""
    learn, weight = item.get("learn"), item.get("weight")
    if learn is not None and not isinstance(learn, bool):
        raise DataError(f"'learn' is {fields.kind_of(learn)}; it must be true or false")
    if weight is None:
        return learn
    if isinstance(weight, bool) or not isinstance(weight, int | float) or weight not in (0, 1):
        raise DataError(f"'weight' is {fields.kind_of(weight)}; it must be 0 or 1")
    if learn is not None and learn != bool(weight):
        raise DataError(f"'learn' is {learn} and 'weight' is {weight}; give one of the two")
    return learn if weight else False


def _calls(item: dict[str, Any]) -> tuple[Any, ...]:
    """The calls of tools in a message, as they stand."""
    calls = item.get("tool_calls") or []
    if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
        raise DataError(f"'tool_calls' is {fields.kind_of(calls)}; it must be a list of objects")
    return _shallow(calls)


def _spelled_calls(value: str) -> tuple[Any, ...]:
    """Calls in JSON, one or a list of them, in OpenAI's form."""
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        raise DataError(f"the call is {fields.kind_of(value)}; it must be JSON") from None
    calls = found if isinstance(found, list) else [found]
    if not calls or not all(isinstance(call, dict) and isinstance(call.get("name"), str) for call in calls):
        raise DataError(f"the call is {fields.kind_of(found)}; it must be an object with 'name' and 'arguments'")
    return _shallow([{"type": "function", "function": call} for call in calls])


def _shallow(calls: list[Any]) -> tuple[Any, ...]:
    """The calls, which are compared and written out whole later, if they are not nested without measure."""
    if fields.is_deep(calls, DEEPEST_CALL):
        raise DataError(f"the call of a tool is nested more than {DEEPEST_CALL} levels deep")
    return tuple(calls)


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
        raise DataError(
            f"a part of the content has the type {fields.shown(part.get('type'))}; only 'text' can be learned"
        )
    return fields.text(part, "text")
