"""Right when the number that a reply ends its reasoning with is right, as GSM8K's answers are held against each other.

The last "####", "answer is", "answer:" or \\boxed{ marks where the answer stands; without one it is the last number.
"""

import math
import re
from typing import Any

from pydantic import BaseModel

from chatwright.tasks._answer import Number, read

MARK = re.compile(r"####(?=\s*\W{0,2}\d)|\banswer(?:\s+is\b|\s*:)|\\boxed\{", re.IGNORECASE)
# Commas stand between groups of three, a sign before or after a currency; in "9-4" and "2019-20" the dash is no sign.
NUMBER = re.compile(r"(?<![\w.,])([-−]?)[$€£¥]?([-−]?)(\d{1,3}(?:,\d{3})+(?!\d)|\d+)(\.\d+)?")


class Answer(BaseModel):
    """What it comes to."""

    value: Number


def grade(reply: str, answer: dict[str, Any]) -> float:
    """1.0 or 0.0. Commas, currencies and units are no part of a number: "$1,234.50" and "1234.5 dollars" are one."""
    wanted = read(Answer, answer)
    found = final_number(reply)
    return float(found is not None and math.isclose(found, wanted.value, rel_tol=1e-6, abs_tol=1e-6))


def facts(reply: str, answer: dict[str, Any]) -> int:
    """1 where the number is right."""
    return int(grade(reply, answer))


def final_number(reply: str) -> float | None:
    """The number that the reply settles on; None where there is none.

    After a mark it is the first one or, in the line of the mark, what stands after the last "=", as in "The answer is
    9 * 2 = 18 dollars."
    """
    marks = list(MARK.finditer(reply))
    if not marks:
        return next(iter(_numbers(reply)[::-1]), None)
    claim = reply[marks[-1].end() :].lstrip()
    line = claim.partition("\n")[0]
    return next(iter([*_numbers(line.rpartition("=")[2]), *_numbers(claim)]), None)


def _numbers(text: str) -> list[float]:
    """Every number of the text."""
    found = []
    for before, after, whole, fraction in NUMBER.findall(text):
        size = float(whole.replace(",", "") + fraction)
        found.append(-size if before or after else size)
    return found
