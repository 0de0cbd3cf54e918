"""Rows in which no turn of the assistant's is learned: there is nothing in them to learn."""

from chatwright.data.quality.seen import Reason, Seen, Wanted
from chatwright.data.truncate import Fit
from chatwright.text.records import Problem

SAYS = "no answer to learn"
ON = True
REMEMBERS = False


def make(wanted: Wanted) -> Reason:
    """A problem has no answer on purpose: it is made when the problem is asked."""
    return lambda seen: "" if isinstance(seen.record, Problem) else _reason(seen)


def _reason(seen: Seen) -> str:
    return str(Fit.NOTHING_LEARNED) if Fit.NOTHING_LEARNED in seen.fits else ""
