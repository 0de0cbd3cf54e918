"""What people see: results on stdout, everything else on stderr, through rich.

NO_COLOR, FORCE_COLOR, TERM=dumb and COLUMNS are for rich to read. Text that a user or a model wrote goes through
`clean` before it is printed, so that it cannot move the cursor, recolour the screen or set the title of the window.
"""

import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

PLAIN_SECONDS = 10.0  # between two lines of progress where stderr is no terminal

# Whole escape sequences (CSI, OSC and other strings, two-character ones), then any other control character but \n and
# \t, and the marks that reverse the direction of the text around them.
_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]|\x9b[0-?]*[ -/]*[@-~]"
)
# The beginning of a sequence (or of \r\n) at the end of a text, which the next piece of it may complete.
_UNFINISHED = re.compile(r"(?:\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x1b]*\x1b?|[ -/]*)|\x9b[0-?]*[ -/]*|\r)\Z")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def out() -> "Console":
    """The console of results: stdout."""
    from rich.console import Console

    return Console(file=sys.stdout, highlight=False, soft_wrap=True)


def err() -> "Console":
    """The console of everything that is not the result: stderr."""
    from rich.console import Console

    return Console(file=sys.stderr, highlight=False, soft_wrap=True)


def note(text: str) -> None:
    """One line on stderr that a person may want to know."""
    _line("note", "cyan", text)


def warn(text: str) -> None:
    """One line on stderr about something that is probably not meant."""
    _line("warning", "yellow", text)


def error(text: str) -> None:
    """The one sentence that a failure ends with, on stderr."""
    _line("error", "bold red", text)


def clean(text: str) -> str:
    """Text without terminal escapes and control characters, `\\n` and `\\t` apart: safe to print, whoever wrote it."""
    return _CONTROLS.sub("", _ESCAPES.sub("", text.replace("\r\n", "\n")))


class CleanStream:
    """`clean` for text that comes in pieces: a sequence cut in two by them does not get through. The results joined are
    what `clean` makes of the whole text."""

    def __init__(self) -> None:
        self._held = ""

    def push(self, piece: str) -> str:
        """What is certain by now; the beginning of a sequence waits for its end."""
        text = self._held + piece
        unfinished = _UNFINISHED.search(text)
        end = unfinished.start() if unfinished else len(text)
        self._held = text[end:]
        return clean(text[:end])

    def flush(self) -> str:
        """What is left at the end of the text."""
        rest, self._held = self._held, ""
        return clean(rest)


def _line(label: str, style: str, text: str) -> None:
    """`label: text`, the label coloured, the text as it is (brackets are no markup)."""
    from rich.text import Text

    err().print(Text.assemble((f"{label}: ", style), clean(text)))


class Progress(Protocol):
    """What `progress` gives: the count so far, and figures such as loss=2.31."""

    def update(self, done: int, **figures: float) -> None: ...


@contextmanager
def progress(description: str, total: int | None, unit: str = "step") -> Iterator[Progress]:
    """Shows long work on stderr: a bar with figures, elapsed time and ETA, or a plain line every ten seconds.

    `total` None means that the end is not known. Each figure (loss, tokens_per_second, …) is shown with its name.
    """
    console = err()
    if not console.is_terminal or os.environ.get("TERM") == "dumb":
        lines = _Lines(description, total, unit)
        yield lines
        lines.last()
        return
    from rich import progress as bars

    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(bar_width=24),
        bars.MofNCompleteColumn(),
        bars.TextColumn(unit + "s {task.fields[figures]}"),
        bars.TimeElapsedColumn(),
        bars.TextColumn("left"),
        bars.TimeRemainingColumn(),
    )
    with bars.Progress(*columns, console=console, refresh_per_second=4) as bar:
        yield _Bar(bar, bar.add_task(description, total=total, figures=""))


class _Bar:
    """The bar of a terminal."""

    def __init__(self, bar: "RichProgress", task: "TaskID") -> None:
        self._bar, self._task = bar, task

    def update(self, done: int, **figures: float) -> None:
        self._bar.update(self._task, completed=done, figures=shown(figures))


class _Lines:
    """One plain line every ten seconds, and one at the end, for logs and pipes."""

    def __init__(self, description: str, total: int | None, unit: str) -> None:
        self._description, self._total, self._unit = description, total, unit
        self._start = self._printed = time.monotonic()
        self._text = ""
        self._fresh = False

    def update(self, done: int, **figures: float) -> None:
        now = time.monotonic()
        seconds = now - self._start
        of = "" if self._total is None else f"/{self._total}"
        left = ""
        if self._total and 0 < done < self._total:
            left = f", {clock(seconds / done * (self._total - done))} left"
        numbers = f", {shown(figures)}" if figures else ""
        self._text = f"{self._description}: {self._unit} {done}{of}{numbers}, {clock(seconds)}{left}"
        self._fresh = True
        if now - self._printed >= PLAIN_SECONDS:
            self._printed = now
            self.last()

    def last(self) -> None:
        """Prints the line that has not been printed yet."""
        if self._fresh:
            self._fresh = False
            print(self._text, file=sys.stderr, flush=True)


def shown(figures: dict[str, float]) -> str:
    """`loss 2.310, rows 12,000, 15,012 tokens/s`: rates and counts as whole numbers, the rest to four digits."""
    parts = []
    for name, value in figures.items():
        if name.endswith("_per_second"):
            parts.append(f"{value:,.0f} {name.removesuffix('_per_second').replace('_', ' ')}/s")
        else:
            number = f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
            parts.append(f"{name.replace('_', ' ')} {number}")
    return ", ".join(parts)


def clock(seconds: float) -> str:
    """`0:07`, `12:30`, `1:02:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
