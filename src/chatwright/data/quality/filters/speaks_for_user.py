"""Rows with an answer that writes somebody else's turn: a model that learns from one talks to itself."""

from chatwright.data.quality.seen import Reason, Seen, Wanted
from chatwright.text.manners import leaks_role

SAYS = "an answer that goes on as the user"
ON = True
REMEMBERS = False


def make(wanted: Wanted) -> Reason:
    """By the rule that replies are measured with."""
    return _reason


def _reason(seen: Seen) -> str:
    if any(leaks_role(message.content) for message in seen.learned):
        return "an answer writes a role marker, as if it spoke for the user"
    return ""
