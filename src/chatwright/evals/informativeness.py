"""How much answers say, beside how long they are: length is what preference training likes to learn instead.

In come evaluations with graded questions, out comes a sheet: facts that an answer names, and points that it lists.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from chatwright.evals import benchmark
from chatwright.evals.compare import Evaluation
from chatwright.evals.intervals import Difference, paired_bootstrap
from chatwright.evals.results import Sheet
from chatwright.evals.tables import NOTHING
from chatwright.text.manners import points, words

COLUMNS = ("", "answers", "facts an answer", "95 %", "facts in 100 words", "points an answer", "words an answer")
HINT = (
    "Facts: what the question is known to want and the answer names. Points: items of numbered or bulleted lists. "
    "95 %: bootstrap over the answers."
)


@dataclass(frozen=True)
class Informativeness:
    """Of `n` answers to questions whose facts are known: how many facts, points and words an answer has."""

    name: str
    n: int
    facts: Difference  # against none: the mean with its interval
    facts_per_100_words: float
    points: float
    words: float


def informativeness(evaluation: Evaluation) -> Informativeness | None:
    """What a model's graded answers say; None where no question's facts are known."""
    texts = [(row.problem, row.completion.text) for score in evaluation.scores.values() for row in score.rows]
    counted = [(text, found) for problem, text in texts if (found := benchmark.facts(problem, text)) is not None]
    if not counted:
        return None
    facts, length = [float(found) for _, found in counted], sum(len(words(text)) for text, _ in counted)
    return Informativeness(
        evaluation.name,
        len(counted),
        paired_bootstrap([0.0] * len(facts), facts),
        100 * sum(facts) / length if length else math.nan,
        sum(points(text) for text, _ in counted) / len(counted),
        length / len(counted),
    )


def sheet(evaluations: Sequence[Evaluation]) -> Sheet | None:
    """A row for each model, or None where there is nothing to say."""
    found = [one for one in map(informativeness, evaluations) if one is not None]
    if not found:
        return None
    return Sheet("What the answers say", COLUMNS, tuple(map(_row, found)), HINT)


def _row(one: Informativeness) -> tuple[str, ...]:
    sure = NOTHING if math.isnan(one.facts.low) else f"{one.facts.low:.2f}–{one.facts.high:.2f}"
    rate = NOTHING if math.isnan(one.facts_per_100_words) else f"{one.facts_per_100_words:.1f}"
    return (one.name, f"{one.n:,}", f"{one.facts.value:.2f}", sure, rate, f"{one.points:.2f}", f"{one.words:.1f}")
