"""Other processes that do pieces of work in order: `chatwright.data.workers` run as a program, spoken to through its pipes.

The standard library's own pools start a script's `__main__` anew or fork a process with torch's threads in it; these do
neither, so that a script without a main guard can train.
"""

import pickle
import struct
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from queue import SimpleQueue
from types import TracebackType
from typing import IO, Any, Generic, TypeVar

from chatwright.errors import ChatwrightError

Task = TypeVar("Task")
Result = TypeVar("Result")
_LENGTH = struct.Struct("<Q")
AHEAD = 2  # tasks of each process that wait for it or are done before their turn: what is held in memory


class Workers(Generic[Task, Result]):
    """`count` processes that apply `function`, which must be importable, to tasks. A context manager: they end with it."""

    def __init__(self, function: Callable[[Task], Result], count: int) -> None:
        self._function, self._count = function, count

    def __enter__(self) -> "Workers[Task, Result]":
        # -P: no module is taken from the folder that somebody happens to be in. A group of their own: Ctrl-C is for the
        # process that asks, and when that one ends they do, whatever they were about to read
        command = [sys.executable, "-P", "-c", f"from {__name__} import serve; serve()"]
        self._processes = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0)
            for _ in range(self._count)
        ]
        self._idle: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
        for process in self._processes:
            self._idle.put(process)
        self._threads = ThreadPoolExecutor(self._count)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            for process in self._processes:
                process.kill()  # so that the threads that wait for an answer get none
        self._threads.shutdown(cancel_futures=True)
        for process in self._processes:
            for pipe in (process.stdin, process.stdout):
                with suppress(OSError):  # what could not be sent to a process that has ended
                    if pipe is not None:
                        pipe.close()
            process.wait()

    def results(self, tasks: Iterable[Task]) -> Iterator[Result]:
        """The result of each task, in their order. An error in another process is raised here."""
        waiting: deque[Future[Result]] = deque()
        for task in tasks:
            waiting.append(self._threads.submit(self._ask, task))
            if len(waiting) > AHEAD * self._count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def _ask(self, task: Task) -> Result:
        process = self._idle.get()
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            _send(process.stdin, (self._function, task))
            is_error, answer = _receive(process.stdout)
        except (EOFError, BrokenPipeError):
            raise ChatwrightError(
                f"a process that prepares data has ended (code {process.wait()}), perhaps for lack of memory; run the same "
                "command again, with --workers 1 if it happens again"
            ) from None
        finally:
            self._idle.put(process)
        if is_error:
            raise answer
        result: Result = answer
        return result


def serve() -> None:
    """The other side: answers until the pipe is closed."""
    asked, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # nobody else writes to the pipe
    while True:
        try:
            function, task = _receive(asked)
        except EOFError:
            return
        _write(answers, _answer(function, task))


def _answer(function: Callable[[Any], Any], task: Any) -> bytes:
    """The result or the error. What cannot be sent is told in words, or nobody would hear of it."""
    try:
        return _packed((False, function(task)))
    except Exception as error:  # whatever it is, the one who asked has to see it
        try:
            packed = _packed((True, error))
            pickle.loads(packed)  # some errors cannot be made anew from what they hold
        except Exception:
            return _packed((True, ChatwrightError(f"{type(error).__name__}: {error}")))
        return packed


def _send(pipe: IO[bytes], value: object) -> None:
    _write(pipe, _packed(value))


def _packed(value: object) -> bytes:
    return pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)


def _write(pipe: IO[bytes], contents: bytes) -> None:
    pipe.write(_LENGTH.pack(len(contents)))
    pipe.write(contents)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> tuple[Any, ...]:
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError("the other process has ended")
    (length,) = _LENGTH.unpack(head)
    contents = pipe.read(length)
    if len(contents) < length:
        raise EOFError("the other process has ended")
    value: tuple[Any, ...] = pickle.loads(contents)
    return value
