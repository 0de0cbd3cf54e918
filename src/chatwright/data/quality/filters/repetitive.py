"""Rows with an answer that goes round in a loop: a model that learns from one does it as well."""

from chatwright.data.quality.seen import Reason, Seen, Wanted
from chatwright.text.manners import loops

SAYS = "an answer that repeats itself"
ON = True
REMEMBERS = False


def make(wanted: Wanted) -> Reason:
    """By the rule that replies are measured with."""
    return _reason


def _reason(seen: Seen) -> str:
    if any(loops(message.content) for message in seen.learned):
        return "an answer repeats the same words again and again"
    return ""
