"""What the server writes down: a line for each answer, and where something failed. Never a prompt, an answer or a key.

What comes from outside (paths) is escaped, so that it cannot start a line of its own or recolour the terminal.
"""

import logging
import sys
import traceback

LOG = logging.getLogger("chatwright.serve")


class _Stderr(logging.Handler):
    """Writes to whatever stderr is at the time."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr, flush=True)


def to_stderr(requests: bool) -> None:
    """Sends the lines to stderr: all of them, or only what went wrong."""
    handler = _Stderr()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    LOG.handlers[:] = [handler]
    LOG.setLevel(logging.INFO if requests else logging.WARNING)
    LOG.propagate = False
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # it warns of writes to clients that have just gone


def logged(text: str) -> str:
    """A text from outside as a line may show it: short, and with every character but printable ASCII escaped."""
    shown = text if len(text) <= 200 else text[:197] + "..."
    return ascii(shown)[1:-1]


def trace(error: BaseException) -> str:
    """Where an error was raised, innermost last. Its own words are left out: they may quote what was sent."""
    places = traceback.extract_tb(error.__traceback__)[-6:]
    return f"{type(error).__name__} at " + " < ".join(f"{place.filename}:{place.lineno}" for place in reversed(places))
