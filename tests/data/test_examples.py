"""Examples as flat arrays: selections, mixtures by weight, and the batches of any cursor, any buffer and any rank."""

from collections import Counter
from collections.abc import Iterator
from itertools import islice, pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chatwright.data import loader
from chatwright.data.examples import Examples, joined
from chatwright.data.loader import Batch, Pack, batches_per_epoch, pack
from chatwright.errors import DataError
from chatwright.text.template import Example

SEQ_LEN = 24
LENGTHS = st.lists(st.integers(2, SEQ_LEN + 1), min_size=1, max_size=30)
WEIGHTS = st.floats(0.05, 20)


def numbered(lengths: list[int], start: int = 0) -> Examples:
    """Examples of these numbers of ids; the ids count up through all of them, so that each is known by its first."""
    firsts = np.cumsum([start, *lengths])
    return Examples.of(
        Example(list(range(first, first + n)), [0, *([1] * (n - 1))])
        for first, n in zip(firsts.tolist(), lengths, strict=False)
    )


def order(examples: Examples, seed: int, epoch: int) -> list[int]:
    return examples.order(seed, epoch, np.random.default_rng((seed, epoch))).tolist()


def firsts(examples: Examples) -> list[int]:
    """The first id of each, which tells it apart."""
    return [int(examples[k].ids[0]) for k in range(len(examples))]


@pytest.fixture(params=[1, 3, 7, 65_536])
def buffer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """So many examples are packed together."""
    monkeypatch.setattr(loader, "BUFFER", request.param)
    return int(request.param)


# ---- arrays


@given(parts=st.lists(LENGTHS, min_size=1, max_size=4), data=st.data())
@settings(max_examples=60, deadline=None)
def test_what_is_joined_or_chosen_is_what_was_put_in(parts: list[list[int]], data: st.DataObject) -> None:
    sets = [numbered(lengths, start=1_000 * number) for number, lengths in enumerate(parts)]
    whole = joined(sets)
    each = [one[k] for one in sets for k in range(len(one))]
    assert len(whole) == len(each)
    for k, one in enumerate(each):
        assert whole[k].ids.tolist() == one.ids.tolist()
        assert whole[k].mask.tolist() == one.mask.tolist()
    assert whole.lengths.tolist() == [len(one.ids) - 1 for one in each]
    assert whole.learned.tolist() == [int(one.mask[1:].sum()) for one in each]
    chosen = data.draw(st.lists(st.integers(0, len(each) - 1), max_size=10))
    some = whole.select(chosen)
    assert firsts(some) == [int(each[k].ids[0]) for k in chosen]
    assert some.learned.tolist() == [int(whole.learned[k]) for k in chosen]


@given(lengths=LENGTHS, most=st.integers(1, SEQ_LEN + 3))
@settings(max_examples=40, deadline=None)
def test_shortened_examples_are_the_beginnings_that_still_teach(lengths: list[int], most: int) -> None:
    examples = numbered(lengths)
    if most == 1:
        with pytest.raises(DataError, match="nothing to learn"):
            examples.shortened(most)
        return
    short = examples.shortened(most)
    assert firsts(short) == firsts(examples)
    assert (short.lengths + 1).tolist() == [min(most, n) for n in lengths]
    assert short.learned.tolist() == short.lengths.tolist()


# ---- mixtures


@given(lengths=LENGTHS, seed=st.integers(0, 3), epoch=st.integers(0, 4))
@settings(max_examples=40, deadline=None)
def test_without_weights_every_example_comes_once_an_epoch(lengths: list[int], seed: int, epoch: int) -> None:
    half = len(lengths) // 2
    whole = joined([numbered(part, start) for part, start in ((lengths[:half], 0), (lengths[half:], 1_000)) if part])
    assert sorted(order(whole, seed, epoch)) == list(range(len(lengths)))


@given(
    sizes=st.lists(st.integers(1, 25), min_size=2, max_size=4),
    data=st.data(),
    seed=st.integers(0, 3),
    epochs=st.integers(1, 12),
)
@settings(max_examples=80, deadline=None)
def test_weights_are_the_shares_of_every_epoch_and_each_example_is_seen_equally_often(
    sizes: list[int], data: st.DataObject, seed: int, epochs: int
) -> None:
    weights = data.draw(st.lists(WEIGHTS, min_size=len(sizes), max_size=len(sizes)))
    edges = np.cumsum([0, *sizes])
    mixed = joined([numbered([3] * size, 1_000 * number) for number, size in enumerate(sizes)], weights)
    seen: Counter[int] = Counter(dict.fromkeys(range(len(mixed)), 0))
    for epoch in range(epochs):
        found = order(mixed, seed, epoch)
        parts = Counter((np.searchsorted(edges, found, side="right") - 1).tolist())
        for number, weight in enumerate(weights):
            expected = len(mixed) * weight / sum(weights)
            assert abs(parts[number] - expected) <= 0.5 or parts[number] == 1
        seen.update(found)
        assert found == order(mixed, seed, epoch)
    for start, end in pairwise(edges):
        times = [seen[k] for k in range(start, end)]
        assert max(times) - min(times) <= 1


def test_a_mixture_has_another_order_in_every_epoch_and_for_every_seed() -> None:
    mixed = joined([numbered([3] * 20), numbered([3] * 10, 1_000)], [0.5, 0.5])
    found = {tuple(order(mixed, seed, epoch)) for seed in range(3) for epoch in range(3)}
    assert len(found) == 9
    neighbours = [place // 20 for place in order(mixed, 0, 0)]
    assert neighbours != sorted(neighbours)  # the sources are mixed, not one after the other


def test_the_weights_of_one_source_say_nothing() -> None:
    assert sorted(order(joined([numbered([3] * 7)], [0.2]), 0, 1)) == list(range(7))


# ---- batches


def same(one: Batch, other: Batch) -> bool:
    tensors = ((one.ids, other.ids), (one.targets, other.targets), (one.mask, other.mask))
    places = torch.equal(one.attend.positions, other.attend.positions)
    return (
        places
        and all(torch.equal(a, b) for a, b in tensors)
        and (one.cursor, one.tokens) == (other.cursor, other.tokens)
    )


def sets(weighted: bool) -> Examples:
    random = np.random.default_rng(5)
    first, second = (random.integers(2, SEQ_LEN + 2, size=size).tolist() for size in (17, 9))
    return joined([numbered(first), numbered(second, 1_000)], [0.3, 0.7] if weighted else [])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("rehearse", [False, True])
@pytest.mark.parametrize("ranks", [1, 3])
def test_from_the_cursor_of_any_batch_the_same_ones_follow(
    buffer: int, weighted: bool, rehearse: bool, ranks: int
) -> None:
    examples, how = sets(weighted), Pack(2, SEQ_LEN, seed=3, rank=ranks - 1, ranks=ranks)
    more: dict[str, Any] = {"rehearsed": numbered([5, 9, 24, 13] * 3, 10_000), "share": 0.3} if rehearse else {}
    undisturbed = list(islice(pack(examples, how, **more), 30))
    assert undisturbed[-1].cursor["epoch"] >= 1
    for place in range(26):
        resumed = pack(examples, how, cursor=undisturbed[place].cursor, **more)
        assert all(same(a, b) for a, b in zip(undisturbed[place + 1 :], islice(resumed, 4), strict=False)), place


def targets(batches: list[Batch]) -> Counter[int]:
    """Every target that is learned, and how often."""
    return Counter(int(one) for batch in batches for one in batch.targets[batch.mask > 0])


def epochs_of(examples: Examples, how: Pack, count: int, **more: Any) -> Iterator[list[Batch]]:
    """The batches of each epoch, by their cursors."""
    found: list[Batch] = []
    for batch in pack(examples, how, **more):
        found.append(batch)
        if batch.cursor["batch"] == 0:
            yield found
            found, count = [], count - 1
        if not count:
            return


def test_in_buffers_every_example_comes_once_an_epoch_all_the_same(buffer: int) -> None:
    examples = sets(weighted=False)
    everything = Counter(int(one) for k in range(len(examples)) for one in examples[k].ids[1:])
    seen = [targets(batches) for batches in epochs_of(examples, Pack(2, SEQ_LEN), 3)]
    assert seen == [everything] * 3


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("rehearse", [False, True])
@pytest.mark.parametrize("ranks", [2, 3, 5])
def test_all_ranks_together_learn_what_one_would_in_as_many_batches_with_the_same_cursors(
    buffer: int, weighted: bool, rehearse: bool, ranks: int
) -> None:
    examples = sets(weighted)
    more: dict[str, Any] = {"rehearsed": numbered([5, 9, 24, 13] * 3, 10_000), "share": 0.3} if rehearse else {}
    alone = list(epochs_of(examples, Pack(2 * ranks, SEQ_LEN, seed=1), 2, **more))
    for epoch, batches in enumerate(alone):
        start = {"epoch": epoch, "batch": 0}
        each = [
            next(epochs_of(examples, Pack(2, SEQ_LEN, 1, rank, ranks), 1, cursor=start, **more))
            for rank in range(ranks)
        ]
        assert {len(one) for one in each} == {len(batches)}
        for number, batch in enumerate(batches):
            mine = [one[number] for one in each]
            assert targets(mine) == targets([batch])
            assert sum(one.tokens for one in mine) == batch.tokens
            assert all(one.cursor == batch.cursor for one in mine)
            assert all(len(one.ids) in (1, 2) for one in mine)
    if not weighted and buffer > len(examples):
        assert len(alone[0]) == batches_per_epoch(examples, Pack(2 * ranks, SEQ_LEN, seed=1), more.get("share", 0.0))


@pytest.mark.parametrize("epochs", [8])
def test_rehearsed_examples_go_round_at_their_own_pace_through_every_buffer(buffer: int, epochs: int) -> None:
    """Each comes about as often as every other, whatever the size of what is packed together."""
    lengths = [SEQ_LEN + 1] * 20  # each fills a row
    examples, rehearsed = numbered(lengths), numbered(lengths[:7], 10_000)
    seen: Counter[int] = Counter()
    for batches in epochs_of(examples, Pack(3, SEQ_LEN), epochs, rehearsed=rehearsed, share=0.25):
        found = targets(batches)
        seen.update({one: times for one, times in found.items() if one >= 10_000})
        assert sum(times for one, times in found.items() if one < 10_000) == 20 * SEQ_LEN
    assert max(seen.values()) - min(seen.values()) <= 1
    assert len(seen) == 7 * SEQ_LEN
