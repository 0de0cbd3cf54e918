"""A conversation that goes on: messages in, answers out piece by piece, and what a person may change in between.

It knows no terminal; `slash.py` turns typed commands into its methods and `terminal.py` shows what they say.
"""

import time
from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path

from chatwright.chat import settings, transcripts
from chatwright.chat.adapters import Adapters
from chatwright.chat.beside import Beside
from chatwright.chat.feedback import Feedback
from chatwright.chat.opening import Opening
from chatwright.errors import ChatwrightError, ConfigError, DataError
from chatwright.generate.chatbot import Chatbot
from chatwright.generate.completion import Completion
from chatwright.generate.sampling import Sampling
from chatwright.text.records import Conversation, Message


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
    `beside` is a second model that answers the same, `markdown` whether answers are shown as what they are written in.
    """

    def __init__(
        self,
        chatbot: Chatbot,
        sampling: Sampling,
        system: str = "",
        name: str = "",
        opening: Opening | None = None,
        feedback: Feedback | None = None,
    ) -> None:
        self.chatbot = chatbot
        self.adapters = Adapters(chatbot)
        self.sampling = sampling
        self.opening = opening or Opening(name)
        self.given_feedback = feedback
        self.name = name
        self.beside: Beside | None = None
        self.markdown = False
        self.system = ""
        self.turns: tuple[Message, ...] = ()
        self.question: Message | None = None
        self.hidden = 0
        self.last: Completion | None = None
        self.seconds = 0.0
        self._again = 0  # how often the newest question was asked again; each time draws with another seed
        self._asked: tuple[Conversation, Sampling] | None = None  # what the newest answer answers, and how
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

    def edit(self, text: str) -> Generator[str, None, None]:
        """An answer to other words in the place of the newest question; both are replaced once words come."""
        before, former = self._newest()
        answered = not self.unanswered
        self._again = 0
        try:
            yield from self._answer(before, Message("user", text), self.sampling)
        finally:
            if answered and self.unanswered:
                self.question = former

    def second(self) -> Generator[str, None, None]:
        """What the model beside says to what was just asked, with the same seed; nothing of it stays."""
        assert self.beside is not None
        if self._asked is not None:
            yield from self.beside.answer(*self._asked)

    def _answer(self, before: tuple[Message, ...], question: Message, sampling: Sampling) -> Generator[str, None, None]:
        start = time.perf_counter()
        # turns that were found too old once are not tried again: a long conversation costs no more than the window
        hidden = min(self.hidden, len(before))
        asked = self._conversation((*before[hidden:], question))
        self.last, self._asked = None, (asked, sampling)
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

    # Correcting it

    @property
    def feedback(self) -> Feedback:
        """Where corrections are kept."""
        return self.given_feedback or Feedback.of(self.opening.model)

    @property
    def answer(self) -> str:
        """The newest answer. Raises ConfigError where there is none."""
        self._newest()
        if self.unanswered or not self.turns:
            raise ConfigError("the newest message has no answer yet; /regen asks for one")
        return self.turns[-1].content

    def fix(self, text: str) -> None:
        """Puts the newest answer right: the conversation goes on with this one, and it is kept to be learned.

        Raises ConfigError where nothing is changed or the file cannot be written; the answer then stays.
        """
        answer = Message("assistant", _changed(text, self.answer))
        seen = self._seen()
        self.feedback.fix(Conversation((*seen.messages, answer)))
        self.turns = (*self.turns[:-1], answer)

    def prefer(self, text: str) -> None:
        """Keeps an answer that would have been better than the one that the model gave, beside that one; the
        conversation stays as it is. Raises ConfigError as `fix` does."""
        own = self.answer if self.last is None or not self.last.text.strip() else self.last.text.strip()
        better = _changed(text, own)
        ended = self.last is None or self.last.finish in ("stop", "string")
        self.feedback.prefer(self._seen(), better, Message("assistant", own, ended=ended))

    def _seen(self) -> Conversation:
        """What the newest answer answers, as far as it fits the window."""
        before, question = self._newest()
        return self.chatbot.fit(self._conversation((*before, question)), self.sampling.max_tokens)[0]

    # Changing it

    def reset(self) -> None:
        """Forgets what was said; the system text and the settings stay."""
        self.turns, self.question, self.hidden, self.last, self._asked = (), None, 0, None, None

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

    def use_model(self, chatbot: Chatbot) -> None:
        """The next answer comes from another model. Raises DataError where its template has no place for what was said;
        the former model then stays."""
        so_far = (*self._head(), *self.turns)
        if so_far:
            asks = so_far[-1].role != "assistant"
            chatbot.checkpoint.render(Conversation((*so_far, Message("user", "?")) if asks else so_far))
        self.chatbot, self.adapters, self.hidden = chatbot, Adapters(chatbot), 0

    def open(self, name: str) -> None:
        """Goes on with another model, read from a folder or the hub, whose corrections are kept apart."""
        self.use_model(self.opening.load(name))
        self.opening, self.name = replace(self.opening, model=name), name

    def compare(self, name: str) -> None:
        """Reads a second model, which answers every following question too; with "" the comparison ends."""
        self.beside = Beside(name, self.opening.load(name)) if name else None

    def set(self, name: str, value: str) -> None:
        """Changes one sampling setting, given as text. Raises ConfigError for an unknown name or a wrong value."""
        self.sampling = settings.changed(self.sampling, name, value)
        self.hidden = 0

    # Files

    def save(self, path: Path) -> None:
        """Writes the conversation as JSON, whole or not at all. Raises ConfigError when there is none, or when a file
        stands there that is no saved conversation."""
        transcripts.save(path, self.name, self._said())

    def export(self, path: Path) -> None:
        """Writes it for people, in the form that the file's name ends in. Raises ConfigError as `save` does."""
        transcripts.export(path, self.name, self._said())

    def _said(self) -> tuple[Message, ...]:
        if not self.turns:
            raise ConfigError("there is nothing to save yet; say something first")
        return (*self._head(), *self.turns)

    def load(self, path: Path) -> None:
        """Goes on with a saved conversation, its system text included. Raises DataError in one sentence for a file that
        holds none; the present conversation is then untouched."""
        conversation = transcripts.read(path)
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


def _changed(text: str, former: str) -> str:
    """The text of a correction; ConfigError where it says nothing, or nothing else."""
    if not text.strip():
        raise ConfigError("a correction needs words; type the answer as it should be")
    if text.strip() == former.strip():
        raise ConfigError("that is the answer as it is; change something in it")
    return text.strip()
