"""GSM8K's rows (Cobbe et al., 2021): `{"question": ..., "answer": "... so it is 6 * 7 = 42. #### 42"}`.

What stands after the last "####" is graded; the reasoning before it is not learned.
"""

import math
import re
from typing import Any

from chatwright.data.formats import fields
from chatwright.errors import DataError
from chatwright.text.records import Problem, Record, conversation

KIND = "problems"
COLUMNS = {"question": ("question",), "answer": ("answer",)}
MARK = "####"
NUMBER = re.compile(r"[$€£¥]?\s*(-?[\d,]*\d(?:\.\d+)?)\s*[%.]?")


def matches(row: dict[str, Any]) -> bool:
    """Whether the row has a question, and an answer that marks its result."""
    return isinstance(row.get("question"), str) and isinstance(row.get("answer"), str) and MARK in row["answer"]


def parse(row: dict[str, Any], columns: fields.Columns) -> Record:
    """The row as a Problem with one number for an answer."""
    asked, column = (columns.get(name, name) for name in COLUMNS)
    question, answer = fields.text(row, asked), fields.text(row, column)
    _, mark, result = answer.rpartition(MARK)
    if not mark:
        raise DataError(f"{column!r} marks no result; it must end with {MARK} and a number")
    found = NUMBER.fullmatch(result.strip())
    value = float(found.group(1).replace(",", "")) if found else math.inf
    if not math.isfinite(value):
        raise DataError(f"{column!r} has {fields.shown(result.strip())} after {MARK}; it must be a number")
    return Problem(conversation(question), "final_number", {"value": int(value) if value.is_integer() else value})
