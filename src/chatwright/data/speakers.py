"""Whose messages in an export of chats are learned: named by --me, by the export itself, or guessed and said."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from chatwright.data.exports.export import ChatMessage, Export
from chatwright.data.redact.forms import key, plain
from chatwright.data.redact.letters import WORD, Folding
from chatwright.errors import DataError

SHOWN = 20  # participants that an error lists


@dataclass(frozen=True)
class Speaker:
    """`name` as the export writes it, "" where roles say who speaks; `how` it was found, for people."""

    name: str
    how: str


def find(export: Export, me: str = "") -> Speaker:
    """Who is learned from. DataError, with the list of those who wrote, for a name that is nobody's or several people's,
    and where nothing tells one from another."""
    wrote = Counter(message.sender for message in export.messages if not message.role)
    if not wrote:
        return Speaker("", "the roles say who answers")
    if me:
        return Speaker(_named(export, me, wrote), "as --me says")
    owners = _fitting(export.owner, wrote) if export.owner else []
    if len(owners) == 1:
        return Speaker(owners[0], "whose export it is")
    return _guessed(export, wrote)


def _named(export: Export, me: str, wrote: Mapping[str, int]) -> str:
    """The participant whom a person means by a name."""
    found = _fitting(me, wrote)
    if len(found) == 1:
        return found[0]
    if found:
        raise DataError(f"{export.file}: --me is {me!r}, which may be {_listed(found, wrote)}; give the whole name")
    known = "who wrote nothing in it" if _fitting(me, export.names) else "a name that nobody in it has"
    raise DataError(f"{export.file}: --me is {me!r}, {known}; give one of {_listed(wrote, wrote)}")


def _fitting(me: str, names: Iterable[str]) -> list[str]:
    """The names that somebody may mean: the very name, else one that differs in case or accents, else a part of it."""
    folding = Folding()
    names = list(names)
    if me in names:
        return [me]
    wanted = key(me, folding)
    words = set(WORD.findall(folding.fold(me.lstrip("@")).text))
    whole = [name for name in names if key(name, folding) == wanted]
    first = [name for name in names if words and words == set(WORD.findall(folding.fold(plain(name)).text)[:1])]
    some = [name for name in names if words and words <= set(WORD.findall(folding.fold(name).text))]
    return whole or first or some


def _guessed(export: Export, wrote: Mapping[str, int]) -> Speaker:
    """Whoever is in the most chats, and of several the one who answers others most often."""
    chats = Counter(dict.fromkeys(wrote, 0))
    chats.update(sender for sender, _ in {(m.sender, m.chat) for m in export.messages if not m.role})
    most = max(chats.values())
    everywhere = [name for name, count in chats.items() if count == most]
    count = len({message.chat for message in export.messages})
    if len(everywhere) == 1:
        return Speaker(everywhere[0], f"guessed: the only one in {most:,} of {count:,} chats; --me says it otherwise")
    replies = _replies(message for message in export.messages if not message.role)
    best = max(replies[name] for name in everywhere)
    found = [name for name in everywhere if replies[name] == best]
    if len(found) > 1:
        raise DataError(
            f"{export.file}: whose messages shall be learned cannot be told, {_listed(found, wrote)} answer equally "
            'often; say it with --me "NAME"'
        )
    return Speaker(
        found[0], f"guessed: answers most often ({best:,} of {sum(replies.values()):,} times); --me says it otherwise"
    )


def _replies(messages: Iterable[ChatMessage]) -> Counter[str]:
    """How often each one writes after somebody else in the same chat."""
    last: dict[str, str] = {}
    replies: Counter[str] = Counter()
    for message in messages:
        if last.get(message.chat, message.sender) != message.sender:
            replies[message.sender] += 1
        last[message.chat] = message.sender
    return replies


def _listed(names: Iterable[str], wrote: Mapping[str, int]) -> str:
    """`'Anna' (214 messages), 'Tom' (200)`, those who wrote most first."""
    ordered = sorted(names, key=lambda name: -wrote[name])
    counts = {name: f"{wrote[name]:,} {'message' if wrote[name] == 1 else 'messages'}" for name in ordered[:SHOWN]}
    parts = [f"{name!r} ({count})" for name, count in counts.items()]
    return ", ".join(parts) + (f", … and {len(ordered) - SHOWN:,} more" if len(ordered) > SHOWN else "")
