"""A server in a thread of the test's own process, on a free port, while a block runs."""

import asyncio
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import httpx2

from chatwright.serve.server import Load, Server

WAIT = 60.0  # seconds until a test gives up on something that has to happen


class Threaded:
    """`stop` of the server ends it as a signal would; `fault` is what it raised."""

    def __init__(self, server: Server, load: Load, *, wait: bool = True) -> None:
        self.server = server
        self.url = server.address
        self.ready = threading.Event()
        self.fault: BaseException | None = None
        self._load, self._wait = load, wait
        self.thread = threading.Thread(target=self._run, daemon=True)

    def web(self, **settings: Any) -> httpx2.Client:
        return httpx2.Client(base_url=self.url, timeout=WAIT, **settings)

    def __enter__(self) -> Self:
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


def eventually(holds: Callable[[], Any], what: str = "") -> None:
    """Waits until it holds; fails when it never does."""
    end = time.monotonic() + WAIT
    while not holds():
        assert time.monotonic() < end, what or "it never held"
        time.sleep(0.005)
