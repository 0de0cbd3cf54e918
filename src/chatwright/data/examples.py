"""Many examples as flat arrays of ids and masks, in memory or mapped from the disk, and the order of an epoch.

Without torch: whoever only prepares data does not load it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from chatwright.errors import DataError
from chatwright.text.pieces import Example

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Tokens:
    """The ids of many examples behind each other, and for each whether it is learned. Arrays, or maps of files."""

    ids: NDArray[np.integer]
    mask: NDArray[np.bool_]


@dataclass(frozen=True)
class Examples:
    """Example k is starts[k]:ends[k] of tokens[files[k]]; `learned[k]` of its targets are learned.

    `labels[k]` is 1 for an answer that was preferred or found good, and 0 for every other example. `shares`: of a mixture,
    which examples belong together and which share of an epoch they make up; empty where an epoch is every example once.
    """

    tokens: tuple[Tokens, ...]
    files: Numbers
    starts: Numbers
    ends: Numbers
    learned: Numbers
    labels: Numbers
    shares: tuple[tuple[Numbers, float], ...] = ()

    @classmethod
    def of(cls, examples: Iterable[Example]) -> "Examples":
        """Examples made here and now. DataError when none of them has a token that is learned after its first."""
        ids: list[NDArray[np.int32]] = []
        masks: list[NDArray[np.bool_]] = []
        without = 0
        for example in examples:
            if not any(example.mask[1:]):
                without += 1
                continue
            ids.append(np.asarray(example.ids, dtype=np.int32))
            masks.append(np.asarray(example.mask, dtype=np.bool_))
        if not ids:
            raise DataError(f"nothing to learn: none of the {without} examples has a token that is learned")
        lengths = np.array([len(one) for one in ids], dtype=np.int64)
        ends = np.cumsum(lengths)
        learned = np.array([np.count_nonzero(one[1:]) for one in masks], dtype=np.int64)
        tokens = Tokens(np.concatenate(ids), np.concatenate(masks))
        none = np.zeros(len(ids), dtype=np.int64)
        return cls((tokens,), none, ends - lengths, ends, learned, none)

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, one: int) -> Tokens:
        """Ids and mask of one example, (T + 1,) each; a view."""
        tokens, part = self.tokens[self.files[one]], slice(self.starts[one], self.ends[one])
        return Tokens(tokens.ids[part], tokens.mask[part])

    @property
    def lengths(self) -> Numbers:
        """Input tokens of each example: one less than its ids, because the last is only ever a target."""
        return self.ends - self.starts - 1

    def select(self, which: Numbers | Sequence[int]) -> "Examples":
        """Some of the examples, in that order, each once an epoch."""
        chosen = np.asarray(which, dtype=np.int64)
        columns = (self.files, self.starts, self.ends, self.learned, self.labels)
        files, starts, ends, learned, labels = (column[chosen] for column in columns)
        return Examples(self.tokens, files, starts, ends, learned, labels)

    def labelled(self, labels: Sequence[int]) -> "Examples":
        """The same with other labels."""
        return replace(self, labels=np.asarray(labels, dtype=np.int64))

    def shortened(self, most: int) -> "Examples":
        """The same with at most so many ids each; what then has nothing to learn is left out. DataError if nothing is."""
        cut = replace(self, ends=np.minimum(self.ends, self.starts + most))
        learned = np.array([np.count_nonzero(cut[k].mask[1:]) for k in range(len(cut))], dtype=np.int64)
        if not learned.any():
            raise DataError(f"nothing to learn: no example has a learned token among its first {most}")
        return replace(cut, learned=learned).select(np.flatnonzero(learned))

    def order(self, seed: int, epoch: int, random: np.random.Generator) -> Numbers:
        """The examples of an epoch in an order drawn from `random`.

        Of a mixture, each part gives its share of as many examples as there are in all, and goes round again, in a new
        order, where it has fewer: over many epochs each of its examples is seen equally often.
        """
        if not self.shares:
            return random.permutation(len(self))
        whole = sum(share for _, share in self.shares)
        taken = []
        for number, (members, share) in enumerate(self.shares):
            count = max(1, round(len(self) * share / whole))
            taken.append(_rounds(members, epoch * count, count, (seed, number)))
        chosen = np.concatenate(taken)
        return chosen[random.permutation(len(chosen))]


def joined(parts: Sequence[Examples], weights: Sequence[float] = ()) -> Examples:
    """Several sets as one; with `weights` an epoch is mixed in their proportion, without every example comes once."""
    if len(parts) == 1:
        return parts[0]
    first_file = np.cumsum([0, *(len(part.tokens) for part in parts)])
    edges = np.cumsum([0, *(len(part) for part in parts)])
    members = [np.arange(a, b) for a, b in pairwise(edges)]
    return Examples(
        tuple(tokens for part in parts for tokens in part.tokens),
        np.concatenate([part.files + first for part, first in zip(parts, first_file, strict=False)]),
        np.concatenate([part.starts for part in parts]),
        np.concatenate([part.ends for part in parts]),
        np.concatenate([part.learned for part in parts]),
        np.concatenate([part.labels for part in parts]),
        tuple(zip(members, weights, strict=True)) if weights else (),
    )


def _rounds(members: Numbers, start: int, count: int, seed: tuple[int, int]) -> Numbers:
    """`count` of the members from place `start` of an endless sequence of rounds, each in an order of its own."""
    taken = []
    while count:
        number, place = divmod(start, len(members))
        some = members[np.random.default_rng((*seed, number)).permutation(len(members))][place : place + count]
        taken.append(some)
        start, count = start + len(some), count - len(some)
    return np.concatenate(taken)
