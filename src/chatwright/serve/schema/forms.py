"""How answers are written: as one object, or chunk by chunk, for chats and for continued texts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic_core import to_json

from chatwright.generate.completion import Finish
from chatwright.serve.schema.replies import REASONS
from chatwright.serve.spelled import Spelled

LOWEST = -9999.0  # JSON has no minus infinity; OpenAI writes this


@dataclass(frozen=True)
class Head:
    """What every chunk of one answer has in common."""

    id: str
    created: int
    model: str


@dataclass(frozen=True)
class Answer:
    """One finished answer; `logprobs` are JSON already, null where nobody asked for them."""

    index: int
    text: str
    finish: Finish
    logprobs: bytes = b"null"


class Form(Protocol):
    """Objects ready for JSON. `lists` are those in which the log-probabilities stand."""

    prefix: str
    whole: str  # what a whole answer is called,
    part: str  # and what a chunk of one
    lists: tuple[str, ...]

    def choice(self, answer: Answer) -> dict[str, Any]:
        """The choice of a whole answer, but for its log-probabilities."""

    def first(self, index: int) -> dict[str, Any] | None:
        """The choice of the chunk that opens an answer, or None."""

    def piece(self, index: int, text: str, finish: Finish | None) -> dict[str, Any]:
        """The choice of a chunk with text, but for its log-probabilities; the last one has `finish`."""

    def row(self, one: Spelled) -> tuple[Any, ...]:
        """A token as one entry of each of the lists."""


class ChatForm:
    """chat.completion and chat.completion.chunk."""

    prefix = "chatcmpl-"
    whole, part = "chat.completion", "chat.completion.chunk"
    lists: tuple[str, ...] = ("content",)

    def choice(self, answer: Answer) -> dict[str, Any]:
        message = {"role": "assistant", "content": answer.text, "refusal": None}
        return {"index": answer.index, "message": message, "finish_reason": REASONS[answer.finish]}

    def first(self, index: int) -> dict[str, Any] | None:
        return {"index": index, "delta": {"role": "assistant", "content": ""}, "finish_reason": None, "logprobs": None}

    def piece(self, index: int, text: str, finish: Finish | None) -> dict[str, Any]:
        delta = {"content": text} if text else {}
        return {"index": index, "delta": delta, "finish_reason": None if finish is None else REASONS[finish]}

    def row(self, one: Spelled) -> tuple[Any, ...]:
        return ({**_told(one), "top_logprobs": [_told(other) for other in one.top]},)


class TextForm:
    """text_completion; `before` are the prompts, one for each answer, where they are to be repeated."""

    prefix = "cmpl-"
    whole = part = "text_completion"
    lists: tuple[str, ...] = ("tokens", "token_logprobs", "top_logprobs", "text_offset")

    def __init__(self, before: Sequence[str] = ()) -> None:
        self._before = before

    def choice(self, answer: Answer) -> dict[str, Any]:
        return self.piece(answer.index, self._echo(answer.index) + answer.text, answer.finish)

    def first(self, index: int) -> dict[str, Any] | None:
        echo = self._echo(index)
        return {**self.piece(index, echo, None), "logprobs": None} if echo else None

    def piece(self, index: int, text: str, finish: Finish | None) -> dict[str, Any]:
        return {"index": index, "text": text, "finish_reason": None if finish is None else REASONS[finish]}

    def row(self, one: Spelled) -> tuple[Any, ...]:
        top = {other.name: _finite(other.logprob) for other in one.top}
        return one.name, _finite(one.logprob), top, one.start

    def _echo(self, index: int) -> str:
        return self._before[index] if self._before else ""


class Told:
    """The log-probabilities of one answer, JSON from the moment at which they come.

    Kept as objects until the end, those of eight answers of a thousand tokens, with twenty others for each, would take a
    hundred megabytes, and to write them then a third of a second in which no stream goes on.
    """

    def __init__(self, form: Form) -> None:
        self._form = form
        self._lists: list[list[bytes]] = [[] for _ in form.lists]

    def add(self, spelled: Sequence[Spelled]) -> None:
        """The next tokens."""
        for one in spelled:
            for entries, value in zip(self._lists, self._form.row(one), strict=True):
                entries.append(to_json(value))

    def json(self) -> bytes:
        """The object with all of them."""
        named = zip(self._form.lists, self._lists, strict=True)
        return _joined(*((name, b"[" + b",".join(entries) + b"]") for name, entries in named))


def whole(form: Form, head: Head, answers: Sequence[Answer], rest: dict[str, Any]) -> bytes:
    """The object with all answers of a request, as JSON; `rest` stands behind its choices."""
    choices = b",".join(_joined(form.choice(answer), ("logprobs", answer.logprobs)) for answer in answers)
    return _joined({**vars(head), "object": form.whole}, ("choices", b"[" + choices + b"]"), rest)


def chunk(form: Form, head: Head, choices: list[dict[str, Any]]) -> dict[str, Any]:
    """The chunk around choices; without any it is the one that counts tokens."""
    return {**vars(head), "object": form.part, "choices": choices}


def piece(
    form: Form, index: int, text: str, spelled: Sequence[Spelled] | None, finish: Finish | None
) -> dict[str, Any]:
    """The choice of a chunk; `spelled` None where nobody asked for log-probabilities."""
    rows = [form.row(one) for one in spelled or ()]
    lists = {name: [row[place] for row in rows] for place, name in enumerate(form.lists)}
    return {**form.piece(index, text, finish), "logprobs": None if spelled is None else lists}


def _joined(*members: dict[str, Any] | tuple[str, bytes]) -> bytes:
    """An object of members, none of them empty, of which some are JSON already."""
    parts = (
        to_json(one)[1:-1] if isinstance(one, dict) else to_json(one[0]) + b":" + one[1]  # what is between the braces
        for one in members
    )
    return b"{" + b",".join(parts) + b"}"


def _told(one: Spelled) -> dict[str, Any]:
    return {"token": one.text, "logprob": _finite(one.logprob), "bytes": list(one.raw)}


def _finite(logprob: float) -> float:
    return max(logprob, LOWEST)
