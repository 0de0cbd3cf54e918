"""Where a chain of answers begins, in data that may point to what is missing or back to itself."""

from collections.abc import Mapping


def beginnings(before: Mapping[str, str]) -> dict[str, str | None]:
    """Id -> the first id of its chain, which may be one that is not there itself; None where the chain loops.

    `before` names what each answers, "" for nothing: `{"a": "", "b": "a", "c": "x"}` -> `{"a": "a", "b": "a", "c": "x"}`.
    """
    found: dict[str, str | None] = {}
    for start in before:
        chain: dict[str, None] = {}
        here = start
        while here not in found and here not in chain and before.get(here):
            chain[here] = None
            here = before[here]
        first = None if here in chain else found.get(here, here)
        found |= dict.fromkeys([*chain, *([here] if here in before else [])], first)
    return found
