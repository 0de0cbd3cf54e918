"""Guessing the next tokens from what was said before, so that one pass of the model can confirm several (Leviathan et al.,
2023; the guesses are prompt look-up's: what followed the same few tokens last time).

A guess is taken only where the model itself draws that very token in that place, so the text never changes.
"""

from collections.abc import Sequence

SIZES = (4, 3, 2)  # tokens by which a place is recognised, the most telling first


class LookUp:
    """The guesses for one sequence; how many it makes at a time depends on how the last ones did."""

    def __init__(self) -> None:
        self._after: dict[tuple[int, ...], int] = {}  # a few tokens -> where that which followed them stands
        self._read = 0
        self._trust = 2

    def guess(self, ids: Sequence[int], most: int) -> list[int]:
        """What may follow these ids, of which those of the call before are the beginning; at most so many tokens."""
        for end in range(self._read, len(ids)):
            for size in SIZES:
                if end >= size:
                    self._after[tuple(ids[end - size : end])] = end
        self._read = len(ids)
        for size in SIZES:
            place = self._after.get(tuple(ids[-size:]))
            if place is not None:
                return list(ids[place : place + min(most, self._trust)])
        return []

    def learn(self, guessed: int, right: int) -> None:
        """How many of the guessed tokens were right: all right are followed by more, wrong ones by fewer."""
        if guessed:
            self._trust = 2 * self._trust if right == guessed else max(1, right)
