"""How often a reward model is right on held-out pairs, and whether it is as sure as it is right.

In come its scores of the better and the worse answer of each pair, out comes a `Calibration`. The sigmoid of a
difference of scores is how sure the model is of its choice: where it says 80 %, four of five choices should be right.
Expected calibration error: Guo et al. (2017), eq. 3; Brier (1950), "Verification of forecasts".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from numpy.typing import NDArray
from torch import nn

from chatwright.data.answers import Choices
from chatwright.errors import NotFinite
from chatwright.evals.intervals import wilson
from chatwright.evals.results import Sheet
from chatwright.evals.tables import NOTHING, interval, percent
from chatwright.evals.winrate import Agreement, agreement
from chatwright.models.protocol import LanguageModel
from chatwright.objectives.reward import Reward, scores

BINS = 5  # of a tenth each, from a toss-up to certainty
NOTICED = 0.02  # from where on being more or less sure than right is said in words


@dataclass(frozen=True)
class Bin:
    """The `n` pairs of whose order the model was sure by `low` to `high`: by how much in the mean, and which share it
    ordered rightly. Both are NaN where there are none."""

    low: float
    high: float
    n: int
    sure: float
    right: float


@dataclass(frozen=True)
class Calibration:
    """`error` is the expected calibration error, `brier` the mean squared error of the probability: a coin has 0.25."""

    agreement: Agreement
    bins: tuple[Bin, ...]
    sure: float
    error: float
    brier: float

    @property
    def says(self) -> str:
        """`right on 91 % of 200 held-out pairs (86–94 %) and 97 % sure: surer than it is right`."""
        share, (low, high) = self.agreement.share, self.agreement.interval
        right = f"right on {percent(share)} of {self.agreement.n:,} held-out pairs ({interval(low, high)})"
        verdict = "as sure as it is right"
        if abs(self.sure - share) > NOTICED:
            verdict = "surer than it is right" if self.sure > share else "less sure than it is right"
        return f"{right} and {percent(self.sure)} sure of its choices: {verdict}"

    @property
    def figures(self) -> dict[str, float]:
        """What training_metadata.json keeps of it."""
        return {
            "held_out_pairs": self.agreement.n,
            "held_out_agreed": self.agreement.agreed,
            "held_out_accuracy": self.agreement.share,
            "calibration_error": self.error,
            "brier_score": self.brier,
        }


def measured(model: LanguageModel, objective: Reward, data: Choices, name: str) -> Calibration:
    """All pairs of some data scored by the model, in fp32 and without dropout, as a judge scores them."""
    assert isinstance(model, nn.Module)
    device, training = next(model.parameters()).device, model.training
    model.eval()
    try:
        with torch.no_grad():
            found = torch.cat([scores(model, batch.to(device)) for batch in objective.once(data)])
    finally:
        model.train(training)
    if not torch.isfinite(found).all():
        raise NotFinite("the score of a held-out answer is no finite number; train again with a lower --lr")
    return calibration(found[::2].tolist(), found[1::2].tolist(), name)


def calibration(chosen: Sequence[float], rejected: Sequence[float], name: str) -> Calibration:
    """From the scores of the better and the worse answer of each pair; there must be some. `name` says which pairs."""
    margin = numpy.asarray(chosen, dtype=float) - numpy.asarray(rejected, dtype=float)
    sure = 1 / (1 + numpy.exp(-numpy.abs(margin)))
    right = (margin > 0) + (margin == 0) / 2
    number = numpy.minimum(((sure - 0.5) * 2 * BINS).astype(int), BINS - 1)
    bins = tuple(_bin(place, sure[number == place], right[number == place]) for place in range(BINS))
    error = sum(one.n * abs(one.right - one.sure) for one in bins if one.n) / len(margin)
    brier = float(((right - sure) ** 2).mean())
    return Calibration(agreement(chosen, rejected, name), bins, float(sure.mean()), error, brier)


def sheet(found: Calibration) -> Sheet:
    """A row for each bin, and one for all pairs."""
    rows = [(interval(one.low, one.high), *_cells(one)) for one in found.bins]
    low, high = found.agreement.interval
    share = found.agreement.share
    rows.append(("all", f"{found.agreement.n:,}", percent(found.sure), percent(share), interval(low, high)))
    hint = (
        f"This model is {found.says}. Expected calibration error {100 * found.error:.1f} points, Brier score "
        f"{found.brier:.3f}, where tossing a coin has 0.250. Pairs: {found.agreement.data}."
    )
    return Sheet("Held-out pairs", ("sure of its choice", "pairs", "sure", "right", "95 %"), tuple(rows), hint)


def as_json(found: Calibration) -> dict[str, Any]:
    """For --json: what it says, the figures, and the bins."""
    low, high = found.agreement.interval
    bins = [vars(one) for one in found.bins]
    return {"says": found.says, **found.figures, "low": low, "high": high, "sure": found.sure, "bins": bins}


def _bin(place: int, sure: NDArray[numpy.float64], right: NDArray[numpy.float64]) -> Bin:
    low, high = (0.5 + edge / 2 / BINS for edge in (place, place + 1))
    means = (float(sure.mean()), float(right.mean())) if len(sure) else (numpy.nan, numpy.nan)
    return Bin(low, high, len(sure), *means)


def _cells(one: Bin) -> tuple[str, ...]:
    if not one.n:
        return "0", NOTHING, NOTHING, NOTHING
    return f"{one.n:,}", percent(one.sure), percent(one.right), interval(*wilson(one.right * one.n, one.n))
