"""What a person corrects while talking, kept as the rows that `sft` and `dpo` read.

Two files, because one holds rows of one kind: answers that were put right, and answers that are better than others.
"""

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chatwright import hub
from chatwright.checkpoint import find
from chatwright.data import kept
from chatwright.data.formats import messages as format_messages
from chatwright.errors import DataError
from chatwright.text.records import Conversation, Message

ELSEWHERE = Path("runs") / "feedback"  # of models that are no run of ours


@dataclass(frozen=True)
class Feedback:
    """The folder with the files. A second row for the prompt of the newest one takes its place: it corrects the same
    answer once more."""

    folder: Path

    @classmethod
    def of(cls, model: str) -> "Feedback":
        """In the run's folder; for any other model in runs/feedback/NAME."""
        path = Path(model)
        if not path.exists():
            return cls(ELSEWHERE / hub.split(model)[0].replace("/", "--"))
        folder = find(path)
        if folder.parent.name in ("", ".."):  # of `chat .`, inside of a run
            path, folder = path.resolve(), folder.resolve()
        if folder.parent.name == "checkpoints":
            return cls(folder.parents[1])
        inside = folder.name == "model"
        if inside and (folder != path or (folder.parent / "config.yaml").exists()):
            return cls(folder.parent)
        return cls(ELSEWHERE / (folder.parent if inside else folder).name)

    @property
    def fixes(self) -> Path:
        """Conversations whose last answer is the one to learn."""
        return self.folder / "feedback-sft.jsonl"

    @property
    def preferences(self) -> Path:
        return self.folder / "feedback-preferences.jsonl"

    @property
    def kept(self) -> Path:
        """Answers of the model itself, which are learned beside the fixes so that it keeps giving them."""
        return self.folder / "feedback-rehearsal.jsonl"

    @property
    def contrasts(self) -> Path:
        """The same as preferences, beside the preferences."""
        return self.folder / "feedback-contrasts.jsonl"

    def fix(self, talk: Conversation) -> None:
        """Keeps a conversation that ends with the answer as it should have been. Earlier answers are not learned from
        it: nobody looked at them. Raises ConfigError where the file cannot be written, DiskFull."""
        self._add(self.fixes, {"messages": [*map(_shown, talk.messages[:-1]), kept.message_row(talk.messages[-1])]})

    def prefer(self, prompt: Conversation, chosen: str, rejected: Message) -> None:
        """Keeps two answers to one prompt, the better one first."""
        self._add(self.preferences, kept.preference_row(prompt.messages, Message("assistant", chosen), rejected))

    def keep(self, answered: Sequence[Conversation]) -> None:
        """Replaces what is learned beside the fixes."""
        rows = [{"messages": [kept.message_row(message) for message in talk.messages]} for talk in answered]
        with self._alone():
            kept.write(self.kept, b"".join(map(kept.line, rows)))

    def contrast(self, pairs: Sequence[tuple[Conversation, Message]]) -> None:
        """Replaces what is learned beside the preferences: answers, each with another that it is preferred to."""
        rows = [kept.preference_row(talk[:-1].messages, talk.messages[-1], other) for talk, other in pairs]
        with self._alone():
            kept.write(self.contrasts, b"".join(map(kept.line, rows)))

    def rows(self, path: Path) -> list[Conversation]:
        """What was asked in each row, with the answer that is to be learned; the newest last. Raises DataError for a row
        that somebody broke by hand."""
        found = []
        for number, line in enumerate(_read(path).splitlines(), start=1):
            try:
                row = json.loads(line)
                talk = format_messages.parse({"messages": [*_asked(row), _answer(row)]}, {})
            except (ValueError, LookupError, TypeError, DataError) as error:
                raise DataError(
                    f"{path}:{number} is no row of feedback ({error}); mend it or delete the line"
                ) from None
            assert isinstance(talk, Conversation)
            plain = tuple(Message(message.role, message.content) for message in talk.messages)
            found.append(Conversation(plain))
        return found

    def _add(self, path: Path, row: dict[str, Any]) -> None:
        with self._alone():
            lines = _read(path).splitlines(keepends=True)
            if lines and _asks_the_same(lines[-1], row):
                lines.pop()
            elif lines and not lines[-1].endswith(b"\n"):
                lines[-1] += b"\n"
            kept.write(path, b"".join([*lines, kept.line(row)]))

    def _alone(self) -> AbstractContextManager[None]:
        """Two conversations with one model take turns."""
        return kept.alone(self.folder, "give --feedback FOLDER")


def _shown(message: Message) -> dict[str, Any]:
    """A message that is read and not learned, in OpenAI's words."""
    return {**kept.message_row(message), "weight": 0} if message.role == "assistant" else kept.message_row(message)


def _asked(row: dict[str, Any]) -> list[Any]:
    """The messages before the answer of a row of either kind."""
    return list(row["prompt"] if "prompt" in row else row["messages"][:-1])


def _answer(row: dict[str, Any]) -> Any:
    """The answer to learn of a row of either kind."""
    return row["chosen"][-1] if "prompt" in row else row["messages"][-1]


def _asks_the_same(line: bytes, row: dict[str, Any]) -> bool:
    try:
        return _asked(json.loads(line)) == _asked(row)
    except (ValueError, LookupError, TypeError):  # a person may have edited the file
        return False


def _read(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""
