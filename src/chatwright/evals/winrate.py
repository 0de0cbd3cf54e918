"""How often a judge prefers one model's answers to another's, as they are and at equal length.

In come two models' answers to the same prompts with a judge's scores, out comes a `WinRate`, which names its judge.
Judges like long answers. What a model wins by length alone is taken out as in Dubois et al. (2024), "Length-controlled
AlpacaEval": a logistic regression of winning on the difference of lengths, read at no difference.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy
from numpy.typing import NDArray

from chatwright.errors import DataError
from chatwright.evals.intervals import RESAMPLES, paired_bootstrap, wilson
from chatwright.evals.results import Sheet
from chatwright.evals.tables import interval, percent
from chatwright.text.manners import words

Floats = NDArray[numpy.float64]
TIE = 1e-4  # scores that differ by less prefer neither: other rows in a batch move a reward model's score by as much
RIDGE = 0.01  # weight of the squared slope beside the log-likelihood of all prompts: it keeps the slope finite
NEWTON_STEPS, LONGEST_STEP = 30, 2.0
GRADER = "held-out grader"


@dataclass(frozen=True)
class Agreement:
    """How often a judge scored the better answer of a labelled pair higher; a tie counts half. `data` says which."""

    agreed: float
    n: int
    data: str

    @property
    def share(self) -> float:
        return self.agreed / self.n if self.n else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """95 %, Wilson's."""
        return wilson(self.agreed, self.n)


@dataclass(frozen=True)
class Judge:
    """Who says which answer is better. A reward model that was held against no labelled pairs has no agreement."""

    name: str
    agreement: Agreement | None = None

    @property
    def says(self) -> str:
        """`held-out grader`; `runs/reward, which agrees with 91 % of 200 labelled pairs (86.2–94.2 %; pairs.jsonl)`."""
        if self.agreement is not None:
            sure = interval(*self.agreement.interval)
            agrees = f"agrees with {percent(self.agreement.share)} of {self.agreement.n:,} labelled pairs"
            return f"{self.name}, which {agrees} ({sure}; {self.agreement.data})"
        return self.name if self.name == GRADER else f"{self.name}, which was held against no labelled pairs"


@dataclass(frozen=True)
class Judged:
    """One model's answers, in the order of the prompts, and the judge's score of each: more is better."""

    name: str
    texts: tuple[str, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True)
class Rate:
    """A share in [0, 1] with its 95 % interval, which is NaN below two prompts."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class WinRate:
    """How often `second` wins against `first` over `n` prompts. `words` are the mean of an answer, of both in order."""

    first: str
    second: str
    judge: Judge
    n: int
    ties: int
    plain: Rate
    controlled: Rate
    words: tuple[float, float]

    @property
    def says(self) -> str:
        """One sentence for the terminal."""
        plain, controlled = (f"{percent(r.value)} ({interval(r.low, r.high)})" for r in (self.plain, self.controlled))
        return (
            f"{self.second} wins {plain} of {self.n:,} prompts against {self.first}, {controlled} at equal length; "
            f"{self.ties:,} ties, {self.words[1]:.1f} against {self.words[0]:.1f} words. Judge: {self.judge.says}."
        )


def win_rate(first: Judged, second: Judged, judge: Judge, *, seed: int = 0, resamples: int = RESAMPLES) -> WinRate:
    """The second model's wins against the first, ties counting half; the intervals resample the prompts.

    Raises DataError where the judge gave no number, and ValueError where the two have not as many answers.
    """
    if len({len(first.texts), len(second.texts), len(first.scores), len(second.scores)}) > 1:
        raise ValueError(f"{first.name} and {second.name} must have as many answers, each with a score")
    for one in (first, second):
        wrong = next((i for i, score in enumerate(one.scores) if not math.isfinite(score)), None)
        if wrong is not None:
            raise DataError(
                f"{judge.name} scored answer {wrong + 1} of {one.name} with {one.scores[wrong]}; "
                "a judge has to give numbers, so look at its training or its grader"
            )
    difference = numpy.asarray(second.scores, dtype=float) - numpy.asarray(first.scores, dtype=float)
    wins = numpy.where(numpy.abs(difference) < TIE, 0.5, (difference > 0).astype(float))
    lengths = [numpy.array([len(words(text)) for text in one.texts], dtype=float) for one in (first, second)]
    plain = paired_bootstrap([0.0] * len(wins), wins.tolist(), seed=seed, resamples=resamples)
    return WinRate(
        first.name,
        second.name,
        judge,
        len(wins),
        int((wins == 0.5).sum()),
        Rate(plain.value, plain.low, plain.high),
        controlled(wins, lengths[1] - lengths[0], seed, resamples),
        (_mean(lengths[0]), _mean(lengths[1])),
    )


def controlled(wins: Floats, longer: Floats, seed: int = 0, resamples: int = RESAMPLES) -> Rate:
    """The win rate at no difference of lengths, of wins in {0, 1/2, 1} and by how many words each answer was longer.

    A model that is always longer by the same shows nothing about that: then it is the plain win rate.
    """
    n = len(wins)
    scale = math.sqrt(float((longer**2).mean())) if n else 0.0  # about zero, which has to stay zero
    lean = numpy.tanh(longer / scale) if scale else numpy.zeros(n)
    value = _at_zero(wins, lean)
    if n < 2:
        return Rate(value, math.nan, math.nan)
    generator = numpy.random.default_rng(seed)
    draws = (generator.integers(0, n, n) for _ in range(resamples))
    low, high = numpy.quantile([_at_zero(wins[some], lean[some]) for some in draws], [0.025, 0.975])
    return Rate(value, float(low), float(high))


def agreement(chosen: Sequence[float], rejected: Sequence[float], data: str) -> Agreement:
    """From a judge's scores of the better and the worse answer of each labelled pair."""
    difference = numpy.asarray(chosen, dtype=float) - numpy.asarray(rejected, dtype=float)
    wins = numpy.where(numpy.abs(difference) < TIE, 0.5, (difference > 0).astype(float))
    return Agreement(float(wins.sum()), len(wins), data)


def sheet(rates: Sequence[WinRate], title: str = "Win rates") -> Sheet:
    """Two rows for each win rate, as the answers are and at equal length; the hint names the judges."""
    rows: list[tuple[str, ...]] = []
    for one in rates:
        lengths = f"{one.words[1]:.1f} : {one.words[0]:.1f}"
        rows.append((f"{one.second} against {one.first}", *_cells(one.plain), f"{one.n:,}", f"{one.ties:,}", lengths))
        rows.append(("at equal length", *_cells(one.controlled), "", "", ""))
    judges = " ".join(dict.fromkeys(f"Judge: {one.judge.says}." for one in rates))
    return Sheet(title, ("", "wins", "95 %", "prompts", "ties", "words"), tuple(rows), f"{judges} {HINT}")


HINT = (
    "A tie counts half. At equal length: what a logistic regression on the difference of lengths leaves of the wins "
    "where there is none (after Dubois et al., 2024)."
)


def _cells(rate: Rate) -> tuple[str, str]:
    return percent(rate.value), interval(rate.low, rate.high)


def _at_zero(wins: Floats, lean: Floats) -> float:
    """sigmoid(level) of the most likely wins ~ sigmoid(level + slope * lean), the slope held back by the ridge."""
    mean = _mean(wins)
    if not 0 < mean < 1:  # all won or all lost, at any length (or there are none)
        return mean
    level, slope = math.log(mean / (1 - mean)), 0.0
    for _ in range(NEWTON_STEPS):
        chance = 1 / (1 + numpy.exp(-(level + slope * lean)))
        missed, spread = wins - chance, chance * (1 - chance)
        up = numpy.array([missed.sum(), missed @ lean - RIDGE * slope])
        bend = spread @ lean
        step = numpy.linalg.solve([[spread.sum(), bend], [bend, spread @ lean**2 + RIDGE]], up)
        step *= min(1.0, LONGEST_STEP / max(1e-12, float(numpy.abs(step).max())))
        level, slope = level + float(step[0]), slope + float(step[1])
        if float(numpy.abs(step).max()) < 1e-9:
            break
    return 1 / (1 + math.exp(-level))


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else math.nan
