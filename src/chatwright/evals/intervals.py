"""How sure a measured number is: a share's Wilson interval, and the paired bootstrap of a difference.

Both at 95 %. Paired, because two models answer the same prompts: what makes a prompt hard cancels out.
Wilson (1927), "Probable inference"; Efron (1979), "Bootstrap methods".
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy

Z = 1.959963984540054  # the normal quantile that leaves 2.5 % on each side
RESAMPLES = 2000


@dataclass(frozen=True)
class Difference:
    """The mean of `second - first` over `n` pairs, and its 95 % interval; `low` and `high` are NaN below two pairs."""

    value: float
    low: float
    high: float
    n: int

    @property
    def certain(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0


def wilson(successes: float, n: int) -> tuple[float, float]:
    """The 95 % interval of a share: `wilson(95, 100) -> (0.888, 0.978)`; nothing measured is (0, 1).

    `successes` may be fractional: the sum of grades in [0, 1].
    """
    if n == 0:
        return 0.0, 1.0
    share = successes / n
    middle = share + Z**2 / (2 * n)
    half = Z * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    scale = 1 + Z**2 / n
    # at the ends the formula gives 0 and 1 but for rounding
    return (middle - half) / scale if successes > 0 else 0.0, (middle + half) / scale if successes < n else 1.0


def paired_bootstrap(
    first: Sequence[float], second: Sequence[float], *, seed: int = 0, resamples: int = RESAMPLES
) -> Difference:
    """The mean of `second - first` with the 2.5 % and 97.5 % quantiles of its resampled means.

    A pair in which either side is NaN (a figure that has no value for that reply) is left out.
    Raises ValueError when the two have different lengths.
    """
    if len(first) != len(second):
        raise ValueError(f"paired values must be as many on both sides, got {len(first)} and {len(second)}")
    both = numpy.asarray(second, dtype=float) - numpy.asarray(first, dtype=float)
    both = both[~numpy.isnan(both)]
    n = len(both)
    if n < 2:  # one pair says nothing about its own spread
        return Difference(float(both[0]) if n else math.nan, math.nan, math.nan, n)
    generator = numpy.random.default_rng(seed)
    means = numpy.array([both[generator.integers(0, n, n)].mean() for _ in range(resamples)])
    low, high = numpy.quantile(means, [0.025, 0.975])
    return Difference(float(both.mean()), float(low), float(high), n)
