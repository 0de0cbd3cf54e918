"""What models are asked when they are compared: single questions and conversations, from a file or the built-in list.

A user turn that no assistant turn follows is answered by the model under test, whose own answer becomes the history
of the next turn; assistant turns that are given stay as they are. So one list of messages can hold both kinds.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chatwright.errors import DataError
from chatwright.text.records import Conversation, Message

NO_ANSWER = "…"  # stands in the history for an empty answer, since a conversation holds no empty turns


@dataclass(frozen=True)
class Prompt:
    """A conversation in `segments`: the model answers after each one's last message, which is the user's."""

    segments: tuple[tuple[Message, ...], ...]

    @property
    def messages(self) -> tuple[Message, ...]:
        """Everything that is given, without the model's answers."""
        return tuple(message for segment in self.segments for message in segment)

    def history(self, answers: Sequence[str]) -> Conversation:
        """The conversation that waits for the next answer, after the model gave `answers`."""
        said = (Message("assistant", answer if answer.strip() else NO_ANSWER) for answer in answers)
        messages: list[Message] = [*self.segments[0]]
        for answer, segment in zip(said, self.segments[1:], strict=False):
            messages += [answer, *segment]
        return Conversation(tuple(messages))


def prompt(messages: Iterable[Message]) -> Prompt:
    """Cuts messages where the model has to answer: after a user turn that no answer follows. Raises DataError."""
    given = list(messages)
    if not given or given[-1].role != "user":
        raise DataError(f"a prompt ends with the user's turn, got {given[-1].role if given else 'no messages'}")
    segments: list[tuple[Message, ...]] = []
    start = 0
    for end, (message, following) in enumerate(zip(given, [*given[1:], None], strict=True), start=1):
        if message.role == "user" and (following is None or following.role == "user"):
            segments.append(tuple(given[start:end]))
            start = end
    made = Prompt(tuple(segments))
    made.history([NO_ANSWER] * (len(segments) - 1))  # checks the order of the roles
    return made


def default() -> list[Prompt]:
    """The four classic prompts and the two-turn one."""
    from chatwright.tasks.primer.classic import CLASSIC_PROMPTS

    return [prompt(Message("user", turn) for turn in classic.turns) for classic in CLASSIC_PROMPTS]


def read(path: Path) -> list[Prompt]:
    """Prompts from a `.txt` (one a line) or a `.jsonl` (`{"prompt": …}` or `{"messages": […]}` a line).

    Raises DataError, which begins with the file and the line.
    """
    if path.suffix not in (".txt", ".jsonl"):
        raise DataError(f"{path}: prompts come as .txt (one a line) or .jsonl, got {path.suffix or 'no suffix'}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        place = error.object[: error.start].count(b"\n") + 1
        raise DataError(f"{path}:{place}: is not UTF-8; save the file as UTF-8") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); give the path of a prompt file") from None
    parse = _from_json if path.suffix == ".jsonl" else _from_line
    found: list[Prompt] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            found.append(parse(line.strip()))
        except DataError as error:
            raise DataError(f"{path}:{number}: {error}") from None
    if not found:
        raise DataError(f"{path}: holds no prompts; write one a line")
    return found


def _from_line(line: str) -> Prompt:
    return prompt([Message("user", line)])


def _from_json(line: str) -> Prompt:
    try:
        row: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"is no JSON ({error}); write one object a line") from None
    if isinstance(row, dict) and isinstance(row.get("prompt"), str):
        return prompt([Message("user", row["prompt"])])
    if isinstance(row, dict) and isinstance(row.get("messages"), list):
        return prompt(_message(number, message) for number, message in enumerate(row["messages"], start=1))
    what = f"an object with {', '.join(row) or 'no keys'}" if isinstance(row, dict) else type(row).__name__
    raise DataError(f'is {what}; write {{"prompt": "…"}} or {{"messages": [{{"role": "user", "content": "…"}}]}}')


def _message(number: int, message: Any) -> Message:
    if not isinstance(message, dict) or "role" not in message or "content" not in message:
        raise DataError(f'message {number} is no {{"role": …, "content": …}}')
    return Message(message["role"], message["content"])
