"""Discord's channels as DiscordChatExporter writes them: one JSON or CSV file a channel (github.com/Tyrrrz/DiscordChatExporter).

Discord's own data package holds only the messages of whoever asked for it, without those that they answer: it is refused.
"""

import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from chatwright.data import files
from chatwright.data.exports import _dates, _document, _package, _times
from chatwright.data.exports._found import FORWARDED, MEDIA, NOTE, TWICE, Found
from chatwright.data.exports._outline import outline
from chatwright.data.exports._package import Lines
from chatwright.data.exports._people import Person, all_names, labels
from chatwright.data.exports._talks import fitting
from chatwright.data.exports.export import ChatMessage, Export
from chatwright.data.rows import BadRow, Row
from chatwright.errors import DataError

_HEADER = {"Author", "Date", "Content", "Attachments"}
_PACKAGE_ROW = ("ID", "Timestamp", "Contents", "Attachments")
_PACKAGE_FILE = re.compile(r"(messages/)?c?\d+/messages\.(json|csv)", re.IGNORECASE)
_TALK = {"Default", "Reply", "ChatInputCommand", "ContextMenuCommand", "20", "23"}  # the exporter names few of them
# What the exporter writes for notes in CSV, which has no column for the type.
_NOTES = re.compile(
    r"Joined the server\.|Pinned a message\.|Started a thread\.|Changed the channel icon\.|Left the group\."
    r"|Started a call that lasted [\d,.]+ minutes\."
)
_MARK = re.compile(r"<@!?(\d+)>|<a?(:\w+:)\d+>")


def recognises(path: Path, start: bytes) -> bool:
    """Whether this is a channel, or the data package: `read` says of that what to do."""
    if names := _package.names(path, start):
        return any(map(_PACKAGE_FILE.fullmatch, names))
    if path.suffix.lower() == ".csv":
        return _header(start) >= _HEADER or _header(start) == set(_PACKAGE_ROW)
    keys = outline(start)
    is_channel = keys >= {"guild", "guild.id", "channel", "channel.id"} and ("messages" in keys or "exportedAt" in keys)
    return is_channel or _is_package(keys)


def read(path: Path) -> Export:
    """Every message of a channel. DataError where the file is no JSON, no CSV, or the data package."""
    start = b"" if path.is_dir() else _document.content(path)[: 1 << 16]
    is_csv = path.suffix.lower() == ".csv"
    if _package.names(path, start) or _is_package(outline(start)) or (is_csv and _header(start) == set(_PACKAGE_ROW)):
        raise DataError(
            f"{path}: is Discord's own data package, which holds your messages without those that they answer; "
            "export the channels with DiscordChatExporter, as JSON"
        )
    return _of_table(path) if is_csv else _of_document(path)


def _header(start: bytes) -> set[str]:
    """The names in the first line of a table."""
    line = start.decode("utf-8-sig", errors="replace").partition("\n")[0]
    return {cell.strip(' \r"') for cell in line.split(",")}


def _is_package(keys: frozenset[str]) -> bool:
    return keys >= {f"[].{key}" for key in _PACKAGE_ROW}


def _of_document(path: Path) -> Export:
    """A channel in JSON."""
    text = _document.text(path, _document.content(path))
    head: dict[str | int, Any] = {}
    rows: list[tuple[int, Any]] = []
    lines = Lines(text)
    for part in _document.parts(path, text, frozenset({(), ("messages",)})):
        if part.path[:1] == ("messages",) and isinstance(part.path[-1], int):
            rows.append((lines.next(part.line), part.value))
        elif len(part.path) == 1 and isinstance(part.path[0], str) and part.path[0] != "messages":
            head[part.path[0]] = part.value
        else:
            raise DataError(f"{path}:{part.line}: is no channel with a list of messages; {_document.AGAIN}")
    people = {person.id: person for _, value in rows for person in _mentioned(value)}
    senders = labels(people.values())
    found, seen = Found(path), dict[str, Any]()
    chat = _chat(head.get("channel")) or path.stem
    for line, value in rows:
        try:
            message = _message(line, chat, value, senders, people)
            id = fitting(value.get("id"), str, "'id'")
            if id in seen and seen[id] != value:
                raise DataError("has the id of another message")
        except ValueError as error:
            found.bad(line, error)
            continue
        if isinstance(message, str) or id in seen:
            found.filtered(line, TWICE if id in seen else str(message))
        else:
            found.message(message)
        seen[id] = value
    return found.export("discord", all_names(people.values()))


def _chat(channel: Any) -> str:
    """The name of the channel, or its id."""
    names = [channel.get("name"), channel.get("id")] if isinstance(channel, dict) else []
    return next((name for name in names if isinstance(name, str) and name), "")


def _mentioned(message: Any) -> Iterator[Person]:
    """Everybody that a message names: who wrote it, who is addressed, who reacted."""
    if not isinstance(message, dict):
        return
    mentions, reactions, interaction = (message.get(key) for key in ("mentions", "reactions", "interaction"))
    users = [message.get("author"), *(mentions if isinstance(mentions, list) else [])]
    for reaction in reactions if isinstance(reactions, list) else []:
        who = reaction.get("users") if isinstance(reaction, dict) else None
        users += who if isinstance(who, list) else []
    users += [interaction.get("user")] if isinstance(interaction, dict) else []
    for user in users:
        if person := _person(user):
            yield person


def _person(user: Any) -> Person | None:
    """A user, where the value is one."""
    if not isinstance(user, dict) or not isinstance(id := user.get("id"), str) or not id:
        return None
    name, nickname = (user.get(key) if isinstance(user.get(key), str) else "" for key in ("name", "nickname"))
    return Person(id, nickname or name or id, name or "", (), bool(user.get("isBot")))


def _message(line: int, chat: str, value: Any, senders: dict[str, str], people: dict[str, Person]) -> ChatMessage | str:
    """A message, or why it is left out on purpose; raises ValueError where it is damaged."""
    message = fitting(value, dict, "the message")
    time = _times.from_iso(message.get("timestamp"))
    text = fitting(message.get("content"), str, "'content'")
    author = _person(message.get("author"))
    if author is None:
        raise DataError("does not say who wrote it")
    if str(message.get("type", "Default")) not in _TALK:
        return NOTE
    if not text.strip() and message.get("forwardedMessage"):
        return FORWARDED
    if not text.strip() and any(message.get(key) for key in ("attachments", "embeds", "stickers")):
        return MEDIA
    return ChatMessage(line, chat, time, senders[author.id], _plain(text, people))


def _plain(text: str, people: dict[str, Person]) -> str:
    """The text with names for ids, where the exporter was told to leave them."""

    def words(mark: re.Match[str]) -> str:
        return mark[2] or f"@{people[mark[1]].shown if mark[1] in people else 'unknown'}"

    return _MARK.sub(words, text)


def _of_table(path: Path) -> Export:
    """A channel in CSV."""
    found = Found(path)
    rows = []
    for row in files.read(path):
        if isinstance(row, BadRow):
            found.bad(row.line, row.reason)
        elif missing := _HEADER - row.value.keys():
            raise DataError(f"{path}: has no column {min(missing)!r}, as DiscordChatExporter writes it")
        else:
            rows.append(row)
    writers = [_writer(row) for row in rows]
    people = {person.id: person for person in writers}
    senders = labels(people.values())
    order, certain = _dates.order([date for row in rows if (date := _dates.parse(row.value["Date"]))])
    if not certain:
        found.note(1, f"the dates can be read in two ways; taken as {_dates.NAMES[order]}")
    for row, writer in zip(rows, writers, strict=True):
        text = row.value["Content"]
        if _NOTES.fullmatch(text):
            found.filtered(row.line, NOTE)
            continue
        if not text.strip() and row.value["Attachments"].strip():
            found.filtered(row.line, MEDIA)
            continue
        try:
            time = _time(row.value["Date"], order)
        except ValueError as error:
            found.bad(row.line, error)
            continue
        found.message(ChatMessage(row.line, path.stem, time, senders[writer.id], _plain(text, people)))
    return found.export("discord", all_names(writers))


def _writer(row: Row) -> Person:
    """Who wrote a row; `ana#1234` is Ana's name of old."""
    author = row.value["Author"]
    name, _, number = author.rpartition("#")
    return Person(row.value.get("AuthorID") or author, author, name if number.isdigit() else author)


def _time(text: str, order: _dates.Order) -> datetime:
    """The exporter's newest way to write a date, and the two before it; raises ValueError."""
    if date := _dates.parse(text):
        try:
            return date.moment(order)
        except ValueError:
            raise ValueError(f"has no possible date, got {_times.shown(text)}") from None
    try:
        return _times.in_range(datetime.strptime(text.strip(), "%d-%b-%y %I:%M %p"))
    except ValueError:
        return _times.from_iso(text)
