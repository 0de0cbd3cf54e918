"""Unlikelihood: of an answer's tokens those that stand in a 4-gram which it had before, and none of another answer's."""

import math

import pytest
import torch
from small_answers import alone, batch, difference, each_alone, family, gpt2, gradients
from torch import Tensor

from chatwright.objectives.dpo import Dpo
from chatwright.objectives.logprobs import AnswerLogprobs, answer_logprobs
from chatwright.objectives.unlikelihood import repeated, unlikelihood

LOOP = [5, 6, 7, 8, 5, 6, 7, 8, 5, 6]
PLAIN = [1, 2, 3, 4, 5, 6, 7, 8]


def marks(*answers: list[int], gram: int = 4) -> list[str]:
    """Of each answer, `x` where a token repeats."""
    ids = torch.tensor([number for answer in answers for number in answer])
    owners = torch.tensor([place for place, answer in enumerate(answers) for _ in answer])
    found = iter(repeated(ids, owners, gram).tolist())
    return ["".join("x" if next(found) else "." for _ in answer) for answer in answers]


def test_a_token_repeats_where_it_stands_in_a_gram_that_was_there_before() -> None:
    assert marks(LOOP) == ["....xxxxxx"]
    assert marks(PLAIN) == ["........"]
    assert marks([1, 2, 3, 4, 9, 1, 2, 3, 4, 9]) == [".....xxxxx"]
    assert marks([1, 2, 3, 4, 9, 1, 2, 3, 8, 9]) == [".........."]  # three in a row are no gram of four
    assert marks([1, 2, 1, 2, 3], gram=2) == ["..xx."]
    assert marks([7, 7, 7, 7, 7]) == [".xxxx"]
    assert marks([1, 2, 3]) == ["..."]


def test_no_gram_reaches_from_one_answer_into_another() -> None:
    assert marks(PLAIN, PLAIN) == ["........", "........"]
    assert marks([1, 2, 3, 4, 1, 2], [3, 4, 1, 2, 3, 4]) == ["......", "......"]
    assert marks([9, 9], [9, 9], [9, 9]) == ["..", "..", ".."]


def test_the_loss_is_that_of_not_saying_the_repeated_tokens() -> None:
    """Half, a quarter and one in ten: -ln 0.5 - ln 0.75 - ln 0.9, for the tokens that repeat and for no others."""
    one = batch([family([1], [2, 2, 2, 2, 2, 3], [4, 5])])
    shares = [0.9, 0.5, 0.25, 0.1, 0.1, 0.99, 0.5, 0.5]
    each = torch.tensor(shares).log()
    owners = one.answer.flatten()[one.mask.flatten() > 0]
    found = unlikelihood(AnswerLogprobs(torch.zeros(2), torch.zeros(2), each, owners), one).tolist()
    assert found == pytest.approx([-math.log(0.5) - math.log(0.75) - 2 * math.log(0.9), 0.0], rel=1e-5)


def test_a_token_that_is_certain_has_a_finite_loss() -> None:
    one = batch([family([1], [2] * 5, [4])])
    each = torch.zeros(6, requires_grad=True)
    owners = one.answer.flatten()[one.mask.flatten() > 0]
    found = unlikelihood(AnswerLogprobs(torch.zeros(2), torch.zeros(2), each, owners), one)
    found.sum().backward()  # type: ignore[no-untyped-call]
    assert found.tolist() == pytest.approx([-4 * math.log(1e-5), 0.0], rel=1e-4)
    assert each.grad is not None
    assert torch.isfinite(each.grad).all()


def test_its_gradient_is_that_of_the_whole_distribution() -> None:
    """Through 1 - p of each token, from all logits."""
    model, some = gpt2(), [family([1, 2], LOOP, PLAIN), family([3], PLAIN, LOOP)]
    one = batch(some)

    def by_itself(place: int, side: int) -> Tensor:
        each = each_alone(model, some[place][side])
        return -torch.log1p(-each[4:].exp()).sum()

    expected = by_itself(0, 0) + 3 * by_itself(1, 1)
    found = unlikelihood(answer_logprobs(model, one), one)
    assert found[1].item() == found[2].item() == 0
    total = found[0] + 3 * found[3]
    assert total.item() == pytest.approx(expected.item(), rel=1e-5)
    wanted = gradients(model, expected)
    assert difference(gradients(model, total), wanted) < 1e-5


def test_in_a_loss_over_pairs_only_the_rejected_answers_repetitions_count_per_token() -> None:
    model, some = gpt2(), [family([1, 2], LOOP, PLAIN), family([3], PLAIN, LOOP)]
    with torch.no_grad():
        one = batch(some, alone(model, some))
        losses = [Dpo(unlikelihood=weight).loss(model, one).total.item() for weight in (0.0, 0.5)]
        looped = unlikelihood(answer_logprobs(model, one), one)[3].item()
    assert looped > 0
    assert losses[1] - losses[0] == pytest.approx(0.5 * looped / len(LOOP), rel=1e-4)


def test_learning_from_it_makes_the_loop_less_likely_and_leaves_the_rest() -> None:
    model, some = gpt2(), [family([1, 2], PLAIN, LOOP)]
    one = batch(some)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    before = each_alone(model, some[0][1]).detach()
    for _ in range(20):
        optimizer.zero_grad()
        unlikelihood(answer_logprobs(model, one), one).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    after = each_alone(model, some[0][1]).detach()
    assert bool((after[4:] < before[4:]).all())
