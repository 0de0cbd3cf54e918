"""Signal's chats, in the three shapes that people have them in; other shapes are recognised and refused in words.

`main.jsonl` of Signal's own "Export chat history", the `data.json` of signal-export (github.com/carderne/signal-export),
and the text of `sigtop export-messages` (github.com/tbvdm/sigtop). Times are UTC, in `data.json` the computer's own.
"""

import json
import re
from pathlib import Path
from typing import Any

from chatwright.data.exports import _document, _signal_frames, _signal_text, _times
from chatwright.data.exports._found import DELETED, MEDIA, NOTE, Found
from chatwright.data.exports.export import ChatMessage, Export
from chatwright.data.rows import BadRow
from chatwright.errors import DataError

ME, NOBODY = "Me", "No-Sender"  # signal-export's names for the owner, and for whom it does not know
_KEYS = frozenset(["date", "sender", "body", "quote", "reactions", "attachments"])
_CALL = re.compile(r"(?:Missed|Incoming|Outgoing) (?:voice |video )?call(?: \([^()]*\))?")
_MARKDOWN = re.compile(r"\[\d{4}-\d\d-\d\d,? \d\d:\d\d(?::\d\d)?\] [^:\n]+: ")
_DATABASE = re.compile(r'\A\s*\[\s*\{[^{}\[\]]*"(?:conversationId|sent_at|received_at|schemaVersion)"\s*:')


def recognises(path: Path, start: bytes) -> bool:
    """By the first lines."""
    return bool(_shape(path, _document.decoded(start)))


def read(path: Path) -> Export:
    """Every message. Raises DataError for a shape that has too little in it, with the shape to give instead."""
    text = _document.text(path, _document.content(path))
    match _shape(path, text):
        case "frames":
            return _signal_frames.read(str(path), text)
        case "data.json":
            return _read_lines(path, text)
        case "text":
            return _signal_text.read(str(path), text)
        case "markdown":
            raise DataError(f"{path}: is the Markdown of signal-export; give the data.json that lies beside it")
        case "database":
            raise DataError(
                f"{path}: holds numbers in place of names, as `sigtop export-messages -f json` writes it; write it with -f text"
            )
    raise DataError(
        f"{path}: is no export of Signal's chats; use Signal's own \"Export chat history\" and give main.jsonl"
    )


def _shape(path: Path, text: str) -> str:
    """What kind of export a text begins, or nothing."""
    first = text.lstrip().partition("\n")[0]
    match path.suffix.lower():
        case ".jsonl" | ".json" if first.startswith("{"):
            return _kind_of_line(first)
        case ".json":
            return "database" if _DATABASE.match(text) else ""
        case ".txt" if re.match(rf"{_signal_text.FIRST}[^\n]+\n\n(?:From: [^\n]*\n)?Type: [a-z-]+\n", text):
            return "text"
        case ".md" if path.name == "chat.md" and _MARKDOWN.match(text):
            return "markdown"
    return ""


def _kind_of_line(first: str) -> str:
    """What the first of the lines of JSON belongs to."""
    try:
        value: Any = json.loads(first)
    except (ValueError, RecursionError):  # a line longer than what was read of it, or one of many of another kind
        return "data.json" if re.match(r'\{"date": ?"[^"]*", ?"sender": ?"[^"]*", ?"body": ?"', first) else ""
    if not isinstance(value, dict):
        return ""
    is_info = {"version", "backupTimeMs"} <= value.keys()
    account = value["account"] if value.keys() == {"account"} else {}
    if is_info or (isinstance(account, dict) and {"givenName", "accountSettings"} & account.keys()):
        return "frames"
    return "data.json" if value.keys() >= _KEYS else ""


def _read_lines(path: Path, text: str) -> Export:
    """signal-export's messages, one a line; the folder has the chat's name."""
    found = Found(path)
    names: list[str] = []
    chat = path.absolute().parent.name
    for row in _document.objects(path, text):
        try:
            if isinstance(row, BadRow):
                raise ValueError(row.reason)
            sender = _text(row.value, "sender")
            names += [sender] if sender not in (ME, NOBODY) else []
            _add(row.line, row.value, chat, found)
        except ValueError as error:
            found.bad(row.line, error)
    return found.export("signal", names, ME)


def _add(line: int, value: dict[str, Any], chat: str, found: Found) -> None:
    """Puts a message where it belongs."""
    sender, body = _text(value, "sender").strip(), _text(value, "body").strip()
    if value.get("deleted"):
        return found.filtered(line, DELETED)
    if value.get("call") or _CALL.fullmatch(body):
        return found.filtered(line, NOTE)
    if not body and (value.get("attachments") or value.get("sticker")):
        return found.filtered(line, MEDIA)
    if not sender:
        raise ValueError("has no sender")
    found.message(ChatMessage(line, chat, _times.from_iso(value.get("date")), sender, body))


def _text(value: dict[str, Any], key: str) -> str:
    text = value.get(key)
    if not isinstance(text, str):
        raise ValueError(f"has no {key!r} that is a text, got {_times.shown(text)}")
    return text
