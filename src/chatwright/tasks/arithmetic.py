"""Sums: practised in the wordings that training may have, examined in the one that it never has for the sum."""

from collections.abc import Iterator

from chatwright.tasks import primer
from chatwright.text.records import Record

PARTS = ("practice/arithmetic", "problems/arithmetic")


def records(part: str = PARTS[0], seed: int = 0) -> Iterator[Record]:
    """The primer's records of one of these parts."""
    return primer.records(part, seed)
