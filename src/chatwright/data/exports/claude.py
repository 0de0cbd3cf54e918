"""Claude's data export: the zip, its folder, or the `conversations.json` in it. Whose account it is stands in users.json.

A talk is a list of messages; newer exports say of each what it answers, and hold the branches that were left as well.
"""

from pathlib import Path
from typing import Any

from chatwright.data.exports import _package, _talks, _times
from chatwright.data.exports._document import AGAIN
from chatwright.data.exports._found import MEDIA, Found
from chatwright.data.exports._outline import outline
from chatwright.data.exports._talks import Node, Talk, fitting
from chatwright.data.exports.export import ChatMessage, Export
from chatwright.errors import DataError

TOOL = "holds the use of a tool or thoughts, and no words"
ACCOUNT = "users.json"

_OF_OTHERS = {"user.json", "chat.html", "channels.json"}


def recognises(path: Path, start: bytes) -> bool:
    """Whether this is an export of Claude."""
    names = _package.names(path, start)
    if names:
        return any(map(_talks.TALKS.fullmatch, names)) and ACCOUNT in names and not names & _OF_OTHERS
    return outline(start) >= {"[].uuid", "[].chat_messages"}


def read(path: Path) -> Export:
    """Every message of every talk, with its role. DataError where the file is no JSON or holds no talks."""
    return _talks.read("claude", path, ACCOUNT, _add)


def _add(found: Found, talk: Talk) -> None:
    """One talk, as far as it is one."""
    messages = talk.value.get("chat_messages") if isinstance(talk.value, dict) else None
    if not isinstance(messages, list):
        found.bad(talk.lines.next(talk.line), f"is no talk: it has no list 'chat_messages'; {AGAIN}")
        return
    nodes = _nodes(messages, talk)
    leaf = talk.value.get("current_leaf_message_uuid")
    _talks.follow(found, nodes, leaf, lambda node: _message(node, talk.id))


def _nodes(messages: list[Any], talk: Talk) -> dict[str, Node]:
    """Id -> message. Where none says what it answers, each answers the one above it."""
    ids = [message.get("uuid") or None if isinstance(message, dict) else None for message in messages]
    parents = [message.get("parent_message_uuid") if isinstance(message, dict) else None for message in messages]
    # a first message may answer one that is not there
    is_tree = not {id for id in ids if isinstance(id, str)}.isdisjoint(id for id in parents if isinstance(id, str))
    nodes: dict[str, Node] = {}
    above = ""
    for number, (message, id, parent) in enumerate(zip(messages, ids, parents, strict=True), start=1):
        line, flaw = talk.lines.next(talk.line), ""
        if not isinstance(message, dict):
            flaw = "is no message: it is no object"
        elif not isinstance(id, str):
            flaw = f"has no uuid, got {_times.shown(id)}" if is_tree or id is not None else ""
        elif id in nodes:
            flaw = "has the uuid of a message before it"
        elif is_tree and not isinstance(parent, str):
            flaw = "does not say which message it answers" if parent is not None else ""
        key = id if isinstance(id, str) and id not in nodes else f"message {number}"
        while key in nodes:
            key += "'"
        answers = (parent if isinstance(parent, str) else "") if is_tree else above
        nodes[key] = Node(line, answers, message, flaw)
        above = key
    return nodes


def _message(node: Node, chat: str) -> ChatMessage | str:
    """A message of the kept branch, or why it is left out."""
    message = fitting(node.value, dict, "the message")
    sender = fitting(message.get("sender"), str, "'sender'")
    parts = fitting(message.get("content") or [], list, "'content'")
    texts = [_text(part) for part in parts]
    text = "\n\n".join(text for text in texts if text)
    # beside other parts, "text" holds a sentence in their place: that they cannot be shown
    if not text.strip() and None not in texts:
        text = fitting(message.get("text") or "", str, "'text'")
    if not text.strip() and None in texts:
        return TOOL
    if not text.strip() and (message.get("attachments") or message.get("files")):
        return MEDIA
    time = message.get("created_at")
    moment = None if time is None else _times.from_iso(time)
    match sender:
        case "human":
            return ChatMessage(node.line, chat, moment, "", text, "user")
        case "assistant":
            return ChatMessage(node.line, chat, moment, "", text, "assistant")
    raise DataError(f"the sender is {_times.shown(sender)}; known are human and assistant")


def _text(part: Any) -> str | None:
    """The words of one part; None for thoughts and the use of tools."""
    if isinstance(part, dict) and part.get("type", "text") != "text":
        return None
    return fitting(fitting(part, dict, "a part").get("text"), str, "'text'")
