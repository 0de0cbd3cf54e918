"""The text that imessage-exporter writes of a chat (`-f txt`): a line with the time, one with the sender, and the words.

What the program adds to the words is taken away: reactions, paths of files, answers repeated below what they answer.
Source: its txt exporter (github.com/ReagentX/imessage-exporter, versions 1 to 4). The times are the computer's own.
"""

import re
from collections.abc import Iterator
from datetime import datetime

from chatwright.data.exports import _times
from chatwright.data.exports._found import DELETED, MEDIA, NOTE, Found
from chatwright.data.exports.export import ChatMessage, Export

ME = "Me"  # the owner
_TIME = r"[A-Z][a-z]{2} \d{2}, \d{4} +\d{1,2}:\d{2}:\d{2} [AP]M"
_HEADER = re.compile(rf"(?P<time>{_TIME})(?P<rest>.*)")
_RECEIPT = re.compile(r"(?: \(.*\))?")
_ADDED = re.compile(
    r"This message responded to an earlier message\.|Sent with [A-Z][A-Za-z ]+|Started sharing location!|"
    r"Stopped sharing location!|Attachment missing!"
)
_PATH = re.compile(r"(?:~/|/|[\w.-]+/)\S.*\.\w{2,5}|Sticker from .+: .+")
_GONE = re.compile(r"This message was deleted from the conversation!|.+ unsent (?:a|this) message.*")
_EDITED = re.compile(r"Edited [^\n]{1,60}? later: (.*)", re.DOTALL)
_INDENTED = "    "


def begins(text: str) -> bool:
    """Whether a text begins as this program's files do: a time, and below it a name and words."""
    lines = text.lstrip("\n").split("\n")[:3]
    header = _HEADER.fullmatch(lines[0])
    return bool(header and _RECEIPT.fullmatch(header["rest"]) and len(lines) == 3 and lines[1].strip())


def read(place: str, chat: str, text: str) -> Export:
    """Every message of the one chat in the text."""
    found = Found(place)
    for line, header, lines in _blocks(text):
        try:
            _add(line, header, lines, chat, found)
        except ValueError as error:
            found.bad(line, error)
    return found.export("imessage", (message.sender for message in found.messages if message.sender != ME), ME)


def _blocks(text: str) -> Iterator[tuple[int, re.Match[str], list[str]]]:
    """Each line with a time after an empty line, its number, and the lines below it."""
    last: tuple[int, re.Match[str], list[str]] | None = None
    above = ""
    for number, line in enumerate(text.split("\n"), start=1):
        if not above.strip() and (header := _HEADER.fullmatch(line)):
            if last:
                yield last
            last = number, header, []
        elif last:
            last[2].append(line)
        above = line
    if last:
        yield last


def _add(line: int, header: re.Match[str], lines: list[str], chat: str, found: Found) -> None:
    """Puts a message where it belongs."""
    if not _RECEIPT.fullmatch(header["rest"]):
        return found.filtered(line, NOTE)
    try:
        time = _times.in_range(datetime.strptime(" ".join(header["time"].split()), "%b %d, %Y %I:%M:%S %p"))
    except ValueError:
        raise ValueError(f"has no possible date, got {_times.shown(header['time'])}") from None
    if not lines or not lines[0].strip():
        raise ValueError("has no sender")
    words = "\n".join(_own(lines[1:])).strip()
    if edits := _EDITED.findall(words):
        words = edits[-1].rpartition(" later: ")[2] if "\nEdited " in edits[-1] else edits[-1]
    if _GONE.fullmatch(words):
        return found.filtered(line, DELETED)
    if not words and any(_PATH.fullmatch(each) or _ADDED.fullmatch(each) for each in lines[1:]):
        return found.filtered(line, MEDIA)
    found.message(ChatMessage(line, chat, time, lines[0].strip(), words))


def _own(lines: list[str]) -> Iterator[str]:
    """The lines that the sender wrote."""
    in_reactions = False
    for line in lines:
        in_reactions = line.strip() in ("Tapbacks:", "Reactions:") or (in_reactions and bool(line.strip()))
        if not (in_reactions or line.startswith(_INDENTED) or _ADDED.fullmatch(line) or _PATH.fullmatch(line)):
            yield line
