"""Chat health: does a reply end, repeat itself, or speak for the user?

In come completions, out goes a `Health`. Every rule is a plain function of the text, so that a reader can
check by eye what was counted; nothing here asks a model.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chatwright.text.manners import leaks_role, loops, words

if TYPE_CHECKING:
    from chatwright.generate.completion import Completion


@dataclass(frozen=True)
class Health:
    """What `n` replies look like. Counts are replies; `mean_words` is per reply; distinct-n is a share in [0, 1].

    `stopped` ended by themselves, `by_string` at a stop string, `unfinished` by the token limit or the end of the
    window. `distinct_1` and `distinct_2` are the share of different words and word pairs within a reply, averaged over
    replies long enough to have any (after Li et al. 2016, who pool all replies: then it falls with n); NaN when none
    is. `rep_4` is 1 - distinct-4 in the same way: how much of a reply was there before (seq-rep-4, Welleck et al. 2020).
    """

    n: int
    stopped: int
    by_string: int
    loops: int
    role_leaks: int
    empty: int
    mean_words: float
    distinct_1: float
    distinct_2: float
    rep_4: float
    unfinished: int

    @property
    def stop_rate(self) -> float:
        """Share of the replies that stopped by themselves."""
        return self._share(self.stopped)

    @property
    def loop_rate(self) -> float:
        """Share of the replies that repeat themselves."""
        return self._share(self.loops)

    @property
    def leak_rate(self) -> float:
        """Share of the replies that write a role marker, that is, begin to speak for someone."""
        return self._share(self.role_leaks)

    def _share(self, count: int) -> float:
        return count / self.n if self.n else math.nan


def measure(completions: Sequence[Completion]) -> Health:
    """The health of a list of replies."""
    texts = [completion.text for completion in completions]
    finishes = Counter(completion.finish for completion in completions)
    return Health(
        n=len(texts),
        stopped=finishes["stop"],
        by_string=finishes["string"],
        loops=sum(map(loops, texts)),
        role_leaks=sum(map(leaks_role, texts)),
        empty=sum(not text.strip() for text in texts),
        mean_words=_mean([len(words(text)) for text in texts]),
        distinct_1=_mean([distinct(text, 1) for text in texts]),
        distinct_2=_mean([distinct(text, 2) for text in texts]),
        rep_4=_mean([1 - distinct(text, 4) for text in texts]),
        unfinished=finishes["length"] + finishes["context"],
    )


def distinct(text: str, n: int) -> float:
    """The share of a reply's word n-grams that differ: `distinct("a b a b", 2) -> 2 / 3`; NaN when it has none."""
    found = words(text)
    grams = [tuple(found[i : i + n]) for i in range(len(found) - n + 1)]
    return len(set(grams)) / len(grams) if grams else math.nan


def _mean(values: Sequence[float]) -> float:
    real = [value for value in values if not math.isnan(value)]
    return math.fsum(real) / len(real) if real else math.nan
