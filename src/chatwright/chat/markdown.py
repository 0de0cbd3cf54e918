"""An answer drawn as Markdown while it comes: its newest lines are redrawn, and the whole stands there at the end."""

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from chatwright import console

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.markdown import Markdown

REDRAWN = 0.1  # seconds between two drawings: each reads the whole text anew


def show(pieces: Iterable[str]) -> None:
    """Draws cleaned pieces on stdout. What came stays when the pieces end early."""
    from rich.live import Live

    screen = console.out()
    screen.soft_wrap = False
    text, drawn = "", 0.0
    try:
        with Live(console=screen, auto_refresh=False, transient=True, vertical_overflow="crop") as live:
            for piece in pieces:
                text += piece
                if time.monotonic() - drawn >= REDRAWN:
                    live.update(_Newest(text), refresh=True)
                    drawn = time.monotonic()
    finally:
        screen.print(_drawn(text))


def _drawn(text: str) -> "Markdown":
    from rich.markdown import Markdown

    return Markdown(text, hyperlinks=False)  # a link shows where it leads


class _Newest:
    """As much of the end as the screen has room for."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __rich_console__(self, screen: "Console", options: "ConsoleOptions") -> "RenderResult":
        from rich.segment import Segment

        lines = screen.render_lines(_drawn(self._text), options.update(height=None), pad=False)
        for line in lines[-max(1, screen.height - 1) :]:
            yield from line
            yield Segment.line()
