"""The primer's facts: practised by known questions, examined by new ones and by facts that were never asked about."""

from collections.abc import Iterator

from chatwright.tasks import primer
from chatwright.text.records import Record

PARTS = ("practice/facts", "problems/phrasings", "problems/unseen_phrasings", "problems/never_asked")


def records(part: str = PARTS[0], seed: int = 0) -> Iterator[Record]:
    """The primer's records of one of these parts."""
    return primer.records(part, seed)
