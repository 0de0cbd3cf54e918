"""The messages of an export as they are found, and everything that is left out, so that nothing is in neither."""

from collections.abc import Iterable

from chatwright.data.exports._document import flaw
from chatwright.data.exports.export import ChatMessage, Export
from chatwright.data.rows import BadRow

NOTE = "is a note of the program (members, calls, settings), not a message"
MEDIA = "is a picture, a recording, a file, a place or a poll, without words"
DELETED = "was deleted"
TWICE = "is there twice"
WORDLESS = "has no words"
FORWARDED = "is forwarded: the words of somebody else"


class Found:
    """What one file holds. `file` stands before the line in every message about it."""

    def __init__(self, file: object) -> None:
        self._file = self._place = str(file)
        self._messages: list[ChatMessage] = []
        self._unused: list[BadRow] = []

    @property
    def messages(self) -> tuple[ChatMessage, ...]:
        return tuple(self._messages)

    @property
    def unused(self) -> tuple[BadRow, ...]:
        return tuple(self._unused)

    def within(self, place: str) -> None:
        """What is listed from here on stands in this file of an archive or a folder."""
        self._place = place

    def message(self, message: ChatMessage) -> None:
        """Keeps it where it has words that can be encoded, and lists it else."""
        if reason := flaw(message.chat, message.sender, message.text):
            self.bad(message.line, reason)
        elif not message.text.strip():
            self.filtered(message.line, WORDLESS)
        else:
            self._messages.append(message)

    def listed(self, row: BadRow) -> None:
        """What the reader of the file lists itself."""
        self._unused.append(row)

    def bad(self, line: int, reason: object) -> None:
        self._unused.append(BadRow(self._place, line, str(reason)))

    def filtered(self, line: int, reason: str) -> None:
        self._unused.append(BadRow(self._place, line, reason, kind="filtered"))

    def note(self, line: int, reason: str) -> None:
        """Something to know about the whole file: it stands for no message."""
        self._unused.append(BadRow(self._place, line, reason, kind="filtered", rows=0))

    def export(self, program: str, names: Iterable[str], owner: str = "") -> Export:
        """Everything together; names that nobody can have are dropped, and each is there once."""
        people = dict.fromkeys(name.strip() for name in names if not flaw(name))
        people.pop("", None)
        return Export(program, self._file, self.messages, self.unused, tuple(people), owner)
