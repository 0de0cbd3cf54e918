"""A server from its socket to its end: it listens, loads, answers, and on a signal drains.

The first signal: /health says 503, nothing new is taken, and what runs has so many seconds; then it ends with an error
event. The second ends everything at once. The socket is open from the start, so that a load balancer is told to wait.
"""

import asyncio
import contextlib
import functools
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, TypeVar

import uvicorn
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from chatwright.errors import ConfigError
from chatwright.generate.scheduler import Scheduler
from chatwright.serve.app import create
from chatwright.serve.auth import Hosts, Keys
from chatwright.serve.catalogue import Catalogue
from chatwright.serve.guard import OPEN, Guard
from chatwright.serve.limits import ACCEPTED, Limits, within_files
from chatwright.serve.protocol import GuardedProtocol
from chatwright.serve.service import Service

LAST_WORDS = 1.0  # seconds in which aborted streams send their error event
TICK = 0.02
QUEUED = 2048  # connections that the system keeps until they are accepted
Load = Callable[[], tuple[Catalogue, Scheduler]]
Result = TypeVar("Result")


@dataclass(frozen=True)
class Door:
    """Who may come in, and how long is waited at the end."""

    keys: Keys = field(default_factory=lambda: Keys(()))
    hosts: Hosts = field(default_factory=Hosts)
    origins: Sequence[str] = ()  # of web pages whose scripts may ask
    drain_seconds: float = 30.0


def listen(host: str, port: int) -> socket.socket:
    """An open socket. Raises ConfigError where there can be none."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # with the protocol named: asyncio turns off the waiting of small writes (40 ms each) for such sockets only
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":  # elsewhere this would let two servers share a port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(QUEUED)
    except (OSError, UnicodeError) as error:
        sock.close()
        reason = (error.strerror if isinstance(error, OSError) else None) or "it is no address"
        raise ConfigError(
            f"--host {host} --port {port} cannot be listened on ({reason}); give another --port, or 0 for any free one"
        ) from None
    return sock


class Server:
    """One server for one socket."""

    def __init__(
        self,
        sock: socket.socket,
        limits: Limits,
        door: Door,
        create: Callable[[Service], ASGIApp] = create,
        open_paths: Set[str] = OPEN,
    ) -> None:
        """`create` makes what answers, and `open_paths` are asked without a key: the web page gives its own."""
        limits = within_files(limits)
        self.service = Service(limits)
        self._door = door
        self._sock = sock
        app: ASGIApp = create(self.service)
        self._guard = Guard(app, door.keys, door.hosts, limits, self.service.unavailable, self.service.metrics.answered)
        self._guard.open_paths = open_paths
        app = self._guard
        if door.origins:
            app = CORSMiddleware(app, allow_origins=list(door.origins), allow_methods=["*"], allow_headers=["*"])
        self._uvicorn = _Uvicorn(_config(app, limits))
        self._signals: list[int] = []
        self._first, self._second = asyncio.Event(), asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def address(self) -> str:
        """`http://127.0.0.1:8000`."""
        host, port = self._sock.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def run(self, load: Load, ready: Callable[[], None]) -> int | None:
        """Serves until a signal comes; returns its number. `ready` is called when requests are answered."""
        with self._caught():
            asyncio.run(self.serve(load, ready))
        return self._signals[0] if self._signals else None

    def stop(self, number: int = 0) -> None:
        """From any thread and any signal: asks for the end; the second time, at once."""
        if number:
            self._signals.append(number)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._asked_to_end)

    async def serve(self, load: Load, ready: Callable[[], None]) -> None:
        """The whole life of a server. Raises what `load` raises."""
        self._loop = asyncio.get_running_loop()
        if self._signals:
            return
        scheduler: Scheduler | None = None
        serving = asyncio.ensure_future(self._uvicorn.serve(sockets=[self._sock]))
        ending = asyncio.ensure_future(self._first.wait())
        loading = _in_thread(load)
        try:
            first: list[asyncio.Future[Any]] = [serving, ending, loading]
            await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
            if loading.done():
                catalogue, scheduler = loading.result()
                self.service.opened(catalogue, scheduler.start(), self._loop)
                ready()
                await asyncio.wait({serving, ending}, return_when=asyncio.FIRST_COMPLETED)
                await self._drain()
        finally:
            loading.cancel()
            ending.cancel()
            self._uvicorn.should_exit = True
            await serving
            self.service.close()
            if scheduler is not None:
                await asyncio.wait({_in_thread(scheduler.close)}, timeout=LAST_WORDS)

    def _asked_to_end(self) -> None:
        (self._second if self._first.is_set() else self._first).set()

    async def _drain(self) -> None:
        """Lets what runs end in its time, then ends it."""
        self.service.draining = True
        await self._until(lambda: self._second.is_set() or not self._guard.places.taken, self._door.drain_seconds)
        self.service.abort()
        await self._until(lambda: not self._guard.places.taken, LAST_WORDS)

    async def _until(self, holds: Callable[[], bool], seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not holds():
                    await asyncio.sleep(TICK)

    @contextlib.contextmanager
    def _caught(self) -> Iterator[None]:
        """SIGINT and SIGTERM end the server instead of the process."""

        def handle(number: int, frame: FrameType | None) -> None:
            self.stop(number)

        former = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)


class _Uvicorn(uvicorn.Server):
    """uvicorn, but for its signals: those are ours. It accepts a few connections at a time, and the others may wait."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for sock in sockets or ():
            sock.listen(QUEUED)  # one number says both to asyncio: how many wait, and how many it accepts in one turn

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _config(app: ASGIApp, limits: Limits) -> uvicorn.Config:
    protocol: Any = functools.partial(GuardedProtocol, limits)
    return uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",  # what it would say, the guard says without quoting what was sent
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=ACCEPTED,
        timeout_keep_alive=limits.idle_seconds,
        timeout_graceful_shutdown=1,
        h11_max_incomplete_event_size=limits.headers,
    )


def _in_thread(work: Callable[[], Result]) -> asyncio.Future[Result]:
    """The work's result, from a thread that does not keep the process alive: a model that is being read, for instance."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def settle(result: Result | None, error: BaseException | None) -> None:
        if not future.done():
            future.set_exception(error) if error is not None else future.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        found: Result | None = None
        error: BaseException | None = None
        try:
            found = work()
        except BaseException as raised:
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits
            loop.call_soon_threadsafe(settle, found, error)

    threading.Thread(target=run, daemon=True).start()
    return future
