"""How answers are written: as one object, or chunk by chunk, for chats and for continued texts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from chatwright.generate.completion import Finish
from chatwright.serve.schema import replies
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
    """One finished answer; `spelled` only where log-probabilities were asked for."""

    index: int
    text: str
    finish: Finish
    spelled: tuple[Spelled, ...] | None = None


class Form(Protocol):
    """Objects ready for JSON."""

    prefix: str

    def whole(self, head: Head, answers: Sequence[Answer], usage: dict[str, Any]) -> dict[str, Any]: ...

    def first(self, index: int) -> dict[str, Any] | None:
        """The choice of the chunk that opens an answer, or None."""

    def piece(self, index: int, text: str, spelled: Sequence[Spelled] | None, finish: Finish | None) -> dict[str, Any]:
        """The choice of a chunk with text; the last one has `finish`."""

    def chunk(self, head: Head, choices: list[dict[str, Any]]) -> dict[str, Any]:
        """The chunk around choices; without any it is the one that counts tokens."""


class ChatForm:
    """chat.completion and chat.completion.chunk."""

    prefix = "chatcmpl-"

    def whole(self, head: Head, answers: Sequence[Answer], usage: dict[str, Any]) -> dict[str, Any]:
        choices = [
            {
                "index": answer.index,
                "message": {"role": "assistant", "content": answer.text, "refusal": None},
                "finish_reason": REASONS[answer.finish],
                "logprobs": None if answer.spelled is None else self._logprobs(answer.spelled),
            }
            for answer in answers
        ]
        return {**vars(head), "object": "chat.completion", "choices": choices, "usage": usage}

    def first(self, index: int) -> dict[str, Any] | None:
        return {"index": index, "delta": {"role": "assistant", "content": ""}, "finish_reason": None, "logprobs": None}

    def piece(self, index: int, text: str, spelled: Sequence[Spelled] | None, finish: Finish | None) -> dict[str, Any]:
        return {
            "index": index,
            "delta": {"content": text} if text else {},
            "finish_reason": None if finish is None else REASONS[finish],
            "logprobs": None if spelled is None else self._logprobs(spelled),
        }

    def chunk(self, head: Head, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {**vars(head), "object": "chat.completion.chunk", "choices": choices}

    def _logprobs(self, spelled: Sequence[Spelled]) -> dict[str, Any]:
        content = [{**_told(one), "top_logprobs": [_told(other) for other in one.top]} for one in spelled]
        return {"content": content, "refusal": None}


class TextForm:
    """text_completion; `before` are the prompts, one for each answer, where they are to be repeated."""

    prefix = "cmpl-"

    def __init__(self, before: Sequence[str] = ()) -> None:
        self._before = before

    def whole(self, head: Head, answers: Sequence[Answer], usage: dict[str, Any]) -> dict[str, Any]:
        choices = [
            {
                "index": answer.index,
                "text": self._echo(answer.index) + answer.text,
                "finish_reason": REASONS[answer.finish],
                "logprobs": None if answer.spelled is None else self._logprobs(answer.spelled),
            }
            for answer in answers
        ]
        return {**vars(head), "object": "text_completion", "choices": choices, "usage": usage}

    def first(self, index: int) -> dict[str, Any] | None:
        echo = self._echo(index)
        return {"index": index, "text": echo, "finish_reason": None, "logprobs": None} if echo else None

    def piece(self, index: int, text: str, spelled: Sequence[Spelled] | None, finish: Finish | None) -> dict[str, Any]:
        return {
            "index": index,
            "text": text,
            "finish_reason": None if finish is None else REASONS[finish],
            "logprobs": None if spelled is None else self._logprobs(spelled),
        }

    def chunk(self, head: Head, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {**vars(head), "object": "text_completion", "choices": choices}

    def _echo(self, index: int) -> str:
        return self._before[index] if self._before else ""

    def _logprobs(self, spelled: Sequence[Spelled]) -> dict[str, Any]:
        return replies.TextLogprobs(
            tokens=[one.text for one in spelled],
            token_logprobs=[_finite(one.logprob) for one in spelled],
            top_logprobs=[{other.text: _finite(other.logprob) for other in one.top} for one in spelled],
            text_offset=[one.start for one in spelled],
        ).model_dump()


def _told(one: Spelled) -> dict[str, Any]:
    return {"token": one.text, "logprob": _finite(one.logprob), "bytes": one.bytes}


def _finite(logprob: float) -> float:
    return max(logprob, LOWEST)
