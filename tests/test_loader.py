"""From examples to batches: the shift, the packing, each example once an epoch, and a cursor that goes on."""

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chatwright.data.examples import Examples
from chatwright.data.loader import Batch, Pack, batches_per_epoch, collate, once, pack, pad
from chatwright.errors import DataError
from chatwright.text.template import Example

SEQ_LEN = 24
Loader = Callable[..., Iterator[Batch]]


def numbered(lengths: list[int], start: int = 0) -> Examples:
    """Examples of these numbers of ids; the ids count up through all of them, so that each is known by its first."""
    firsts = np.cumsum([start, *lengths])
    return Examples.of(
        Example(list(range(first, first + n)), [0, *([1] * (n - 1))])
        for first, n in zip(firsts.tolist(), lengths, strict=False)
    )


def texts(batch: Batch) -> list[list[int]]:
    """The inputs of each example in a batch, padding left out; where one ends is read from the positions."""
    found: list[list[int]] = []
    for ids, positions, mask in zip(batch.ids, batch.attend.positions, batch.mask, strict=True):
        for number, position, learned in zip(ids.tolist(), positions.tolist(), mask.tolist(), strict=True):
            if not learned:
                break
            if position == 0:
                found.append([])
            found[-1].append(number)
    return found


def firsts(batches: list[Batch]) -> list[int]:
    return [text[0] for batch in batches for text in texts(batch)]


def same(a: Batch, b: Batch) -> bool:
    tensors = ((a.ids, b.ids), (a.targets, b.targets), (a.mask, b.mask), (a.attend.positions, b.attend.positions))
    return all(torch.equal(x, y) for x, y in tensors) and (a.cursor, a.tokens) == (b.cursor, b.tokens)


LENGTHS = st.lists(st.integers(2, SEQ_LEN + 1), min_size=1, max_size=40)
HOW = st.builds(Pack, st.integers(1, 5), st.just(SEQ_LEN), st.integers(0, 3))


# ---- one batch


def test_each_target_is_the_next_id_and_the_mask_is_the_targets() -> None:
    one = Example([10, 11, 12, 13], [1, 0, 1, 1])  # the first id's mask says nothing: nothing comes before it
    two = Example([20, 21], [0, 1])
    examples = Examples.of([one, two])
    batch = collate([(examples, [0, 1]), (examples, [1])], SEQ_LEN, {})
    assert batch.ids[:, :4].tolist() == [[10, 11, 12, 20], [20, 0, 0, 0]]
    assert batch.targets[:, :4].tolist() == [[11, 12, 13, 21], [21, 0, 0, 0]]
    assert batch.mask[:, :4].tolist() == [[0, 1, 1, 1], [1, 0, 0, 0]]
    assert batch.attend.positions[:, :4].tolist() == [[0, 1, 2, 0], [0, 0, 1, 2]]
    assert not batch.mask[:, 4:].any()  # what is beyond the fullest row is padding
    assert batch.ids.shape[1] <= SEQ_LEN
    assert (batch.tokens, examples.learned.tolist()) == (5, [2, 1])
    assert examples.lengths.tolist() == [3, 1]


@given(lengths=LENGTHS, how=HOW)
@settings(max_examples=60, deadline=None)
def test_a_token_sees_its_own_example_up_to_itself_and_nothing_else(lengths: list[int], how: Pack) -> None:
    examples = numbered(lengths)
    owner = np.repeat(np.arange(len(lengths)), lengths)
    batch = next(pack(examples, how))
    assert batch.attend.mask is not None
    for ids, mask, sees in zip(batch.ids.numpy(), batch.mask.numpy(), batch.attend.mask[:, 0].numpy(), strict=True):
        real = np.flatnonzero(mask)
        for place in real:
            visible = np.flatnonzero(sees[place])
            assert set(visible) <= set(real)
            assert set(owner[ids[visible]]) == {owner[ids[place]]}
            assert ids[visible].max() == ids[place]
            assert sees[place, place]


# ---- an epoch


@given(lengths=LENGTHS, how=HOW, loader=st.sampled_from([pack, pad]), epoch=st.integers(0, 2))
@settings(max_examples=100, deadline=None)
def test_every_example_appears_exactly_once_in_every_epoch(
    lengths: list[int], how: Pack, loader: Loader, epoch: int
) -> None:
    examples = numbered(lengths)
    batches = batches_per_epoch(examples, how) if loader is pack else -(-len(lengths) // how.batch_size)
    found = list(islice(loader(examples, how, cursor={"epoch": epoch, "batch": 0}), batches))
    assert sorted(firsts(found)) == sorted(np.cumsum([0, *lengths[:-1]]).tolist())
    assert sum(batch.tokens for batch in found) == sum(lengths) - len(lengths)
    assert sum(int(batch.mask.sum()) for batch in found) == examples.learned.sum()
    assert found[-1].cursor == {"epoch": epoch + 1, "batch": 0}  # so every epoch has the same number of batches
    assert all(len(batch.ids) <= how.batch_size and batch.ids.shape[1] <= SEQ_LEN for batch in found)


@given(lengths=LENGTHS, how=HOW)
@settings(max_examples=40, deadline=None)
def test_an_evaluation_sees_every_example_one_time(lengths: list[int], how: Pack) -> None:
    assert sorted(firsts(list(once(numbered(lengths), how)))) == sorted(np.cumsum([0, *lengths[:-1]]).tolist())


@given(lengths=LENGTHS, how=HOW, at_most=st.integers(1, 12))
@settings(max_examples=40, deadline=None)
def test_a_short_evaluation_takes_different_batches_of_the_whole_one(
    lengths: list[int], how: Pack, at_most: int
) -> None:
    whole = list(once(numbered(lengths), how))
    some = list(once(numbered(lengths), how, at_most))
    assert len(some) == min(at_most, len(whole))
    places = [next(i for i, other in enumerate(whole) if same(one, other)) for one in some]
    assert places == sorted(set(places))
    assert max(np.diff([*places, len(whole)])) <= -(-len(whole) // len(some))  # at even distances


def test_the_order_differs_between_epochs_and_seeds_and_is_repeatable() -> None:
    examples = numbered([4] * 30)

    def order(seed: int, epoch: int) -> list[int]:
        how = Pack(2, SEQ_LEN, seed)
        start = {"epoch": epoch, "batch": 0}
        return firsts(list(islice(pack(examples, how, cursor=start), batches_per_epoch(examples, how))))

    assert order(0, 0) == order(0, 0)
    assert len({tuple(order(seed, epoch)) for seed in (0, 1) for epoch in (0, 1)}) == 4


def test_rows_are_nearly_full_and_padding_is_never_learned() -> None:
    lengths = np.random.default_rng(0).integers(2, SEQ_LEN + 1, size=300).tolist()
    batches = list(once(numbered(lengths), Pack(4, SEQ_LEN)))
    places = sum(batch.ids.numel() for batch in batches)
    assert sum(batch.tokens for batch in batches) / places > 0.95


def test_padded_rows_hold_one_example_each_and_rows_of_like_length_meet() -> None:
    lengths = np.random.default_rng(0).integers(2, SEQ_LEN + 1, size=300).tolist()
    batches = list(islice(pad(numbered(lengths), Pack(4, SEQ_LEN)), 75))
    assert all(len(texts(batch)) == len(batch.ids) for batch in batches)
    widths = [[len(text) for text in texts(batch)] for batch in batches]
    assert np.mean([max(w) - min(w) for w in widths]) < 2
    assert [max(w) for w in widths] != sorted(max(w) for w in widths)  # but not from short to long


# ---- going on


@given(lengths=LENGTHS, how=HOW, loader=st.sampled_from([pack, pad]), place=st.integers(0, 30))
@settings(max_examples=100, deadline=None)
def test_from_any_cursor_the_same_batches_follow(lengths: list[int], how: Pack, loader: Loader, place: int) -> None:
    examples = numbered(lengths)
    undisturbed = list(islice(loader(examples, how), place + 6))
    resumed = loader(examples, how, cursor=undisturbed[place].cursor)
    assert all(same(a, b) for a, b in zip(undisturbed[place + 1 :], islice(resumed, 5), strict=True))


@given(lengths=LENGTHS, others=LENGTHS, share=st.floats(0.05, 0.8), place=st.integers(0, 20))
@settings(max_examples=60, deadline=None)
def test_from_any_cursor_the_same_batches_follow_with_rehearsal(
    lengths: list[int], others: list[int], share: float, place: int
) -> None:
    examples, rehearsed = numbered(lengths), numbered(others, start=10_000)
    how = Pack(2, SEQ_LEN)
    undisturbed = list(islice(pack(examples, how, rehearsed=rehearsed, share=share), place + 5))
    resumed = pack(examples, how, rehearsed=rehearsed, share=share, cursor=undisturbed[place].cursor)
    assert all(same(a, b) for a, b in zip(undisturbed[place + 1 :], islice(resumed, 4), strict=True))


# ---- rehearsal


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_the_share_of_rehearsed_rows_is_kept_in_every_epoch_and_all_of_them_have_their_turn(share: float) -> None:
    full = SEQ_LEN + 1  # each example fills a row
    examples, rehearsed = numbered([full] * 40), numbered([full] * 25, start=10_000)
    how = Pack(3, SEQ_LEN)
    per_epoch = batches_per_epoch(examples, how, share)
    seen: Counter[int] = Counter()
    for epoch in range(6):
        start = {"epoch": epoch, "batch": 0}
        found = firsts(list(islice(pack(examples, how, rehearsed=rehearsed, share=share, cursor=start), per_epoch)))
        others = [first for first in found if first >= 10_000]
        assert len(found) - len(others) == 40
        assert abs(len(others) / len(found) - share) < 0.02
        seen.update(others)
    assert max(seen.values()) - min(seen[10_000 + full * i] for i in range(25)) <= 1  # round and round, none left out


# ---- what cannot be learned


def test_examples_without_a_learned_token_are_counted_and_nothing_to_learn_is_an_error() -> None:
    useless = [Example([1, 2, 3], [0, 0, 0]), Example([1, 2], [1, 0]), Example([5], [1]), Example([], [])]
    assert len(Examples.of([*useless, Example([1, 2], [0, 1])])) == 1
    with pytest.raises(DataError, match="nothing to learn: none of the 4 examples"):
        Examples.of(useless)


@pytest.mark.parametrize("loader", [pack, pad, once])
def test_an_example_longer_than_a_row_is_refused_by_its_length(loader: Loader) -> None:
    with pytest.raises(DataError, match="an example has 26 tokens, but --seq-len is 24"):
        next(loader(numbered([5, SEQ_LEN + 2]), Pack(2, SEQ_LEN)))
