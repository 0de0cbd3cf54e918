"""A reward model is held against pairs that were held out: how often it is right, how sure of it, and what that says."""

import json
import math

import numpy
import pytest

from chatwright.evals import calibration as calibrations
from chatwright.evals.calibration import calibration
from chatwright.evals.results import plain

SURE = math.log(0.95 / 0.05)  # the difference of scores that stands for 95 %
TOSS = math.log(0.55 / 0.45)


def test_four_pairs_by_hand() -> None:
    """Twice 95 % sure, once rightly; twice 55 %, both times rightly."""
    found = calibration([SURE, 0.0, TOSS, 1.0 + TOSS], [0.0, SURE, 0.0, 1.0], "four")
    assert found.agreement.share == 0.75
    counts = [one.n for one in found.bins]
    assert counts == [2, 0, 0, 0, 2]
    assert (found.bins[0].sure, found.bins[0].right) == pytest.approx((0.55, 1.0))
    assert (found.bins[4].sure, found.bins[4].right) == pytest.approx((0.95, 0.5))
    assert found.sure == pytest.approx(0.75)
    assert found.error == pytest.approx(0.45)  # in both halves of the pairs, one way and the other
    assert found.brier == pytest.approx((0.05**2 + 0.95**2 + 2 * 0.45**2) / 4)


def test_the_bins_go_from_a_toss_up_to_certainty_and_every_pair_is_in_one() -> None:
    found = calibration([0.0, 1e-9, 50.0, 1e4], [0.0, 0.0, 0.0, 0.0], "ends")
    assert [(one.low, one.high) for one in found.bins] == [(0.5, 0.6), (0.6, 0.7), (0.7, 0.8), (0.8, 0.9), (0.9, 1.0)]
    assert [one.n for one in found.bins] == [2, 0, 0, 0, 2]
    assert found.bins[0].right == 0.75  # a tie is half right
    assert math.isnan(found.bins[1].sure)


def test_pairs_drawn_as_the_scores_say_are_calibrated_and_scores_twice_as_wide_are_too_sure() -> None:
    generator = numpy.random.default_rng(0)
    margin = generator.normal(0, 2, 20_000)
    better = generator.random(20_000) < 1 / (1 + numpy.exp(-margin))
    labelled = numpy.where(better, margin, -margin)
    true, wide, narrow = (calibration((labelled * k).tolist(), [0.0] * 20_000, "drawn") for k in (1.0, 2.0, 0.5))
    assert true.error < 0.015
    assert true.says.endswith("as sure as it is right")
    assert wide.error > 0.05
    assert wide.says.endswith("surer than it is right")
    assert narrow.error > 0.05
    assert narrow.says.endswith("less sure than it is right")
    assert true.brier < min(wide.brier, narrow.brier) < 0.25


def test_what_is_shown_are_the_same_figures() -> None:
    found = calibration([SURE, 0.0, TOSS, 1.0 + TOSS], [0.0, SURE, 0.0, 1.0], "four pairs")
    sheet = calibrations.sheet(found)
    assert sheet.rows[0][:4] == ("50–60 %", "2", "55 %", "100 %")
    assert sheet.rows[1] == ("60–70 %", "0", "–", "–", "–")
    assert sheet.rows[-1] == ("all", "4", "75 %", "75 %", "30.1–95.4 %")
    assert "right on 75 % of 4 held-out pairs (30.1–95.4 %) and 75 % sure" in sheet.hint
    assert "Expected calibration error 45.0 points" in sheet.hint
    assert "Pairs: four pairs." in sheet.hint
    told = json.loads(json.dumps(plain(calibrations.as_json(found)), allow_nan=False))
    assert told["held_out_agreed"] == 3
    assert told["bins"][1] == {"low": 0.6, "high": 0.7, "n": 0, "sure": None, "right": None}
    assert found.figures["calibration_error"] == found.error
