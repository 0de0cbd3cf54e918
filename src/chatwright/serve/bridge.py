"""From the scheduler's thread to the event loop: what a request's sequences say, in the order in which they say it.

The loop is woken once for whatever has gathered, not for every token of every stream.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

from chatwright.errors import ConfigError
from chatwright.generate.completion import Piece
from chatwright.generate.scheduler import Closed, Full, Scheduler, Ticket
from chatwright.serve import errors
from chatwright.serve.metrics import Metrics
from chatwright.serve.prompts import Prepared

Event = Piece | Exception
Inbox = asyncio.Queue[tuple[int, Event]]


class Bridge:
    """One for an event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._posted: list[tuple[Inbox, int, Event]] = []

    def post(self, inbox: Inbox, index: int, event: Event) -> None:
        """From any thread; never waits, and is of no effect when the loop has ended."""
        with self._lock:
            self._posted.append((inbox, index, event))
            if len(self._posted) > 1:  # somebody has rung already
                return
        try:
            self._loop.call_soon_threadsafe(self._deliver)
        except RuntimeError:  # the loop is closed: nobody waits any more
            pass

    def _deliver(self) -> None:
        with self._lock:
            posted, self._posted = self._posted, []
        for inbox, index, event in posted:
            inbox.put_nowait((index, event))


class Running:
    """The sequences of one request: prompt p's answer k has the index p * n + k."""

    def __init__(self, bridge: Bridge, metrics: Metrics) -> None:
        self._bridge, self._metrics = bridge, metrics
        self._inbox: Inbox = asyncio.Queue()
        self._lock = threading.Lock()
        self._tickets: list[Ticket] = []
        self._cancelled = False
        self._began = time.monotonic()

    def start(self, scheduler: Scheduler, prepared: Prepared, n: int) -> None:
        """Submits all of them; in any thread but the loop's. Raises Refused, and `cancel` then ends those that are in."""
        try:
            for place, (prompt, way) in enumerate(zip(prepared.prompts, prepared.ways, strict=True)):
                for k in range(n):
                    listener = self._listener(place * n + k)
                    way = replace(way, index=k)
                    self._add(scheduler.submit(prepared.served.id, prompt.ids, way, listener))
        except Full as full:
            raise errors.busy(full.retry_after) from None
        except Closed:
            raise errors.unavailable("is shutting down") from None
        except ConfigError as error:
            raise errors.wrong(str(error), code="context_length_exceeded") from None

    def cancel(self) -> None:
        """Frees the rows within a step; also when the sequences are being submitted just now. Any thread."""
        with self._lock:
            self._cancelled, tickets, self._tickets = True, self._tickets, []
        for ticket in tickets:
            ticket.cancel()

    def fail(self, error: Exception) -> None:
        """Ends the request with an error, as if the scheduler had said it; in the loop's thread."""
        self._inbox.put_nowait((0, error))
        self.cancel()

    async def news(self, count: int) -> AsyncIterator[tuple[int, Piece]]:
        """What `count` sequences say, until the last of them has ended; an error of one ends them all, as Refused."""
        last: dict[int, float] = {}
        while count:
            index, event = await self._inbox.get()
            if isinstance(event, errors.Refused):
                raise event
            if isinstance(event, Closed):  # its thread has ended, and with it every sequence
                raise errors.unavailable("has lost its engine")
            if isinstance(event, Exception):
                self._metrics.engine_failed(event)
                raise errors.failed()
            now = time.monotonic()
            if index in last:
                self._metrics.between_tokens.observe(now - last[index])
            else:
                self._metrics.first_token.observe(now - self._began)
            last[index] = now
            count -= event.completion is not None
            yield index, event

    def _add(self, ticket: Ticket) -> None:
        with self._lock:
            if not self._cancelled:
                self._tickets.append(ticket)
                return
        ticket.cancel()

    def _listener(self, index: int) -> Callable[[Event], None]:
        return lambda event: self._bridge.post(self._inbox, index, event)
