"""ORPO is what its paper says on three pairs worked out by hand, and its odds are TRL's; no start is asked."""

import math
from pathlib import Path

import pytest
import torch
from small_answers import batch, families, three_pairs
from trl_referee import TOLERANCE, assert_same_gradients, concatenated, orpo_trainer, quietly, two_models

from chatwright.objectives.orpo import Orpo
from chatwright.objectives.preference import Pairs

pytestmark = list(quietly)
SHAPES = ((9, 5, 2), (1, 3, 6), (4, 1, 1), (12, 8, 11))  # of a prompt and its two answers


def test_on_three_pairs_it_is_the_chosen_answers_loss_and_the_odds_of_both() -> None:
    """A token's mean log p is -2.5 against -4, -4.5 against -3, -0.5 against -4.5."""
    found = Orpo(beta=0.5).pair_loss(three_pairs()).tolist()

    def odds(mean: float) -> float:
        return math.exp(mean) / (1 - math.exp(mean))

    leads = [math.log(odds(a) / odds(b)) for a, b in ((-2.5, -4.0), (-4.5, -3.0), (-0.5, -4.5))]
    assert leads == pytest.approx([1.56716504, -1.53989802, 4.92158097])
    losses = [0.5 * math.log(1 + math.exp(-lead)) for lead in leads]
    assert found == pytest.approx([2.5 + losses[0], 4.5 + losses[1], 0.5 + losses[2]])
    chosen, rejected = Orpo(beta=0.5).rewards(three_pairs())
    assert chosen.tolist() == pytest.approx([-1.25, -2.25, -0.25])
    assert rejected.tolist() == pytest.approx([-2.0, -1.5, -2.25])


def test_an_answer_that_is_certain_has_finite_odds() -> None:
    nothing, one = torch.zeros(1, requires_grad=True), torch.ones(1)
    pairs = Pairs(nothing, torch.tensor([-1.0]), nothing, nothing, one, one)
    loss = Orpo().pair_loss(pairs)
    loss.sum().backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(loss).all()
    assert nothing.grad is not None
    assert torch.isfinite(nothing.grad).all()


@pytest.mark.parametrize("beta", [0.1, 1.0])
def test_loss_rewards_and_gradients_are_those_of_trl(beta: float, tmp_path: Path) -> None:
    """Its own loss of the chosen side counts the prompt as well. That part is made here of what it gives to answers."""
    policy, _ = two_models()
    some = families(*SHAPES)
    loss = Orpo(beta=beta).loss(policy, batch(some))
    ours = loss.total / loss.weight
    trainer = orpo_trainer(policy, tmp_path, beta=beta)
    chosen, rejected, *_ = trainer.concatenated_forward(trainer.model, concatenated(some))
    odds, chosen_rewards, rejected_rewards, *_ = trainer.odds_ratio_loss(chosen, rejected)
    expected = (-chosen - odds).mean()
    assert ours.item() == pytest.approx(expected.item(), rel=TOLERANCE)
    assert_same_gradients(policy, ours, trainer.model, expected)
    margin = (chosen_rewards - rejected_rewards).mean()
    assert float(loss.metrics["margin"] / loss.weight) == pytest.approx(float(margin), rel=TOLERANCE)
    assert float(loss.metrics["nll"] / loss.weight) == pytest.approx(float(-chosen.detach().mean()), rel=TOLERANCE)
