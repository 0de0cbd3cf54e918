"""Answers as the client gets them, out of what the sequences of a request say: as one object, or as chunks."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from chatwright.generate.completion import Completion, Piece
from chatwright.serve.bridge import Running
from chatwright.serve.errors import Refused, failed
from chatwright.serve.log import LOG, trace
from chatwright.serve.prompts import Prepared
from chatwright.serve.schema import forms
from chatwright.serve.schema.forms import Answer, Form, Head, Told
from chatwright.serve.schema.replies import usage_of
from chatwright.serve.spelled import Spelled, SpelledTokens


@dataclass(frozen=True)
class Reply:
    """Everything that is known of an answer before its first token."""

    head: Head
    form: Form
    prepared: Prepared
    n: int
    usage: bool = False  # a chunk of its own at the end of a stream

    @property
    def count(self) -> int:
        """How many sequences there are."""
        return self.n * len(self.prepared.prompts)

    @property
    def told(self) -> bool:
        """Whether log-probabilities were asked for."""
        return self.prepared.ways[0].logprobs is not None


class _Tally:
    """What has been said by now."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        spelling = reply.prepared.served.spelling
        self._spelled = [SpelledTokens(spelling) for _ in range(reply.count if reply.told else 0)]
        self.completions: dict[int, Completion] = {}

    def take(self, index: int, piece: Piece) -> list[Spelled] | None:
        """Notes a piece; gives the tokens that may be told with its text, None where nobody asked for them."""
        completion = piece.completion
        if completion is not None:
            self.completions[index] = completion
        if not self._spelled:
            return None
        ended = completion is not None
        cut = completion is not None and completion.finish == "string"
        return self._spelled[index].push(piece.tokens, piece.text, ended=ended, cut=cut)

    def usage(self) -> dict[str, Any]:
        """The tokens of the request: a prompt counts once, and so does what of it had been read before."""
        reply, done = self._reply, self.completions
        prompt = sum(len(one.ids) for one in reply.prepared.prompts)
        reused = sum(done[index].reused for index in sorted(done) if index % reply.n == 0)
        return usage_of(prompt, sum(len(one.ids) for one in done.values()), reused)


async def whole(reply: Reply, running: Running) -> bytes:
    """The answers as one object, in JSON. Raises Refused."""
    tally = _Tally(reply)
    told = [Told(reply.form) for _ in range(reply.count if reply.told else 0)]
    async for index, piece in running.news(reply.count):
        spelled = tally.take(index, piece)
        if spelled:
            told[index].add(spelled)
    answers = [
        Answer(index, done.text, done.finish, told[index].json() if told else b"null")
        for index, done in sorted(tally.completions.items())
    ]
    return forms.whole(reply.form, reply.head, answers, {"usage": tally.usage(), **_left_out(reply)})


async def chunks(reply: Reply, running: Running) -> AsyncIterator[dict[str, Any]]:
    """The answers as chunks; where something fails on the way, the last one is the error object."""
    tally = _Tally(reply)
    nothing_yet = {"usage": None} if reply.usage else {}
    extra = _left_out(reply)
    try:
        for index in range(reply.count):
            first = reply.form.first(index)
            if first is not None:
                yield {**forms.chunk(reply.form, reply.head, [first]), **nothing_yet, **extra}
                extra = {}
        async for index, piece in running.news(reply.count):
            spelled = tally.take(index, piece)
            finish = None if piece.completion is None else piece.completion.finish
            if piece.text or spelled or finish:
                choice = forms.piece(reply.form, index, piece.text, spelled, finish)
                yield {**forms.chunk(reply.form, reply.head, [choice]), **nothing_yet, **extra}
                extra = {}
        if reply.usage:
            yield {**forms.chunk(reply.form, reply.head, []), "usage": tally.usage()}
    except Refused as refused:
        yield refused.body
    except Exception as error:  # the status has been sent: what is left is to say it in the stream
        LOG.error("a stream failed: %s", trace(error))
        yield failed().body


def _left_out(reply: Reply) -> dict[str, Any]:
    """What a prompt that was too long has lost, said in the first object."""
    counts = reply.prepared.left_out
    return {"truncated": {"messages": 0, "tokens": 0} | counts} if counts else {}
