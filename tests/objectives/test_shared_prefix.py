"""A prompt is read once for all of its answers, and each is worth what it is worth when it is read alone.

In every family, through sliding windows too, whatever shares a row with it; and so are the gradients.
"""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_answers import FAMILIES, alone, batch, difference, each_alone, families, family, gpt2, gradients, model_of
from torch import Tensor

from chatwright.data import answers
from chatwright.models.attention import Attend
from chatwright.models.cache import KVCache
from chatwright.models.decoder import Decoder
from chatwright.objectives.logprobs import answer_logprobs, token_logprobs

TOLERANCE = 1e-5
SHAPES = ((9, 5, 2), (1, 3, 6), (4, 1, 1), (12, 8, 11), (2, 7, 3))  # of a prompt and its two answers
every_family = pytest.mark.parametrize("name", FAMILIES)


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of twelve tokens at most, so that hardly a family fits into one."""
    monkeypatch.setattr(answers, "ROW", 12)


def assert_equal(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=TOLERANCE, atol=TOLERANCE)


# ---- the law


@every_family
def test_an_answer_beside_others_is_worth_what_it_is_worth_alone(name: str) -> None:
    model, some = model_of(*FAMILIES[name]), families(*SHAPES)
    with torch.no_grad():
        found = answer_logprobs(model, batch(some))
        assert_equal(found.total, alone(model, some))
    assert found.tokens.tolist() == [5, 2, 3, 6, 1, 1, 8, 11, 7, 3]


@every_family
def test_so_are_its_gradients(name: str) -> None:
    """Each answer counts differently, as in a loss over pairs."""
    model, some = model_of(*FAMILIES[name]), families(*SHAPES)
    counts = torch.linspace(-2, 3, 10)
    expected = gradients(model, (counts * alone(model, some)).sum())
    found = gradients(model, (counts * answer_logprobs(model, batch(some)).total).sum())
    assert difference(found, expected) < TOLERANCE


@every_family
def test_each_token_of_it_too_and_tokens_know_their_answers(name: str) -> None:
    model, some = model_of(*FAMILIES[name]), families((3, 4, 2, 5), (1, 2, 2, 1))  # three answers each
    with torch.no_grad():
        found = answer_logprobs(model, batch(some))
        for number, one in enumerate(one for members in some for one in members):
            assert_equal(found.each[found.answer == number], each_alone(model, one))
    assert_equal(found.per_answer(found.each), found.total)


@every_family
def test_a_cache_that_holds_the_prompt_gives_the_same(name: str) -> None:
    """As generation reads it: the prompt at once, then token after token at the position where it stands."""
    model, some = model_of(*FAMILIES[name]), families(*SHAPES)
    with torch.no_grad():
        found = answer_logprobs(model, batch(some)).total
        each = [_stepwise(model, torch.from_numpy(one.ids), int(one.mask.argmax())) for pair in some for one in pair]
    assert_equal(found, torch.stack(each))


def _stepwise(model: Decoder, ids: Tensor, start: int) -> Tensor:
    """log p of the answer that begins at `start`, over a cache."""
    cache = KVCache(model.config.cache_shape, 1, len(ids), device=torch.device("cpu"), dtype=torch.float32)
    logits = model(ids[None, :start], attend=Attend.cached(cache.lengths, start), cache=cache)[0, -1]
    total = torch.zeros(())
    for place in range(start, len(ids)):
        total = total + logits.log_softmax(-1)[ids[place]]
        attend = Attend.cached(torch.tensor([place]), 1)
        logits = model(ids[None, place : place + 1], attend=attend, cache=cache)[0, -1]
    return total


# ---- rows


def test_a_prompt_is_read_once_for_all_of_its_answers() -> None:
    """All but its last token, which each answer reads itself: what follows it differs."""
    one = batch(families(*SHAPES))
    assert one.tokens == (8 + 5 + 2) + (0 + 3 + 6) + (3 + 1 + 1) + (11 + 8 + 11) + (1 + 7 + 3)
    assert int(one.mask.sum()) == 47


@every_family
def test_a_family_longer_than_a_row_begins_anew_with_its_prompt(name: str, narrow: None) -> None:
    model, some = model_of(*FAMILIES[name]), families(*SHAPES)
    one = batch(some)
    assert one.tokens == (8 + 5) + (8 + 2) + (0 + 3 + 6) + (3 + 1 + 1) + (11 + 8) + (11 + 11) + (1 + 7 + 3)
    counts = torch.linspace(-2, 3, 10)
    found, expected = answer_logprobs(model, one).total, alone(model, some)
    assert_equal(found, expected)
    assert difference(gradients(model, counts @ found), gradients(model, counts @ expected)) < TOLERANCE


def test_what_shares_a_row_with_an_answer_does_not_reach_it() -> None:
    """Neither another prompt and its answers nor the other answer to its own prompt."""
    model, (first, second) = gpt2(), families((6, 4, 3), (5, 2, 4))
    (other,) = families((5, 2, 4), seed=1)
    instead = family(first[0].ids[:6].tolist(), first[0].ids[6:].tolist(), [7, 7, 7])
    with torch.no_grad():
        found, beside_other, beside_seven = (
            answer_logprobs(model, batch(some)).total for some in ([first, second], [first, other], [instead, second])
        )
    assert batch([first, second]).ids.shape[0] == 1
    assert torch.equal(found[:2], beside_other[:2])
    assert not torch.equal(found[2:], beside_other[2:])
    assert torch.equal(found[[0, 2, 3]], beside_seven[[0, 2, 3]])
    assert found[1] != beside_seven[1]


def test_answers_of_one_number_of_tokens_may_follow_prompts_that_differ() -> None:
    """A family whose prompts were cut otherwise shares nothing, and each of them is read whole."""
    model = gpt2()
    (mine, _), (_, other) = families((6, 4, 3), (5, 2, 4))
    with torch.no_grad():
        one = batch([[mine, other]])
        assert_equal(answer_logprobs(model, one).total, alone(model, [[mine, other]]))
    assert one.tokens == (6 + 4 - 1) + (5 + 4 - 1)


def test_padding_stands_at_no_position_beyond_the_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row may have more padding than the window of a small model has places."""
    monkeypatch.setattr(answers, "WIDTHS", 128)
    model, some = gpt2(n_positions=16), families((9, 4, 7))
    one = batch(some)
    assert one.ids.shape == (1, 128)
    assert int(one.attend.positions.max()) == 14
    with torch.no_grad():
        assert_equal(answer_logprobs(model, one).total, alone(model, some))


sizes = st.tuples(st.integers(1, 9), st.integers(1, 12), st.integers(1, 12))


@settings(max_examples=60, deadline=None)
@given(some=st.lists(sizes, min_size=1, max_size=7), row=st.integers(1, 40))
def test_every_token_of_every_answer_is_a_target_once_and_under_its_number(some: list[Any], row: int) -> None:
    made = families(*some)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(answers, "ROW", row)
        one = batch(made)
    expected = [tokens.ids[tokens.mask].tolist() for members in made for tokens in members]
    assert [one.targets[one.answer == number].tolist() for number in range(one.count)] == expected
    assert torch.equal(one.mask > 0, one.answer >= 0)
    assert one.labels.tolist() == [1.0, 0.0] * len(made)


# ---- parts of a batch


def test_of_a_batch_some_families_can_be_learned_from_alone() -> None:
    model, some = gpt2(), families(*SHAPES)
    reference = torch.arange(10.0)
    one = batch(some, reference).select([3, 1])
    with torch.no_grad():
        assert_equal(answer_logprobs(model, one).total, alone(model, [some[3], some[1]]))
    assert one.reference is not None
    assert (one.reference.tolist(), one.labels.tolist()) == ([6, 7, 2, 3], [1, 0, 1, 0])
    assert int(one.mask.sum()) == 8 + 11 + 3 + 6


def test_the_parts_of_a_batch_are_whole_families_and_make_it_up() -> None:
    model, one = gpt2(), batch(families(*SHAPES), torch.arange(10.0))
    few, parts = one.parts()
    with torch.no_grad():
        found = [answer_logprobs(model, part).total for part in (few, *parts)]
    assert [len(part) for part in found] == [6, 2, 4]
    assert_equal(torch.cat(found[1:]), found[0])
    alone_in_it, (itself,) = batch(families((3, 2, 2))).parts()
    assert alone_in_it.count == itself.count == 2


# ---- who may look at whom


def test_positions_count_on_from_the_prompt_and_only_one_s_own_and_the_prompt_are_seen() -> None:
    """A prompt of two, answers of two and one, and another prompt of one."""
    segments, parents = torch.tensor([[0, 0, 1, 1, 2, 3]]), torch.tensor([[-9, -9, 0, 0, 0, -9]])
    attend = Attend.shared_prefix(segments, parents)
    assert attend.positions.tolist() == [[0, 1, 2, 3, 2, 0]]
    assert attend.mask is not None
    assert attend.mask[0, 0].int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 0, 0, 1, 0],
        [0, 0, 0, 0, 0, 1],
    ]
    assert not attend.is_causal


def test_a_window_reaches_back_by_positions_into_the_prompt() -> None:
    """The second answer stands four places behind the prompt's end, and one position."""
    segments = torch.tensor([[0, 0, 0, 1, 1, 1, 2]])
    parents = torch.tensor([[-9, -9, -9, 0, 0, 0, 0]])
    mask = Attend.shared_prefix(segments, parents).within(2).mask
    assert mask is not None
    assert mask[0, 0, 3].int().tolist() == [0, 0, 1, 1, 0, 0, 0]
    assert mask[0, 0, 5].int().tolist() == [0, 0, 0, 0, 1, 1, 0]
    assert mask[0, 0, 6].int().tolist() == [0, 0, 1, 0, 0, 0, 1]


def test_without_parents_it_is_packing() -> None:
    segments = torch.tensor([[0, 0, 1, 1, 1], [0, 1, 1, 2, 2]])
    packed = Attend.packed(segments)
    shared = Attend.shared_prefix(segments, torch.full_like(segments, -9))
    assert torch.equal(shared.positions, packed.positions)
    assert shared.mask is not None
    assert packed.mask is not None
    assert torch.equal(shared.mask, packed.mask)


def test_token_logprobs_of_a_row_come_in_the_order_of_the_row() -> None:
    """So those of an answer stand behind each other, and `answer` says whose they are."""
    model, some = gpt2(), families((4, 2, 3), (2, 5, 1))
    one = batch(some)
    with torch.no_grad():
        each = token_logprobs(model, one)
    owners = one.answer.flatten()[one.mask.flatten() > 0].tolist()
    assert sorted(owners) == [0, 0, 1, 1, 1, 2, 2, 2, 2, 2, 3]
    assert len(each) == len(owners)
    assert np.count_nonzero(np.diff(owners)) == 3
