"""WhatsApp's own export of one chat: `_chat.txt` or `WhatsApp Chat with NAME.txt`, or the zip that holds it.

Both styles of lines, `12/31/23, 9:15 PM - Name: text` (Android) and `[31.12.23, 21:15:03] Name: text` (iPhone), with the
dates of any phone. A line without a date goes on with the message above it. Times are the phone's own. The format is
described nowhere; how to get it: faq.whatsapp.com, "How to export your chat history".
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from chatwright.data.exports import _dates, _document, _package
from chatwright.data.exports._found import NOTE, Found
from chatwright.data.exports._whatsapp_lines import LEFT_TO_RIGHT, people, reason_unused, without_marks
from chatwright.data.exports.export import ChatMessage, Export
from chatwright.data.files import archives
from chatwright.errors import DataError

_START = 1 << 16  # bytes of a member that are looked at to recognise it
_ENOUGH = 2  # headers, in half of the lines, for a file that does not begin with one
# The marks for the direction of writing that it puts around names and dates; LEFT_TO_RIGHT says more and stays.
_INVISIBLE = re.compile("[\u200b\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
_MENTION = re.compile("@\u2068([^\u2069\n]+)\u2069")
_QUOTED = re.compile('"[^"]*"|„[^“”]*[“”]|“[^”]*”|«[^»]*»')
_HEADER = re.compile(
    rf"{LEFT_TO_RIGHT}*(?P<bracket>\[)?{_dates.WRITTEN}(?(bracket)\]{_dates.GAP}*|{_dates.GAP}[-–]{_dates.GAP})(?P<rest>.*)"
)
# What programs write about themselves: 2023-12-31 21:15:03 - server: up, [2023-12-31 21:15:03] app.ERROR: down
_LOGGED = re.compile(
    r"\d{4}-\d\d-\d\d.\d\d:\d\d:\d\d - |"
    r"\[?[\d/.:, T-]+(?:\]| -) (?:[\w.]+\.)?(?:TRACE|DEBUG|INFO|NOTICE|WARN(?:ING)?|ERROR|FATAL|CRITICAL)\b"
)
_NAMED = re.compile(
    r"(?:WhatsApp[ _-]+Chat|Chat(?: de)? WhatsApp|Discussion WhatsApp|Conversa (?:do|no) WhatsApp)"
    r"[ _-]+(?:(?:with|mit|con|avec|com)[ _]+)?(?P<title>.+)",
    re.IGNORECASE,
)


def recognises(path: Path, start: bytes) -> bool:
    """By its lines: dates in front of names, from the first line on; a zip by the name of its chat, too."""
    match path.suffix.lower():
        case ".txt":
            return _is_chat(_document.decoded(start))
        case ".zip":
            return any(_is_named(name) for name in _package.names(path, start)) and _holds_chat(path)
        case _:
            return False


def read(path: Path) -> Export:
    """Every message of the chat. Raises DataError where the file holds none of WhatsApp's lines."""
    if path.suffix.lower() != ".zip":
        return _read(str(path), _title(path.stem, path.parent.name), _document.content(path))
    chats = _chats(path)
    if len(chats) != 1:
        what = "holds several chats; unpack it and give them one by one" if chats else "holds no chat of WhatsApp"
        raise DataError(f"{path}: {what}")
    name = PurePosixPath(chats[0].name)
    return _read(chats[0].place, _title(name.stem, path.stem), chats[0].read())


@dataclass
class _Entry:
    """A line with a date, and the lines without one below it."""

    line: int
    date: _dates.Written
    rest: str
    more: list[str] = field(default_factory=list)

    def split(self) -> tuple[str, str]:
        """The sender, or "" for a note, and the text with the marks that say what it is."""
        sender, colon, first = self.rest.partition(": ")
        if not colon and self.rest.rstrip().endswith(":"):  # the text is empty or begins in the next line
            sender, colon, first = self.rest.rstrip()[:-1], ":", ""
        if not colon or _opens_quote(sender):
            return "", "\n".join([self.rest, *self.more])
        sender = sender.replace(LEFT_TO_RIGHT, "").strip().removeprefix("~")
        return sender.strip(), "\n".join([first, *self.more]).strip()


def _read(place: str, title: str, content: bytes) -> Export:
    """The chat in the content of one text file."""
    text = _document.text(place, content)
    found = Found(place)
    entries = list(_entries(text, found))
    if not entries:
        raise DataError(
            f"{place}: holds no line with a date and a name, as WhatsApp writes them; export the chat again"
        )
    order, certain = _dates.order([entry.date for entry in entries])
    if not certain:
        found.note(entries[0].line, _dates.doubt(entries[0].date, order))
    names = {name.removeprefix("~").strip(): None for name in _MENTION.findall(text)}
    for entry in entries:
        names |= dict.fromkeys(_add(entry, order, title, found))
    senders = dict.fromkeys(message.sender for message in found.messages)
    owner = (
        next((sender for sender in senders if sender != title), "") if title in senders and len(senders) == 2 else ""
    )
    return found.export("whatsapp", [*senders, *names], owner)


def _entries(text: str, found: Found) -> Iterator[_Entry]:
    """The file cut where a line has a date; what stands before the first of them is nobody's message."""
    entry: _Entry | None = None
    for line, content in enumerate(text.split("\n"), start=1):
        content = _INVISIBLE.sub("", content)
        if header := _HEADER.match(content):
            if entry:
                yield entry
            entry = _Entry(line, _dates.written(header), header["rest"])
        elif entry:
            entry.more.append(content)
        elif content.strip() and not found.unused:
            found.bad(line, "belongs to no message: no line with a date stands above it")
    if entry:
        yield entry


def _add(entry: _Entry, order: _dates.Order, title: str, found: Found) -> Iterable[str]:
    """Puts an entry where it belongs, and gives the names that it tells of."""
    sender, text = entry.split()
    reason = reason_unused(text) if sender else NOTE
    try:
        time = entry.date.moment(order)
    except ValueError:
        found.bad(entry.line, f"has no possible date, got '{entry.date}'")
        return [sender]
    if reason:
        found.filtered(entry.line, reason)
        return people(text) if reason == NOTE else [sender]
    words = without_marks(text).replace(LEFT_TO_RIGHT, "").strip()
    found.message(ChatMessage(entry.line, title, time, sender, words))
    return []


def _opens_quote(sender: str) -> bool:
    """Whether this is the beginning of a note with a colon in it: `Ana changed the subject from "News`."""
    return any(mark in _QUOTED.sub("", sender) for mark in '"„“«')


def _is_chat(text: str) -> bool:
    """Whether the beginning of a text is lines of WhatsApp."""
    lines = [line for line in _INVISIBLE.sub("", text).split("\n") if line.strip()]
    headers = [None if _LOGGED.match(line) else _HEADER.match(line) for line in lines]
    count = sum(1 for header in headers if header)
    if not any(header and ": " in header["rest"] for header in headers):
        return False
    return headers[0] is not None or count >= max(_ENOUGH, len(lines) / 2)


def _holds_chat(path: Path) -> bool:
    """Whether the chat that a zip has by its names is one; where it cannot be looked at, reading it says why."""
    try:
        return bool(_chats(path))
    except DataError:
        return True


def _chats(path: Path) -> list[archives.Member]:
    """The chats in a zip by name and content: somebody may have sent a text of that name, or any other text."""
    named = [member for member in archives.members(path) if _is_named(member.name)]
    return [member for member in named if _is_chat(_document.decoded(_start(member)))]


def _is_named(name: str) -> bool:
    """Whether a file has a name that WhatsApp gives."""
    file = PurePosixPath(name)
    return file.suffix.lower() == ".txt" and (file.name == "_chat.txt" or bool(_NAMED.match(file.name)))


def _start(member: archives.Member) -> bytes:
    """The first bytes of a member."""
    with member.open() as stream:
        return stream.read(_START)


def _title(stem: str, around: str) -> str:
    """The name of the chat, from the file's name or from that of the zip or folder around it."""
    for name in (stem, around) if stem == "_chat" else (stem,):
        if named := _NAMED.fullmatch(name):
            return named["title"].strip(" _-")
    return "WhatsApp" if stem == "_chat" else stem
