"""uvicorn's HTTP/1.1 connection with the deadlines that it lacks: for the head of a request, and for a reader that stalls.

A socket that says nothing, or a byte a second, is closed when its time is over; so is one whose buffers stay full. The
deadline of a body is kept in `guard.py`, which can still answer. What is no HTTP gets an error object as everything else.
"""

import asyncio
import json
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from chatwright.serve import errors
from chatwright.serve.errors import Refused
from chatwright.serve.limits import Limits


class GuardedProtocol(H11Protocol):
    """One connection. `limits` is given by `functools.partial` where the server is made; the rest is uvicorn's."""

    def __init__(self, limits: Limits, **given: Any) -> None:
        super().__init__(**given)
        self._limits = limits
        self._head: asyncio.TimerHandle | None = None
        self._write: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self._limits.connections:
            self._end_with(errors.unavailable("has no room for another connection"))
            return
        self._await_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.transport.is_closing() or self.conn.their_state is not h11.IDLE:
            self._head = _stopped(self._head)
        else:  # a head has begun and is not whole; uvicorn stopped its keep-alive clock at the first byte
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head, self._write = _stopped(self._head), _stopped(self._write)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._write = self.loop.call_later(self._limits.send_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        self._write = _stopped(self._write)
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """What h11 could not read; a head that is too large for its buffer comes here as well."""
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE) or self.transport.is_closing():
            self.transport.abort()  # an answer is under way already
            return
        self._end_with(errors.wrong("this is no HTTP request that can be read, or its headers are too large"))

    def _end_with(self, refused: Refused) -> None:
        """An answer to whatever it was, and the end of the connection."""
        body = json.dumps(refused.body).encode()
        head = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close"}
        head |= refused.headers
        start = h11.Response(status_code=refused.status, headers=list(head.items()))
        self.transport.write(
            b"".join(self.conn.send(part) or b"" for part in (start, h11.Data(body), h11.EndOfMessage()))
        )
        self.transport.close()

    def _await_head(self) -> None:
        """Starts the clock, unless it runs already: a byte a second wins no time."""
        if self._head is None:
            self._head = self.loop.call_later(self._limits.head_seconds, self.transport.abort)


def _stopped(timer: asyncio.TimerHandle | None) -> asyncio.TimerHandle | None:
    """No clock any more."""
    if timer is not None:
        timer.cancel()
    return None
