"""Conversations as files: JSON that can be loaded again, and Markdown or plain text to be read by people."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from chatwright import console, disk
from chatwright.data.formats import messages as format_messages
from chatwright.errors import ChatwrightError, ConfigError, DataError
from chatwright.text.records import Conversation, Message

ENDINGS = (".md", ".txt", ".json")


def save(path: Path, model: str, messages: Sequence[Message]) -> None:
    """Writes JSON, whole or not at all. Raises ConfigError when a file stands there that is no saved conversation."""
    if path.exists():
        try:
            read(path)
        except ChatwrightError:
            raise ConfigError(f"{path} exists and is no saved conversation; choose another name") from None
    rows = [{"role": message.role, "content": message.content} for message in messages]
    try:
        disk.write_json(path, {"model": model, "messages": rows})
    except OSError as error:
        raise _unwritable(path, error) from None


def export(path: Path, model: str, messages: Sequence[Message]) -> None:
    """Writes what the name ends in: Markdown for .md, plain text for .txt, what `save` writes for .json.

    Raises ConfigError for another ending, and for a text that would replace a file: nothing tells whose it is.
    """
    ending = path.suffix.lower()
    if ending == ".json":
        save(path, model, messages)
        return
    if ending not in ENDINGS:
        raise ConfigError(f"{path} ends in {ending or 'nothing'!r}; give a name that ends in {', '.join(ENDINGS)}")
    if path.exists():
        raise ConfigError(f"{path} exists; choose another name")
    text = markdown(model, messages) if ending == ".md" else plain(model, messages)
    try:
        disk.write(path, text.encode("utf-8"))
    except OSError as error:
        raise _unwritable(path, error) from None


def markdown(model: str, messages: Sequence[Message]) -> str:
    """Each message under who said it; what the model wrote is Markdown already."""
    parts = [f"# A conversation with {model}"]
    parts += [f"**{_speaker(message, model)}**\n\n{console.clean(message.content).strip()}" for message in messages]
    return "\n\n".join(parts) + "\n"


def plain(model: str, messages: Sequence[Message]) -> str:
    """Each message after who said it."""
    said = [f"{_speaker(message, model)}: {console.clean(message.content).strip()}" for message in messages]
    return "\n\n".join(said) + "\n"


def read(path: Path) -> Conversation:
    """The conversation of a JSON file with "messages"; DataError names the file."""
    try:
        contents = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error})") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not valid JSON ({error})") from None
    if not isinstance(contents, Mapping):
        raise DataError(f'{path} holds no conversation; it must be an object with "messages"')
    try:
        found = format_messages.parse(dict(contents), {})
        assert isinstance(found, Conversation)
    except DataError as error:
        raise DataError(f"{path}: {console.clean(str(error))}") from None
    return found


def _speaker(message: Message, model: str) -> str:
    return {"system": "System", "user": "You", "assistant": model, "tool": "Tool"}[message.role]


def _unwritable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(f"{path} cannot be written ({error.strerror or error}); choose another place")
