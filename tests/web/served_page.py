"""The page over models whose answers are known, in a thread of the test's own process, on a free port."""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx2
import torch
from byte_tokenizer import ByteTokenizer
from scripted_model import ScriptedModel
from torch import nn

from chatwright.checkpoint import Checkpoint
from chatwright.generate.capacity import Capacity
from chatwright.generate.scheduler import Figures, Scheduler
from chatwright.serve.catalogue import Catalogue, Served
from chatwright.serve.limits import Limits
from chatwright.serve.server import Door, Server, listen
from chatwright.serve.web.face import OPEN_PATHS, Face
from chatwright.serve.web.votes import Votes
from chatwright.text import template as templates

WAIT = 60.0  # seconds until a test gives up on something that has to happen


class Speaker(ScriptedModel):
    """A script that may stand beside others in one scheduler."""

    def __init__(self, *script: Any, **settings: Any) -> None:
        super().__init__(*script, **settings)
        self.final_norm = nn.LayerNorm(1)  # the scheduler asks it where the weights are,
        self.lm_head = self.embedding = None  # and looks for weights that it can hold better

    def set_rows(self, *rows: Any) -> None:
        """There are no adapters whose rows it could take."""


def saying(replies: Sequence[str], *, pause: float = 0.0, window: int = 4096) -> Checkpoint:
    """A chatbot that gives these answers in turn, each ending by itself, a byte a token."""
    tokenizer: Any = ByteTokenizer()
    layout = templates.load("chatml")
    scripts = [tokenizer.encode(reply) for reply in replies]
    end = layout.stop_ids(tokenizer)[0]
    model: Any = Speaker(scripts, tokenizer.vocab_size, end, window=window, pause=pause)
    return Checkpoint(model, tokenizer, layout)


class Page:
    """The page while the block runs."""

    def __init__(
        self,
        models: Mapping[str, Checkpoint],
        votes: Path,
        *,
        door: Door | None = None,
        capacity: Capacity | None = None,
        hold: threading.Event | None = None,
    ) -> None:
        self.models, self.hold = models, hold
        # a script is for one sequence at a time, read in one piece
        self.capacity = capacity or Capacity(max_batch=1)
        self.votes = Votes(votes)
        sock = listen("127.0.0.1", 0)
        self.server = Server(
            sock, Limits(), door or Door(drain_seconds=0.0), partial(Face, votes=self.votes), OPEN_PATHS
        )
        self.url = self.server.address
        self.scheduler: Scheduler | None = None
        self.ready = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def web(self, **settings: Any) -> httpx2.Client:
        return httpx2.Client(base_url=self.url, timeout=WAIT, **settings)

    def figures(self) -> Figures:
        assert self.scheduler is not None
        return self.scheduler.figures()

    def prompts(self, name: str) -> list[str]:
        """What a model was given, as text."""
        model: Any = self.models[name].model
        return [self.models[name].tokenizer.decode(ids) for ids in model.prompts]

    def __enter__(self) -> "Page":
        self.thread.start()
        if self.hold is None:
            assert self.ready.wait(WAIT)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.thread.is_alive():
            self.server.stop()
            self.server.stop()
        self.thread.join(WAIT)
        assert not self.thread.is_alive(), "the page does not end"

    def _load(self) -> tuple[Catalogue, Scheduler]:
        if self.hold is not None:
            assert self.hold.wait(WAIT)
        torch.set_num_threads(1)
        catalogue = Catalogue([Served(name, one, 1, {"temperature": 0.0}, 1) for name, one in self.models.items()], {})
        self.scheduler = Scheduler(catalogue.checkpoints, self.capacity, device="cpu")
        return catalogue, self.scheduler

    def _run(self) -> None:
        asyncio.run(self.server.serve(self._load, self.ready.set))


def eventually(holds: Callable[[], Any], what: str = "") -> None:
    """Waits until it holds; fails when it never does."""
    end = time.monotonic() + WAIT
    while not holds():
        assert time.monotonic() < end, what or "it never held"
        time.sleep(0.01)
