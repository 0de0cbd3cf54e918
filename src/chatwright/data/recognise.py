"""Which of `data/formats` a file's rows are in, found from its first rows, and what its columns are called there.

A wrong guess trains on the wrong text without a word, so two possible readings are an error that shows the row.
"""

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any, Protocol, runtime_checkable

from chatwright import registry
from chatwright.data.formats import fields
from chatwright.data.options import ReadOptions
from chatwright.data.rows import Rows
from chatwright.errors import DataError
from chatwright.text.records import Record

FOLDER = "data.formats"


@runtime_checkable
class Assembling(Protocol):
    """A format whose records are put together from several rows."""

    def assemble(self, rows: Rows, file: str, options: ReadOptions) -> Rows:
        """Rows for `parse`, and every row that is in none of them: covers and rows add up to what came in."""
        ...


@dataclass(frozen=True)
class Reading:
    """A format and the columns that it reads: the format's own name -> the name in the file."""

    format: str
    columns: dict[str, str]
    unread: tuple[str, ...] = ()
    also: tuple[str, ...] = ()  # other formats that the rows could be read as

    @property
    def module(self) -> ModuleType:
        """The format's module; asked for at every row, so the folder is not looked through for it."""
        return importlib.import_module(f"chatwright.{FOLDER}.{self.format}")

    def __str__(self) -> str:
        columns = ", ".join(name if name == own else f"{own} from {name!r}" for own, name in self.columns.items())
        unread = f"; not read: {', '.join(self.unread)}" if self.unread else ""
        others = " or ".join(f"--format {name}" for name in self.also)
        also = f"; {others} would read it differently" if self.also else ""
        return f"read as {self.format} ({columns}){unread}{also}"


def recognise(
    rows: list[dict[str, Any]],
    place: str,
    kind: str = "",
    format: str | None = None,
    columns: Mapping[str, str] | None = None,
) -> Reading:
    """The format of some first rows. Of several that fit, those of the wanted `kind` win, then the special case.

    Raises DataError when no format or more than one fits, or when an override names no column.
    """
    given = dict(columns or {})
    everywhere = _everywhere(rows)
    for own, column in given.items():
        if column not in everywhere:
            near = registry.suggestion(column, everywhere)
            raise DataError(f"{place}: no row has the column {column!r} that --columns gives for {own!r}{near}")
    if format is not None:
        registry.load(FOLDER, format)
        return _reading(format, rows, given)
    fitting = _fitting(rows, given)
    if not fitting:
        raise DataError(f"{place}: {_unknown(rows[0])}")
    found = _chosen(fitting, kind)
    if len(found) > 1:
        raise DataError(f"{place}: {_ambiguous(rows[0], [_reading(name, rows, given) for name in found])}")
    reading = _reading(found[0], rows, given)
    others = (_reading(name, rows, given) for name in fitting if name != found[0])
    return replace(reading, also=tuple(other.format for other in others if _differ(reading, other, rows)))


def _fitting(rows: list[dict[str, Any]], given: Mapping[str, str]) -> dict[str, int]:
    """The formats that rows fit, and how many; those that have no column of a given name only if no other fits."""
    named = [_renamed(row, given) for row in rows]
    modules = {name: registry.load(FOLDER, name) for name in registry.names(FOLDER)}
    counts = {name: sum(module.matches(row) for row in named) for name, module in modules.items()}
    fitting = {name: count for name, count in counts.items() if count}
    told = {name: count for name, count in fitting.items() if set(given) <= set(modules[name].COLUMNS)}
    return told or fitting


def _chosen(fitting: Mapping[str, int], kind: str) -> list[str]:
    """The formats left of several: of the wanted kind, then no general case of another, then of the most rows.

    A few rows of another shape are bad rows, as many as of the first shape are a question. So the more special format
    takes the place of the general one when it fits more than half as many rows.
    """
    modules = {name: registry.load(FOLDER, name) for name in fitting}
    most = max(fitting.values())
    wanted = [name for name in fitting if kind == modules[name].KIND and 2 * fitting[name] > most]
    left = wanted or list(fitting)
    special = {
        general
        for name in left
        for general in vars(modules[name]).get("INSTEAD_OF", ())
        if general in left and 2 * fitting[name] > fitting[general]
    }
    left = [name for name in left if name not in special]
    return [name for name in left if fitting[name] == max(fitting[one] for one in left)]


def _differ(first: Reading, second: Reading, rows: list[dict[str, Any]]) -> bool:
    """Whether some of the rows become other records."""
    return any(_records(first, row) != _records(second, row) for row in rows)


def _records(reading: Reading, row: dict[str, Any]) -> list[Record] | None:
    """What a row becomes; None where it becomes nothing."""
    try:
        made = reading.module.parse(row, reading.columns)
    except DataError:
        return None
    return made if isinstance(made, list) else [made]


def _reading(name: str, rows: list[dict[str, Any]], given: dict[str, str]) -> Reading:
    """The columns of a format in these rows; an override that is no column of the format is refused."""
    names: dict[str, tuple[str, ...]] = registry.load(FOLDER, name).COLUMNS
    for own in given:
        if own not in names:
            near = registry.suggestion(own, names)
            raise DataError(f"--columns: {name} has no column {own!r}{near}; it has {', '.join(names)}")
    present = {column: None for row in rows for column in row}
    read = {column for spellings in names.values() for column in spellings} | set(given.values())
    # the keys inside of what the format reads; those of a column that it does not read say nothing about it
    inside = _everywhere([{column: row[column] for column in row if column in read} for row in rows])
    columns = dict(given)
    for own, spellings in names.items():
        fitting = [spelling for spelling in spellings if spelling in present or spelling in inside]
        if own not in columns and fitting:
            columns[own] = fitting[0]
    in_order = {own: columns[own] for own in names if own in columns}
    unread = tuple(column for column in present if column not in in_order.values())
    return Reading(name, in_order, unread)


def _everywhere(rows: Iterable[dict[str, Any]]) -> dict[str, None]:
    """Every column of the rows, and the keys inside their objects and lists of messages, in order."""
    found: dict[str, None] = {}
    for row in rows:
        found |= dict.fromkeys(row) | dict.fromkeys(key for value in row.values() for key in _keys(value))
    return found


def _keys(value: Any) -> list[str]:
    """The keys of an object or of a list's first one: where messages keep role and content."""
    first = value[0] if isinstance(value, list) and value else value
    return list(first) if isinstance(first, dict) else []


def _renamed(row: dict[str, Any], given: Mapping[str, str]) -> dict[str, Any]:
    """The row as it would be under the format's own names, one level of lists and objects included."""
    own = {column: name for name, column in given.items()}

    def named(value: Any) -> Any:
        return {own.get(key, key): inner for key, inner in value.items()} if isinstance(value, dict) else value

    def inside(value: Any) -> Any:
        return [named(item) for item in value] if isinstance(value, list) else named(value)

    kept = {key: inside(value) for key, value in row.items() if key not in own}
    return kept | {own[key]: inside(value) for key, value in row.items() if key in own}


def _unknown(row: dict[str, Any]) -> str:
    return (
        f"no format fits the first row, {fields.short(row)}; known formats are {', '.join(registry.names(FOLDER))}: "
        "give --format and, where the columns have other names, --columns (as in {instruction: question})"
    )


def _ambiguous(row: dict[str, Any], readings: list[Reading]) -> str:
    choices = " or ".join(f"--format {reading.format} ({', '.join(reading.columns.values())})" for reading in readings)
    return f"the rows can be read in {len(readings)} ways; give {choices}; the first row is {fields.short(row)}"
