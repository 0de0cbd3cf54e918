"""Who takes part: the name that each is shown by, told apart where two have the same, and all names to hide."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Person:
    """`shown` is the name that the program shows, `handle` the unique one; a bot's names are no secret."""

    id: str
    shown: str
    handle: str = ""
    names: tuple[str, ...] = ()
    is_bot: bool = False


def labels(people: Iterable[Person]) -> dict[str, str]:
    """Id -> name; two of the same name are `Ana (@ana)` and `Ana (@ana2)`."""
    people = list(people)
    found = {person.id: person.shown for person in people}
    for mark in ([f"@{person.handle or person.id}" for person in people], [person.id for person in people]):
        counts = Counter(found.values())
        for person, told_apart in zip(people, mark, strict=True):
            if counts[found[person.id]] > 1:
                found[person.id] = f"{person.shown} ({told_apart})"
    return found


def all_names(people: Iterable[Person]) -> Iterator[str]:
    """Every name and handle of the humans, and which belong together: `Ana (@ana)`."""
    for person in people:
        if not person.is_bot:
            yield from (person.shown, *person.names)
            if person.handle:
                yield from (person.handle, f"@{person.handle}")
                told = dict.fromkeys(name for name in (person.shown, *person.names) if name != person.handle)
                yield from (f"{name} (@{person.handle})" for name in told if name.strip())
