"""Server-sent events: `data: {chunk}` for each chunk, `data: [DONE]` at the end, a comment in long silences.

sse-starlette notices a client that goes away; here its sequences are then cancelled, also when nothing was sent yet.
"""

from collections.abc import AsyncIterator, Callable
from typing import Any

from pydantic_core import to_json
from sse_starlette.event import ServerSentEvent
from sse_starlette.sse import EventSourceResponse
from starlette.types import Receive, Scope, Send


class Stream(EventSourceResponse):
    """A stream of objects. `ended` is called once, however it ends."""

    def __init__(
        self, objects: AsyncIterator[dict[str, Any]], ended: Callable[[], None], headers: dict[str, str], ping: float
    ) -> None:
        super().__init__(_lines(objects), headers=headers, ping=ping, sep="\n", ping_message_factory=_ping)
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._ended()


async def _lines(objects: AsyncIterator[dict[str, Any]]) -> AsyncIterator[bytes]:
    async for one in objects:
        yield b"data: " + to_json(one) + b"\n\n"
    yield b"data: [DONE]\n\n"


def _ping() -> ServerSentEvent:
    return ServerSentEvent(comment="ping", sep="\n")
