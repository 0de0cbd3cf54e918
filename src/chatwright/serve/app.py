"""The routes: which path does what. Everything they need has been checked by the guard around them."""

import asyncio
import secrets
import time
from collections.abc import Coroutine
from functools import partial
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request, Response
from pydantic_core import to_json
from starlette.exceptions import HTTPException

from chatwright.serve import errors, log
from chatwright.serve.answering import Reply, chunks, whole
from chatwright.serve.asked import Asked
from chatwright.serve.bridge import Running
from chatwright.serve.prompts import Prepared, counted, prepared
from chatwright.serve.schema import document, replies
from chatwright.serve.schema.forms import ChatForm, Form, Head, TextForm
from chatwright.serve.schema.reading import read
from chatwright.serve.schema.requests import ChatRequest, CompletionRequest, Knobs, TokenizeRequest
from chatwright.serve.service import Service
from chatwright.serve.sse import Stream

WARNING = "x-chatwright-ignored"  # names the fields of a request that nobody knows


class Api(FastAPI):
    """The application; its OpenAPI document also describes the bodies, which it does not parse itself."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            self.openapi_schema = document.completed(super().openapi())
        return self.openapi_schema


def create(service: Service) -> FastAPI:
    """The API over a service."""
    app = Api(title="chatwright", version=version("chatwright"), docs_url=None, redoc_url=None, redirect_slashes=False)
    _add_completions(app, service)
    _add_models(app, service)
    _add_state(app, service)
    app.add_exception_handler(errors.Refused, _refused)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(Exception, _refused)
    return app


def _add_completions(app: FastAPI, service: Service) -> None:
    described = document.operation(ChatRequest, replies.ChatCompletion, stream=True)

    @app.post("/v1/chat/completions", **described)
    async def chat(request: Request) -> Response:
        """The next message of a conversation."""
        return await _unless_gone(request, _complete(service, await request.body(), ChatRequest))

    described = document.operation(CompletionRequest, replies.Completion, stream=True)

    @app.post("/v1/completions", **described)
    async def completions(request: Request) -> Response:
        """A text, continued."""
        return await _unless_gone(request, _complete(service, await request.body(), CompletionRequest))

    @app.post("/tokenize", **document.operation(TokenizeRequest, replies.Tokens))
    async def tokenize(request: Request) -> Response:
        """The ids of a text, or of messages as a model reads them."""
        body = await request.body()

        def work() -> dict[str, Any]:
            asked = read(TokenizeRequest, body).wanted()
            served = service.catalogue.find(asked.model)
            ids = counted(served, asked.prompts[0])
            return {"tokens": ids, "count": len(ids), "context_length": served.context}

        return _json(await service.read(work))


def _add_models(app: FastAPI, service: Service) -> None:
    def card(name: str) -> dict[str, Any]:
        return replies.ModelCard(id=name, created=service.catalogue.find(name).created).model_dump()

    @app.get("/v1/models", **document.operation(None, replies.ModelList))
    async def models() -> Response:
        """Every name that a request may use."""
        return _json({"object": "list", "data": [card(name) for name in service.catalogue.names]})

    @app.get("/v1/models/{name:path}", **document.operation(None, replies.ModelCard))
    async def model(name: str) -> Response:
        """One of them."""
        return _json(card(name))


def _add_state(app: FastAPI, service: Service) -> None:
    @app.get("/health", **document.operation(None, replies.Health))
    async def health() -> Response:
        """200 when requests are answered; 503 while models are read, at the end, and when the engine is lost."""
        why = service.unavailable()
        if why:
            refused = errors.unavailable(why)
            return _json({"status": service.state, **refused.body}, refused.status, refused.headers)
        return _json({"status": service.state})

    @app.get("/metrics", **document.operation(None, None))
    async def metrics() -> Response:
        """Counts, for Prometheus."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/version", **document.operation(None, replies.Version))
    async def version_() -> Response:
        """Which chatwright this is."""
        return _json({"version": version("chatwright")})


async def _complete(service: Service, body: bytes, kind: type[Knobs]) -> Response:
    """Reads, submits, and answers; raises Refused before the first byte of the answer."""
    running = service.begin()
    streams = False
    try:
        asked, ready = await service.read(partial(_submitted, service, body, kind, running))
        headers = {WARNING: _shown(asked.ignored)} if asked.ignored else {}
        if ready.left_out:
            headers["x-chatwright-truncated"] = ", ".join(f"{name}={count}" for name, count in ready.left_out.items())
        form = _form(kind, ready, asked)
        head = Head(form.prefix + secrets.token_hex(12), int(time.time()), asked.model)
        reply = Reply(head, form, ready, asked.n, asked.usage)
        streams = asked.stream
        if streams:
            ended = partial(service.end, running)
            return Stream(chunks(reply, running), ended, headers, service.limits.ping_seconds)
        return Response(await whole(reply, running), headers=headers, media_type="application/json")
    finally:
        if not streams:
            service.end(running)


def _submitted(service: Service, body: bytes, kind: type[Knobs], running: Running) -> tuple[Asked, Prepared]:
    """The part that takes time: read, rendered, tokenised and put into the queue, in a thread."""
    asked = read(kind, body).wanted()
    ready = prepared(service.catalogue.find(asked.model), asked)
    running.start(service.scheduler, ready, asked.n)
    return asked, ready


def _form(kind: type[Knobs], ready: Prepared, asked: Asked) -> Form:
    if kind is ChatRequest:
        return ChatForm()
    return TextForm([prompt.text for prompt in ready.prompts for _ in range(asked.n)] if asked.echo else ())


async def _unless_gone(request: Request, work: Coroutine[Any, Any, Response]) -> Response:
    """The response, unless the client goes away before there is one: then the work is cancelled."""
    working = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        return Response(status_code=499)  # nobody reads it
    finally:
        working.cancel()
        gone.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _json(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(to_json(content), status, headers, "application/json")


def _shown(names: tuple[str, ...]) -> str:
    """Unknown names as a header may carry them: quoted, because none may begin or end with a space."""
    return ", ".join(ascii(name[:40]) for name in names[:20])


async def _refused(request: Request, error: Exception) -> Response:
    """Every way to fail as the one error object."""
    if isinstance(error, errors.Refused):
        refused = error
    elif isinstance(error, HTTPException):
        refused = errors.misdirected(request.method, request.url.path, error.status_code)
        return _json(refused.body, refused.status, dict(error.headers or {}))
    else:
        log.LOG.error("%s failed: %s", log.logged(request.url.path), log.trace(error))
        refused = errors.failed()
    return _json(refused.body, refused.status, refused.headers)
