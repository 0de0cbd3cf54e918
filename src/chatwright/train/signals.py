"""Ctrl-C and SIGTERM: the first lets the step end and the checkpoint be saved, the second ends at once."""

import signal
import threading
from types import FrameType, TracebackType

from chatwright.errors import ChatwrightError


class Interrupted(ChatwrightError):
    """The run was asked to end; exit code 130 for SIGINT, 143 for SIGTERM."""

    def __init__(self, number: int, says: str) -> None:
        super().__init__(says)
        self.exit_code = 128 + number


class Signals:
    """While the block runs, SIGINT and SIGTERM set `received`; before `patient` is set they raise Interrupted at once."""

    def __init__(self) -> None:
        self.received: int | None = None
        self.patient = False

    def __enter__(self) -> "Signals":
        # Python hands signals to the main thread alone; a run in another one ends with the program
        main = threading.current_thread() is threading.main_thread()
        caught = (signal.SIGINT, signal.SIGTERM) if main else ()
        self._former = {number: signal.signal(number, self._handle) for number in caught}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self.patient or self.received is not None:
            raise Interrupted(number, f"ended by {signal.Signals(number).name} at once; the last checkpoint stands")
        self.received = number
