"""The door: an ASGI application around the API that lets a request in, or answers it before anything is spent on it.

In this order: the size of its head, its host, its key, whether the server is up, the kind and the size of its body, room
for it; only then is the body read, with a limit and a deadline, and handed on whole. An error inside becomes an answer.
"""

import asyncio
import json
import logging
import time
from collections.abc import Callable, Set
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chatwright.serve import errors
from chatwright.serve.auth import Hosts, Keys
from chatwright.serve.errors import Refused
from chatwright.serve.limits import Limits, Places
from chatwright.serve.log import logged, trace

LOG = logging.getLogger("chatwright.serve")
OPEN = frozenset({"/health"})  # asked without a key, and while the server is not up
Headers = list[tuple[bytes, bytes]]


@dataclass
class Guard:
    """`unavailable` says why no work is taken, or ""; `answered` is told the path, status and seconds of each answer."""

    app: ASGIApp
    keys: Keys
    hosts: Hosts
    limits: Limits
    unavailable: Callable[[], str]
    answered: Callable[[str, int, float], None]
    open_paths: Set[str] = OPEN
    places: Places = field(init=False)
    bodies: Places = field(init=False)

    def __post_init__(self) -> None:
        self.places = Places(self.limits.requests)
        self.bodies = Places(self.limits.bodies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":  # there is nothing to start or end, and no web socket
            return
        begin, status, whole = time.monotonic(), 0, False

        async def sending(message: Message) -> None:
            nonlocal status, whole
            status = message.get("status", status)
            await send(message)
            whole = message["type"] == "http.response.body" and not message.get("more_body", False)

        try:
            await self._let_in(scope, receive, sending)
        except Refused as refused:
            await self._refuse(refused, scope, receive, sending)
        except Exception as error:
            LOG.error("%s failed: %s", logged(scope["path"]), trace(error))
            if status and not whole:  # an answer that has begun cannot become another one: the connection is closed
                raise
            if not status:
                await self._refuse(errors.failed(), scope, receive, sending)
        finally:
            self.answered(scope["path"], status, time.monotonic() - begin)

    async def _let_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers: Headers = scope["headers"]
        self.limits.check_headers(headers)
        if {b"content-length", b"transfer-encoding"} <= {name for name, _ in headers}:  # a proxy may believe the other
            raise errors.wrong("the body has two lengths; send Content-Length or Transfer-Encoding, not both")
        self.hosts.check(headers)
        if scope["path"] in self.open_paths:
            await self.app(scope, _Body(await self._read(headers, receive), receive), send)
            return
        self.keys.check(headers)
        posts = scope["method"] == "POST"
        if posts:
            _check_kind(headers)
        self.limits.check_body(_length(headers))
        if posts and (why := self.unavailable()):
            raise errors.unavailable(why)
        if not posts:
            await self.app(scope, _Body(await self._read(headers, receive), receive), send)
            return
        if self.places.taken >= self.places.most:  # said before a byte of it is read
            raise errors.busy(1)
        body = await self._read(headers, receive)
        self.places.take()  # whoever sends a byte a second holds no place while it does
        try:
            await self.app(scope, _Body(body, receive), send)
        finally:
            self.places.leave()

    async def _read(self, headers: Headers, receive: Receive) -> bytes:
        """The whole body. Raises Refused when it is too large, too slow or, of all that are being read, too much."""
        parts: list[bytes] = []
        size, more = 0, True
        try:
            async with asyncio.timeout(self.limits.body_seconds):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise errors.late("the connection was closed before the body was whole")
                    part, more = message.get("body", b""), message.get("more_body", False)
                    self.limits.check_body(size + len(part))
                    self.bodies.take(len(part))
                    size += len(part)
                    parts.append(part)
        except TimeoutError:
            raise errors.late(f"the body was not whole after {self.limits.body_seconds:g} s") from None
        finally:
            self.bodies.leave(size)
        return b"".join(parts)

    async def _refuse(self, refused: Refused, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers, then throws away for a moment what is still being sent: a socket that is closed on unread bytes is
        reset, and the answer lost with it."""
        body = b"" if scope["method"] == "HEAD" else json.dumps(refused.body).encode()
        sends_body = _length(scope["headers"]) > 0 or any(name == b"transfer-encoding" for name, _ in scope["headers"])
        headers = {"content-type": "application/json", "content-length": str(len(body)), **refused.headers}
        if sends_body:
            headers["connection"] = "close"
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": refused.status, "headers": raw})
        await send({"type": "http.response.body", "body": body, "more_body": sends_body})
        if sends_body:
            try:
                async with asyncio.timeout(self.limits.linger_seconds):
                    while (await receive()).get("more_body", False):
                        pass
            except TimeoutError:
                pass
            await send({"type": "http.response.body", "body": b"", "more_body": False})


class _Body:
    """A `receive` that gives the body that was read, and then whatever comes: the news that the client has gone."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def __call__(self) -> Message:
        if self._body is None:
            return await self._receive()
        message = {"type": "http.request", "body": self._body, "more_body": False}
        self._body = None
        return message


def _check_kind(headers: Headers) -> None:
    """A browser sends JSON to another site only after it asked that site; text and forms it sends at once."""
    kinds = [value.partition(b";")[0].strip().lower() for name, value in headers if name == b"content-type"]
    if kinds != [b"application/json"]:
        raise Refused(415, "the body must be JSON; send the header Content-Type: application/json", code="no_json")
    if any(name == b"content-encoding" and value.lower() != b"identity" for name, value in headers):
        raise Refused(415, "the body must not be packed; send it without Content-Encoding", code="packed_body")


def _length(headers: Headers) -> int:
    """Content-Length, which h11 has checked to be digits; 0 where there is none."""
    return next((int(value) for name, value in headers if name == b"content-length"), 0)
