"""A conversation that goes on: messages in, answers out piece by piece, and what a person may change in between.

It knows no terminal; `slash.py` turns typed commands into its methods and `terminal.py` shows what they say.
"""

import json
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from chatwright import console, disk
from chatwright.chat.adapters import Adapters
from chatwright.data.formats import messages as format_messages
from chatwright.errors import ChatwrightError, ConfigError, DataError
from chatwright.generate.chatbot import Chatbot
from chatwright.generate.completion import Completion
from chatwright.generate.sampling import Sampling
from chatwright.registry import suggestion
from chatwright.text.records import Conversation, Message

SETTINGS = tuple(field.name for field in fields(Sampling))
_TYPES: dict[type, tuple[Callable[[str], Any], str]] = {
    int: (int, "a whole number"),
    float: (float, "a number"),
    tuple: (lambda text: (text,) if text else (), "text"),
}


@dataclass(frozen=True)
class Stats:
    """`used` of `limit` tokens of the window are taken by the conversation; `last` is None before the first answer."""

    messages: int
    hidden: int  # the oldest messages, which no longer fit the window
    used: int
    limit: int
    last: Completion | None
    seconds: float  # that the last answer took, reading the prompt included

    @property
    def tokens_per_second(self) -> float:
        return len(self.last.ids) / self.seconds if self.last is not None and self.seconds > 0 else 0.0


class Session:
    """The state of one conversation with one chatbot.

    `turns` are the user's and the assistant's messages in order, without the system text, each question with its
    answer. `question` is the newest thing asked: it is not among the turns while it has no answer, and what
    `regenerate` asks again. `hidden` counts the oldest turns that no longer fit the window; they stay in `turns`.
    """

    def __init__(self, chatbot: Chatbot, sampling: Sampling, system: str = "", name: str = "") -> None:
        self.chatbot = chatbot
        self.adapters = Adapters(chatbot)
        self.sampling = sampling
        self.name = name
        self.system = ""
        self.turns: tuple[Message, ...] = ()
        self.question: Message | None = None
        self.hidden = 0
        self.last: Completion | None = None
        self.seconds = 0.0
        self._again = 0  # how often the newest question was asked again; each time draws with another seed
        self.set_system(system)

    # Talking

    def ask(self, text: str) -> Generator[str, None, None]:
        """The answer to one more message, piece by piece. Closing it stops the answer and keeps what was said.

        A question that gets no words of answer stays out of the turns. Raises ConfigError for a message that is too
        long for the window, DataError for one that is no text.
        """
        question = Message("user", text)
        self._again = 0
        yield from self._answer(self.turns, question, self.sampling)

    def regenerate(self) -> Generator[str, None, None]:
        """Another answer to the newest question, with the next seed; the former one is replaced once words come."""
        before, question = self._newest()
        self._again += 1
        again = replace(self.sampling, seed=self.sampling.seed + self._again)
        yield from self._answer(before, question, again)

    def _answer(self, before: tuple[Message, ...], question: Message, sampling: Sampling) -> Generator[str, None, None]:
        start = time.perf_counter()
        # turns that were found too old once are not tried again: a long conversation costs no more than the window
        hidden = min(self.hidden, len(before))
        asked = self._conversation((*before[hidden:], question))
        self.last = None
        try:
            yield from self.chatbot.reply(asked, sampling)
        finally:  # also when the caller closes this iterator, which closes the chatbot's first
            self.last = self.chatbot.last
            self.seconds = time.perf_counter() - start
            if self.last is not None:  # else the question was refused, and nothing has happened
                self.question = question
                self.hidden = hidden + self.chatbot.dropped
                if self.last.text.strip():
                    self.turns = (*before, question, Message("assistant", self.last.text))

    def _newest(self) -> tuple[tuple[Message, ...], Message]:
        """The newest question and the turns before it."""
        if self.question is None:
            raise ConfigError("there is no message to answer yet; type one")
        if self.unanswered:
            return self.turns, self.question
        at = max(i for i, turn in enumerate(self.turns) if turn.role == "user")
        return self.turns[:at], self.question

    def _conversation(self, turns: tuple[Message, ...]) -> Conversation:
        return Conversation((*self._head(), *turns))

    def _head(self) -> tuple[Message, ...]:
        return (Message("system", self.system),) if self.system else ()

    @property
    def unanswered(self) -> bool:
        """Whether the newest question has no answer, because none came or none was in the file."""
        return self.question is not None and not any(turn is self.question for turn in self.turns)

    # Changing it

    def reset(self) -> None:
        """Forgets what was said; the system text and the settings stay."""
        self.turns, self.question, self.hidden, self.last = (), None, 0, None

    def undo(self) -> Message:
        """Takes back the newest question with its answer, and returns it."""
        before, question = self._newest()
        self.turns, self.hidden = before, 0
        at = max((i for i, turn in enumerate(before) if turn.role == "user"), default=None)
        self.question = None if at is None else before[at]
        self.last, self._again = None, 0
        return question

    def set_system(self, text: str) -> None:
        """Sets (or with "" removes) the system text, from the next answer on. Raises DataError where the template has
        no place for one, ConfigError where it leaves no room in the window; the former text then stays."""
        text = text.strip()
        if text:
            self.chatbot.fit(Conversation((Message("system", text), Message("user", "?"))), self.sampling.max_tokens)
        self.system, self.hidden = text, 0

    def use_adapter(self, name: str) -> str:
        """The next answer comes through another adapter, or with "none" from the base alone; returns its name."""
        used = self.adapters.use(name)
        self.hidden = 0
        return used

    def set(self, name: str, value: str) -> None:
        """Changes one sampling setting, given as text. Raises ConfigError for an unknown name or a wrong value."""
        name = name.replace("-", "_")
        if name not in SETTINGS:
            near = suggestion(name, SETTINGS) or f"; the settings are {', '.join(SETTINGS)}"
            raise ConfigError(f"there is no setting {name!r}{near}")
        convert, kind = _TYPES[type(vars(self.sampling)[name])]
        try:
            converted = convert(value)
        except ValueError:
            raise ConfigError(f"{name} must be {kind}, got {value!r}") from None
        self.sampling = replace(self.sampling, **{name: converted})
        self.hidden = 0

    # Files

    def save(self, path: Path) -> None:
        """Writes the conversation as JSON, whole or not at all. Raises ConfigError when there is none, or when a file
        stands there that is no saved conversation."""
        if not self.turns:
            raise ConfigError("there is nothing to save yet; say something first")
        if path.exists():
            try:
                _read(path)
            except ChatwrightError:
                raise ConfigError(f"{path} exists and is no saved conversation; choose another name") from None
        messages = [{"role": turn.role, "content": turn.content} for turn in (*self._head(), *self.turns)]
        try:
            disk.write_json(path, {"model": self.name, "messages": messages})
        except OSError as error:
            raise ConfigError(f"{path} cannot be written ({error.strerror or error}); choose another place") from None

    def load(self, path: Path) -> None:
        """Goes on with a saved conversation, its system text included. Raises DataError in one sentence for a file that
        holds none; the present conversation is then untouched."""
        conversation = _read(path)
        try:
            self.chatbot.checkpoint.render(conversation)
        except ChatwrightError as error:
            raise DataError(f"{path}: {error}") from None
        head = conversation.messages[:1] if conversation.messages[0].role == "system" else ()
        turns = conversation.messages[len(head) :]
        if not turns:
            raise DataError(f"{path}: nobody says anything in it; a conversation has at least a user message")
        self.reset()
        self.system = head[0].content if head else ""
        self.question = next(turn for turn in reversed(turns) if turn.role == "user")
        self.turns = turns if turns[-1].role == "assistant" else turns[:-1]
        self._again = 0

    def stats(self) -> Stats:
        """Figures of the window and of the last answer."""
        checkpoint = self.chatbot.checkpoint
        seen = self._conversation(self.turns[self.hidden :]) if self.turns else None
        used = 0 if seen is None else len(checkpoint.render(seen).ids)
        limit = checkpoint.model.config.context_length
        return Stats(len(self.turns), self.hidden, used, limit, self.last, self.seconds)


def _read(path: Path) -> Conversation:
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
