"""Rows of which something is lost at --seq-len: later turns, the end of an answer, or all of it."""

from chatwright.data.quality.seen import Reason, Wanted
from chatwright.data.truncate import Fit

SAYS = "longer than the window: text is lost at --seq-len"
ON = False  # training keeps what fits
REMEMBERS = False
LOST = (Fit.UNLEARNABLE, Fit.ANSWER_CUT, Fit.TURNS_DROPPED)


def make(wanted: Wanted) -> Reason:
    """The worst that happened to an example of the row."""
    return lambda seen: next((str(fit) for fit in LOST if fit in seen.fits), "")
