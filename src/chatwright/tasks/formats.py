"""Answers in the form that is asked for: practised in some wordings, examined in others and on other subjects."""

from collections.abc import Iterator

from chatwright.tasks import primer
from chatwright.text.records import Record

PARTS = ("practice/formats", "problems/formats")


def records(part: str = PARTS[0], seed: int = 0) -> Iterator[Record]:
    """The primer's records of one of these parts."""
    return primer.records(part, seed)
