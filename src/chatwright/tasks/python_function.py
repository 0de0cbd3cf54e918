"""Right when the reply's Python function, run in a process of its own with limits, gives the right values.

The limits (time, memory, no file of any size) stop accidents, not an attacker. The child knows only the arguments; the
values are compared here, so code that forges a verdict gains nothing.
"""

import ast
import json
import re
import subprocess
import sys
import tempfile
from typing import Any

SECONDS = 5.0  # wall time for all calls of one reply; the child's processor time is limited to 2 seconds
FENCE = re.compile(r"```[ \t]*(?:python|py)?[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL | re.IGNORECASE)

CHILD = r"""
import collections.abc, contextlib, io, itertools, json, re, sys
try:
    import resource
    for limit, most in (("RLIMIT_CPU", 2), ("RLIMIT_AS", 1 << 29), ("RLIMIT_FSIZE", 0), ("RLIMIT_NPROC", 0)):
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(vars(resource)[limit], (most, most))
except ImportError:
    pass
task = json.load(sys.stdin)
out, scope = sys.stdout, {"__name__": "reply"}

def call(function, arguments):
    shown = io.StringIO()
    try:
        with contextlib.redirect_stdout(shown):
            value = function(*arguments)
            if isinstance(value, collections.abc.Iterator):
                value = list(itertools.islice(value, 50))
    except Exception as error:
        return {"error": type(error).__name__}
    if value is None and shown.getvalue().strip():
        text = shown.getvalue().strip()
        numbers = [int(number) for number in re.findall(r"-?\d+", text)]
        return {"value": text, "numbers": numbers}
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return {"error": "not plain"}
    return {"value": value}

with contextlib.redirect_stdout(io.StringIO()):
    exec(compile(task["code"], "reply", "exec"), scope)
results = [[call(scope[name], arguments) for arguments in task["calls"]] for name in task["names"] if name in scope]
out.write(json.dumps(results))
"""


def grade(reply: str, answer: dict[str, Any]) -> float:
    """1.0 or 0.0; `answer["accept"]` holds suites, each a list of [arguments, expected value].

    A reply passes when one of its functions, whatever its name, gives every value of one suite, by `return` or, when
    it returns nothing, by `print`. Suites are alternatives: the n-th Fibonacci number, or the list of the first n.
    """
    code = extract_code(reply)
    names = _functions(code)
    if not names:
        return 0.0
    suites: list[list[list[Any]]] = answer["accept"]
    calls = [arguments for suite in suites for arguments, _ in suite]
    for results in _run(code, names, calls):
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


def _run(code: str, names: list[str], calls: list[list[Any]]) -> list[list[dict[str, Any]]]:
    """For each function, the result of each call; [] when the process crashed, hung or wrote nonsense."""
    task = json.dumps({"code": code, "names": names, "calls": calls})
    command = [sys.executable, "-I", "-c", CHILD]
    with tempfile.TemporaryDirectory() as folder:
        try:
            child = subprocess.run(
                command, input=task, capture_output=True, text=True, timeout=SECONDS, env={}, cwd=folder
            )
            results = json.loads(child.stdout)
        except (subprocess.TimeoutExpired, ValueError, RecursionError):
            return []
    shaped = isinstance(results, list) and all(isinstance(r, list) and len(r) == len(calls) for r in results)
    return results if shaped and all(isinstance(call, dict) for r in results for call in r) else []


def _equal(result: dict[str, Any], expected: Any) -> bool:
    """Whether a call gave the expected value; True is not 1, and printed numbers count as the numbers."""
    if "value" not in result:
        return False
    value = result["value"]
    if "numbers" in result and isinstance(expected, int | list):
        numbers = result["numbers"]
        value = numbers[0] if isinstance(expected, int) and len(numbers) == 1 else numbers
    if isinstance(value, bool) != isinstance(expected, bool):
        return False
    if isinstance(expected, float) and isinstance(value, int | float):
        return abs(value - expected) < 1e-6
    return bool(value == expected)
