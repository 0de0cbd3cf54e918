"""What a browser sees: the page and its files, the arena, and everything else from the API of the server.

No script but the page's own runs, whatever a model writes: the policy says so to the browser, and nothing in the page
makes markup of text. No file names another host.
"""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import cache, partial
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

from pydantic_core import to_json
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chatwright.errors import ChatwrightError
from chatwright.serve import app, errors
from chatwright.serve.catalogue import Served
from chatwright.serve.errors import Refused
from chatwright.serve.guard import OPEN
from chatwright.serve.schema.reading import read
from chatwright.serve.service import Service
from chatwright.serve.sse import Stream
from chatwright.serve.web.arena import Arena, Prompted, Side, Vote, pieces
from chatwright.serve.web.votes import Votes

KINDS = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
PAGE = {"/": "page.html"} | {
    f"/{name}": name
    for name in (
        "page.css",
        "theme.js",
        "page.js",
        "settings.js",
        "state.js",
        "stream.js",
        "view.js",
        "welcome.js",
        "chooser.js",
        "door.js",
        "meter.js",
        "notice.js",
        "arena.js",
        "transcript.js",
        "markdown.js",
        "inline.js",
        "highlight.js",
    )
}
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "form-action 'none'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",  # where the browser knows them: not even our own code can make markup of text
        "trusted-types 'none'",
    )
)
SAFE = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
OPEN_PATHS = OPEN | PAGE.keys()  # a browser cannot bring a key for these; there is nothing of anybody's in them
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


@dataclass
class Face:
    """The application around a service; `votes` is where the arena keeps what people prefer."""

    service: Service
    votes: Votes
    _arena: Arena | None = None

    def __post_init__(self) -> None:
        self._api: ASGIApp = app.create(self.service)
        self._posts: dict[str, Handler] = {"/web/arena": self._begin, "/web/side": self._side, "/web/vote": self._vote}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SAFE.items():
                    headers.setdefault(name, value)
            await send(message)

        request = Request(scope, receive)
        try:
            if scope["method"] == "POST":
                check_origin(request)
            answer = await self._answer(request)
        except Refused as refused:
            answer = Response(to_json(refused.body), refused.status, refused.headers, "application/json")
        await (answer or self._api)(scope, receive, sending)

    async def _answer(self, request: Request) -> Response | None:
        """Ours, or None where the API answers."""
        path, method = request.scope["path"], request.method  # the same path that the guard saw
        if path in PAGE and method in ("GET", "HEAD"):
            return _file(PAGE[path])
        if path == "/web/info" and method == "GET":
            return _json(self._info())
        if path in self._posts and method == "POST":
            return await self._posts[path](request)
        return None

    def _info(self) -> dict[str, Any]:
        """What the page begins with."""
        catalogue = self.service.catalogue
        models = [_shown(catalogue.find(name)) for name in catalogue.checkpoints]
        return {"models": models, "arena": self.arena.open, "rates": self.votes.rates(), "votes": self.votes.path.name}

    @property
    def arena(self) -> Arena:
        """Raises Refused (503) while the models are being read."""
        if self._arena is None:
            self._arena = Arena([*self.service.catalogue.checkpoints], self.votes)
        return self._arena

    async def _begin(self, request: Request) -> Response:
        body = await request.body()
        arena, catalogue = self.arena, self.service.catalogue
        work = lambda: arena.begin(catalogue, read(Prompted, body).wanted())  # noqa: E731
        return _json({"round": await self.service.read(work)})

    async def _side(self, request: Request) -> Response:
        found, side = self.arena.side(read(Side, await request.body()))
        running = self.service.begin()
        try:
            await self.service.read(partial(running.start, self.service.scheduler, found.ready[side], 1))
        except BaseException:
            found.begun[side] = False
            self.service.end(running)
            raise
        ended = partial(self.service.end, running)
        return Stream(pieces(found, side, running), ended, {}, self.service.limits.ping_seconds)

    async def _vote(self, request: Request) -> Response:
        vote = read(Vote, await request.body())
        try:
            return _json(await self.service.read(partial(self.arena.vote, vote)))
        except ChatwrightError as error:  # the disk is full, or the folder has gone: the round can still be voted on
            raise Refused(500, str(error), kind="server_error", code="not_kept") from None


def check_origin(request: Request) -> None:
    """Raises Refused (403) where a page of another site asks: a browser says so, other programs send no Origin."""
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc.lower() != request.headers.get("host", "").lower():
        raise errors.forbidden("a page of another site cannot ask this one")


def _shown(served: Served) -> dict[str, Any]:
    """What the page knows of a model."""
    checkpoint = served.checkpoint
    own = {name: value for name, value in served.defaults.items() if name in checkpoint.generation}
    return {"name": served.id, "context": served.context, "chat": checkpoint.own_template, "own": own}


@cache
def _contents(name: str) -> bytes:
    return files("chatwright.serve.web").joinpath(name).read_bytes()


def _file(name: str) -> Response:
    kind = KINDS[name.rpartition(".")[2]]
    return Response(_contents(name), headers={"cache-control": "no-cache"}, media_type=f"{kind}; charset=utf-8")


def _json(content: Any) -> Response:
    return Response(to_json(content), headers={"cache-control": "no-store"}, media_type="application/json")
