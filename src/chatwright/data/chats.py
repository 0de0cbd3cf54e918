"""Conversations from somebody's own chats: what others said is asked, what "me" wrote is the answer to be learned.

In comes an Export, out come rows of the format `messages`, in the order of time, and a list of everything left out.
Names and numbers are hidden here, before anything else sees the text. The newest conversations are held out.
"""

import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any, Literal

from chatwright.data import speakers
from chatwright.data.exports.export import ChatMessage, Export
from chatwright.data.options import ChatOptions
from chatwright.data.redact import ME, RedactionReport, Redactor, is_no_name
from chatwright.data.rows import BadRow, Row, Rows
from chatwright.data.speakers import Speaker
from chatwright.errors import DataError

Split = Literal["train", "validation", "test"]
LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class ChatReport:
    """What was made of an export. `me` is "" where roles say who answers; `redaction` is None where it was switched off."""

    me: str
    how: str
    rows: int  # of the export
    used: int  # of them, that are in a conversation
    chats: int
    others: tuple[str, ...] = field(repr=False)  # who wrote, apart from me
    gap_hours: float
    splits: dict[str, int]  # split -> conversations
    redaction: RedactionReport | None

    @property
    def conversations(self) -> int:
        return sum(self.splits.values())

    def lines(self) -> list[str]:
        """For people, what was not looked for first. Nobody's name is in it, unless names are not hidden."""
        hidden = self.redaction.lines() if self.redaction else ["nothing was hidden: names and numbers are learned"]
        me = ME if self.redaction else self.me
        who = f"the messages of {me} are learned ({self.how})" if self.me else "the assistant's messages are learned"
        silence = f"a silence of {self.gap_hours:g} hours ends one" if self.me else "one for each chat"
        parts = ", ".join(f"{name} {count:,}" for name, count in self.splits.items() if count)
        made = (
            f"conversations: {self.conversations:,}, of {self.used:,} of the {self.rows:,} messages, in {self.chats:,} "
            f"{'chat' if self.chats == 1 else 'chats'} ({silence}): {parts or 'none'}; the newest are held out"
        )
        lines = [hidden[0], who, made, *hidden[1:]]
        if self.redaction and self.me and is_no_name(self.me):
            lines.append("your own name is not in the export, so it was not looked for; --hide FILE takes it")
        if self.others:
            people = "one other person" if len(self.others) == 1 else f"{len(self.others):,} others"
            lines.append(f"{people} wrote in these chats; ask them before you train on their words or share the bot")
        return lines

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON, without anybody's name."""
        return {
            "how": self.how,
            "rows": self.rows,
            "used": self.used,
            "chats": self.chats,
            "others": len(self.others),
            "gap_hours": self.gap_hours,
            "splits": self.splits,
            "redaction": self.redaction.as_dict() if self.redaction else None,
        }


@dataclass(frozen=True)
class _Session:
    """Messages of one chat with no long silence between them. `crowd`: more than two people talk in the chat."""

    time: datetime
    messages: Sequence[ChatMessage]
    crowd: bool


def rows(export: Export, options: ChatOptions) -> tuple[Rows, ChatReport]:
    """One row for each conversation, and a BadRow for whatever is in none: together they cover every row of the export.

    Raises DataError where `options.me` is nobody, or where nobody can be guessed; ConfigError for a model that is not
    there to look for names.
    """
    speaker = speakers.find(export, options.me)
    label = "the assistant" if not speaker.name else ME if options.redact else speaker.name
    listed = [*export.unused, *(_left(export, [m], "it is empty") for m in export.messages if not m.text.strip())]
    talks: list[_Session] = []
    for session in _sessions([m for m in export.messages if m.text.strip()], options.gap_hours):
        kept, left_out = _conversation(session, speaker, label)
        listed += [_left(export, *one) for one in left_out]
        talks += [_Session(session.time, kept, session.crowd)] if kept else []
    redactor = _redactor(export, options, speaker, talks) if options.redact else None
    splits = _splits(len(talks), options.held_out)
    found: list[Row | BadRow] = [
        Row(talk.messages[0].line, {"messages": _turns(talk, speaker, redactor)}, len(talk.messages), split)
        for talk, split in zip(talks, splits, strict=True)
    ]
    report = ChatReport(
        me=speaker.name,
        how=speaker.how,
        rows=export.rows,
        used=sum(len(talk.messages) for talk in talks),
        chats=len({message.chat for message in export.messages}),
        others=tuple(dict.fromkeys(m.sender for m in export.messages if not m.role and m.sender != speaker.name)),
        gap_hours=options.gap_hours,
        splits={name: splits.count(name) for name in ("train", "validation", "test")},
        redaction=redactor.report if redactor else None,
    )
    return iter([*found, *listed]), report


def _sessions(messages: Sequence[ChatMessage], gap_hours: float) -> list[_Session]:
    """The chats cut at long silences, in the order of time; talks with an AI are one each, for it has read all of it.

    Messages stay in the order of the file, also where their times run backwards; one without a time belongs to the one
    before it.
    """
    chats: dict[str, list[tuple[int, ChatMessage]]] = {}
    for place, message in enumerate(messages):
        chats.setdefault(message.chat, []).append((place, message))
    found: list[tuple[datetime, int, _Session]] = []
    for chat in chats.values():
        talk = any(message.role for _, message in chat)
        crowd = not talk and len({message.sender for _, message in chat}) > 2
        before = LONG_AGO
        for part in [chat] if talk else _parts(chat, timedelta(hours=gap_hours)):
            before = next((_time(message.time) for _, message in part if message.time), before)
            found.append((before, part[0][0], _Session(before, [message for _, message in part], crowd)))
    return [session for _, _, session in sorted(found, key=lambda one: one[:2])]


def _parts(chat: list[tuple[int, ChatMessage]], gap: timedelta) -> Iterator[list[tuple[int, ChatMessage]]]:
    """A chat, cut wherever two messages are further apart than `gap`, in either direction."""
    part: list[tuple[int, ChatMessage]] = []
    last: datetime | None = None
    for place, message in chat:
        time = _time(message.time) if message.time else None
        if time and last and abs(time - last) > gap:
            yield part
            part = []
        part.append((place, message))
        last = time or last
    if part:
        yield part


def _conversation(
    session: _Session, speaker: Speaker, label: str
) -> tuple[list[ChatMessage], list[tuple[list[ChatMessage], str]]]:
    """The messages from the first of others to the last of mine, and those left out with the reason."""
    messages = list(session.messages)
    start = next((i for i, message in enumerate(messages) if _role(message, speaker) != "system"), len(messages))
    inside = [message for message in messages[start:] if _role(message, speaker) == "system"]
    system, messages = messages[:start], [m for m in messages[start:] if _role(m, speaker) != "system"]
    left_out = [([message], "a system message stands inside the talk") for message in inside]
    roles = [_role(message, speaker) for message in messages]
    first = roles.index("user") if "user" in roles else len(roles)
    last = max((i for i, role in enumerate(roles) if role == "assistant"), default=-1)
    if last < first:
        return [], [*left_out, *(((system + messages, f"no answer of {label}'s"),) if system + messages else ())]
    if first:
        left_out.append((messages[:first], "nobody asked anything before it"))
    if messages[last + 1 :]:
        left_out.append((messages[last + 1 :], f"no answer of {label}'s follows"))
    return system + messages[first : last + 1], left_out


def _turns(talk: _Session, speaker: Speaker, redactor: Redactor | None) -> list[dict[str, str]]:
    """What each side wrote in a row is one turn. Where more than two people talk, a name stands before what each of the
    others wrote, so that the answer can be addressed to somebody."""
    turns = []
    for role, some in groupby(talk.messages, key=lambda message: _role(message, speaker)):
        lines = []
        for sender, burst in groupby(some, key=lambda message: message.sender):
            texts = [message.text.strip() for message in burst]
            said = "\n".join(redactor.text(text) if redactor else text for text in texts)
            name = redactor.name(sender) if redactor else sender
            lines.append(f"{name}: {said}" if talk.crowd and role == "user" else said)
        turns.append({"role": role, "content": "\n".join(lines)})
    return turns


def _role(message: ChatMessage, speaker: Speaker) -> str:
    return message.role or ("assistant" if message.sender == speaker.name else "user")


def _redactor(export: Export, options: ChatOptions, speaker: Speaker, talks: Sequence[_Session]) -> Redactor:
    """Knows everybody in the export: first those who wrote, in the order in which they did."""
    if any(importlib.util.find_spec(name) is None for name in ("phonenumbers", "stdnum")):
        raise DataError(
            f"{export.file}: hiding numbers in chats needs phonenumbers and python-stdnum; pip install 'chatwright[data]'"
        )
    texts = [message.text for talk in talks for message in talk.messages]
    senders = dict.fromkeys(message.sender for message in export.messages if message.sender)
    names = [*senders, *export.names, export.owner]
    if not options.ner:
        return Redactor(names, speaker.name, options.hide)
    from chatwright.data.redact.ner import names_in

    return Redactor(names, speaker.name, options.hide, found=names_in(texts, options.ner), model=options.ner)


def _splits(count: int, held_out: float) -> list[Split]:
    """The split of each conversation, the oldest first: of the share held out, the newer half is the test.

    Of two conversations or more at least one is validated on; one is always left to learn from.
    """
    held = min(max(round(count * held_out), 1), count - 1) if held_out > 0 and count > 1 else 0
    test = held // 2
    splits: list[tuple[Split, int]] = [("train", count - held), ("validation", held - test), ("test", test)]
    return [name for name, number in splits for _ in range(number)]


def _time(time: datetime) -> datetime:
    """A time that can be compared with any other: one without a zone is taken for UTC."""
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _left(export: Export, messages: Sequence[ChatMessage], reason: str) -> BadRow:
    """Neighbouring messages that are not used, as one entry."""
    return BadRow(export.file, messages[0].line, reason, "filtered", len(messages))
