"""What one rendering of a chat template may take: half a second of computing, and memory in proportion to its messages.

In: what the sandbox is about to do. Out: nothing, or `Overrun`. Time is counted in steps (a turn of a loop, a call);
memory before anything is made that can be much larger than what it is made of.
"""

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import TemplateError

SECONDS = 0.5  # of computing: a machine that is busy elsewhere, or asleep, does not count
FREE_CHARACTERS = 2**22
PER_CHARACTER = 128  # a template may build up each message many times over
LARGEST_NUMBER = 10**5  # as a width, a count, an exponent in bits; the length that jinja's `range` allows
STEPS_BETWEEN_LOOKS = 256

# What multiplies one argument by another.
MULTIPLYING = frozenset({"replace", "join", "translate", "indent", "wordwrap", "tojson"})

WIDE_PERCENT = re.compile(r"%(\([^)]*\))?[-+ #0-9.]*(\*|\d{6})")
WIDE_BRACE = re.compile(r"\{[^{}]*(:[^{}]*\{|\d{6})")


class Overrun(TemplateError):
    """The template takes too much."""


class Meter:
    """Counts one render. `size`: the characters of the messages."""

    def __init__(self, size: int) -> None:
        self._left = FREE_CHARACTERS + PER_CHARACTER * size
        self._steps = 0
        self._ends = time.thread_time() + SECONDS

    def step(self) -> None:
        """To be called wherever a template can go round in circles."""
        self._steps += 1
        if self._steps % STEPS_BETWEEN_LOOKS == 0 and time.thread_time() > self._ends:
            raise Overrun(f"it computes for more than {SECONDS:g} s")

    def spend(self, characters: int) -> None:
        """Takes this much of what is left."""
        self._left -= characters
        if self._left < 0:
            raise Overrun("it makes too much out of its messages")

    def taken(self, value: Any) -> Any:
        """The value, paid for."""
        if isinstance(value, str | bytes | list | tuple | dict | set):
            self.spend(len(value))
        return value

    def weighed(self, value: Any) -> Any:
        """The value, if writing it out or comparing it is no long work: lists may hold the same list many times."""
        if isinstance(value, list | tuple | dict) and _weight(value, {}) > self._left:
            raise Overrun("it holds too much in its lists")
        return value

    def admit(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """A call of the function or the filter `name` with these arguments."""
        self.step()
        given = [*args, *(value for key, value in kwargs.items() if not key.startswith("_"))]  # jinja adds some
        for value in given:
            if isinstance(value, int) and abs(value) > LARGEST_NUMBER:
                raise Overrun(f"it gives {name or 'a function'} a number over {LARGEST_NUMBER:,}")
            self.weighed(value)
        if name == "format":  # the filter: its first argument is the pattern
            self.admit_percents(args[0])
        if name in MULTIPLYING:
            *_, second, first = (0, 0, *sorted(map(_factor, given)))
            if first * second > self._left:
                raise Overrun(f"it makes too much with {name}")

    def admit_operator(self, operator: str, left: Any, right: Any) -> None:
        """`left operator right`, for + * ** and %."""
        if operator == "%":
            self.admit_percents(left)
            self.weighed(right)
        elif operator == "+":
            self.spend(_length(left) + _length(right))
        elif isinstance(left, int) and isinstance(right, int):
            bits = left.bit_length() * abs(right) if operator == "**" else left.bit_length() + right.bit_length()
            if bits > LARGEST_NUMBER:
                raise Overrun("it computes with numbers of too many digits")
        elif operator == "*":
            times = left if isinstance(left, int) else right
            self.spend(max(_length(left), _length(right)) * max(0, times if isinstance(times, int) else 0))

    def admit_percents(self, pattern: Any) -> None:
        """A text with `%s` to fill in; `%1000000000d` or `%*d` would say how long it becomes."""
        if isinstance(pattern, bytes) or (isinstance(pattern, str) and WIDE_PERCENT.search(pattern)):
            raise Overrun("it formats to a width that is too large or not fixed")

    def admit_braces(self, pattern: str) -> None:
        """As `admit_percents`, for `{:1000000000}` and `{:{}}`."""
        if WIDE_BRACE.search(pattern):
            raise Overrun("it formats to a width that is too large or not fixed")


def _length(value: Any) -> int:
    return len(value) if isinstance(value, str | bytes | list | tuple | dict) else 0


def _factor(value: Any) -> int:
    """How much longer an argument can make a text, or how many such arguments there are."""
    if isinstance(value, dict):
        return _weight(value, {})
    return abs(value) if isinstance(value, int) else _length(value)


def _weight(value: Any, known: dict[int, int]) -> int:
    """How much there is to write: the lengths of all texts, each as often as it is reached."""
    if isinstance(value, str | bytes):
        return len(value) + 2
    if not isinstance(value, list | tuple | dict):
        return 1
    if id(value) not in known:
        parts = [*value, *value.values()] if isinstance(value, dict) else value
        known[id(value)] = 2 + sum(_weight(part, known) for part in parts)
    return known[id(value)]
