"""From examples to batches: the shift by one, packing, padding and the order of the data happen here and nowhere else.

A batch of one epoch depends on (examples, seed, epoch) alone, so a cursor of two numbers is enough to continue.
Shapes: B rows, T tokens.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chatwright.errors import DataError
from chatwright.models.attention import Attend
from chatwright.text.template import Example

WIDTHS = 32  # rows are a multiple of it wide: few sizes of matrices, each planned once by the CPU library
Row = Sequence[int]  # the examples that share a row, by number


@dataclass
class Batch:
    """(B, T) ids, the ids that follow them, and 1 where the model learns to produce the target.

    `cursor` is the JSON-able state from which the same iterator yields the batch after this one.
    `tokens` counts the real (not padding) tokens among `ids`.
    """

    ids: Tensor
    targets: Tensor
    mask: Tensor
    attend: Attend
    cursor: dict[str, Any]
    tokens: int

    def to(self, device: torch.device) -> "Batch":
        if device.type == "cpu":
            return self
        ids, targets, mask = (one.to(device, non_blocking=True) for one in (self.ids, self.targets, self.mask))
        return Batch(ids, targets, mask, self.attend.to(device), self.cursor, self.tokens)


class Examples:
    """Many examples as three flat arrays (ids, mask, offsets), in a tenth of the memory of Python lists.

    Raises DataError when nothing is left to learn: an example of one token, or without mask, is not kept but counted.
    """

    def __init__(self, examples: Iterable[Example]) -> None:
        ids: list[NDArray[np.int32]] = []
        masks: list[NDArray[np.bool_]] = []
        self.unlearnable = 0
        for example in examples:
            if not any(example.mask[1:]):
                self.unlearnable += 1
                continue
            ids.append(np.asarray(example.ids, dtype=np.int32))
            masks.append(np.asarray(example.mask, dtype=np.bool_))
        if not ids:
            raise DataError(f"nothing to learn: none of the {self.unlearnable} examples has a token that is learned")
        self.ids = np.concatenate(ids)
        self.mask = np.concatenate(masks)
        self.offsets = np.concatenate([[0], np.cumsum([len(one) for one in ids])])

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Input tokens of each example: one less than its ids, because the last is only ever a target."""
        return np.diff(self.offsets) - 1

    @property
    def learned(self) -> int:
        """Targets that are learned, in all examples together."""
        first = self.mask[self.offsets[:-1]]
        return int(self.mask.sum() - first.sum())


@dataclass(frozen=True)
class Pack:
    """How rows are made: `batch_size` rows of `seq_len` tokens, in an order fixed by `seed`."""

    batch_size: int
    seq_len: int
    seed: int = 0


def pack(
    examples: Examples,
    how: Pack,
    *,
    rehearsed: Examples | None = None,
    share: float = 0.0,
    cursor: dict[str, Any] | None = None,
) -> Iterator[Batch]:
    """Epoch after epoch without end; several examples share a row and do not see each other.

    With `rehearsed`, that share of the rows of every epoch is taken from a second set, which goes round at its own pace.
    """
    plan = _Plan(examples, how)
    other = _Plan(rehearsed, how) if rehearsed is not None and share > 0 else None
    extra = round(len(plan.rows) * share / (1 - share)) if other else 0
    epoch, position = (cursor["epoch"], cursor["batch"]) if cursor else (0, 0)
    while True:
        rows: list[tuple[Examples, Row]] = [(examples, row) for row in plan.epoch(epoch)]
        if other is not None and rehearsed is not None:
            rows += [(rehearsed, other.row(epoch * extra + place)) for place in range(extra)]
            rows = [rows[i] for i in np.random.default_rng((how.seed, epoch, 2)).permutation(len(rows))]
        batches = -(-len(rows) // how.batch_size)
        for number in range(position, batches):
            here = {"epoch": epoch, "batch": number + 1} if number + 1 < batches else {"epoch": epoch + 1, "batch": 0}
            chunk = rows[number * how.batch_size : (number + 1) * how.batch_size]
            yield collate(chunk, how.seq_len, here)
        epoch, position = epoch + 1, 0


def batches_per_epoch(examples: Examples, how: Pack, share: float = 0.0) -> int:
    """The same for every epoch: how rows fill up depends on the lengths alone."""
    rows = len(_Plan(examples, how).rows)
    return -(-(rows + (round(rows * share / (1 - share)) if share else 0)) // how.batch_size)


def once(examples: Examples, how: Pack, at_most: int | None = None) -> Iterator[Batch]:
    """Every example one time, for evaluation: sorted by length, so that little is padding.

    With `at_most`, so many batches at even distances: the first ones would be the longest examples only.
    """
    _check_lengths(examples.lengths, how.seq_len)
    rows = _best_fit(examples.lengths, np.arange(len(examples)), how.seq_len)
    starts = range(0, len(rows), how.batch_size)
    count = len(starts) if at_most is None else min(at_most, len(starts))
    for start in (starts[place * len(starts) // count] for place in range(count)):
        yield collate([(examples, row) for row in rows[start : start + how.batch_size]], how.seq_len, {"batch": start})


def pad(examples: Examples, how: Pack, *, cursor: dict[str, Any] | None = None) -> Iterator[Batch]:
    """One example a row, rows of like length together (buckets), epoch after epoch without end."""
    epoch, position = (cursor["epoch"], cursor["batch"]) if cursor else (0, 0)
    _check_lengths(examples.lengths, how.seq_len)
    while True:
        random = np.random.default_rng((how.seed, epoch))
        order = random.permutation(len(examples))
        bucket = how.batch_size * 50  # sorted inside a bucket: short rows meet short rows, and the order stays random
        sorted_in_buckets = [
            one
            for i in range(0, len(order), bucket)
            for one in sorted(order[i : i + bucket], key=lambda n: examples.lengths[n])
        ]
        starts = random.permutation(np.arange(0, len(order), how.batch_size))
        for number in range(position, len(starts)):
            last = number + 1 == len(starts)
            here = {"epoch": epoch + 1, "batch": 0} if last else {"epoch": epoch, "batch": number + 1}
            chosen = sorted_in_buckets[starts[number] : starts[number] + how.batch_size]
            yield collate([(examples, [one]) for one in chosen], how.seq_len, here)
        epoch, position = epoch + 1, 0


def collate(rows: Sequence[tuple[Examples, Row]], seq_len: int, cursor: dict[str, Any]) -> Batch:
    """Rows of examples -> a Batch about as wide as its fullest row. Padding is a segment of its own with mask 0."""
    fullest = max(sum(int(examples.lengths[one]) for one in row) for examples, row in rows)
    assert fullest <= seq_len
    width = min(seq_len, fullest + -fullest % WIDTHS)
    ids = np.zeros((len(rows), width), dtype=np.int64)
    targets = np.zeros_like(ids)
    mask = np.zeros((len(rows), width), dtype=np.float32)
    segments = np.full((len(rows), width), -1, dtype=np.int64)
    tokens = 0
    for place, (examples, row) in enumerate(rows):
        at = 0
        for segment, one in enumerate(row):
            start, end = examples.offsets[one], examples.offsets[one + 1]
            to = at + end - start - 1
            ids[place, at:to] = examples.ids[start : end - 1]
            targets[place, at:to] = examples.ids[start + 1 : end]
            mask[place, at:to] = examples.mask[start + 1 : end]
            segments[place, at:to] = segment
            at = to
        tokens += int(at)
    attend = Attend.packed(torch.from_numpy(segments))
    return Batch(torch.from_numpy(ids), torch.from_numpy(targets), torch.from_numpy(mask), attend, cursor, tokens)


class _Plan:
    """Which examples share a row. The rows of an epoch come from the lengths; which example of a length, from the seed."""

    def __init__(self, examples: Examples, how: Pack) -> None:
        _check_lengths(examples.lengths, how.seq_len)
        self.examples, self.how = examples, how
        self._epoch, self.rows = 0, self._make(0)

    def epoch(self, epoch: int) -> list[Row]:
        if epoch != self._epoch:
            self._epoch, self.rows = epoch, self._make(epoch)
        return self.rows

    def row(self, number: int) -> Row:
        """The row of that number when epochs follow each other without end."""
        count = len(self.rows)
        return self.epoch(number // count)[number % count]

    def _make(self, epoch: int) -> list[Row]:
        random = np.random.default_rng((self.how.seed, epoch))
        rows = _best_fit(self.examples.lengths, random.permutation(len(self.examples)), self.how.seq_len)
        return [rows[i] for i in random.permutation(len(rows))]


def _best_fit(lengths: NDArray[np.int64], order: NDArray[np.int64], room: int) -> list[Row]:
    """Best-fit decreasing: the longest first, each into the fullest row that still has room for it.

    Among examples of one length `order` decides. Rows by free space make it O(examples × room) at worst.
    """
    rows: list[list[int]] = []
    by_space: list[list[int]] = [[] for _ in range(room + 1)]
    for one in order[np.argsort(-lengths[order], kind="stable")]:
        length = int(lengths[one])
        space = next((s for s in range(length, room + 1) if by_space[s]), None)
        if space is None:
            rows.append([])
            number, space = len(rows) - 1, room
        else:
            number = by_space[space].pop()
        rows[number].append(int(one))
        by_space[space - length].append(number)
    return list(rows)


def _check_lengths(lengths: NDArray[np.int64], seq_len: int) -> None:
    longest = int(lengths.max())
    if longest > seq_len:
        raise DataError(f"an example has {longest + 1} tokens, but --seq-len is {seq_len}; cut it or raise --seq-len")
