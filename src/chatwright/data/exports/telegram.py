"""Telegram Desktop's `result.json`: one chat ("Export chat history") or the whole account ("Export Telegram data").

Services (joins, calls, pins), media without words and forwarded messages are left out and listed. Times are UTC where
the export counts seconds (since 2022), else the computer's own. Source: the files, and the exporter in
github.com/telegramdesktop/tdesktop (export_output_json.cpp).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from chatwright.data.exports import _document, _times
from chatwright.data.exports._found import FORWARDED, MEDIA, NOTE, Found
from chatwright.data.exports._package import Lines
from chatwright.data.exports.export import ChatMessage, Export
from chatwright.errors import DataError

_TYPES = (
    "personal_chat",
    "bot_chat",
    "saved_messages",
    "private_group",
    "private_supergroup",
    "public_supergroup",
    "private_channel",
    "public_channel",
    "replies",
    "verify_codes",
)
_LISTS = ("chats", "left_chats")  # of a whole account
_OPENED = frozenset(
    [(), ("messages",)]
    + [
        path
        for name in _LISTS
        for path in [(name,), (name, "list"), (name, "list", "*"), (name, "list", "*", "messages")]
    ]
)
_CHAT = re.compile(rf'"type"\s*:\s*"(?:{"|".join(_TYPES)})"')
_MESSAGES = re.compile(r'"messages"\s*:\s*\[')
_ACCOUNT = re.compile(r'\A\s*\{\s*(?:"about"\s*:\s*"[^"]*Telegram|"personal_information"\s*:\s*\{\s*"user_id")')
_MEDIA = (
    "media_type",
    "photo",
    "file",
    "poll",
    "location_information",
    "contact_information",
    "game_title",
    "todo_list",
)
_PEOPLE = ("actor", "inviter", "forwarded_from", "saved_from")
NAMELESS = "Deleted Account"  # what Telegram itself calls somebody who left


def recognises(path: Path, start: bytes) -> bool:
    """By Telegram's own names for the kinds of chat."""
    text = _document.decoded(start)
    if path.suffix.lower() != ".json" or not text.lstrip().startswith("{"):
        return False
    return bool(_ACCOUNT.match(text) or (_CHAT.search(text) and _MESSAGES.search(text)))


def read(path: Path) -> Export:
    """Every message of every chat. Raises DataError with the line where the file is not JSON or no export."""
    account = _Account()
    found = Found(path)
    text = _document.text(path, _document.content(path))
    lines = Lines(text)
    for part in _document.parts(path, text, _OPENED):
        account.add(part)
    if not account.chats:
        raise DataError(f"{path}: holds no chat, as Telegram Desktop writes them; export it again as JSON")
    for chat in account.chats.values():
        if chat.wrong:
            raise DataError(f"{path}:{chat.wrong}: the messages of a chat are no list; export the chat again")
        _read_chat(chat, account, lines, found)
    return found.export("telegram", account.names, account.owner())


@dataclass
class _Chat:
    """One chat as the file shows it."""

    name: str = ""
    kind: str = ""
    id: str = ""
    wrong: int = 0  # line of messages that are none
    messages: list[_document.Part] = field(default_factory=list)


@dataclass
class _Account:
    """What the file says of its owner, the owner's contacts and the chats, as it is read."""

    chats: dict[tuple[str | int, ...], _Chat] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    owner_id: str = ""
    owner_name: str = ""
    senders: dict[str, str] = field(default_factory=dict)  # id -> the name at the messages
    peers: dict[str, int] = field(default_factory=dict)  # ids at the other end than a chat's own -> how often

    def add(self, part: _document.Part) -> None:
        """Takes in the next part of the document."""
        match part.path:
            case ("personal_information",):
                self._add_owner(part.value)
            case ("contacts" | "frequent_contacts",):
                self._add_contacts(part.value)
            case (*chat, "messages", int()):
                self._chat(chat).messages.append(part)
            case (*chat, "messages"):
                self._chat(chat).wrong = part.line
            case (*chat, "name") if isinstance(part.value, str):
                self._chat(chat).name = part.value
            case (*chat, "type") if isinstance(part.value, str):
                self._chat(chat).kind = part.value
            case (*chat, "id"):
                self._chat(chat).id = str(part.value)

    def owner(self) -> str:
        """The owner's name as it stands at the messages: told by the file, or the one whom no chat is named after."""
        if not self.owner_id and self.peers:
            self.owner_id = max(self.peers, key=lambda each: self.peers[each])
        return self.senders.get(self.owner_id, self.owner_name)

    def _chat(self, path: list[str | int]) -> _Chat:
        return self.chats.setdefault(tuple(path), _Chat())

    def _add_owner(self, value: Any) -> None:
        if isinstance(value, dict):
            self.owner_id, self.owner_name = str(value.get("user_id", "")), _full_name(value)
            self.names += [self.owner_name, *_strings(value.get("username"))]

    def _add_contacts(self, value: Any) -> None:
        for contact in value.get("list") or [] if isinstance(value, dict) else []:
            if isinstance(contact, dict) and contact.get("type", "user") == "user":
                self.names += [_full_name(contact), *_strings(contact.get("name"))]


def _read_chat(chat: _Chat, account: _Account, lines: Lines, found: Found) -> None:
    """Puts each message of a chat where it belongs."""
    label = _label(chat, account)
    seen: set[str] = set()
    for part in chat.messages:
        line, value = lines.next(part.line), part.value
        try:
            if not isinstance(value, dict):
                raise ValueError("is no message, which is an object, {...}")
            number = str(value.get("id"))
            if "id" in value and number in seen:
                raise ValueError(f"has the id {_times.shown(value['id'])} of another message of this chat")
            seen.add(number)
            account.names += _people(value)
            if reason := _reason_unused(value):
                found.filtered(line, reason)
            else:
                found.message(ChatMessage(line, label, _time(value), _sender(value, chat, account), _text(value)))
        except ValueError as error:
            found.bad(line, error)


def _label(chat: _Chat, account: _Account) -> str:
    """The chat's name, with its id where another chat has the same name."""
    name = chat.name or ("Saved Messages" if chat.kind == "saved_messages" else NAMELESS)
    same = [each for each in account.chats.values() if each.name == chat.name and each.kind == chat.kind]
    return f"{name} ({chat.id})" if len(same) > 1 else name


def _reason_unused(value: dict[str, Any]) -> str:
    """Why a message is none of its sender's words, or nothing."""
    if value.get("type") == "service":
        return NOTE
    if "forwarded_from" in value and value["forwarded_from"] != value.get("from"):
        return FORWARDED
    return MEDIA if not _text(value).strip() and any(key in value for key in _MEDIA) else ""


def _text(value: dict[str, Any]) -> str:
    """The words, without what makes some of them bold or a link; raises ValueError for what is no text."""
    text = value.get("text", "")
    pieces = text if isinstance(text, list) else [text]
    return "".join(_piece(piece) for piece in pieces)


def _piece(piece: Any) -> str:
    text = piece.get("text") if isinstance(piece, dict) else piece
    if not isinstance(text, str):
        raise ValueError(f"has a text that is none, got {_times.shown(text)}")
    return text


def _time(value: dict[str, Any]) -> datetime:
    """Seconds since 1970 rather than the computer's clock, which repeats an hour every autumn."""
    return _times.from_unix(value["date_unixtime"]) if "date_unixtime" in value else _times.from_iso(value.get("date"))


def _sender(value: dict[str, Any], chat: _Chat, account: _Account) -> str:
    """The name at a message; somebody who left Telegram has only an id."""
    name, number = value.get("from"), str(value.get("from_id") or "").removeprefix("user")
    if not isinstance(name, str | None):
        raise ValueError(f"has a sender that is no text, got {_times.shown(name)}")
    sender = (name or "").strip() or f"{NAMELESS} {number}".strip()
    account.senders.setdefault(number, sender)
    # a chat of two has the id of the other one
    if chat.kind == "saved_messages" or (chat.kind == "personal_chat" and chat.id not in ("", number)):
        account.peers[number] = account.peers.get(number, 0) + 1
    return sender


def _people(value: dict[str, Any]) -> Iterator[str]:
    """Everybody named by a message's own fields; channels and groups are nobody."""
    if not str(value.get("from_id", "user")).startswith(("channel", "chat")):
        yield from _strings(value.get("from"))
    for key in _PEOPLE:
        yield from _strings(value.get(key))
    members = value.get("members")
    for member in members if isinstance(members, list) else []:
        yield from _strings(member)


def _strings(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else []


def _full_name(value: dict[str, Any]) -> str:
    """`{"first_name": "Ana", "last_name": "Lind"}` -> Ana Lind."""
    return " ".join([*_strings(value.get("first_name")), *_strings(value.get("last_name"))]).strip()
