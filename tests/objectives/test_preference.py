"""What holds for every objective over pairs: where it starts, that parts add up, whom it asks, and what it reports."""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from small_answers import against, alone, batch, choices, difference, families, family, gpt2, gradients
from tiny_models import tiny_checkpoint

from chatwright.data.answers import Choices
from chatwright.models.protocol import LanguageModel
from chatwright.objectives.dpo import Dpo
from chatwright.objectives.ipo import Ipo
from chatwright.objectives.kto import Kto
from chatwright.objectives.logprobs import answer_logprobs
from chatwright.objectives.orpo import Orpo
from chatwright.objectives.preference import Preferring
from chatwright.objectives.simpo import Simpo

OBJECTIVES: dict[str, Preferring] = {
    "dpo": Dpo(beta=0.3),
    "dpo, smoothed": Dpo(label_smoothing=0.2),
    "dpo, of a token, held and against loops": Dpo(length_normalised=True, nll_weight=0.5, unlikelihood=2.0),
    "ipo": Ipo(beta=0.4),
    "simpo": Simpo(nll_weight=0.1),
    "orpo": Orpo(beta=1.0),
}
every_one = pytest.mark.parametrize("name", OBJECTIVES)
LOOP = [5, 6, 7, 8] * 3


def eight() -> list[Any]:
    """Pairs of very different length, one of them with a loop that is rejected."""
    drawn = families((9, 5, 2), (1, 3, 6), (4, 1, 1), (12, 8, 11), (2, 7, 3), (6, 1, 14), (3, 9, 9))
    return [*drawn, family([3, 1], [1, 2, 3], LOOP)]


def two() -> tuple[Any, Any]:
    return gpt2(seed=1), gpt2()


class Nobody:
    """A reference that must not be asked."""

    asked = 0

    @contextmanager
    def model(self) -> Iterator[LanguageModel]:
        self.asked += 1
        raise AssertionError("the start model is asked")
        yield


# ---- the start


@pytest.mark.parametrize("beta", [0.05, 0.5])
@pytest.mark.parametrize("more", [{}, {"label_smoothing": 0.3}, {"length_normalised": True}], ids=str)
def test_dpo_starts_at_the_logarithm_of_two(beta: float, more: dict[str, Any]) -> None:
    start, objective = gpt2(), Dpo(beta=beta, **more)
    loss = objective.loss(start, against(start, eight()))
    assert (loss.total / loss.weight).item() == pytest.approx(math.log(2), rel=1e-5)
    assert objective.start_loss == math.log(2)


@pytest.mark.parametrize("beta", [0.1, 0.5])
def test_ipo_starts_at_the_square_of_the_lead_that_it_aims_at(beta: float) -> None:
    start, objective = gpt2(), Ipo(beta=beta)
    loss = objective.loss(start, against(start, eight()))
    assert (loss.total / loss.weight).item() == pytest.approx(1 / (2 * beta) ** 2, rel=1e-5)
    assert objective.start_loss == 1 / (2 * beta) ** 2


@pytest.mark.parametrize(
    "objective", [Dpo(nll_weight=0.1), Ipo(unlikelihood=0.1), Simpo(), Orpo()], ids=lambda one: type(one).__name__
)
def test_where_the_loss_depends_on_the_data_no_number_is_expected(objective: Preferring) -> None:
    assert objective.start_loss is None


def test_a_model_beside_itself_prefers_neither_of_two_answers() -> None:
    start = gpt2()
    some = eight()
    with torch.no_grad():
        ours = batch(some)
        loss = Dpo().loss(start, replace(ours, reference=answer_logprobs(start, ours).total))
    assert float(loss.metrics["accuracy"]) == 4.0  # of eight
    assert float(loss.metrics["margin"]) == 0.0


# ---- law 8


@every_one
def test_one_batch_of_eight_pairs_is_its_parts_accumulated(name: str) -> None:
    policy, start = two()
    some, objective = eight(), OBJECTIVES[name]
    whole = objective.loss(policy, against(start, some))
    expected = gradients(policy, whole.total / whole.weight)
    for size in (1, 2, 4):
        parts = [objective.loss(policy, against(start, some[at : at + size])) for at in range(0, 8, size)]
        assert sum(float(part.weight) for part in parts) == float(whole.weight) == 8
        total = torch.stack([part.total for part in parts]).sum()
        assert difference(gradients(policy, total / 8), expected) < 1e-6
        for metric, value in whole.metrics.items():
            found = sum(float(part.metrics[metric]) for part in parts)
            assert found == pytest.approx(float(value), rel=1e-4, abs=1e-4), metric


@every_one
def test_so_are_the_parts_that_the_sanity_proof_makes_of_it(name: str) -> None:
    policy, start = two()
    few, parts = against(start, eight()).parts()
    objective = OBJECTIVES[name]
    expected = gradients(policy, objective.loss(policy, few).total)
    total = torch.stack([objective.loss(policy, part).total for part in parts]).sum()
    assert difference(gradients(policy, total), expected) < 1e-6


# ---- whom it asks


@pytest.mark.parametrize("kind", [Simpo, Orpo], ids=lambda kind: kind.__name__)
def test_what_needs_no_start_does_not_ask_it_while_learning_and_does_to_be_watched(kind: type[Preferring]) -> None:
    nobody = Nobody()
    objective = kind(reference=nobody)
    loss = objective.loss(gpt2(), batch(eight()))
    assert nobody.asked == 0
    assert math.isfinite(loss.total.item())
    assert math.isnan(float(loss.metrics["chosen"]))
    assert math.isfinite(float(loss.metrics["margin"]))
    with torch.no_grad(), pytest.raises(AssertionError, match="is asked"):
        objective.loss(gpt2(), batch(eight()))


@pytest.mark.parametrize("objective", [Dpo(reference=Nobody()), Ipo(reference=Nobody())], ids=["dpo", "ipo"])
def test_what_was_computed_before_is_not_asked_for_again(objective: Preferring) -> None:
    policy, start = two()
    assert math.isfinite(objective.loss(policy, against(start, eight())).total.item())
    with pytest.raises(AssertionError, match="is asked"):
        objective.loss(policy, batch(eight()))


def test_a_start_that_nobody_asked_gives_no_loss_that_looks_like_one() -> None:
    assert math.isnan(Dpo().loss(gpt2(), batch(eight())).total.item())


def test_what_is_reported_is_by_how_many_nats_answers_became_likelier_and_which_of_two_is_likelier() -> None:
    policy, start = two()
    some = eight()
    found = Dpo(beta=0.3).loss(policy, against(start, some))
    with torch.no_grad():
        gained, policys = alone(policy, some) - alone(start, some), alone(policy, some)
    tokens = torch.tensor([float(one.mask.sum()) for pair in some for one in pair])
    means = policys / tokens
    expected = {
        "accuracy": (gained[::2] > gained[1::2]).float().sum(),
        "margin": 0.3 * (gained[::2] - gained[1::2]).sum(),
        "chosen": gained[::2].sum(),
        "rejected": gained[1::2].sum(),
        "nll": -means[::2].sum(),
        "likelier": (means[::2] > means[1::2]).float().sum(),
    }
    assert {name: float(value) for name, value in found.metrics.items()} == pytest.approx(
        {name: float(value) for name, value in expected.items()}, rel=1e-4
    )
    assert not any(value.requires_grad for value in found.metrics.values())


# ---- batches


def seen(batches: Iterable[Any]) -> list[list[int]]:
    """The chosen answers, batch after batch."""
    return [one.targets[one.answer == number].tolist() for one in batches for number in range(0, one.count, 2)]


def objective_and_data(kind: Any) -> tuple[Any, Choices]:
    objective = kind(batch_size=3, seq_len=64, seed=4)
    data = choices(families(*[(2 + n % 3, 1 + n % 4, 2) for n in range(8)]))
    return objective, data


@pytest.mark.parametrize("kind", [Dpo, Simpo, Kto], ids=lambda kind: kind.__name__)
def test_every_prompt_comes_once_an_epoch_and_in_another_order_in_the_next(kind: Any) -> None:
    objective, data = objective_and_data(kind)
    start = tiny_checkpoint("chatml")
    assert objective.steps_per_epoch(data) == 3
    found = list(islice(objective.batches(data, start, start), 6))
    first, second = seen(found[:3]), seen(found[3:])
    expected = sorted(data.members[0][i].ids[data.members[0][i].mask].tolist() for i in range(8))
    assert [one.count // 2 for one in found] == [3, 3, 2] * 2
    assert sorted(first) == sorted(second) == expected
    assert first != second


@pytest.mark.parametrize("kind", [Dpo, Kto], ids=lambda kind: kind.__name__)
def test_from_the_cursor_of_any_batch_the_next_ones_are_the_same(kind: Any) -> None:
    objective, data = objective_and_data(kind)
    start = tiny_checkpoint("chatml")
    whole = list(islice(objective.batches(data, start, start), 7))
    for number, one in enumerate(whole[:5]):
        (following,) = islice(objective.batches(data, start, start, one.cursor), 1)
        assert torch.equal(following.ids, whole[number + 1].ids)
        assert torch.equal(following.answer, whole[number + 1].answer)
        assert following.cursor == whole[number + 1].cursor


def test_for_evaluation_every_prompt_comes_once_or_some_from_all_over_the_data() -> None:
    objective, data = objective_and_data(Dpo)
    answers = [data.members[0][i].ids[data.members[0][i].mask].tolist() for i in range(8)]
    assert seen(objective.once(data)) == answers
    assert seen(objective.once(data, 2)) == answers[:3] + answers[3:6]


def test_answers_whose_start_was_not_asked_are_no_part_of_an_evaluation() -> None:
    """Of a run that is shorter than an epoch, the start model saw what the run comes to."""
    objective, data = objective_and_data(Dpo)
    known = np.array([1, 2, np.nan, 4, np.nan, 6, 7, 8], dtype=np.float32)
    some = replace(data, reference=(known, known))
    batches = list(objective.once(some))
    assert sum(one.count for one in batches) == 12
    assert all(bool(torch.isfinite(one.reference).all()) for one in batches if one.reference is not None)
    assert some.known.tolist() == [0, 1, 3, 5, 6, 7]
