"""Right when the reply's Python function, run in a sandbox of its own, gives the right values.

The sandbox (`_sandbox.py`) knows only the arguments; the values are compared here, so code that forges a verdict gains
nothing.
"""

import ast
import re
from typing import Annotated, Any

from pydantic import BaseModel, Field

from chatwright.tasks import _sandbox
from chatwright.tasks._answer import read

SECONDS = 5.0  # wall time for all calls of one reply
FENCE = re.compile(r"```[ \t]*(?:python|py)?[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL | re.IGNORECASE)
WHOLE = re.compile(r"-?(?<!\d)\d{1,300}(?!\d)")
LARGEST = 1e300  # what is larger may not be compared with a fraction


Suite = Annotated[list[tuple[list[Any], Any]], Field(min_length=1)]


class Answer(BaseModel):
    """Suites, each a list of [arguments, expected value]."""

    accept: Annotated[list[Suite], Field(min_length=1)]


def grade(reply: str, answer: dict[str, Any]) -> float:
    """1.0 or 0.0.

    A reply passes when one of its functions, whatever its name, gives every value of one suite, by `return` or, when
    it returns nothing, by `print`. Suites are alternatives: the n-th Fibonacci number, or the list of the first n.
    """
    suites = read(Answer, answer).accept
    code = extract_code(reply)
    names = _functions(code)
    if not names:
        return 0.0
    calls = [arguments for suite in suites for arguments, _ in suite]
    for results in _sandbox.run(code, names, calls, SECONDS):
        start = 0
        for suite in suites:
            part = results[start : start + len(suite)]
            start += len(suite)
            if all(_equal(result, expected) for result, (_, expected) in zip(part, suite, strict=True)):
                return 1.0
    return 0.0


def extract_code(reply: str) -> str:
    """The first fenced block, or else the reply from its first line of code on; "" when nothing parses."""
    fenced = FENCE.search(reply)
    lines = (fenced.group(1) if fenced else reply).strip("\n").split("\n")
    if not fenced:
        first = next((i for i, line in enumerate(lines) if re.match(r"(def|import|from|class)\s", line)), len(lines))
        lines = lines[first:]
    for end in range(len(lines), 0, -1):  # a sentence after unfenced code is not part of it
        code = "\n".join(lines[:end])
        if _functions(code):
            return code
    return ""


def _functions(code: str) -> list[str]:
    """The names of the functions that the code defines at its top level; [] when it does not parse."""
    try:
        return [node.name for node in ast.parse(code).body if isinstance(node, ast.FunctionDef)]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []


def _equal(result: dict[str, Any], expected: Any) -> bool:
    """Whether a call gave the expected value; True is not 1, and printed numbers count as the numbers."""
    value = result.get("value")
    if isinstance(shown := result.get("shown"), str):
        value = shown
        if isinstance(expected, int | list):
            numbers = [int(number) for number in WHOLE.findall(shown)]
            value = numbers[0] if isinstance(expected, int) and len(numbers) == 1 else numbers
    elif "value" not in result:
        return False
    if isinstance(value, bool) != isinstance(expected, bool):
        return False
    if isinstance(expected, float) and isinstance(value, int | float):
        return abs(value) < LARGEST and abs(value - expected) < 1e-6
    return bool(value == expected)
