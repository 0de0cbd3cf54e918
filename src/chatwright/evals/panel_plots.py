"""What guard rails saw, as curves: pairs, rewards, KL, lengths and manners of each stage that had a panel.

In come rows of metrics.jsonl by stage, out comes one figure in the style of `plots`, with a row or two for each stage.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from chatwright import disk
from chatwright.evals.guards import SPLIT
from chatwright.evals.plots import PAPER, Rows, Theme, dress, finished, points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ACROSS = 3  # panels in a row
WIDTH, HEIGHT = 3.7, 2.9  # inches of a panel with what stands around it
AROUND = 1.1  # of them above and below it


@dataclass(frozen=True)
class Panel:
    """One or two keys of a reading over the steps; `apart` gives the second an axis of its own, to the right."""

    title: str
    keys: Mapping[str, str]  # key in the row -> what the legend calls it
    percent: bool = False
    apart: bool = False


PANELS = (
    Panel("reward", {"reward": "mean of the answers"}),
    Panel("pairs", {"accuracy": "accuracy", "margin": "margin (right)"}, percent=True, apart=True),
    Panel("change of log-probability", {"chosen": "chosen (nats)", "rejected": "rejected (nats)"}),
    Panel("KL to the reference", {"kl": "nats per answer"}),
    Panel("length", {"words": "words per answer"}),
    Panel("manners", {"stop_rate": "stops", "loop_rate": "loops"}, percent=True),
)


def recorded(stages: Mapping[str, Rows]) -> dict[str, Rows]:
    """The stages that have readings."""
    return {name: rows for name, rows in stages.items() if _shown(rows)}


def render(stages: Mapping[str, Rows], kind: str, theme: Theme) -> bytes:
    """The bytes of the figure; `kind` is "png" or "pdf"."""
    return finished(lambda: _figure(recorded(stages), theme), kind, theme)


def write(folder: Path, stages: Mapping[str, Rows]) -> None:
    """`preferences.pdf` and `preferences.png` in `folder`, where any stage has readings."""
    for kind in ("pdf", "png") if recorded(stages) else ():
        disk.write(folder / f"preferences.{kind}", render(stages, kind, PAPER))


def _shown(rows: Rows) -> list[Panel]:
    """The panels for which something was measured."""
    return [panel for panel in PANELS if any(points(rows, SPLIT, key)[0] for key in panel.keys)]


def _figure(stages: Mapping[str, Rows], theme: Theme) -> Figure:
    from matplotlib.figure import Figure

    lines = [
        [(name if several else "", rows, panel) for panel in some]
        for several in (len(stages) > 1,)
        for name, rows in stages.items()
        for some in _cut(_shown(rows))
    ]
    across = max((len(line) for line in lines), default=1)
    width, height = WIDTH * across, HEIGHT * max(1, len(lines))
    figure = Figure(figsize=(width, height))
    axes = figure.subplots(max(1, len(lines)), across, squeeze=False)
    figure.subplots_adjust(
        0.6 / width,
        0.5 / height,
        1 - 0.55 / width,
        1 - (AROUND - 0.5) / height,
        wspace=0.4,
        hspace=AROUND / (HEIGHT - AROUND),
    )
    for line, row in zip([*lines, *[[]] * (not lines)], axes, strict=True):
        for place, axis in enumerate(row):
            if place < len(line):
                _draw(axis, *line[place], theme)
            else:
                axis.set_visible(False)
    return figure


def _cut(panels: Sequence[Panel]) -> list[Sequence[Panel]]:
    """Lines of as equal length as can be: four panels are two and two."""
    count = math.ceil(len(panels) / ACROSS)
    size = math.ceil(len(panels) / count) if count else 1
    return [panels[start : start + size] for start in range(0, len(panels), size)]


def _draw(axis: Axes, stage: str, rows: Rows, panel: Panel, theme: Theme) -> None:
    from matplotlib.ticker import PercentFormatter

    dress(axis, f"{stage}: {panel.title}" if stage else panel.title, theme, pad=22)
    drawn = []
    for place, ((key, label), colour) in enumerate(
        zip(panel.keys.items(), (theme.train, theme.validation), strict=False)
    ):
        where = axis
        if place and panel.apart:
            where = axis.twinx()
            where.tick_params(colors=colour, length=0)
            for spine in where.spines.values():
                spine.set_visible(False)
            axis.tick_params(axis="y", colors=theme.train)
        drawn += where.plot(*points(rows, SPLIT, key), color=colour, linewidth=1.9, marker=".", label=label)
    if panel.percent:
        axis.set_ylim(-0.04, 1.04)
        axis.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    # between title and data: inside, it would cover a curve
    axis.legend(
        handles=drawn, frameon=False, labelcolor=theme.ink, ncols=2, loc="lower left", bbox_to_anchor=(-0.03, 0.97),
        borderpad=0.2, columnspacing=1.2, handlelength=1.4, handletextpad=0.5,
    )  # fmt: skip
