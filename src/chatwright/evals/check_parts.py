"""The figures of a check as what a page draws: tiles, tables, small charts.

In comes the report as a mapping (`CheckReport.as_dict`). Keys that are known get words of their own; any other is drawn
by the shape of its value, in the order of the report, so that a new figure needs no change here.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from chatwright.evals.check_shapes import Chart, Part, Row, Tile, percent, text, title

MOST = 500  # rows of a table; whoever wants more wants --json
SPREAD = {"turns": "Turns in each", "lengths": "Length of each, in {unit}", "learned": "Learned of each, in {unit}"}
SUMMARY = {"total": "in all", "median": "median", "at_95_percent": "95 % have at most", "most": "most"}
TITLES = {
    "kinds": "Kinds of rows",
    "truncated": "What the window cuts",
    "truncated_rows": "Rows that the window cuts",
    "splits": "Split as training splits it",
    "overlaps": "Prompts in two files",
    "columns": "Columns that are called otherwise here",
    "bad": "Rows that cannot be used",
    "filtered": "Rows that a setting leaves out",
    "against": "Prompts of the evaluation data that are here too",
    "filters": "What filters find",
    "advice": "What to do",
}
HINTS = {
    "truncated_rows": "A model that never sees the end of an answer never stops. Raise --seq-len, or shorten these rows.",
    "bad": "Nothing is learned from these. Correct them at their places, or leave them out with --skip-bad-rows.",
    "overlaps": "What is in both is no test: the model has seen it.",
    "against": "What was learned is no test. --fix leaves these rows out.",
    "filters": "Each is asked of every row; --fix OUT.jsonl writes the data without what the chosen ones find.",
}
# Said elsewhere on the page; `listed` is `bad` and `filtered` again, `cut` a part of `truncated_rows`.
ELSEWHERE = ("name", "unit", "seq_len", "read", "kept", "records", "repeated", "format", "listed", "cut")
ALONE = ("kinds", "truncated")  # one of them alone is in the lead or the table below


def tiles(report: Mapping[str, Any]) -> list[Tile]:
    """The figures that come first."""
    found: list[Tile] = []
    read, bad = report.get("read", 0), _bad_rows(report)
    if read:
        note = f"{report['kept']:,} can be used" if "kept" in report else ""
        found.append(Tile("rows", f"{read:,}", note))
        share = percent(bad / read) if bad else "every row can be used"
        found.append(Tile("bad rows", f"{bad:,}", share, "bad" if bad else "good"))
    lengths, learned, unit = report.get("lengths"), report.get("learned"), str(report.get("unit", "tokens"))
    if lengths and learned:
        share = f"{percent(learned['total'] / max(1, lengths['total']))} of {lengths['total']:,}"
        found.append(Tile(f"learned {unit}", f"{learned['total']:,}", share))
        found.append(Tile("median length", f"{lengths['median']:,}", f"{unit}; the longest has {lengths['most']:,}"))
    if report.get("seq_len"):
        cut = sum(report.get("truncated", {}).values())
        found.append(Tile("truncated", f"{cut:,}", f"at {report['seq_len']:,} {unit}", "warning" if cut else "good"))
    if "repeated" in report:
        found.append(Tile("repeated", f"{report['repeated']:,}", "rows that repeat an earlier one"))
    return found


def parts(report: Mapping[str, Any]) -> list[Part]:
    """A card for everything else that the report holds, narrow ones first; what is empty is left out."""
    summaries = {key: value for key, value in report.items() if _is_summary(value)}
    found = _summaries(summaries, str(report.get("unit", "tokens"))) if summaries else []
    plain: list[Row] = []
    for key, value in report.items():
        if key == "columns":
            value = {name: column for name, column in value.items() if name != column}
        if key in summaries or key in ELSEWHERE or value in (None, "", (), [], {}):
            continue
        if (key in ALONE and len(value) == 1) or (key == "against" and not any(value.values())):
            continue
        if key == "filters" and _is_grid(value):
            found += _filters(value)
        elif isinstance(value, Mapping | list | tuple):
            found.append(_part(key, value))
        else:
            plain.append(Row((title(key), text(value))))
    found += [Part("Settings", plain)] if plain else []
    return sorted(found, key=lambda part: -1 if part.title == TITLES["advice"] else part.wide + part.folded)


def _bad_rows(report: Mapping[str, Any]) -> int:
    """One entry can stand for several rows of a file, or for none where another record of its row is used."""
    if "listed" in report:
        return sum(row["rows"] for row in report["listed"] if row["kind"] == "bad")
    return len(report.get("bad", ()))


def _part(key: str, value: Any) -> Part:
    """A mapping or a list, drawn by its shape."""
    name, hint = TITLES.get(key, title(key)), HINTS.get(key, "")
    if isinstance(value, Mapping):
        if _is_grid(value):
            return _grid(name, [(str(inner), one) for inner, one in value.items()], hint)
        counts = [one for one in value.values() if isinstance(one, int | float) and not isinstance(one, bool)]
        most = max(counts, default=0) if len(counts) == len(value) and len(value) > 1 else 0
        rows = [Row((str(inner), text(one)), one / most if most > 0 else None) for inner, one in value.items()]
        return Part(name, rows, numbers=(1,) if counts else (), hint=hint)
    places = [_place(one) for one in value]
    if all(places):
        return _places(name, [place for place in places if place], hint)
    if all(isinstance(one, Mapping) for one in value):
        return _grid(name, [("", one) for one in value], hint)
    return Part(name, _capped([Row((text(one),)) for one in value]), hint=hint, wide=True)


def _place(one: Any) -> tuple[str, str] | None:
    """Place and reason of a row, from `file:line: reason` or its parts; None for anything else."""
    if isinstance(one, Mapping) and {"file", "line", "reason"} <= set(one):
        return f"{one['file']}:{one['line']}", str(one["reason"])
    if isinstance(one, str):
        place, sign, reason = one.partition(": ")
        if sign and place.rpartition(":")[2].isdigit():
            return place, reason
    return None


def _places(name: str, places: Sequence[tuple[str, str]], hint: str = "", folded: bool = False) -> Part:
    rows = _capped([Row(place) for place in places])
    full = f"{name} ({len(places):,})"
    return Part(full, rows, ("place", "reason"), hint=hint, wide=True, places=True, folded=folded)


def _capped(rows: list[Row]) -> list[Row]:
    """A page is for reading: a million bad rows are no better than the first of them."""
    if len(rows) <= MOST:
        return rows
    more = f"… and {len(rows) - MOST:,} more (--json lists all)"
    return [*rows[:MOST], Row((more, *[""] * (len(rows[0].cells) - 1)))]


def _filters(found: Mapping[str, Mapping[str, Any]]) -> list[Part]:
    """What each filter finds, then the places of the first rows, folded."""
    header = ("filter", "finds", "rows", "left out by --fix")
    keys = ("says", "rows", "chosen")
    lines = [Row((name, *(text(one.get(key)) for key in keys))) for name, one in found.items()]
    overview = Part(TITLES["filters"], lines, header, (2,), hint=HINTS["filters"], wide=True)
    first = {name: [_place(row) for row in one.get("first", ())] for name, one in found.items()}
    named = {name: [place for place in places if place] for name, places in first.items()}
    return [overview, *(_places(f"First found by {name}", one, folded=True) for name, one in named.items() if one)]


def _is_grid(value: Any) -> bool:
    return isinstance(value, Mapping) and bool(value) and all(isinstance(one, Mapping) for one in value.values())


def _grid(name: str, lines: Sequence[tuple[str, Mapping[str, Any]]], hint: str) -> Part:
    """Mappings below each other: a column a key."""
    keys = list(dict.fromkeys(key for _, line in lines for key in line))
    named = any(inner for inner, _ in lines)
    rows = [Row((*((inner,) if named else ()), *(text(line.get(key)) for key in keys))) for inner, line in lines]
    header = (*(("",) if named else ()), *(title(key).lower() for key in keys))
    return Part(name, _capped(rows), header, hint=hint, wide=True)


def _is_summary(value: Any) -> bool:
    return isinstance(value, Mapping) and set(SUMMARY) <= set(value)


def _summaries(found: Mapping[str, Mapping[str, Any]], unit: str) -> list[Part]:
    """Turns, lengths and learned tokens in one table, and how each is spread."""
    rows = [Row((title(key), *(text(one[name]) for name in SUMMARY))) for key, one in found.items() if one["most"]]
    table = Part("Counts", rows, ("", *SUMMARY.values()), (1, 2, 3, 4), wide=True)
    bars = {SPREAD.get(key, title(key)).format(unit=unit): _bars(one) for key, one in found.items()}
    return [table, *(Part(name, chart=one) for name, one in bars.items() if one)]


def _bars(summary: Mapping[str, Any]) -> Chart | None:
    """The histogram of a summary, where there is more than one bin to see: bins of equal width from 0 to the most."""
    counts = summary.get("histogram") or ()
    if sum(1 for count in counts if count) < 2:
        return None
    return Chart.of(counts, 0, summary["most"], summary["median"])
