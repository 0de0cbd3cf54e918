"""Servers for tests: in a thread of the test's own process, on a free port, over small models that are known."""

import os
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import openai
import torch
from paced_model import DEATH, POISON, paced, served
from threaded_server import WAIT, Threaded, eventually

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
Many = Mapping[str, Checkpoint]


class Running(Threaded):
    """The server of OpenAI's API."""

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
        server = Server(listen("127.0.0.1", 0), self.limits, door or Door())
        super().__init__(server, load or self.loaded, wait=wait)

    def loaded(self) -> tuple[Catalogue, Scheduler]:
        torch.set_num_threads(1)
        catalogue = Catalogue([served(name, one) for name, one in self.models.items()], self.aliases)
        return catalogue, Scheduler(catalogue.checkpoints, self.capacity, max_waiting=self.max_waiting, device="cpu")

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def client(self, **settings: Any) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", **{"max_retries": 0, **settings})

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


def chat(text: str = "hi", **settings: Any) -> dict[str, Any]:
    """The body of a chat request to the model `m`."""
    return {"model": "m", "messages": [{"role": "user", "content": text}], **settings}
