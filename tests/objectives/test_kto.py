"""KTO is what its paper says on three answers worked out by hand, and what TRL computes: loss, rewards, z and gradients."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_runs
import torch
from small_answers import alone, difference, families, family, gpt2, gradients
from trl_referee import TOLERANCE, assert_same_gradients, figure, kto_trainer, padded, quietly, two_models

from chatwright.data.answers import Choices, collate, with_strangers
from chatwright.data.examples import Examples, Tokens
from chatwright.evals.loss import measure
from chatwright.generate.sampling import Sampling
from chatwright.objectives.kto import Kto
from chatwright.text.pieces import Example
from chatwright.train.panel import Panel

pytestmark = list(quietly)
LENGTHS = ((9, 5), (1, 3), (4, 1), (12, 8), (2, 7))  # of a prompt and its answer
GOOD = [1, 0, 1, 1, 0]


def rated(lengths: tuple[tuple[int, ...], ...] = LENGTHS, most: int = 64, seed: int = 0) -> Choices:
    """Answers that were found good or bad, each with a stranger beside it."""
    some = [members[0] for members in families(*lengths, seed=seed)]
    return with_strangers(of_tokens(some), most)


def of_tokens(some: list[Tokens]) -> Choices:
    made = Examples.of(Example(one.ids.tolist(), one.mask.astype(int).tolist()) for one in some)
    return Choices.of(made.labelled((GOOD * len(some))[: len(some)]), 1)


def members(data: Choices, number: int) -> list[Tokens]:
    return [data.members[number][i] for i in range(len(data))]


def known(data: Choices, start: Any) -> Choices:
    """The same with what the start model gives to every answer."""
    with torch.no_grad():
        found = [alone(start, [members(data, number)]).numpy() for number in (0, 1)]
    return Choices(data.members, tuple(found))


# ---- by hand


def test_on_three_answers_it_is_how_far_each_is_from_what_is_usual() -> None:
    """They gained 4, 1 and -3 nats where 2 are usual, and the last two were found bad."""
    gained, good = torch.tensor([4.0, 1.0, -3.0]), torch.tensor([True, False, False])
    found = Kto(beta=0.5, good_weight=1.0, bad_weight=2.0).answer_loss(gained, torch.tensor(2.0), good).tolist()

    def sigmoid(value: float) -> float:
        return 1 / (1 + math.exp(-value))

    assert found == pytest.approx([1 - sigmoid(0.5 * 2), 2 * (1 - sigmoid(0.5 * 1)), 2 * (1 - sigmoid(0.5 * 5))])
    assert found == pytest.approx([0.26894142, 0.75508134, 0.15171636])


def test_what_is_usual_is_the_mean_gain_of_strangers_and_never_a_loss() -> None:
    policy, start = two_models()
    data = known(rated(), start)
    batch = collate(data, range(5), {})
    with torch.no_grad():
        gained = alone(policy, [members(data, 1)]) - torch.from_numpy(data.reference[1])
    found = Kto().loss(policy, batch)
    assert float(found.metrics["z"] / found.weight) == pytest.approx(max(0.0, float(gained.mean())), abs=TOLERANCE)
    # the other way round it is as much, with the other sign; one of the two is a loss
    turned = Kto().loss(start, collate(known(rated(), policy), range(5), {}))
    usual = sorted([float(found.metrics["z"]), float(turned.metrics["z"])])
    assert usual == pytest.approx([0.0, 5 * abs(float(gained.mean()))], rel=1e-4)


def test_no_gradient_comes_from_what_strangers_gain() -> None:
    """It is a yardstick: were it learned, strangers would be made likelier or less likely."""
    policy, start = two_models()
    batch = collate(known(rated(), start), range(5), {})
    assert batch.reference is not None
    batch.reference[1::2] -= 50.0  # so that much is usual
    usual = Kto().loss(policy, batch).metrics["z"].detach() / 5
    own = alone(policy, [members(rated(), 0)]) - torch.from_numpy(known(rated(), start).reference[0])
    expected = Kto().answer_loss(own, usual, torch.tensor(GOOD) > 0).sum()
    assert float(usual) > 40
    wanted = gradients(policy, expected)
    assert difference(gradients(policy, Kto().loss(policy, batch).total), wanted) < TOLERANCE


def test_the_panel_shows_what_good_and_bad_answers_gained_however_they_are_batched() -> None:
    """A batch may have more of one kind, or none of it; what is shown are means over all of a kind."""
    policy, start = two_models()
    data = known(rated(), start)
    batches = [collate(data, some, {}) for some in ([0], [1, 2, 3], [4])]
    found = measure(policy, Kto(), batches, [1] * 500)
    row, _, _ = Panel(small_runs.policy(), [], Sampling(), None).look(0, found)
    with torch.no_grad():
        gained = alone(policy, [members(data, 0)]) - torch.from_numpy(data.reference[0])
    good = torch.tensor(GOOD) > 0
    assert row["chosen"] == pytest.approx(float(gained[good].mean()), abs=TOLERANCE)
    assert row["rejected"] == pytest.approx(float(gained[~good].mean()), abs=TOLERANCE)
    of_good, _, _ = Panel(small_runs.policy(), [], Sampling(), None).look(
        0, measure(policy, Kto(), batches[:1], [1] * 500)
    )
    assert of_good["rejected"] is None  # there was none


# ---- strangers


def test_a_stranger_is_the_next_prompts_answer_after_one_s_own_prompt() -> None:
    data = rated()
    own, strangers = members(data, 0), members(data, 1)
    for i, stranger in enumerate(strangers):
        start, other = LENGTHS[i][0], own[(i + 1) % 5]
        assert stranger.ids.tolist() == [*own[i].ids[:start], *other.ids[LENGTHS[(i + 1) % 5][0] :]]
        assert stranger.mask.tolist() == [False] * start + [True] * (len(stranger.ids) - start)


def test_the_other_answer_to_one_s_own_prompt_is_no_stranger() -> None:
    """The two of a preference stand beside each other."""
    prompts, answers = [[1, 2], [1, 2], [1, 2], [5], [5], [8, 9, 8]], [[10], [11], [12], [13], [14], [15]]
    some = [family(prompt, answer)[0] for prompt, answer in zip(prompts, answers, strict=True)]
    found = [one.ids.tolist() for one in members(with_strangers(of_tokens(some), 64), 1)]
    assert found == [[1, 2, 13]] * 3 + [[5, 15]] * 2 + [[8, 9, 8, 10]]
    of_one = with_strangers(of_tokens(some[:3]), 64)  # where all prompts are one, the next answer must do
    assert [one.ids.tolist() for one in members(of_one, 1)] == [[1, 2, 11], [1, 2, 12], [1, 2, 10]]


def test_a_stranger_is_cut_where_the_window_ends_and_keeps_a_token() -> None:
    own, long = family([1] * 6, [2])[0], family([3], [4] * 9)[0]
    data = with_strangers(of_tokens([own, long]), 7)
    assert [one.ids.tolist() for one in members(data, 1)] == [[1, 1, 1, 1, 1, 1, 4], [3, 2]]


# ---- TRL


@pytest.mark.parametrize(
    ("beta", "weights", "shift"), [(0.1, (1.0, 1.0), 0.0), (1.0, (1.0, 1.5), 30.0), (0.3, (2.0, 1.0), -30.0)]
)
def test_loss_rewards_z_and_gradients_are_those_of_trl(
    beta: float, weights: tuple[float, float], shift: float, tmp_path: Path
) -> None:
    """It is given the strangers that we take; `shift` makes what is usual much, or a loss."""
    policy, start = two_models()
    data = known(rated(), start)
    data = Choices(data.members, (data.reference[0], (data.reference[1] - shift).astype(np.float32)))
    loss = Kto(beta=beta, good_weight=weights[0], bad_weight=weights[1]).loss(policy, collate(data, range(5), {}))
    ours = loss.total / loss.weight
    given = {"beta": beta, "desirable_weight": weights[0], "undesirable_weight": weights[1]}
    trainer = kto_trainer(policy, start, tmp_path, precompute_ref_log_probs=True, **given)
    own, strangers = (padded(members(data, number)) for number in (0, 1))
    asked = {**own, **{f"KL_{name}": value for name, value in strangers.items()}, "label": torch.tensor(GOOD) > 0}
    asked |= {"ref_logps": torch.from_numpy(data.reference[0]), "ref_KL_logps": torch.from_numpy(data.reference[1])}
    expected = trainer._compute_loss(trainer.model, asked, False)
    assert ours.item() == pytest.approx(expected.item(), rel=TOLERANCE)
    assert_same_gradients(policy, ours, trainer.model, expected)
    assert float(loss.metrics["z"] / loss.weight) == pytest.approx(figure(trainer, "kl"), rel=TOLERANCE, abs=1e-4)
    good, bad = sum(GOOD), 5 - sum(GOOD)
    margin = good * figure(trainer, "rewards/chosen") - bad * figure(trainer, "rewards/rejected")
    assert float(loss.metrics["margin"]) == pytest.approx(margin, rel=TOLERANCE, abs=TOLERANCE)


# ---- the start


@pytest.mark.parametrize("weight", [1.0, 1.5])
def test_a_model_beside_itself_is_worth_one_half_of_the_weight(weight: float) -> None:
    start = gpt2()
    objective = Kto(good_weight=weight, bad_weight=weight)
    loss = objective.loss(start, collate(known(rated(), start), range(5), {}))
    assert (loss.total / loss.weight).item() == pytest.approx(weight / 2, rel=1e-6)
    assert objective.start_loss == weight / 2
    assert Kto(good_weight=1.0, bad_weight=2.0).start_loss is None  # it depends on how many of each there are


def test_parts_of_a_batch_add_up_where_nothing_is_usual() -> None:
    """Law 8 cannot hold otherwise: z is the mean of one forward pass, so another cut of the batch has other ones."""
    policy, start = two_models()
    data = known(rated(), start)
    none = (data.reference[0], (data.reference[1] + 50).astype(np.float32))  # strangers lost much: z is 0
    for reference, equal in ((none, True), ((none[0], none[1] - 100), False)):
        whole, *parts = (
            Kto().loss(policy, collate(Choices(data.members, reference), some, {})).total.item()
            for some in (range(5), [0, 1], [2, 3, 4])
        )
        assert (sum(parts) == pytest.approx(whole, rel=TOLERANCE)) is equal


def test_answers_keep_their_labels_whatever_order_they_come_in() -> None:
    batch = collate(rated(), [1, 0, 4], {})
    assert batch.labels.tolist() == [0.0, 0.0, 1.0, 0.0, 0.0, 0.0]  # a stranger's is never asked for
    assert batch.family == 2
