"""The text that sigtop writes of a chat (`sigtop export-messages`): fields, an empty line, and the words.

A message begins with `From:` and `Type:`; an answer repeats what it answers behind ">", an edited message gives all of
its versions behind "|", the newest first. Source: the manual of sigtop, and its fmt_text.go for the order of fields.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime

from chatwright.data.exports import _times
from chatwright.data.exports._found import MEDIA, NOTE, Found
from chatwright.data.exports.export import ChatMessage, Export

FIRST = "Conversation: "
YOU = "You"  # the owner
_FIELD = re.compile(r"(From|Type|Sent|Received|Attachment|Reaction|Edited): (.*)")
_NUMBER = re.compile(r"(?P<name>.+) \((?P<number>[^()]*)\)")  # sigtop puts phone number or id behind each name


@dataclass
class _Block:
    """The fields of a message, each as often as it is there, and the lines of its words."""

    line: int
    fields: dict[str, str] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)


def read(place: str, text: str) -> Export:
    """Every message of the one chat in the text."""
    found = Found(place)
    lines = text.split("\n")
    chat, names = _person(lines[0].removeprefix(FIRST))
    for block in _blocks(lines):
        sender, more = _person(block.fields.get("From", ""))
        names += more if sender != YOU else []
        try:
            _add(block, chat, sender, found)
        except ValueError as error:
            found.bad(block.line, error)
    return found.export("signal", names, YOU)


def _blocks(lines: list[str]) -> Iterator[_Block]:
    """The messages; what looks like fields in the middle of the words is words."""
    block: _Block | None = None
    in_fields = False
    for index, content in enumerate(lines[1:], start=1):
        below = lines[index + 1] if index + 1 < len(lines) else ""
        begins = (content.startswith("From: ") and below.startswith("Type: ")) or (
            content.startswith("Type: ") and below.startswith(("Sent: ", "Received: "))
        )
        if begins and not lines[index - 1].strip():
            if block:
                yield block
            block, in_fields = _Block(index + 1), True
        if block and in_fields and (found := _FIELD.fullmatch(content)):
            block.fields.setdefault(found[1], found[2])
        elif block:
            in_fields = False
            block.words.append(content)
    if block:
        yield block


def _add(block: _Block, chat: str, sender: str, found: Found) -> None:
    """Puts a message where it belongs."""
    if block.fields.get("Type") not in ("incoming", "outgoing"):
        return found.filtered(block.line, NOTE)
    words = _newest(block.words) if "Edited" in block.fields else _without_quote(block.words)
    if not words and "Attachment" in block.fields:
        return found.filtered(block.line, MEDIA)
    sent = block.fields.get("Sent", "")
    try:
        time = _times.from_iso(parsedate_to_datetime(sent).isoformat())
    except (ValueError, TypeError, IndexError):
        raise ValueError(f"has no possible date, got {_times.shown(sent)}") from None
    found.message(ChatMessage(block.line, chat, time, sender, words))


def _newest(lines: list[str]) -> str:
    """The first of the versions, between its fields and the next version."""
    inner = [line.removeprefix("|").removeprefix(" ") for line in lines if line.startswith("|")]
    ends = [index for index, line in enumerate(inner) if index and re.fullmatch(r"Version: \d+", line)]
    version = inner[: ends[0]] if ends else inner
    return _without_quote(version[version.index("") :] if "" in version else [])


def _without_quote(lines: list[str]) -> str:
    """The words after what they answer."""
    text = "\n".join(lines).strip("\n")
    if text.startswith("> From: "):
        quoted, text = lines[:], ""
        while quoted and (not quoted[0].strip() or quoted[0].startswith(">")):
            del quoted[0]
        text = "\n".join(quoted)
    return text.strip()


def _person(shown: str) -> tuple[str, list[str]]:
    """`Ana Lind (+12025550143)` -> the name, and both."""
    found = _NUMBER.fullmatch(shown)
    return (found["name"], [found["name"], found["number"]]) if found else (shown, [shown])
