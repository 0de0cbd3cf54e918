"""DPO is what its papers say on three pairs worked out by hand, and what TRL computes: loss, rewards and gradients."""

import math
from pathlib import Path
from typing import Any

import pytest
from small_answers import against, families, three_pairs
from trl_referee import TOLERANCE, assert_same_gradients, dpo_trainer, figure, quietly, sides, two_models

from chatwright.objectives.dpo import Dpo

pytestmark = list(quietly)
SHAPES = ((9, 5, 2), (1, 3, 6), (4, 1, 1), (12, 8, 11))  # of a prompt and its two answers


def log_sigmoid(margin: float) -> float:
    return -math.log(1 + math.exp(-margin))


# ---- by hand


def test_on_three_pairs_it_is_the_log_sigmoid_of_what_the_chosen_answer_gained_on_the_other() -> None:
    """Gains of 2, -1 and 0 nats against -1, 1 and -4: leads of 3, -2 and 4, each a fifth of that in reward."""
    found = Dpo(beta=0.2).pair_loss(three_pairs()).tolist()
    assert found == pytest.approx([-log_sigmoid(0.6), -log_sigmoid(-0.4), -log_sigmoid(0.8)])
    assert found == pytest.approx([0.43748795, 0.91301525, 0.37110066])
    chosen, rejected = Dpo(beta=0.2).rewards(three_pairs())
    assert chosen.tolist() == pytest.approx([0.4, -0.2, 0.0])
    assert rejected.tolist() == pytest.approx([-0.2, 0.2, -0.8])


def test_with_label_smoothing_a_share_of_each_pair_counts_the_other_way_round() -> None:
    found = Dpo(beta=0.2, label_smoothing=0.1).pair_loss(three_pairs()).tolist()
    margins = (0.6, -0.4, 0.8)
    assert found == pytest.approx([-0.9 * log_sigmoid(one) - 0.1 * log_sigmoid(-one) for one in margins])
    assert found == pytest.approx([0.49748795, 0.87301525, 0.45110066])  # by 0.1 of the margin more


def test_length_normalised_gains_are_those_of_a_token() -> None:
    """2 / 4 against -1 / 5, -1 / 2 against 1 / 2, 0 / 8 against -4 / 2."""
    objective = Dpo(beta=2.0, length_normalised=True)
    margins = (2 * 0.7, 2 * -1.0, 2 * 2.0)
    assert objective.pair_loss(three_pairs()).tolist() == pytest.approx([-log_sigmoid(one) for one in margins])
    chosen, rejected = objective.rewards(three_pairs())
    assert chosen.tolist() == pytest.approx([1.0, -1.0, 0.0])
    assert rejected.tolist() == pytest.approx([-0.4, 1.0, -4.0])


# ---- TRL


def compared(objective: Dpo, out: Path, shapes: tuple[tuple[int, ...], ...] = SHAPES, **theirs: Any) -> None:
    """Loss, rewards, log-probabilities and gradients of the same batch and the same weights."""
    policy, start = two_models()
    some = families(*shapes)
    loss = objective.loss(policy, against(start, some))
    ours = loss.total / loss.weight
    trainer = dpo_trainer(policy, start, out, beta=objective.beta, **theirs)
    expected = trainer._compute_loss(trainer.model, sides(some), False)
    assert ours.item() == pytest.approx(expected.item(), rel=TOLERANCE)
    assert_same_gradients(policy, ours, trainer.model, expected)
    found = {name: float(value / loss.weight) for name, value in loss.metrics.items()}
    gained = {side: figure(trainer, f"rewards/{side}") / objective.beta for side in ("chosen", "rejected")}
    assert {side: found[side] for side in gained} == pytest.approx(gained, rel=TOLERANCE, abs=TOLERANCE)
    if not objective.length_normalised:  # TRL notes rewards of whole answers there too
        assert found["margin"] == pytest.approx(figure(trainer, "rewards/margins"), rel=TOLERANCE, abs=TOLERANCE)
        assert found["accuracy"] == figure(trainer, "rewards/accuracies")


@pytest.mark.parametrize("beta", [0.05, 0.3, 2.0])
def test_loss_rewards_and_gradients_are_those_of_trl(beta: float, tmp_path: Path) -> None:
    compared(Dpo(beta=beta), tmp_path, loss_type=["sigmoid"])


def test_with_label_smoothing_too(tmp_path: Path) -> None:
    """TRL's sigmoid ignores it, and its "robust" is ((1 - e) a - e b) / (1 - 2 e) of the loss a of a pair and b of the
    pair the other way round. Ours, (1 - e) a + e b, is 2 (1 - e) times the first less (1 - 2 e) times the second."""
    weights = [2 * (1 - 0.2), -(1 - 2 * 0.2)]
    theirs: dict[str, Any] = {"loss_type": ["sigmoid", "robust"], "loss_weights": weights, "label_smoothing": 0.2}
    compared(Dpo(beta=0.3, label_smoothing=0.2), tmp_path, **theirs)


def test_length_normalised_it_is_trls_sigmoid_norm(tmp_path: Path) -> None:
    compared(Dpo(beta=0.3, length_normalised=True), tmp_path, loss_type=["sigmoid_norm"])


def test_held_by_the_chosen_answers_own_loss_it_is_trls_sigmoid_with_sft(tmp_path: Path) -> None:
    """Of chosen answers that are equally long: ours is a mean of the answers' means, theirs of all tokens of the batch."""
    shapes = ((9, 5, 2), (1, 5, 6), (4, 5, 1))
    theirs = {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.7]}
    compared(Dpo(beta=0.3, nll_weight=0.7), tmp_path, shapes, **theirs)


def test_of_answers_of_other_lengths_each_holds_as_much_as_another(tmp_path: Path) -> None:
    policy, start = two_models()
    some = families(*SHAPES)
    losses = [Dpo(nll_weight=weight).loss(policy, against(start, some)) for weight in (0.0, 0.7)]
    added = (losses[1].total - losses[0].total) / losses[0].weight
    assert added.item() == pytest.approx(0.7 * float(losses[0].metrics["nll"]) / 4, rel=TOLERANCE)
    theirs = {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.7]}
    trainer = dpo_trainer(policy, start, tmp_path, beta=0.1, **theirs)
    expected = trainer._compute_loss(trainer.model, sides(some), False)
    assert (losses[1].total / 4).item() != pytest.approx(expected.item(), rel=1e-3)
