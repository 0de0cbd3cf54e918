"""Signal's own export ("Export chat history", since 2026): `main.jsonl`, one frame of a backup in each line.

Frames name recipients and chats by numbers that hold within the file. Source: Backups.proto of Signal Desktop.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from chatwright.data.exports import _document, _times
from chatwright.data.exports._found import DELETED, MEDIA, NOTE, Found
from chatwright.data.exports.export import ChatMessage, Export
from chatwright.data.rows import BadRow

ME = "Me"  # where the account has no name
_NOTES = ("updateMessage", "giftBadge", "paymentNotification")
_MEDIA = ("contactMessage", "stickerMessage", "viewOnceMessage", "poll")


@dataclass
class _Book:
    """Who and what the numbers stand for."""

    owner: str = ME
    own_names: list[str] = field(default_factory=list)
    people: dict[str, str] = field(default_factory=dict)  # id of a recipient -> the name to show
    names: list[str] = field(default_factory=list)
    chats: dict[str, str] = field(default_factory=dict)  # id of a chat -> id of its recipient
    _labels: dict[str, str] = field(default_factory=dict)

    def chat(self, number: str) -> str:
        """The chat's name, with its number where another one has the same."""
        if number not in self._labels:
            name = self.people[self.chats[number]]
            self._labels[number] = f"{name} ({number})" if list(self.people.values()).count(name) > 1 else name
        return self._labels[number]


def read(place: str, text: str) -> Export:
    """Every message; raises nothing, because a broken line is one bad row."""
    found = Found(place)
    book = _Book()
    for row in _document.objects(place, text):
        try:
            if isinstance(row, BadRow):
                raise ValueError(row.reason)
            _add(row.line, row.value, book, found)
        except ValueError as error:
            found.bad(row.line, error)
    return found.export("signal", [*book.own_names, *book.names], book.owner)


def _add(line: int, value: dict[str, Any], book: _Book, found: Found) -> None:
    """Takes in one frame: what it tells of the numbers, or its message."""
    if "account" in value:
        book.own_names = list(_names(_object(value, "account"), "givenName", "familyName"))
        book.owner = next(iter(book.own_names), ME)
    elif "recipient" in value:
        _add_recipient(_object(value, "recipient"), book)
    elif "chat" in value:
        chat = _object(value, "chat")
        book.chats[_number(chat, "id")] = _number(chat, "recipientId")
    elif "chatItem" in value:
        _add_item(line, _object(value, "chatItem"), book, found)


def _add_recipient(recipient: dict[str, Any], book: _Book) -> None:
    """A contact, a group, or the owner."""
    number = _number(recipient, "id")
    names: list[str] = []
    if "self" in recipient:
        names = [book.owner]
    elif "contact" in recipient:
        names = list(_contact_names(_object(recipient, "contact")))
        book.names += names
    elif "group" in recipient:
        title = _object(_object(_object(recipient, "group"), "snapshot"), "title").get("title")
        names = [title] if isinstance(title, str) and title else []
    elif "releaseNotes" in recipient:
        names = ["Signal"]
    book.people[number] = names[0] if names else f"Unknown {number}"


def _contact_names(contact: dict[str, Any]) -> Iterator[str]:
    """All names of somebody, the one that Signal shows first."""
    yield from _names(_object(contact, "nickname"), "given", "family")
    yield from _names(contact, "systemGivenName", "systemFamilyName")
    yield from _names(contact, "profileGivenName", "profileFamilyName")
    for key in ("systemNickname", "username"):
        if isinstance(contact.get(key), str):
            yield contact[key]
    if isinstance(contact.get("e164"), str | int):
        yield f"+{contact['e164']}"


def _names(value: dict[str, Any], given: str, family: str) -> Iterator[str]:
    """The full name, where there is one."""
    name = " ".join(part for key in (given, family) if isinstance(part := value.get(key), str) and part)
    if name:
        yield name


def _add_item(line: int, item: dict[str, Any], book: _Book, found: Found) -> None:
    """A message: older versions of an edited one stand inside it and are none."""
    if any(key in item for key in _NOTES):
        return found.filtered(line, NOTE)
    if "remoteDeletedMessage" in item:
        return found.filtered(line, DELETED)
    if any(key in item for key in _MEDIA):
        return found.filtered(line, MEDIA)
    chat, author = _number(item, "chatId"), _number(item, "authorId")
    if book.chats.get(chat) not in book.people or author not in book.people:
        raise ValueError(f"names a chat or a sender that no line above tells of, got {_times.shown((chat, author))}")
    text, has_media = _words(item)
    if has_media and not text.strip():
        return found.filtered(line, MEDIA)
    time = _times.from_unix(item.get("dateSent"), per_second=1000)
    found.message(ChatMessage(line, book.chat(chat), time, book.people[author], text.strip()))


def _words(item: dict[str, Any]) -> tuple[str, bool]:
    """The text of a message or of an answer to a story, and whether there is anything else."""
    message = _object(item, "standardMessage")
    reply = _object(_object(item, "directStoryReplyMessage"), "textReply")
    body = _object(message or reply, "text").get("body", "")
    if not isinstance(body, str):
        raise ValueError(f"has a text that is none, got {_times.shown(body)}")
    return body, bool(message.get("attachments") or message.get("longText"))


def _object(value: dict[str, Any], key: str) -> dict[str, Any]:
    """An inner object, empty where it is missing; raises ValueError for anything else."""
    inner = value.get(key)
    if inner is None:
        return {}
    if not isinstance(inner, dict):
        raise ValueError(f"has a {key!r} that is no object, got {_times.shown(inner)}")
    return inner


def _number(value: dict[str, Any], key: str) -> str:
    """A number, which JSON of this kind writes as text."""
    number = value.get(key)
    if isinstance(number, bool) or not isinstance(number, str | int):
        raise ValueError(f"has no {key!r}, got {_times.shown(number)}")
    return str(number)
