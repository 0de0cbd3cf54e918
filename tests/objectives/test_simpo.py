"""SimPO is what its paper says on three pairs worked out by hand, and what TRL's CPO computes for it; no start is asked."""

import math
from pathlib import Path

import pytest
from small_answers import batch, families, three_pairs
from trl_referee import TOLERANCE, assert_same_gradients, concatenated, cpo_trainer, quietly, two_models

from chatwright.objectives.simpo import Simpo

pytestmark = list(quietly)
SHAPES = ((9, 5, 2), (1, 3, 6), (4, 1, 1), (12, 8, 11))  # of a prompt and its two answers


def test_on_three_pairs_it_is_the_log_sigmoid_of_the_lead_of_a_token_beyond_the_margin() -> None:
    """-10 / 4 against -20 / 5, -9 / 2 against -6 / 2, -4 / 8 against -9 / 2: leads of 1.5, -1.5 and 4 nats a token."""
    objective = Simpo(beta=2.0, gamma=1.0)
    found = objective.pair_loss(three_pairs()).tolist()
    beyond = (2 * 1.5 - 1, 2 * -1.5 - 1, 2 * 4.0 - 1)
    assert found == pytest.approx([math.log(1 + math.exp(-one)) for one in beyond])
    assert found == pytest.approx([0.12692801, 4.01814993, 0.00091147], rel=1e-4)
    chosen, rejected = objective.rewards(three_pairs())
    assert chosen.tolist() == pytest.approx([-5.0, -9.0, -1.0])
    assert rejected.tolist() == pytest.approx([-8.0, -6.0, -9.0])


@pytest.mark.parametrize(("beta", "gamma"), [(2.0, 1.0), (0.5, 0.0), (2.5, 1.4)])
def test_loss_rewards_and_gradients_are_those_of_trl(beta: float, gamma: float, tmp_path: Path) -> None:
    policy, _ = two_models()
    some = families(*SHAPES)
    loss = Simpo(beta=beta, gamma=gamma).loss(policy, batch(some))
    ours = loss.total / loss.weight
    trainer = cpo_trainer(policy, tmp_path, loss_type="simpo", beta=beta, simpo_gamma=gamma, cpo_alpha=0.0)
    expected, figures = trainer.get_batch_loss_metrics(trainer.model, concatenated(some), "eval")
    assert ours.item() == pytest.approx(expected.item(), rel=TOLERANCE)
    assert_same_gradients(policy, ours, trainer.model, expected)
    for ours_name, theirs_name in (("margin", "margins"), ("accuracy", "accuracies")):
        found = float(loss.metrics[ours_name] / loss.weight)
        assert found == pytest.approx(float(figures[f"eval_rewards/{theirs_name}"]), rel=TOLERANCE)
