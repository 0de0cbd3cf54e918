"""Rows that say exactly what an earlier row says: roles, contents and what is learned are the same."""

import hashlib

from chatwright.data.quality.places import Places
from chatwright.data.quality.seen import Reason, Seen, Wanted
from chatwright.text.records import texts

SAYS = "says exactly what an earlier row says"
ON = True
REMEMBERS = True


def make(wanted: Wanted) -> Reason:
    """Remembers eight bytes of the SHA-256 of each row."""
    known: dict[int, int] = {}
    places = Places()

    def reason(seen: Seen) -> str:
        digest = hashlib.sha256()
        for text in texts(seen.record):
            digest.update(f"\x1e{len(text)}\x1f{text}".encode())
        value = int.from_bytes(digest.digest()[:8], "big")
        if value in known:
            return f"says exactly what {places[known[value]]} says"
        known[value] = places.add(seen.record.source)
        return ""

    return reason
