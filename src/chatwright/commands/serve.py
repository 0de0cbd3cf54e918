"""Serves models behind OpenAI's API: chats, completions, streams, several models and adapters at once.

Only this machine can reach it unless --host says otherwise, and then an API key is needed. Ctrl-C or SIGTERM lets what
runs end within --drain-seconds; a second one ends at once. Requests name a model by its id here, never by a path.
"""

import json
import time
from typing import TYPE_CHECKING, Any

from pydantic import Field

from chatwright import console
from chatwright.commands import _door
from chatwright.commands._engine import EngineSettings

if TYPE_CHECKING:
    from chatwright.generate.scheduler import Scheduler
    from chatwright.serve.catalogue import Catalogue, Wanted
    from chatwright.serve.server import Server

POSITIONAL = ("models",)
EXAMPLES = (
    "chatwright serve runs/quickstart/sft",
    "chatwright serve bot=runs/quickstart/grpo base=runs/quickstart/base --alias gpt-3.5-turbo=bot",
    "chatwright serve gpt2 --adapters pirate=runs/pirate --host 0.0.0.0 --api-key-file keys.txt",
)


class Settings(_door.DoorSettings, EngineSettings):
    """What is served, to whom, and how much at a time."""

    alias: list[str] = Field(default=[], description="further names of models: gpt-3.5-turbo=ID")
    port: int = Field(default=8000, ge=0, le=65535, description="port; 0 takes a free one and says which")
    cors_origin: list[str] = Field(default=[], description="web pages whose scripts may ask: https://example.org")
    max_batch: int = Field(default=32, ge=1, le=4096, description="answers that are decoded at once, for each model")
    max_waiting: int = Field(default=128, ge=0, le=100_000, description="answers that may wait; more get 429")
    kv_tokens: int | None = Field(default=None, ge=1, description="most tokens in the cache of keys and values")
    drain_seconds: float = Field(default=30.0, ge=0, le=3600, description="time for what runs after the first signal")
    temperature: float | None = Field(default=None, ge=0, le=100, description="where a request gives none")
    top_p: float | None = Field(default=None, gt=0, le=1, description="where a request gives none")
    top_k: int | None = Field(default=None, ge=0, description="where a request gives none")
    min_p: float | None = Field(default=None, ge=0, le=1, description="where a request gives none")
    repetition_penalty: float | None = Field(default=None, ge=0.01, le=100, description="where a request gives none")
    log_requests: bool = Field(default=True, description="a line on stderr for each request, without what was said")


DEFAULTS = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")


def run(settings: Settings) -> dict[str, Any]:
    """Serves until it is told to end, and then raises Interrupted with the exit code of the signal."""
    _door.check_installed()
    from chatwright.serve import log

    server = _server(settings)  # before the models are read: a port that is taken is said at once
    log.to_stderr(settings.log_requests)
    _door.lived(server, lambda: _loaded(settings), lambda: _say(server, settings))


def _server(settings: Settings) -> "Server":
    """The open socket and everything around it; ConfigError where it would be open to everybody."""
    from chatwright.serve.limits import Limits
    from chatwright.serve.server import Door, Server, listen

    door = Door(*_door.who(settings), settings.cors_origin, settings.drain_seconds)
    limits = Limits(requests=settings.max_batch + settings.max_waiting)
    return Server(listen(settings.host, settings.port), limits, door)


def _loaded(settings: Settings) -> "tuple[Catalogue, Scheduler]":
    """The models and their engines."""
    from chatwright.generate.scheduler import SERVING, Scheduler
    from chatwright.serve.catalogue import load

    catalogue = load(_wanted(settings), int(time.time()))
    capacity = settings.capacity(
        max_batch=settings.max_batch, kv_tokens=settings.kv_tokens, prefix_tokens=SERVING.prefix_tokens
    )
    scheduler = Scheduler(catalogue.checkpoints, capacity, max_waiting=settings.max_waiting, device=settings.device)
    return catalogue, scheduler


def _wanted(settings: Settings) -> "Wanted":
    from chatwright.serve.catalogue import Wanted

    given = {name: getattr(settings, name) for name in DEFAULTS}
    return Wanted(
        settings.models,
        settings.adapters,
        settings.alias,
        settings.template,
        settings.load_in,
        {name: value for name, value in given.items() if value is not None},
    )


def _say(server: "Server", settings: Settings) -> None:
    """One line that the server is ready; with --json an object on stdout."""
    names = _door.told(server, settings)
    key = " -H 'Authorization: Bearer KEY'" if settings.api_key or settings.api_key_file else ""
    body = json.dumps({"model": names[0], "messages": [{"role": "user", "content": "Hello!"}]})
    console.note(f"serving {', '.join(names)} at {server.address}/v1; try it:")
    console.note(f"curl {server.address}/v1/chat/completions -H 'Content-Type: application/json'{key} -d '{body}'")
