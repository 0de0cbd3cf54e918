"""A blind comparison: two models answer one prompt, on sides that a coin chooses, and are named only after the vote.

A round is kept here, never in the browser: what the page is told before the vote says nothing of who answers.
"""

import random
import secrets
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from chatwright.generate.completion import Piece
from chatwright.serve import errors
from chatwright.serve.asked import Asked
from chatwright.serve.bridge import Running
from chatwright.serve.catalogue import Catalogue
from chatwright.serve.errors import Refused, failed
from chatwright.serve.log import LOG, trace
from chatwright.serve.prompts import Prepared, prepared
from chatwright.serve.schema.reading import Part
from chatwright.serve.schema.replies import REASONS
from chatwright.serve.schema.requests import ChatRequest
from chatwright.serve.web.votes import Answered, Choice, Votes
from chatwright.text.records import Conversation, Message

MOST_ROUNDS = 256  # that are remembered; the oldest is forgotten
SIDES = ("left", "right")
BY_ITSELF = ("stop", "string")


class Prompted(ChatRequest):
    """The body that begins a round: a chat request that names no model."""

    model: str = ""


class Side(Part):
    """The body that asks for one answer of a round."""

    round: str
    side: Literal["left", "right"]


class Vote(Part):
    """The body of a vote."""

    round: str
    vote: Choice


@dataclass
class Round:
    """One prompt, ready for both sides, and what has been answered by now."""

    prompt: Conversation
    names: tuple[str, str]
    ready: tuple[Prepared, Prepared]
    texts: list[str] = field(default_factory=lambda: ["", ""])
    ended: list[bool] = field(default_factory=lambda: [False, False])
    begun: list[bool] = field(default_factory=lambda: [False, False])
    choice: Choice | None = None
    pair: bool = False  # whether the vote became one

    def take(self, side: int, piece: Piece) -> None:
        """Notes what a side has said."""
        self.texts[side] += piece.text
        if piece.completion is not None:
            self.ended[side] = piece.completion.finish in BY_ITSELF

    @property
    def answered(self) -> Answered:
        left, right = (
            Message("assistant", text.strip(), ended=ended) for text, ended in zip(self.texts, self.ended, strict=True)
        )
        return Answered(self.prompt, self.names, (left, right))


class Arena:
    """The rounds that are open. `coin` is asked who plays and who stands where; tests give their own."""

    def __init__(self, names: Sequence[str], votes: Votes, coin: random.Random | None = None) -> None:
        self.names = tuple(names)
        self.votes = votes
        self._coin = coin or random.SystemRandom()
        self._rounds: OrderedDict[str, Round] = OrderedDict()
        self._lock = threading.Lock()  # rounds are made and votes kept in threads of the readers

    @property
    def open(self) -> bool:
        """Whether there is anybody to compare."""
        return len(self.names) > 1

    def begin(self, catalogue: Catalogue, asked: Asked) -> str:
        """A new round's number, which tells nothing. Raises Refused for a prompt that one of the two cannot take."""
        if not self.open:
            raise errors.wrong("one model cannot be compared with itself; give two: chatwright web M M2")
        prompt = asked.prompts[0]
        assert isinstance(prompt, Conversation)
        with self._lock:
            left, right = self._coin.sample(self.names, 2)
        seed = asked.knobs.get("seed", secrets.randbits(31))
        one, other = (
            prepared(catalogue.find(name), replace(asked, model=name, n=1, knobs={**asked.knobs, "seed": seed}))
            for name in (left, right)
        )
        number = secrets.token_urlsafe(16)
        with self._lock:
            self._rounds[number] = Round(prompt, (left, right), (one, other))
            while len(self._rounds) > MOST_ROUNDS:
                self._rounds.popitem(last=False)
        return number

    def side(self, asked: Side) -> tuple[Round, int]:
        """The round, and which of its two. Raises Refused for a round that is gone, and for an answer that is there."""
        found, side = self._find(asked.round), SIDES.index(asked.side)
        with self._lock:
            if found.begun[side] or found.choice is not None:
                raise errors.wrong("this side of the round has been answered; begin another round", "side")
            found.begun[side] = True
        return found, side

    def vote(self, vote: Vote) -> dict[str, Any]:
        """Keeps a vote, once, and says who was who. Raises Refused for a round that is gone or not answered."""
        found = self._find(vote.round)
        with self._lock:
            if not all(found.begun):
                raise errors.wrong("nobody has answered yet; a vote is for two answers", "round")
            if found.choice is None:
                found.pair = self.votes.add(found.answered, vote.vote)
                found.choice = vote.vote
            names = dict(zip(SIDES, found.names, strict=True))
            return {**names, "vote": found.choice, "pair": found.pair, "rates": self.votes.rates()}

    def _find(self, number: str) -> Round:
        with self._lock:
            found = self._rounds.get(number)
        if found is None:
            raise Refused(404, "this round is not known any more; begin another one", param="round", code="no_round")
        return found


async def pieces(found: Round, side: int, running: Running) -> AsyncIterator[dict[str, Any]]:
    """One side's answer as chunks of a chat, without a name, a count or a time that would tell who it is."""
    try:
        async for _, piece in running.news(1):
            found.take(side, piece)
            finish = None if piece.completion is None else REASONS[piece.completion.finish]
            if piece.text or finish:
                yield {"choices": [{"index": 0, "delta": {"content": piece.text}, "finish_reason": finish}]}
    except Refused as refused:
        yield refused.body
    except Exception as error:  # the status has been sent: what is left is to say it in the stream
        LOG.error("a side of the arena failed: %s", trace(error))
        yield failed().body
