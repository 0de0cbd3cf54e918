"""What the row formats share: a column's text or list, or one sentence that says what stands there instead."""

from collections.abc import Mapping
from typing import Any

from chatwright.errors import DataError

Columns = Mapping[str, str]  # the format's name of a column -> the name that it has in this file


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


def present(row: Mapping[str, Any], column: str) -> Any:
    """The value of a column, whatever it is."""
    if column not in row:
        raise DataError(f"the row has no {column!r}; it has {', '.join(map(repr, row)) or 'nothing'}")
    return row[column]


def first_item(row: Mapping[str, Any], column: str) -> Mapping[str, Any]:
    """The first object in a list column, or an empty one: what a format recognises itself by."""
    value = row.get(column)
    return value[0] if isinstance(value, list) and value and isinstance(value[0], dict) else {}


def kind_of(value: object) -> str:
    """A JSON value in words: `a number, 3`."""
    if value is None:
        return "null"
    words = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}
    shown = repr(value)
    return f"{words.get(type(value), type(value).__name__)}, {shown if len(shown) <= 40 else shown[:37] + '...'}"
