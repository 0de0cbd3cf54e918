"""The data that comes with the package: a small world of facts, as documents, conversations, preferences and problems.

`records(part, seed)` is the source `primer`: made from nothing but the code, the same for the same seed.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

from chatwright.errors import ConfigError
from chatwright.registry import suggestion
from chatwright.text.records import Record, Source

PARTS = (
    "conversations",
    "clean",
    "documents",
    "preferences",
    "problems/phrasings",
    "problems/unseen_phrasings",
    "problems/never_asked",
    "problems/follow_ups",
    "problems/arithmetic",
    "problems/classic",
    "problems/open",
    "problems/formats",
    "practice/arithmetic",
    "practice/facts",
    "practice/formats",
)
# Sets that are answered by chance, as people chat: what is likeliest shows few bad manners.
SAMPLED = {"problems/open": {"temperature": 1.0, "max_tokens": 160}}  # twice the longest answer in training
DEFAULT = ("", "train")  # both mean conversations, as a hub data set's first split would


def records(part: str = "conversations", seed: int = 0) -> Iterator[Record]:
    """The records of a part, in the seed's order; problems are the same for every seed.

    Raises ConfigError for an unknown part.
    """
    name = PARTS[0] if part in DEFAULT else part
    if name not in PARTS:
        raise ConfigError(f"primer has no part {part!r}{suggestion(part, PARTS)}; known: {', '.join(PARTS)}")
    for line, record in enumerate(_maker(name, seed)(), start=1):
        yield replace(record, source=Source("primer", line))


def _maker(part: str, seed: int) -> Callable[[], Iterator[Record]]:
    """The generator of one part; imported here because reading the primer's facts is work."""
    from chatwright.tasks.primer import arithmetic, conversations, documents, formats, open_ended, preferences, problems
    from chatwright.tasks.primer.world import load

    world = load()
    makers: dict[str, Callable[[], Iterator[Record]]] = {
        "conversations": lambda: conversations.conversations(world, seed),
        "clean": lambda: conversations.clean(world, seed),
        "documents": lambda: documents.documents(world, seed),
        "preferences": lambda: preferences.preferences(world, seed),
        "problems/phrasings": lambda: problems.phrasings(world),
        "problems/unseen_phrasings": lambda: problems.unseen_phrasings(world),
        "problems/never_asked": lambda: problems.never_asked(world),
        "problems/follow_ups": lambda: problems.follow_ups(world),
        "problems/arithmetic": arithmetic.problems,
        "problems/classic": lambda: problems.classic(world),
        "problems/open": lambda: open_ended.problems(world),
        "problems/formats": lambda: formats.problems(world),
        "practice/arithmetic": arithmetic.practice,
        "practice/facts": lambda: problems.practice(world),
        "practice/formats": lambda: formats.practice(world),
    }
    return makers[part]
