"""Slack's workspace export: the zip or its folder, with `<channel>/<date>.json` for each day of each channel.

A thread is a chat of its own, its first message in front, because the answers stand days apart between other talk.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from chatwright.data.exports import _package, _slack_text, _times
from chatwright.data.exports._document import AGAIN
from chatwright.data.exports._found import DELETED, MEDIA, NOTE, TWICE, Found
from chatwright.data.exports._outline import outline
from chatwright.data.exports._package import Entry, Lines
from chatwright.data.exports._people import Person, all_names, labels
from chatwright.data.exports._talks import LOOP, fitting, numbered
from chatwright.data.exports._threads import beginnings
from chatwright.data.exports.export import ChatMessage, Export
from chatwright.errors import DataError

_USERS = ("users.json", "org_users.json")
_CHANNELS = ("channels.json", "groups.json", "dms.json", "mpims.json")
_LISTS = {*_USERS, *_CHANNELS, "canvases.json", "integration_logs.json", "lists.json", "content_flags.json"}
_DAY = re.compile(r"([^/]+)/(\d{4}-\d\d-\d\d\.json)")
# Everything else that Slack writes under a subtype is about members, topics, pins, calls or bots being added.
_TALK = {"bot_message", "file_share", "me_message", "reply_broadcast", "slackbot_response", "thread_broadcast"}
_NAMES = ("display_name", "real_name", "first_name", "last_name", "display_name_normalized", "real_name_normalized")


@dataclass(frozen=True)
class _Post:
    """One message as it stands in its file."""

    place: str
    line: int
    value: dict[str, Any]
    ts: str
    time: datetime
    answers: str  # the ts of the message that its thread begins with, "" for none


@dataclass(frozen=True)
class _Workspace:
    """What the ids stand for. `senders` tells people of the same name apart, which nobody does in a mention."""

    senders: dict[str, str]
    people: dict[str, str]
    channels: dict[str, str]


def recognises(path: Path, start: bytes) -> bool:
    """Whether this is a workspace, or a file of one that was unpacked: `read` says of that what to do."""
    names = _package.names(path, start)
    if names:
        return _is_workspace(names)
    if path.name in _LISTS:
        return _is_workspace({name for name in _LISTS if (path.parent / name).is_file()})
    if not _DAY.fullmatch("/".join(path.parts[-2:])):
        return False
    above = {name for name in _LISTS if (path.parent.parent / name).is_file()}
    return _is_workspace(above) and outline(start) >= {"[].ts", "[].type"}


def read(path: Path) -> Export:
    """Every message of every channel and thread. DataError where a file is no JSON or not the whole workspace."""
    files = _package.entries(path)
    if not _is_workspace(set(files)):
        raise DataError(
            f"{path}: is no whole export of a Slack workspace, whose names and threads stand in several files; "
            "give the zip, and pack a folder of one into a zip again"
        )
    found = Found(path)
    days = [(match[1], entry) for name, entry in files.items() if (match := _DAY.fullmatch(name))]
    posts = {
        channel: _posts(found, [entry for _, entry in some]) for channel, some in groupby(days, lambda day: day[0])
    }
    people = {person.id: person for some in posts.values() for post in some if (person := _guest(post.value))}
    people |= {person.id: person for name in _USERS if name in files for person in _members(files[name])}
    channels = {id: name for kind in _CHANNELS if kind in files for id, name in _channels(files[kind])}
    workspace = _Workspace(labels(people.values()), {id: person.shown for id, person in people.items()}, channels)
    for channel, some in posts.items():
        _add(found, channel, some, workspace)
    return numbered(found.export("slack", all_names(people.values())))


def _is_workspace(names: set[str] | frozenset[str]) -> bool:
    """Whether there are lists of members and of channels; an export of Claude has the former only."""
    return not names.isdisjoint(_USERS) and not names.isdisjoint(_CHANNELS)


def _posts(found: Found, days: list[Entry]) -> list[_Post]:
    """The messages of one channel in the order of time; damaged ones and second copies are listed."""
    posts: dict[str, _Post] = {}
    for entry in days:
        found.within(entry.place)
        text = entry.text
        lines = Lines(text)
        for part in _package.elements(entry.place, text):
            line = lines.next(part.line)
            try:
                post = _post(entry.place, line, part.value)
            except ValueError as error:
                found.bad(line, error)
                continue
            if post.ts not in posts:
                posts[post.ts] = post
            elif posts[post.ts].value == post.value:
                found.filtered(line, TWICE)
            else:
                found.bad(line, "has the 'ts' of another message of the channel")
    return sorted(posts.values(), key=lambda post: post.time)


def _post(place: str, line: int, value: Any) -> _Post:
    """A message by its times; raises ValueError."""
    message = fitting(value, dict, "the message")
    if "ts" not in message:
        raise DataError("has no 'ts', the time that a message is known by")
    ts = fitting(message["ts"], str, "'ts'")
    if not re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,9})?", ts):
        raise DataError(f"has no possible time, got {_times.shown(ts)}")
    thread = message.get("thread_ts")
    answers = "" if thread is None else fitting(thread, str, "'thread_ts'")
    return _Post(place, line, message, ts, _times.from_unix(float(ts)), "" if answers == ts else answers)


def _add(found: Found, channel: str, posts: list[_Post], workspace: _Workspace) -> None:
    """The channel's own messages and then its threads."""
    first = beginnings({post.ts: post.answers for post in posts})
    threads = {first[post.ts] for post in posts if post.answers}
    chats: dict[str, list[_Post]] = {channel: []}
    for post in posts:
        begin = first[post.ts]
        found.within(post.place)
        if begin is None:
            found.bad(post.line, LOOP)
        else:
            chats.setdefault(f"{channel}/{begin}" if begin in threads else channel, []).append(post)
    for chat, some in chats.items():
        for post in sorted(some, key=lambda post: bool(post.answers)):
            found.within(post.place)
            _add_one(found, chat, post, workspace)


def _add_one(found: Found, chat: str, post: _Post, workspace: _Workspace) -> None:
    """One message, or why it is left out."""
    try:
        reason = _reason(post.value)
        sender = "" if reason else _sender(post.value, workspace.senders)
        text = "" if reason else fitting(post.value.get("text") or "", str, "'text'")
    except ValueError as error:
        found.bad(post.line, error)
        return
    if not reason and not text.strip() and (post.value.get("files") or post.value.get("attachments")):
        reason = MEDIA
    if reason:
        found.filtered(post.line, reason)
    else:
        text = _slack_text.plain(text, workspace.people, workspace.channels)
        found.message(ChatMessage(post.line, chat, post.time, sender, text))


def _reason(message: dict[str, Any]) -> str:
    """Why a message is none of somebody's, or nothing."""
    kind = message.get("type", "message")
    subtype = message.get("subtype") or ""
    if subtype in ("tombstone", "message_deleted"):
        return DELETED
    if subtype == "message_changed":
        return "tells of an edit; the message itself is there as it was left"
    fits = kind == "message" and (not subtype or subtype in _TALK) and not message.get("hidden")
    return "" if fits else NOTE


def _sender(message: dict[str, Any], people: dict[str, str]) -> str:
    """The name of a member or a bot."""
    if message.get("user") is not None:
        user = fitting(message["user"], str, "'user'")
        return people.get(user, user)
    profile = message.get("bot_profile")
    bot = profile.get("name") if isinstance(profile, dict) else None
    for name in (message.get("username"), bot, message.get("bot_id")):
        if isinstance(name, str) and name.strip():
            return name
    raise DataError("does not say who wrote it")


def _members(entry: Entry) -> Iterator[Person]:
    """Everybody in a list of members; raises DataError for an entry that cannot be told: a name would not be hidden."""
    for part in _package.elements(entry.place, entry.text):
        if (person := _person(part.value)) is None:
            raise DataError(f"{entry.place}:{part.line}: is no member: an object with an 'id' is wanted; {AGAIN}")
        yield person


def _guest(message: dict[str, Any]) -> Person | None:
    """Who wrote a message, as it says itself: somebody from another workspace is not on the list of members."""
    profile = message.get("user_profile")
    if not isinstance(profile, dict):
        return None
    return _person({"id": message.get("user"), "name": profile.get("name"), "profile": profile})


def _person(value: Any) -> Person | None:
    """A member, where the value is one."""
    if not isinstance(value, dict) or not isinstance(id := value.get("id"), str) or not id:
        return None
    profile = value.get("profile")
    shown = {**value, **profile} if isinstance(profile, dict) else value
    names = [name for key in _NAMES if isinstance(name := shown.get(key), str) and name.strip()]
    handle = value["name"] if isinstance(value.get("name"), str) else ""
    is_bot = bool(value.get("is_bot")) or id == "USLACKBOT"
    return Person(id, next(iter(names), handle or id), handle, tuple(names), is_bot)


def _channels(entry: Entry) -> Iterator[tuple[str, str]]:
    """Id and name of those channels that have a name."""
    for part in _package.elements(entry.place, entry.text):
        channel = part.value if isinstance(part.value, dict) else {}
        id, name = channel.get("id"), channel.get("name")
        if isinstance(id, str) and isinstance(name, str):
            yield id, name
