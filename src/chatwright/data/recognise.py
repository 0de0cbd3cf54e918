"""Which of `data/formats` a file's rows are in, found from its first rows, and what its columns are called there.

A wrong guess trains on the wrong text without a word, so two possible readings are an error that shows the row.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from chatwright import registry
from chatwright.errors import DataError

FOLDER = "data.formats"


@dataclass(frozen=True)
class Reading:
    """A format and the columns that it reads: the format's own name -> the name in the file."""

    format: str
    columns: dict[str, str]
    unread: tuple[str, ...] = ()
    also: tuple[str, ...] = ()  # other formats that the rows could be read as

    @property
    def module(self) -> ModuleType:
        return registry.load(FOLDER, self.format)

    def __str__(self) -> str:
        columns = ", ".join(name if name == own else f"{own} from {name!r}" for own, name in self.columns.items())
        unread = f"; not read: {', '.join(self.unread)}" if self.unread else ""
        also = f"; --format {self.also[0]} would read it differently" if self.also else ""
        return f"read as {self.format} ({columns}){unread}{also}"


def recognise(
    rows: list[dict[str, Any]],
    place: str,
    kind: str = "",
    format: str | None = None,
    columns: Mapping[str, str] | None = None,
) -> Reading:
    """The format of some first rows. `kind` ("documents", "conversations") decides between text and the others.

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
        return _reading(format, rows, given, place)
    matching = [_matching(_renamed(row, given)) for row in rows]
    counts = {name: sum(name in found for found in matching) for name in registry.names(FOLDER)}
    # a few rows of another shape are bad rows; as many as of the first shape are a question
    found = [name for name, count in counts.items() if count and count == max(counts.values())]
    if not found:
        raise DataError(f"{place}: {_unknown(rows[0])}")
    chosen = found[0] if len(found) == 1 else _preferred(found, kind)
    if chosen is None:
        raise DataError(f"{place}: {_ambiguous(rows[0], [_reading(name, rows, given, place) for name in found])}")
    return _reading(
        chosen, rows, given, place, tuple(name for name, count in counts.items() if count and name != chosen)
    )


def _matching(row: dict[str, Any]) -> list[str]:
    """The formats that one row fits."""
    return [name for name in registry.names(FOLDER) if registry.load(FOLDER, name).matches(row)]


def _preferred(found: list[str], kind: str) -> str | None:
    """Rows with a `text` beside their parts are common; who wants conversations means the parts."""
    others = [name for name in found if name != "text"]
    if "text" not in found or not kind:
        return None
    if kind == "documents":
        return "text"
    return others[0] if len(others) == 1 else None


def _reading(
    name: str, rows: list[dict[str, Any]], given: dict[str, str], place: str, also: tuple[str, ...] = ()
) -> Reading:
    """The columns of a format in these rows; an override that is no column of the format is refused."""
    names: dict[str, tuple[str, ...]] = registry.load(FOLDER, name).COLUMNS
    for own in given:
        if own not in names:
            near = registry.suggestion(own, names)
            raise DataError(f"--columns: {name} has no column {own!r}{near}; it has {', '.join(names)}")
    present, everywhere = {column: None for row in rows for column in row}, _everywhere(rows)
    columns = dict(given)
    for own, spellings in names.items():
        fitting = [spelling for spelling in spellings if spelling in everywhere]
        if own not in columns and fitting:
            columns[own] = fitting[0]
    in_order = {own: columns[own] for own in names if own in columns}
    read = set(in_order.values())
    return Reading(name, in_order, tuple(column for column in present if column not in read), also)


def _everywhere(rows: Iterable[dict[str, Any]]) -> dict[str, None]:
    """Every column of the rows, and the keys inside their lists of messages, in order."""
    found: dict[str, None] = {}
    for row in rows:
        found |= dict.fromkeys(row) | dict.fromkeys(key for value in row.values() for key in _keys(value))
    return found


def _keys(value: Any) -> list[str]:
    """The keys of a list's first object: where messages keep role and content."""
    return list(value[0]) if isinstance(value, list) and value and isinstance(value[0], dict) else []


def _renamed(row: dict[str, Any], given: Mapping[str, str]) -> dict[str, Any]:
    """The row as it would be under the format's own names, one level of lists included."""
    own = {column: name for name, column in given.items()}

    def inside(value: Any) -> Any:
        return [inside_object(item) for item in value] if isinstance(value, list) else value

    def inside_object(item: Any) -> Any:
        return {own.get(key, key): value for key, value in item.items()} if isinstance(item, dict) else item

    kept = {key: inside(value) for key, value in row.items() if key not in own}
    return kept | {own[key]: inside(value) for key, value in row.items() if key in own}


def _unknown(row: dict[str, Any]) -> str:
    return (
        f"no format fits the first row, {_short(row)}; known formats are {', '.join(registry.names(FOLDER))}: "
        "give --format and, where the columns have other names, --columns (as in {instruction: question})"
    )


def _ambiguous(row: dict[str, Any], readings: list[Reading]) -> str:
    choices = " or ".join(f"--format {reading.format} ({', '.join(reading.columns.values())})" for reading in readings)
    return f"the rows can be read in {len(readings)} ways; give {choices}; the first row is {_short(row)}"


def _short(row: dict[str, Any]) -> str:
    """A row as a message shows it."""
    text = json.dumps(row, ensure_ascii=True, default=str)
    return text if len(text) <= 160 else text[:157] + "..."
