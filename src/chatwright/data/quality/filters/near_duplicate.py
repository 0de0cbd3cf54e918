"""Rows that differ from an earlier one in a few words: learned twice, they count twice, and a held-out one is no test."""

from chatwright.data.quality.near import Near
from chatwright.data.quality.places import Places
from chatwright.data.quality.seen import Reason, Seen, Wanted

SAYS = "nearly the same as an earlier row"
ON = True
REMEMBERS = True


def make(wanted: Wanted) -> Reason:
    """Remembers the signature of each row that is near none before it."""
    known, places = Near(), Places()

    def reason(seen: Seen) -> str:
        signature = known.signature(seen.words)
        found = known.nearest(signature)
        if found is None:
            known.add(signature)
            places.add(seen.record.source)
            return ""
        number, similarity = found
        return f"nearly the same as {places[number]} ({similarity:.0%} alike)"

    return reason
