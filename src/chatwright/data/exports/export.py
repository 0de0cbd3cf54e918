"""What every reader of a chat program's export gives: messages in their order, whatever was left out, and who took part.

`chats.py` makes conversations of them; nothing is hidden here yet.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol

from chatwright.data.rows import BadRow


@dataclass(frozen=True)
class ChatMessage:
    """One message. `line` is its line in the file, or its number from 1 where the file has no lines of its own."""

    line: int
    chat: str  # the chat, channel or thread that it belongs to
    time: datetime | None
    sender: str  # the name as the export shows it; "" where `role` says who speaks
    text: str
    role: Literal["", "system", "user", "assistant"] = ""  # set by exports of talks with an AI, whose roles are known


@dataclass(frozen=True)
class Export:
    """`messages` and `unused` together are every message of the export: none is in neither.

    `names` are all people in it (participants, contacts, members who never wrote), with their handles; `owner` is whose
    export it is, where it says so.
    """

    program: str  # "whatsapp": the name of its file here
    file: str
    messages: tuple[ChatMessage, ...]
    unused: tuple[BadRow, ...] = ()  # system lines, pictures, deleted messages: kind "filtered"; damage: kind "bad"
    names: tuple[str, ...] = ()
    owner: str = ""

    @property
    def rows(self) -> int:
        return len(self.messages) + sum(row.rows for row in self.unused)


class ExportReader(Protocol):
    """A module of this folder."""

    recognises: Callable[[Path, bytes], bool]  # the path and the first 64 KB of the file: quick, and sure
    read: Callable[[Path], Export]  # DataError where the file as a whole cannot be read
