"""One thread that owns the models: requests from any thread join and leave between the steps of their engines.

The server and the web page are callers of this; whoever needs no thread calls the engine itself.
"""

import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import torch

from chatwright import console
from chatwright.checkpoint import Checkpoint
from chatwright.errors import ChatwrightError, ConfigError
from chatwright.generate.capacity import Capacity
from chatwright.generate.completion import Piece
from chatwright.generate.engine import Engine
from chatwright.generate.sampling import Sampling
from chatwright.models.device import device_of
from chatwright.models.inference import prepare
from chatwright.registry import suggestion

# a chunk of 256 tokens takes a step about as long as eight streams of GPT-2 124M do on two cores
SERVING = Capacity(max_batch=32, chunk=256, prefix_tokens=16_384)
MOST_WAITING = 128
Listener = Callable[
    [Piece | Exception], None
]  # called from the scheduler's thread; the completion or the fault is last


class Full(ChatwrightError):
    """Too many requests wait already; nothing was kept of this one."""

    def __init__(self, waiting: int, retry_after: float) -> None:
        super().__init__(f"{waiting} requests wait already; try again in {retry_after:.0f} s")
        self.retry_after = retry_after  # seconds


class Closed(ChatwrightError):
    """The scheduler takes nothing any more."""


@dataclass(frozen=True)
class Figures:
    """Requests now and since the start; tokens since the start; room in the caches now, in tokens."""

    active: int = 0
    waiting: int = 0
    finished: int = 0
    failed: int = 0
    cancelled: int = 0
    prompt_tokens: int = 0
    generated_tokens: int = 0
    reused_tokens: int = 0
    kv_held: int = 0
    prefix_held: int = 0


class Ticket:
    """One request. `cancel` may be called from any thread, at any time, as often as one likes."""

    def __init__(self, scheduler: "Scheduler", name: str, prompt: Sequence[int], sampling: Sampling) -> None:
        self.name, self.prompt, self.sampling = name, prompt, sampling
        self.number: int | None = None  # of the sequence, once the engine has it
        self.listener: Listener = lambda event: None
        self._scheduler = scheduler

    def cancel(self) -> None:
        """Ends the request within a step; its listener then hears of the cancelled completion, unless it has ended."""
        self._scheduler._cancel(self)


class Scheduler:
    """Answers requests for several models, in one thread of its own, which `start` begins and `close` ends.

    Checkpoints that share a model are adapters of it: each has an engine, and their steps take turns.
    """

    def __init__(
        self,
        models: Mapping[str, Checkpoint],
        capacity: Capacity = SERVING,
        *,
        max_waiting: int = MOST_WAITING,
        device: str = "auto",
    ) -> None:
        self._checkpoints = dict(models)
        for model in {id(one.model): one.model for one in models.values()}.values():
            prepare(model.to(device_of(device)).eval())
        self._engines = {name: Engine(one.model, one.tokenizer, one.stop_ids, capacity) for name, one in models.items()}
        self._most = capacity.max_batch + max_waiting
        self._max_waiting = max_waiting
        self._lock = threading.Condition()
        self._inbox: list[tuple[Ticket, bool]] = []  # what came in since the last step; True: to be cancelled
        self._tickets: dict[str, dict[int, Ticket]] = {name: {} for name in models}  # by sequence; the thread's own
        self._alive = dict.fromkeys(models, 0)  # requests that have not ended
        self._figures = Figures()
        self._closing = self._aborting = False
        self._fault: BaseException | None = None
        self._active: dict[int, str] = {}  # which adapter each model computes through, by the model's identity
        self._thread = threading.Thread(target=self._run, args=(torch.get_num_threads(),), daemon=True, name="engine")

    # For any thread

    @property
    def names(self) -> list[str]:
        """Of the models, as they were given."""
        return list(self._checkpoints)

    @property
    def alive(self) -> bool:
        """Whether requests are being answered."""
        return self._thread.is_alive() and self._fault is None

    def checkpoint(self, name: str) -> Checkpoint:
        """ConfigError for a name that is none of `names`."""
        if name not in self._checkpoints:
            near = suggestion(name, self._checkpoints) or f"; there are {', '.join(self._checkpoints)}"
            raise ConfigError(f"there is no model {name!r}{near}")
        return self._checkpoints[name]

    def start(self) -> "Scheduler":
        self._thread.start()
        return self

    def submit(self, name: str, prompt: Sequence[int], sampling: Sampling, listener: Listener) -> Ticket:
        """Queues a request. ConfigError if its prompt does not fit; Full and Closed when it cannot be taken now."""
        self.checkpoint(name)
        self._engines[name].check(prompt)
        ticket = Ticket(self, name, prompt, sampling)
        ticket.listener = listener
        with self._lock:
            if self._closing or self._fault is not None or not self._thread.is_alive():
                raise Closed("the model is shutting down" if self._closing else "the model's thread has ended")
            if self._alive[name] >= self._most:
                raise Full(self._max_waiting, retry_after=1.0)
            self._alive[name] += 1
            self._inbox.append((ticket, False))
            self._lock.notify()
        return ticket

    def pieces(self, name: str, prompt: Sequence[int], sampling: Sampling) -> Iterator[Piece]:
        """The same for a caller that can wait: news as they come. Closing the iterator cancels the request."""
        events: queue.SimpleQueue[Piece | Exception] = queue.SimpleQueue()
        ticket = self.submit(name, prompt, sampling, events.put)
        try:
            while True:
                event = events.get()
                if isinstance(event, Exception):
                    raise event
                yield event
                if event.completion is not None:
                    return
        finally:
            ticket.cancel()

    def figures(self) -> Figures:
        """What there is to measure, as of the last step."""
        with self._lock:
            alive = sum(self._alive.values())
            running = sum(engine.running for engine in self._engines.values())
            held = sum(engine.held for engine in self._engines.values())
            prefix = sum(engine.prefixes.used for engine in self._engines.values())
            return replace(
                self._figures, active=running, waiting=max(0, alive - running), kv_held=held, prefix_held=prefix
            )

    def close(self, seconds: float = 0.0) -> None:
        """Takes nothing more, lets what runs end within so many seconds, cancels the rest, and ends the thread."""
        with self._lock:
            self._closing = True
            self._lock.notify()
        if not self._thread.is_alive():
            return
        self._thread.join(seconds)
        with self._lock:
            self._aborting = True
            self._lock.notify()
        self._thread.join()

    def _cancel(self, ticket: Ticket) -> None:
        with self._lock:
            self._inbox.append((ticket, True))
            self._lock.notify()

    # The thread

    def _run(self, threads: int) -> None:
        torch.set_num_threads(threads)  # a new thread begins with the machine's number of cores
        try:
            while self._wait():
                for name, engine in self._engines.items():
                    if engine.busy:
                        self._step(name, engine)
        except BaseException as error:  # nobody must wait for an answer that never comes
            self._fault = error
            console.error(f"the model's thread ended: {error!r}")
            raise
        finally:
            self._leave_nobody_waiting()

    def _wait(self) -> bool:
        """Sleeps until there is something to do, takes in what came; False when the thread is to end."""
        busy = any(engine.busy for engine in self._engines.values())
        with self._lock:
            while not (self._inbox or busy or self._closing):
                self._lock.wait()
            inbox, self._inbox = self._inbox, []
            aborting = self._aborting
        for ticket, cancelled in inbox:
            (self._drop if cancelled else self._take)(ticket)
        if aborting:
            for tickets in self._tickets.values():
                for ticket in list(tickets.values()):
                    self._drop(ticket)
        return not self._closing or any(engine.busy for engine in self._engines.values())

    def _take(self, ticket: Ticket) -> None:
        ticket.number = self._engines[ticket.name].add(ticket.prompt, ticket.sampling)
        self._tickets[ticket.name][ticket.number] = ticket

    def _drop(self, ticket: Ticket) -> None:
        if ticket.number is None or ticket.number not in self._tickets[ticket.name]:
            return  # it has ended
        completion = self._engines[ticket.name].cancel(ticket.number)
        assert completion is not None
        self._tell(ticket, Piece(ticket.number, "", completion))

    def _step(self, name: str, engine: Engine) -> None:
        model = id(engine.model)
        if self._active.get(model) != name:
            self._checkpoints[name].activate()
            self._active[model] = name
        try:
            news = engine.step()
        except Exception as error:
            blamed = engine.recover()
            if blamed is not None:
                self._tell(self._tickets[name][blamed], error)
            return
        for piece in news:
            self._tell(self._tickets[name][piece.sequence], piece)

    def _tell(self, ticket: Ticket, event: Piece | Exception) -> None:
        """Counts an event and gives it to the listener; one that cannot take it any more ends its request."""
        ended = isinstance(event, Exception) or event.completion is not None
        if ended:
            assert ticket.number is not None
            del self._tickets[ticket.name][ticket.number]
            self._count(ticket, event)
        try:
            ticket.listener(event)
        except Exception as error:
            console.error(f"a request could not be told of its answer: {error!r}")
            if not ended:
                ticket.listener = lambda event: None
                ticket.cancel()

    def _count(self, ticket: Ticket, event: Piece | Exception) -> None:
        with self._lock:
            self._alive[ticket.name] -= 1
            had = self._figures
            if isinstance(event, Exception) or event.completion is None:
                self._figures = replace(had, failed=had.failed + 1)
                return
            done = event.completion
            self._figures = replace(
                had,
                cancelled=had.cancelled + (done.finish == "cancelled"),
                finished=had.finished + (done.finish != "cancelled"),
                prompt_tokens=had.prompt_tokens + len(ticket.prompt),
                generated_tokens=had.generated_tokens + len(done.ids),
                reused_tokens=had.reused_tokens + done.reused,
            )

    def _leave_nobody_waiting(self) -> None:
        """Tells every request that is left that there will be no answer."""
        with self._lock:
            self._closing = True
            left = [ticket for ticket, cancelled in self._inbox if not cancelled and ticket.number is None]
            self._inbox = []
        left += [ticket for tickets in self._tickets.values() for ticket in tickets.values()]
        for ticket in left:
            with suppress(Exception):
                ticket.listener(Closed("the model's thread has ended"))
