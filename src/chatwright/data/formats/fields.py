"""What the row formats share: a column's text, list or truth, or one sentence that says what stands there instead."""

import json
from collections.abc import Mapping
from itertools import islice
from typing import Any

from chatwright.errors import DataError

Columns = Mapping[str, str]  # the format's name of a column -> the name that it has in this file
Spellings = Mapping[str, tuple[str, ...]]  # a format's COLUMNS
SHOWN = 12  # columns that a message lists


def text(row: Mapping[str, Any], column: str) -> str:
    """The text of a column that must be there."""
    value = present(row, column)
    if not isinstance(value, str):
        raise DataError(f"{column!r} is {kind_of(value)}; it must be text")
    return value


def optional_text(row: Mapping[str, Any], column: str) -> str:
    """The text of a column that may be missing or null."""
    return "" if row.get(column) is None else text(row, column)


def items(row: Mapping[str, Any], column: str) -> list[Any]:
    """The list in a column that must be there."""
    value = present(row, column)
    if not isinstance(value, list):
        raise DataError(f"{column!r} is {kind_of(value)}; it must be a list of messages")
    return value


def flag(row: Mapping[str, Any], column: str) -> bool:
    """A truth: true or false, the words (a CSV file has no others), or 1 or 0."""
    value = present(row, column)
    if is_flag(value):
        return value if isinstance(value, bool) else value.strip().lower() == "true"
    if isinstance(value, int | float) and value in (0, 1):
        return value == 1
    raise DataError(f"{column!r} is {kind_of(value)}; it must be true or false")


def is_flag(value: object) -> bool:
    """Whether it can only be a truth; 0 and 1 may also count something."""
    return isinstance(value, bool) or (isinstance(value, str) and value.strip().lower() in ("true", "false"))


def present(row: Mapping[str, Any], column: str) -> Any:
    """The value of a column, whatever it is."""
    if column not in row:
        listed = ", ".join(map(repr, islice(row, SHOWN))) + (", ..." if len(row) > SHOWN else "")
        raise DataError(f"the row has no {column!r}; it has {listed or 'nothing'}")
    return row[column]


def name(row: Mapping[str, Any], columns: Columns, spellings: Spellings, own: str) -> str:
    """What a column is called in this row: the name it has in the file or, in a row of another spelling, that one."""
    usual = columns.get(own, own)
    if usual in row or usual not in spellings[own]:
        return usual
    return next((spelling for spelling in spellings[own] if spelling in row), usual)


def has(row: Mapping[str, Any], spellings: Spellings, own: str) -> bool:
    """Whether a column is there under any spelling."""
    return any(spelling in row for spelling in spellings[own])


def first_item(row: Mapping[str, Any], column: str) -> Mapping[str, Any]:
    """The first object in a list column, or an empty one: what a format recognises itself by."""
    value = row.get(column)
    return value[0] if isinstance(value, list) and value and isinstance(value[0], dict) else {}


def kind_of(value: object) -> str:
    """A JSON value in words: `a number, 3`."""
    if value is None:
        return "null"
    words = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}
    return f"{words.get(type(value), type(value).__name__)}, {shown(value)}"


def shown(value: object) -> str:
    """`repr` in at most forty characters, however long or deeply nested the value is."""
    try:
        text = repr(value[:41]) if isinstance(value, str | list) else repr(value)
    except RecursionError:
        return "..."
    return text if len(text) <= 40 else text[:37] + "..."


def is_deep(values: list[Any], most: int) -> bool:
    """Whether lists and objects in it are nested more levels than so many: it may be too deep to compare or write out."""
    level = values
    for _ in range(most):
        inside = (one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list))
        level = [value for values in inside for value in values]
        if not level:
            return False
    return True


def short(row: Mapping[str, Any]) -> str:
    """A row as a message shows it."""
    try:
        text = json.dumps(row, ensure_ascii=True, default=str)
    except (RecursionError, ValueError, TypeError):
        text = f"a row with {', '.join(map(repr, islice(row, SHOWN)))}"
    return text if len(text) <= 160 else text[:157] + "..."
