"""What one row of data becomes: a Document, a Conversation, a Preference, a Rated or a Problem.

Frozen, and checked once, here: whoever holds a Record need not check it again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Literal, get_args

from chatwright.errors import DataError, LeftOut

Role = Literal["system", "user", "assistant", "tool"]
ROLES: tuple[str, ...] = get_args(Role)


@dataclass(frozen=True)
class Source:
    """Where a record came from; `str(source)` is `file:line`. `split`: where the source says what is held out."""

    file: str = ""
    line: int = 0
    fingerprint: str = ""
    split: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


NOWHERE = Source()


@dataclass(frozen=True)
class Message:
    """One turn. `learn` is None for the rule of its role (the assistant's are learned), or says it for this one.

    `ended` is False for an answer that ran into a limit: nobody is to learn that it stops there.
    """

    role: Role
    content: str
    learn: bool | None = None
    name: str | None = None
    tool_calls: tuple[Any, ...] = ()
    ended: bool = True

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise DataError(f"the role is {self.role!r}; allowed are {', '.join(ROLES)}")
        if not isinstance(self.content, str):
            raise DataError(f"the content of a {self.role} message is {type(self.content).__name__}; it must be text")
        check_text(self.content, f"the content of a {self.role} message")

    @property
    def learned(self) -> bool:
        """Whether the model learns to produce this turn."""
        return self.role == "assistant" if self.learn is None else self.learn


@dataclass(frozen=True)
class Conversation:
    """An optional system message, then the user's and the assistant's turns, beginning with the user's.

    Raises DataError naming the message that is wrong. An empty assistant turn is refused; an empty
    user turn or system text is as well, because a prompt without words teaches nothing.
    """

    messages: tuple[Message, ...]
    source: Source = field(default=NOWHERE, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "messages", tuple(self.messages))
        if not self.messages:
            raise DataError("the conversation has no messages")
        previous = ""
        for number, message in enumerate(self.messages, start=1):
            wrong = _misplaced(message, previous)
            if wrong:
                raise DataError(f"message {number} ({message.role}) {wrong}")
            previous = message.role

    def __getitem__(self, turns: slice) -> "Conversation":
        return Conversation(self.messages[turns], self.source)

    def __len__(self) -> int:
        return len(self.messages)

    @property
    def first_user(self) -> str:
        """The first thing the user says: the key by which data are split."""
        return next((m.content for m in self.messages if m.role == "user"), "")

    def add(self, role: Role, content: str) -> "Conversation":
        """The same conversation with one more turn."""
        return Conversation((*self.messages, Message(role, content)), self.source)


@dataclass(frozen=True)
class Document:
    """Plain text, learned whole."""

    text: str
    source: Source = field(default=NOWHERE, compare=False)

    def __post_init__(self) -> None:
        check_text(self.text, "the text")
        if not self.text.strip():
            raise DataError("the text is empty")


@dataclass(frozen=True)
class Preference:
    """Two ways to answer the same prompt, the better one first."""

    chosen: Conversation
    rejected: Conversation
    source: Source = field(default=NOWHERE, compare=False)

    def __post_init__(self) -> None:
        for name, conversation in (("chosen", self.chosen), ("rejected", self.rejected)):
            if conversation.messages[-1].role != "assistant":
                raise DataError(f"the {name} conversation ends with {conversation.messages[-1].role}, not assistant")
        if self.chosen.messages[:-1] != self.rejected.messages[:-1]:
            raise DataError("chosen and rejected answer different prompts")
        if self.chosen.messages[-1].content.strip() == self.rejected.messages[-1].content.strip():
            raise LeftOut("chosen and rejected are the same answer")


@dataclass(frozen=True)
class Rated:
    """A conversation whose last answer was found good or bad."""

    conversation: Conversation
    good: bool
    source: Source = field(default=NOWHERE, compare=False)


@dataclass(frozen=True)
class Problem:
    """A prompt whose answer can be graded by the task `grader`; the same grade scores evaluation and rewards RL."""

    prompt: Conversation
    grader: str
    answer: dict[str, Any]
    source: Source = field(default=NOWHERE, compare=False)


Record = Document | Conversation | Preference | Rated | Problem


def texts(record: Record) -> Iterator[str]:
    """Every text of a record, roles included: what is hashed, and searched for what cannot be learned."""
    match record:
        case Document():
            yield record.text
        case Conversation():
            for message in record.messages:
                learn = "" if message.learn is None else f" learn={message.learn}"
                yield f"{message.role}{learn}{'' if message.ended else ' cut short'}"
                yield message.content
                yield from (repr(call) for call in message.tool_calls)
        case Preference():
            yield from chain(texts(record.chosen), texts(record.rejected))
        case Rated():
            yield from chain(texts(record.conversation), [str(record.good)])
        case Problem():
            yield from chain(texts(record.prompt), [record.grader, repr(sorted(record.answer.items()))])


def check_text(text: str, what: str) -> None:
    """Raises DataError for a lone surrogate, which no tokenizer can encode."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(
            f"{what} holds half of a surrogate pair (U+{ord(text[error.start]):04X} at character {error.start}); "
            "write the file as valid UTF-8"
        ) from None


def conversation(*turns: str, system: str = "") -> Conversation:
    """`conversation("Hi", "Hello!")`: turns in order, the user's first."""
    roles: Sequence[Role] = ("user", "assistant")
    messages = [Message(roles[i % 2], turn) for i, turn in enumerate(turns)]
    return Conversation((*([Message("system", system)] if system else []), *messages))


def _misplaced(message: Message, previous: str) -> str:
    """Why this message cannot stand after a message of the role `previous` ("" at the start)."""
    if not message.content.strip() and not message.tool_calls:
        return "is empty"
    if message.role == "system":
        return "must be the first message" if previous else ""
    if message.role == "assistant" and previous not in ("user", "tool"):
        return f"follows {previous or 'nothing'}; an answer needs a user turn before it"
    if message.role == "user" and previous == "user":
        return "follows another user turn; merge the two or put the answer between them"
    if message.role == "tool" and previous not in ("assistant", "tool"):
        return f"follows {previous or 'nothing'}; a tool result needs an assistant turn before it"
    return ""
