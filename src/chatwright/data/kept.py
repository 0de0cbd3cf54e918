"""Rows that are made of talks and learned from later: messages as OpenAI writes them, kept in files that lose none.

A file is written anew beside itself and renamed, so that no crash leaves half a line of it; only its owner may read it.
"""

import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chatwright import disk
from chatwright.errors import ConfigError
from chatwright.text.records import Message


def message_row(message: Message) -> dict[str, Any]:
    """`finish_reason` is how OpenAI says that an answer ran into a limit: nobody is to learn that it stops there."""
    row = {"role": message.role, "content": message.content}
    return row if message.ended else {**row, "finish_reason": "length"}


def preference_row(prompt: Iterable[Message], chosen: Message, rejected: Message) -> dict[str, Any]:
    """The row that `dpo` reads of two answers to one prompt, the better one first."""
    return {
        "prompt": [message_row(message) for message in prompt],
        "chosen": [message_row(chosen)],
        "rejected": [message_row(rejected)],
    }


def line(row: dict[str, Any]) -> bytes:
    """A row as a line of its file."""
    return (json.dumps(row, ensure_ascii=False) + "\n").encode()


@contextmanager
def alone(folder: Path, instead: str) -> Iterator[None]:
    """Makes the folder, and lets one writer at a time in; DiskFull, and ConfigError for all else that the system refuses,
    which then says what to do `instead`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            with disk.room(folder):
                yield
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written ({error.strerror or error}); {instead}") from None


def write(path: Path, contents: bytes) -> None:
    """The whole file or none of it, which only its owner may read from the start. Called where the writer is `alone`."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(contents)
            file.flush()
            os.fsync(descriptor)
        os.replace(temporary, path)
        disk.sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
