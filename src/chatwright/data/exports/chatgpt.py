"""ChatGPT's data export: the zip, its folder, or the `conversations.json` in it. Whose account it is stands in user.json.

Each talk is a tree of messages, `mapping`; the branch that ends in `current_node` is what the user saw last.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chatwright.data.exports import _package, _talks, _times
from chatwright.data.exports._document import AGAIN
from chatwright.data.exports._found import MEDIA, Found
from chatwright.data.exports._outline import outline
from chatwright.data.exports._talks import Node, Talk, fitting
from chatwright.data.exports.export import ChatMessage, Export
from chatwright.errors import DataError

HIDDEN = "is hidden in ChatGPT"
TOOL = "is written to or by a tool"
ACCOUNT = "user.json"

_OF_CHATGPT = {ACCOUNT, "chat.html"}
# Where ChatGPT links what it read on the web, the text holds marks that say nothing without the page.
_CITATION = re.compile("\ue200[^\ue200\ue201]*\ue201|【[^【】]*†[^【】]*】")


def recognises(path: Path, start: bytes) -> bool:
    """Whether this is an export of ChatGPT."""
    names = _package.names(path, start)
    if names:
        return any(map(_talks.TALKS.fullmatch, names)) and bool(names & _OF_CHATGPT)
    keys = outline(start)
    return "[].mapping" in keys and any(
        re.fullmatch(r"\[\]\.mapping\..+\.(message|parent|children)", key) for key in keys
    )


def read(path: Path) -> Export:
    """Every message of every talk, with its role. DataError where the file is no JSON or holds no talks."""
    return _talks.read("chatgpt", path, ACCOUNT, _add)


def _add(found: Found, talk: Talk) -> None:
    """One talk, as far as it is one."""
    mapping = talk.value.get("mapping") if isinstance(talk.value, dict) else None
    if not isinstance(mapping, dict):
        found.bad(talk.lines.next(talk.line), f"is no talk: it has no 'mapping'; {AGAIN}")
        return
    parents = _parents(mapping)
    nodes = {id: _node(value, parents.get(id, ""), talk) for id, value in mapping.items()}
    _talks.follow(found, nodes, talk.value.get("current_node"), lambda node: _message(node, talk.id))


def _parents(mapping: Mapping[str, Any]) -> dict[str, str]:
    """Who is whose parent by the lists of children: a node may say it itself."""
    found: dict[str, str] = {}
    for id, value in mapping.items():
        children = value.get("children") if isinstance(value, dict) else None
        found |= dict.fromkeys(
            (child for child in children if isinstance(child, str)) if isinstance(children, list) else (), id
        )
    return found


def _node(value: Any, parent: str, talk: Talk) -> Node:
    """One entry of the mapping; only those with a message count as one."""
    if isinstance(value, dict) and value.get("message") is None:
        given = value.get("parent", parent)
        return Node(0, given if isinstance(given, str) else "", None)
    line = talk.lines.next(talk.line)
    try:
        node = fitting(value, dict, "the message")
        given = node.get("parent", parent)
        return Node(line, "" if given is None else fitting(given, str, "'parent'"), node["message"])
    except DataError as error:
        return Node(line, parent, None, str(error))


def _message(node: Node, chat: str) -> ChatMessage | str:
    """A message of the kept branch, or why it is left out."""
    message = fitting(node.value, dict, "the message")
    role = fitting(fitting(message.get("author"), dict, "'author'").get("role"), str, "'role'")
    content = fitting(message.get("content"), dict, "'content'")
    kind = fitting(content.get("content_type", "text"), str, "'content_type'")
    if kind in ("user_editable_context", "model_editable_context"):
        return "holds the account's settings, not a message"
    if message.get("weight") == 0 or _is_hidden(message.get("metadata")):
        return HIDDEN
    if role == "tool" or message.get("recipient") not in (None, "all"):
        return TOOL
    if kind not in ("text", "multimodal_text"):
        return f"is no talk but {_times.shown(kind)}"
    texts = [_text(part) for part in fitting(content.get("parts"), list, "'parts'")]
    text = _CITATION.sub("", "\n".join(text for text in texts if text))
    if not text.strip() and None in texts:
        return MEDIA
    time = message.get("create_time")
    moment = None if time is None else _times.from_unix(time)
    match role:
        case "user" | "assistant" | "system":
            return ChatMessage(node.line, chat, moment, "", text, role)
    raise DataError(f"the role is {_times.shown(role)}; known are user, assistant, system and tool")


def _is_hidden(metadata: Any) -> bool:
    return isinstance(metadata, dict) and bool(metadata.get("is_visually_hidden_from_conversation"))


def _text(part: Any) -> str | None:
    """The words of one part: text, or what was understood of speech; None for a picture."""
    if isinstance(part, dict):
        return fitting(part.get("text"), str, "'text'") if part.get("content_type") == "audio_transcription" else None
    return fitting("" if part is None else part, str, "a part")
