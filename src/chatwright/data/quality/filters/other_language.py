"""Rows in a language that --languages does not name, by what they say and not by what a column says."""

from chatwright.data.quality.language import UNKNOWN
from chatwright.data.quality.seen import Reason, Seen, Wanted

SAYS = "in a language that --languages does not name"
ON = True
REMEMBERS = False


def make(wanted: Wanted) -> Reason:
    """Where no languages are named, and where nobody can tell, rows are left in."""

    def reason(seen: Seen) -> str:
        if not wanted.languages or seen.language in ("", UNKNOWN, *wanted.languages):
            return ""
        return f"is in the language {seen.language!r}"

    return reason
