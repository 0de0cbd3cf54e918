"""Servers for tests: in a thread of the test's own process, on a free port, over small models that are known."""

import asyncio
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx2
import openai
import torch
from paced_model import DEATH, POISON, paced, served

from chatwright.checkpoint import Checkpoint
from chatwright.generate.capacity import Capacity
from chatwright.generate.scheduler import Scheduler
from chatwright.serve.catalogue import Catalogue
from chatwright.serve.limits import Limits
from chatwright.serve.server import Door, Server, listen

__all__ = ["DEATH", "ENVIRONMENT", "PACED", "POISON", "WAIT", "Running", "chat", "eventually", "paced", "served"]
HERE = Path(__file__).parent
PACED = [sys.executable, str(HERE / "paced_server.py")]  # with the settings of its `main` as JSON behind it
PLACES = [str(HERE), str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(PLACES)}
WAIT = 30.0  # seconds until a test gives up on something that has to happen
Many = Mapping[str, Checkpoint]


class Running:
    """A server while the block runs. `stop` ends it as a signal would."""

    def __init__(
        self,
        models: Many,
        *,
        limits: Limits | None = None,
        door: Door | None = None,
        capacity: Capacity | None = None,
        max_waiting: int = 128,
        aliases: Mapping[str, str] | None = None,
        load: Callable[[], tuple[Catalogue, Scheduler]] | None = None,
        wait: bool = True,
    ) -> None:
        self.models = models
        self.limits = limits or Limits()
        self.capacity = capacity or Capacity(max_batch=32, chunk=256, prefix_tokens=16_384)
        self.max_waiting, self.aliases = max_waiting, aliases or {}
        self.server = Server(listen("127.0.0.1", 0), self.limits, door or Door())
        self.ready = threading.Event()
        self._load, self._wait = load or self.loaded, wait
        self.fault: BaseException | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)

    def loaded(self) -> tuple[Catalogue, Scheduler]:
        torch.set_num_threads(1)
        catalogue = Catalogue([served(name, one) for name, one in self.models.items()], self.aliases)
        return catalogue, Scheduler(catalogue.checkpoints, self.capacity, max_waiting=self.max_waiting, device="cpu")

    def __enter__(self) -> "Running":
        self.thread.start()
        if self._wait:
            assert self.ready.wait(WAIT), self.fault
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.thread.is_alive():
            self.server.stop()
            self.server.stop()
        self.thread.join(WAIT)
        assert not self.thread.is_alive(), "the server does not end"

    def _run(self) -> None:
        try:
            asyncio.run(self.server.serve(self._load, self.ready.set))
        except BaseException as error:
            self.fault = error

    @property
    def url(self) -> str:
        return self.server.address

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def client(self, **settings: Any) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", **{"max_retries": 0, **settings})

    def web(self, **settings: Any) -> httpx2.Client:
        return httpx2.Client(base_url=self.url, timeout=WAIT, **settings)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=WAIT)

    def figures(self) -> dict[str, int]:
        found = self.server.service.figures()
        return vars(found) if found else {}

    def metric(self, name: str) -> float:
        """One line of /metrics."""
        with self.web() as web:
            lines = web.get("/metrics").text.splitlines()
        return float(next(line for line in lines if line.startswith(f"{name} ")).rpartition(" ")[2])


def eventually(holds: Callable[[], Any], what: str = "") -> None:
    """Waits until it holds; fails when it never does."""
    end = time.monotonic() + WAIT
    while not holds():
        assert time.monotonic() < end, what or "it never held"
        time.sleep(0.005)


def chat(text: str = "hi", **settings: Any) -> dict[str, Any]:
    """The body of a chat request to the model `m`."""
    return {"model": "m", "messages": [{"role": "user", "content": text}], **settings}
