"""What can be wrong with an answer whatever it was asked for: it loops, speaks for the user, runs on, or says nothing.

In comes a completion, out comes the name of its fault. The pairs that teach a model its own faults are chosen by it, and
what is measured before and after is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from chatwright.text.manners import leaks_role, loops

if TYPE_CHECKING:
    from chatwright.generate.completion import Completion

# The first that fits is the one that is named.
FAULTS: dict[str, Callable[[Completion], bool]] = {
    "empty": lambda said: not said.text.strip(),
    "loops": lambda said: loops(said.text),
    "speaks-for-user": lambda said: leaks_role(said.text),
    "runs-on": lambda said: said.finish in ("length", "context"),
}


def fault(said: Completion) -> str:
    """The name of what is wrong with an answer, "" where nothing is."""
    return next((name for name, is_so in FAULTS.items() if is_so(said)), "")


def share(answers: Sequence[Completion]) -> float:
    """Of the answers, how many have a fault."""
    return sum(bool(fault(one)) for one in answers) / len(answers)
