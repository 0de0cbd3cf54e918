"""The state of a server: loading, ready, draining or broken; what it serves, and what it is answering just now."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, TypeVar

from chatwright.generate.scheduler import Figures, Scheduler
from chatwright.serve import errors
from chatwright.serve.bridge import Bridge, Running
from chatwright.serve.catalogue import Catalogue
from chatwright.serve.limits import Limits
from chatwright.serve.metrics import Metrics

READERS = 2  # threads that render and tokenise
State = Literal["loading", "ok", "draining", "broken"]
WHY = {"loading": "is loading its models", "draining": "is shutting down", "broken": "has lost its engine"}
Result = TypeVar("Result")


class Service:
    """Lives in the event loop's thread, but for `read`, which runs its work in a thread of its own."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.metrics = Metrics(self.figures)
        self.draining = False
        self._scheduler: Scheduler | None = None
        self._catalogue: Catalogue | None = None
        self._bridge: Bridge | None = None
        self._running: set[Running] = set()
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="reader")

    def opened(self, catalogue: Catalogue, scheduler: Scheduler, loop: asyncio.AbstractEventLoop) -> None:
        """From now on requests are answered; the scheduler has been started."""
        self._catalogue, self._scheduler, self._bridge = catalogue, scheduler, Bridge(loop)

    @property
    def state(self) -> State:
        if self.draining:
            return "draining"
        if self._scheduler is None:
            return "loading"
        return "ok" if self._scheduler.alive else "broken"

    def unavailable(self) -> str:
        """Why no work is taken, or "" when it is."""
        return WHY.get(self.state, "")

    @property
    def catalogue(self) -> Catalogue:
        """Raises Refused (503) before there is one."""
        if self._catalogue is None:
            raise errors.unavailable(WHY["loading"])
        return self._catalogue

    @property
    def scheduler(self) -> Scheduler:
        """Raises Refused (503) before there is one."""
        if self._scheduler is None:
            raise errors.unavailable(WHY["loading"])
        return self._scheduler

    def figures(self) -> Figures | None:
        """The scheduler's, or None before there is one."""
        return None if self._scheduler is None else self._scheduler.figures()

    async def read(self, work: Callable[[], Result]) -> Result:
        """The result of work that takes time, done by one of a few threads."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, work)

    def begin(self) -> Running:
        """A request that is going to be decoded; `end` is to be called for it."""
        assert self._bridge is not None
        running = Running(self._bridge, self.metrics)
        self._running.add(running)
        return running

    def end(self, running: Running) -> None:
        """However it ended: nothing of it goes on."""
        running.cancel()
        self._running.discard(running)

    @property
    def busy(self) -> bool:
        """Whether anything is being answered."""
        return bool(self._running)

    def abort(self) -> None:
        """Ends everything that runs: streams with an error event, the others with 503."""
        for running in list(self._running):
            running.fail(errors.unavailable(WHY["draining"]))

    def close(self) -> None:
        """Ends the threads; the scheduler's is ended by who made it."""
        self._readers.shutdown(wait=False, cancel_futures=True)
