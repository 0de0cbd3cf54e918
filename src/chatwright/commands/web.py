"""Opens a chat page in the browser: one model, several side by side, or two of them blind in an arena whose votes are kept.

Only this machine can reach it unless --host says otherwise, and then an API key is needed, which the page asks for.
The page asks no other host for anything. Votes become preference pairs: chatwright dpo M --data FILE learns from them.
"""

import threading
import time
import webbrowser
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from chatwright import console
from chatwright.commands import _door
from chatwright.commands._engine import EngineSettings

if TYPE_CHECKING:
    from chatwright.generate.scheduler import Scheduler
    from chatwright.serve.catalogue import Catalogue
    from chatwright.serve.server import Server
    from chatwright.serve.web.votes import Votes

POSITIONAL = ("models",)
EXAMPLES = (
    "chatwright web runs/quickstart/sft",
    "chatwright web runs/quickstart/base runs/quickstart/sft runs/quickstart/dpo --open",
    "chatwright web gpt2 --adapters pirate=runs/pirate --votes runs/pirate/votes-preferences.jsonl",
)


class Settings(_door.DoorSettings, EngineSettings):
    """Which models the page shows, and to whom."""

    votes: Path | None = Field(
        default=None, description="file for the arena's pairs; in the run of the first model, if not given"
    )
    open: bool = Field(default=False, description="open the page in this machine's browser")
    port: int = Field(default=7860, ge=0, le=65535, description="port; 0 takes a free one and says which")
    max_batch: int = Field(default=16, ge=1, le=4096, description="answers that are decoded at once, for each model")


def run(settings: Settings) -> dict[str, Any]:
    """Serves the page until it is told to end, and then raises Interrupted with the exit code of the signal."""
    _door.check_installed()
    server = _server(settings)  # before the models are read: a port that is taken is said at once
    _door.lived(server, lambda: _loaded(settings), lambda: _say(server, settings))


def _server(settings: Settings) -> "Server":
    """The open socket and everything around it; ConfigError where it would be open to everybody."""
    from chatwright.serve import log
    from chatwright.serve.limits import Limits
    from chatwright.serve.server import Door, Server, listen
    from chatwright.serve.web.face import OPEN_PATHS, Face

    door = Door(*_door.who(settings), drain_seconds=0.0)
    log.to_stderr(requests=False)
    votes = _votes(settings)
    sock = listen(settings.host, settings.port)
    return Server(sock, Limits(), door, partial(Face, votes=votes), OPEN_PATHS)


def _votes(settings: Settings) -> "Votes":
    """Where the votes go; ConfigError where they could not be kept."""
    from chatwright.chat.feedback import Feedback
    from chatwright.serve.catalogue import named
    from chatwright.serve.web.votes import PAIRS, Votes

    path = settings.votes
    if path is None:
        path = Feedback.of(named(settings.models[0])[1]).folder / PAIRS
    votes = Votes(path)
    if settings.votes is not None:
        votes.check()
    return votes


def _loaded(settings: Settings) -> "tuple[Catalogue, Scheduler]":
    """The models and their engines."""
    from chatwright.generate.scheduler import SERVING, Scheduler
    from chatwright.serve.catalogue import Wanted, load

    wanted = Wanted(settings.models, settings.adapters, (), settings.template, settings.load_in)
    catalogue = load(wanted, int(time.time()))
    capacity = settings.capacity(max_batch=settings.max_batch, prefix_tokens=SERVING.prefix_tokens)
    return catalogue, Scheduler(catalogue.checkpoints, capacity, device=settings.device)


def _say(server: "Server", settings: Settings) -> None:
    """One line that the page is ready; with --json an object on stdout."""
    names = _door.told(server, settings)
    console.note(f"{', '.join(names)}: talk at {server.address} (Ctrl-C ends it)")
    if settings.open:  # some browsers keep whoever opens them waiting
        threading.Thread(target=webbrowser.open, args=(server.address,), daemon=True).start()
