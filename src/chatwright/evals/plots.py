"""Loss and accuracy curves of a road's stages, as PDF and PNG, from what `metrics.jsonl` recorded.

In come rows by stage, out come figures whose bytes depend on nothing else: no dates, no display, no global style.
"""

from __future__ import annotations

import io
import json
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatwright import disk
from chatwright.console import clean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Rows = Sequence[Mapping[str, Any]]
SMOOTH_FROM = 30  # points; shorter curves are shown as they are
LONGEST_TITLE = 36  # characters that fit over a panel


@dataclass(frozen=True)
class Theme:
    """Colours of a figure; `background` None is transparent."""

    ink: str
    faint: str
    train: str
    validation: str
    background: str | None


PAPER = Theme("#1f2328", "#d8dce1", "#2f6fb3", "#d9622b", "#ffffff")
DARK = Theme("#dfe3ea", "#3a4250", "#6fb1f2", "#f59a62", None)


@dataclass(frozen=True)
class Curve:
    """One kind of figure: the key in metrics.jsonl and how its axis reads."""

    key: str
    label: str
    percent: bool


LOSS = Curve("loss", "loss (nats per token)", percent=False)
ACCURACY = Curve("token_accuracy", "token accuracy", percent=True)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics.jsonl; a torn line is left out, and of a step that was run twice the later row counts."""
    rows: dict[tuple[Any, Any], dict[str, Any]] = {}
    if not path.exists():
        return []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and isinstance(row.get("step"), int | float):
            rows[(row.get("split"), row["step"])] = row
    return sorted(rows.values(), key=lambda row: row["step"])


def write(folder: Path, stages: Mapping[str, Rows]) -> None:
    """`loss.pdf`, `loss.png`, `accuracy.pdf` and `accuracy.png` in `folder`."""
    for name, curve in (("loss", LOSS), ("accuracy", ACCURACY)):
        for kind in ("pdf", "png"):
            disk.write(folder / f"{name}.{kind}", render(stages, curve, kind, PAPER))


def render(stages: Mapping[str, Rows], curve: Curve, kind: str, theme: Theme = PAPER) -> bytes:
    """The bytes of one figure, a panel for each stage; `kind` is "png" or "pdf"."""
    return finished(lambda: _figure(stages, curve, theme), kind, theme)


def finished(draw: Callable[[], Figure], kind: str, theme: Theme) -> bytes:
    """The bytes of what is drawn, which neither the clock nor anybody's matplotlib style changes."""
    import matplotlib

    left_out = ("Software",) if kind == "png" else ("CreationDate", "Creator", "Producer")
    target = io.BytesIO()
    with matplotlib.rc_context({"font.family": "DejaVu Sans", "font.size": 10}), warnings.catch_warnings():
        # a stage named in a script that the font lacks is drawn with boxes
        warnings.filterwarnings("ignore", message="Glyph")
        draw().savefig(
            target, format=kind, dpi=160, metadata=dict.fromkeys(left_out), facecolor=theme.background or "none"
        )
    return target.getvalue()


def _figure(stages: Mapping[str, Rows], curve: Curve, theme: Theme) -> Figure:
    from matplotlib.figure import Figure

    panels = stages or {"": ()}
    width, height = max(6.4, 4.4 * len(panels)), 3.4
    figure = Figure(figsize=(width, height))
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    # margins in inches: matplotlib's own layouts search for them, which takes as long as the drawing
    figure.subplots_adjust(0.8 / width, 0.55 / height, 1 - 0.15 / width, 1 - 0.4 / height, wspace=0.2)
    for number, (axis, (name, rows)) in enumerate(zip(axes, panels.items(), strict=True)):
        _panel(axis, name, rows, curve, theme)
        if number == 0:
            axis.set_ylabel(curve.label, color=theme.ink)
    return figure


def _panel(axis: Axes, name: str, rows: Rows, curve: Curve, theme: Theme) -> None:
    """One stage: the training curve (raw behind, smoothed in front) and the validation points."""
    from matplotlib.ticker import PercentFormatter

    dress(axis, name, theme)
    train, validation = points(rows, "train", curve.key), points(rows, "validation", curve.key)
    if len(train[0]) >= SMOOTH_FROM:
        axis.plot(*train, color=theme.train, linewidth=0.8, alpha=0.3)
        axis.plot(train[0], _smooth(train[1]), color=theme.train, linewidth=1.9, label="training")
    elif train[0]:
        axis.plot(*train, color=theme.train, linewidth=1.9, marker=".", label="training")
    if validation[0]:
        axis.plot(*validation, color=theme.validation, linewidth=1.6, marker="o", markersize=4, label="validation")
    if not train[0] and not validation[0]:
        axis.text(0.5, 0.5, "nothing recorded", transform=axis.transAxes, ha="center", va="center", color=theme.ink)
        axis.set_xticks([])
        axis.set_yticks([])
        return
    if curve.percent:
        axis.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axis.legend(frameon=False, labelcolor=theme.ink, loc="lower right" if curve.percent else "upper right")


def dress(axis: Axes, title: str, theme: Theme, pad: float = 6) -> None:
    """The look that all panels have: a title, steps below, and nothing around the data but quiet lines."""
    from matplotlib.ticker import MaxNLocator

    text = _title(title)
    axis.set_title(text, loc="left", color=theme.ink, fontweight="bold", fontsize=11, parse_math=False, pad=pad)
    axis.set_xlabel("step", color=theme.ink)
    axis.tick_params(colors=theme.ink, length=0)
    axis.grid(axis="y", color=theme.faint, linewidth=0.8)
    axis.set_axisbelow(True)
    axis.set_facecolor("none")
    for side, spine in axis.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(theme.faint)
    axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))


def _title(name: str) -> str:
    """A stage's name in one line; of a long path the end says most."""
    name = " ".join(clean(name).split())
    return name if len(name) <= LONGEST_TITLE else f"…{name[1 - LONGEST_TITLE :]}"


def points(rows: Rows, split: str, key: str) -> tuple[list[float], list[float]]:
    """Steps and values that are numbers; infinities and NaN leave a gap, missing values nothing."""
    chosen = [row for row in rows if row.get("split") == split and isinstance(row.get(key), int | float)]
    values = [float(row[key]) if math.isfinite(row[key]) else math.nan for row in chosen]
    if not any(math.isfinite(value) for value in values):
        return [], []
    return [float(row["step"]) for row in chosen], values


def _smooth(values: Sequence[float]) -> list[float]:
    """A centred mean over about a thirtieth of the curve, narrower at both ends: it does not lag behind."""
    half = max(1, len(values) // 60)
    smoothed = []
    for place, value in enumerate(values):
        reach = min(half, place, len(values) - 1 - place)
        near = [one for one in values[place - reach : place + reach + 1] if math.isfinite(one)]
        smoothed.append(math.fsum(near) / len(near) if math.isfinite(value) else math.nan)
    return smoothed
