"""IPO is what its paper says on three pairs worked out by hand, and what TRL computes: loss and gradients."""

from pathlib import Path

import pytest
from small_answers import against, families, three_pairs
from trl_referee import TOLERANCE, assert_same_gradients, dpo_trainer, figure, quietly, sides, two_models

from chatwright.objectives.ipo import Ipo

pytestmark = list(quietly)
SHAPES = ((9, 5, 2), (1, 3, 6), (4, 1, 1), (12, 8, 11))  # of a prompt and its two answers


def test_on_three_pairs_it_is_how_far_the_lead_of_a_token_is_from_the_one_aimed_at() -> None:
    """Leads of 2 / 4 + 1 / 5, -1 / 2 - 1 / 2 and 0 + 4 / 2; with beta 0.25, one of 2 is aimed at: the third is there."""
    found = Ipo(beta=0.25).pair_loss(three_pairs()).tolist()
    assert found == pytest.approx([(0.7 - 2) ** 2, (-1.0 - 2) ** 2, 0.0])
    assert found == pytest.approx([1.69, 9.0, 0.0])
    chosen, rejected = Ipo(beta=0.25).rewards(three_pairs())
    assert chosen.tolist() == pytest.approx([0.125, -0.125, 0.0])
    assert rejected.tolist() == pytest.approx([-0.05, 0.125, -0.5])


@pytest.mark.parametrize("beta", [0.1, 1.0])
def test_loss_and_gradients_are_those_of_trl(beta: float, tmp_path: Path) -> None:
    """Its rewards are of whole answers, though its loss is of tokens; ours are what the loss compares."""
    policy, start = two_models()
    some = families(*SHAPES)
    loss = Ipo(beta=beta).loss(policy, against(start, some))
    ours = loss.total / loss.weight
    trainer = dpo_trainer(policy, start, tmp_path, beta=beta, loss_type=["ipo"])
    expected = trainer._compute_loss(trainer.model, sides(some), False)
    assert ours.item() == pytest.approx(expected.item(), rel=TOLERANCE)
    assert_same_gradients(policy, ours, trainer.model, expected)
    for side in ("chosen", "rejected"):
        gained = figure(trainer, f"rewards/{side}") / beta
        assert float(loss.metrics[side] / loss.weight) == pytest.approx(gained, rel=TOLERANCE, abs=TOLERANCE)
