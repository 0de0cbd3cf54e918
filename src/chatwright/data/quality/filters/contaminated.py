"""Rows that give away what an evaluation asks, so that its score would measure memory."""

from chatwright.data.quality.seen import Reason, Wanted

SAYS = "holds what an evaluation asks"
ON = True
REMEMBERS = False


def make(wanted: Wanted) -> Reason:
    """By the same prompt, or 13 words in a row."""
    return (lambda seen: "") if wanted.evaluation is None else wanted.evaluation.reason
