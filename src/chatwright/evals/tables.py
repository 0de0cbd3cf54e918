"""The headline table of a report, before and after, as cells of text, and how figures are written everywhere.

In comes a `Report`, out come lines that the page and the terminal draw in their own way.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chatwright.console import clean
from chatwright.evals.health import Health
from chatwright.evals.intervals import wilson
from chatwright.evals.results import Report, Sheet

if TYPE_CHECKING:
    from rich.table import Table

    from chatwright.evals.benchmark import Score

NOTHING = "–"
SIDE_BY_SIDE = 2  # stages whose intervals fit into a terminal


@dataclass(frozen=True)
class Cell:
    """A figure as text; a share also has its interval (`note`) and the three as numbers, for drawing."""

    text: str = NOTHING
    note: str = ""
    share: float | None = None
    low: float = 0.0
    high: float = 0.0


@dataclass(frozen=True)
class Line:
    """One row of the headline table, a cell a stage; `kind` is "graded" or "health"."""

    kind: str
    label: str
    note: str
    cells: tuple[Cell, ...]


def headline(report: Report) -> list[Line]:
    """Graded sets first, then chat health over all replies."""
    evaluated = [stage.evaluation for stage in report.stages]
    lines = []
    for name in dict.fromkeys(name for one in evaluated if one for name in one.scores):
        scores = [one.scores.get(name) if one else None for one in evaluated]
        count = max(score.n for score in scores if score)
        lines.append(Line("graded", label(name), f"n = {count:,}", tuple(map(_scored, scores))))
    healths = [one.health if one else None for one in evaluated]
    count = max((health.n for health in healths if health), default=0)
    for what, show in HEALTH.items() if count else ():
        cells = tuple(show(health) if health and health.n else Cell() for health in healths)
        lines.append(Line("health", what, f"n = {count:,}", cells))
    return lines


def terminal_table(report: Report) -> Table:
    """The headline table for the terminal; the intervals of more than two stages have room on the page only."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    table.add_column("n", justify="right", style="dim")
    few = len(report.stages) <= SIDE_BY_SIDE
    for stage in report.stages:
        table.add_column(Text(clean(stage.name)), justify="right")
        if few:
            table.add_column("95 %", justify="right", style="dim")
    lines = headline(report)
    for line, following in zip(lines, [*lines[1:], None], strict=True):
        cells = [part for cell in line.cells for part in ((cell.text, cell.note) if few else (cell.text,))]
        last = following is not None and following.kind != line.kind
        table.add_row(Text(clean(line.label)), line.note.removeprefix("n = "), *cells, end_section=last)
    return table


def loss_table(report: Report) -> Table:
    """Loss and accuracy of every stage on its data, for the terminal."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("", "data"):
        table.add_column(name)
    for name in ("loss", "perplexity", "bits per byte", "token accuracy", "tokens"):
        table.add_column(name, justify="right")
    for stage in report.stages:
        for split, loss in stage.losses.items():
            figures = (number(loss.loss), number(loss.perplexity), number(loss.bits_per_byte))
            table.add_row(
                Text(clean(stage.name)), Text(clean(split)), *figures, percent(loss.token_accuracy), f"{loss.tokens:,}"
            )
    return table


def sheet_table(sheet: Sheet) -> Table:
    """A sheet for the terminal. Where it is narrow the names of rows are broken, and headings between words; no figure."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), title=Text(clean(sheet.title)), title_justify="left"
    )
    table.add_column(Text(clean(sheet.columns[0])), overflow="fold")
    for place, column in enumerate(sheet.columns[1:], start=1):
        least = max(map(len, [*column.split(), *(row[place] for row in sheet.rows)]), default=1)
        table.add_column(Text(clean(column)), justify="right", min_width=least)
    for row in sheet.rows:
        table.add_row(*(Text(clean(cell)) for cell in row))
    return table


def label(name: str) -> str:
    """`held_out_phrasings -> held out phrasings`."""
    return name.replace("_", " ")


def percent(share: float) -> str:
    """`0.954 -> 95.4 %`, without a decimal that says nothing; only what is all or nothing reads 100 % or 0 %."""
    if not math.isfinite(share):
        return NOTHING
    tenths = round(1000 * share)
    tenths = min(tenths, 999) if share < 1 else tenths
    tenths = max(tenths, 1) if share > 0 else tenths
    return f"{tenths / 10:.1f}".removesuffix(".0") + " %"


def interval(low: float, high: float) -> str:
    """`92.1–97.5 %`."""
    if not math.isfinite(low) or not math.isfinite(high):
        return NOTHING
    return f"{percent(low).removesuffix(' %')}–{percent(high)}"


def number(value: float | None) -> str:
    """Four digits."""
    return NOTHING if value is None or not math.isfinite(value) else f"{value:.4g}"


def signed(value: float, unit: str) -> str:
    """A difference with its sign, in percentage points or in words: `+96.2`, `−3.0`."""
    if not math.isfinite(value):
        return NOTHING
    return f"{100 * value if unit == 'share' else value:+.1f}".replace("-", "−")


def duration(seconds: float) -> str:
    """`8.2 s`, `4 min 10 s`, `2 h 5 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _scored(score: Score | None) -> Cell:
    if score is None or not score.n:
        return Cell()
    return Cell(percent(score.accuracy), interval(score.low, score.high), score.accuracy, score.low, score.high)


def _rate(count: Callable[[Health], int]) -> Callable[[Health], Cell]:
    """Shows a count of replies as a share with its interval."""

    def show(health: Health) -> Cell:
        share, (low, high) = count(health) / health.n, wilson(count(health), health.n)
        return Cell(percent(share), interval(low, high), share, low, high)

    return show


HEALTH: dict[str, Callable[[Health], Cell]] = {
    "stops by itself": _rate(lambda health: health.stopped),
    "cut at a stop string": _rate(lambda health: health.by_string),
    "loops": _rate(lambda health: health.loops),
    "speaks for the user": _rate(lambda health: health.role_leaks),
    "empty replies": _rate(lambda health: health.empty),
    "words per reply": lambda health: Cell(f"{health.mean_words:.1f}"),
    "distinct words": lambda health: Cell(percent(health.distinct_1)),
    "distinct word pairs": lambda health: Cell(percent(health.distinct_2)),
    "repeated 4-grams": lambda health: Cell(percent(health.rep_4)),
    "runs on": _rate(lambda health: health.unfinished),
}
