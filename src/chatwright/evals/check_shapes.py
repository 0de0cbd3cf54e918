"""What a page about data is made of: tiles, tables and small charts, and how their figures are written."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

BINS = 24  # bars of a chart, at most


@dataclass(frozen=True)
class Tile:
    """One figure; `state` is "bad", "warning", "good" or nothing."""

    label: str
    value: str
    note: str = ""
    state: str = ""


@dataclass(frozen=True)
class Row:
    """The cells of one row, the first its name; `share` draws a bar behind them."""

    cells: tuple[str, ...]
    share: float | None = None


@dataclass(frozen=True)
class Chart:
    """Bars of heights up to 1, between `low` and `high`; `says` is the same in a sentence."""

    heights: tuple[float, ...]
    low: str
    high: str
    half: str  # of the values are at most so much
    says: str

    @classmethod
    def of(cls, counts: Sequence[int], low: float, high: float, half: float, unit: str = "") -> "Chart":
        """From the counts of bins of equal width."""
        says = f"from {text(low)} to {text(high)} {unit}".rstrip() + f", half of them at most {text(half)}"
        return cls(tuple(count / max(counts) for count in counts), text(low), text(high), text(half), says)


@dataclass(frozen=True)
class Part:
    """A card of the report; `numbers` are the columns that stand to the right. What is `places` names rows of files."""

    title: str
    rows: Sequence[Row] = ()
    header: tuple[str, ...] = ()
    numbers: tuple[int, ...] = ()
    chart: Chart | None = None
    hint: str = ""
    wide: bool = False
    places: bool = False
    folded: bool = False

    @property
    def shares(self) -> bool:
        return any(row.share is not None for row in self.rows)


def chart(values: Iterable[float], unit: str) -> Chart | None:
    """How values are spread; None where there are too few to be spread."""
    ordered = sorted(values)
    if len(ordered) < 2 or ordered[0] == ordered[-1]:
        return None
    low, high = ordered[0], ordered[-1]
    counts = [0] * BINS
    for value in ordered:
        counts[min(BINS - 1, int((value - low) / (high - low) * BINS))] += 1
    return Chart.of(counts, low, high, ordered[(len(ordered) - 1) // 2], unit)


def title(key: str) -> str:
    """`near_duplicate` as words: `Near duplicate`."""
    plain = key.replace("_", " ").strip()
    return plain[:1].upper() + plain[1:]


def percent(share: float) -> str:
    """`39 %`, `0.25 %`."""
    return f"{100 * share:.{0 if share >= 0.1 or not share else 2}f} %"


def text(value: Any) -> str:
    """A figure with separators and few digits, anything else as its text."""
    match value:
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"
        case None:
            return "–"
        case str():
            return value
    return json.dumps(value, ensure_ascii=False, default=str)
