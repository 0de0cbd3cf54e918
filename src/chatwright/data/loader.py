"""From examples to batches: the shift by one, packing, padding and the order of the data happen here and nowhere else.

A batch of one epoch depends on (examples, seed, epoch) alone, so a cursor of two numbers is enough to continue.
Shapes: B rows, T tokens.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import chain, count, islice
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chatwright.data.examples import Examples, Tokens
from chatwright.errors import DataError
from chatwright.models.attention import Attend

BUFFER = 65_536  # examples that are packed together: what is kept in memory of the order of an epoch
FEW = 2  # rows of `Batch.parts`: enough to see, small enough for any model
WIDTHS = 32  # rows are a multiple of it wide: few sizes of matrices, each planned once by the CPU library
T = TypeVar("T")
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

    def to(self, device: torch.device) -> Self:
        """The same on another device."""
        if device.type == "cpu":
            return self
        tensors = {one.name: getattr(self, one.name) for one in fields(self)}
        moved: dict[str, Any] = {
            name: one.to(device, non_blocking=True) for name, one in tensors.items() if isinstance(one, Tensor)
        }
        return replace(self, attend=self.attend.to(device), **moved)

    def parts(self) -> tuple[Self, list[Self]]:
        """A little of this batch, and the same cut in pieces of unequal weight: what holds for sums can be seen on it.

        The pieces share its learned tokens, every third one and the others, so that they hold different numbers of them.
        """
        keep = self.mask.sum(dim=1).argsort(descending=True)[:FEW]
        attend = replace(self.attend, positions=self.attend.positions[keep])
        if self.attend.mask is not None:
            attend = replace(attend, mask=self.attend.mask[keep])
        few = replace(self, ids=self.ids[keep], targets=self.targets[keep], mask=self.mask[keep], attend=attend)
        third = torch.arange(few.mask.numel(), device=few.mask.device).reshape(few.mask.shape) % 3 == 0
        pieces = [replace(few, mask=few.mask * third), replace(few, mask=few.mask * ~third)]
        return few, [piece for piece in pieces if piece.mask.any()]


@dataclass(frozen=True)
class Pack:
    """How rows are made: `batch_size` rows of `seq_len` tokens, in an order fixed by `seed`.

    Of `ranks` processes that train together, each takes every `ranks`-th batch, the first of them from `rank` on.
    """

    batch_size: int
    seq_len: int
    seed: int = 0
    rank: int = 0
    ranks: int = 1


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
    epoch, position = (cursor["epoch"], cursor["batch"]) if cursor else (0, 0)
    while True:
        rows = _rows(plan, other, _extra(plan.count, share) if other else 0, epoch)
        for number, (chunk, is_last) in enumerate(chunks(rows, how.batch_size * how.ranks)):
            here = {"epoch": epoch + 1, "batch": 0} if is_last else {"epoch": epoch, "batch": number + 1}
            if number >= position:
                yield _collate_share(chunk, how, here)
        epoch, position = epoch + 1, 0


def batches_per_epoch(examples: Examples, how: Pack, share: float = 0.0) -> int:
    """The same for every epoch, unless it is a mixture: how rows fill up depends on the lengths alone."""
    rows = _Plan(examples, how).count
    return -(-(rows + _extra(rows, share)) // (how.batch_size * how.ranks))


def once(examples: Examples, how: Pack, at_most: int | None = None) -> Iterator[Batch]:
    """Every example one time, for evaluation: sorted by length, so that little is padding.

    With `at_most`, so many batches at even distances: the first ones would be the longest examples only.
    """
    check_lengths(examples.lengths, how.seq_len)
    rows = best_fit(examples.lengths, np.arange(len(examples)), how.seq_len)
    starts = range(0, len(rows), how.batch_size)
    wanted = len(starts) if at_most is None else min(at_most, len(starts))
    for start in (starts[place * len(starts) // wanted] for place in range(wanted)):
        yield collate([(examples, row) for row in rows[start : start + how.batch_size]], how.seq_len, {"batch": start})


def pad(examples: Examples, how: Pack, *, cursor: dict[str, Any] | None = None) -> Iterator[Batch]:
    """One example a row, rows of like length together (buckets), epoch after epoch without end."""
    epoch, position = (cursor["epoch"], cursor["batch"]) if cursor else (0, 0)
    check_lengths(examples.lengths, how.seq_len)
    while True:
        random = np.random.default_rng((how.seed, epoch))
        order = examples.order(how.seed, epoch, random)
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
            found = shifted(examples[one])
            to = at + len(found.ids)
            ids[place, at:to], targets[place, at:to], mask[place, at:to] = found.ids, found.targets, found.mask
            segments[place, at:to] = segment
            at = to
        tokens += int(at)
    attend = Attend.packed(torch.from_numpy(segments))
    return Batch(torch.from_numpy(ids), torch.from_numpy(targets), torch.from_numpy(mask), attend, cursor, tokens)


class Shifted(NamedTuple):
    """(T,) ids, the ids that follow them, and whether those are learned."""

    ids: NDArray[np.integer]
    targets: NDArray[np.integer]
    mask: NDArray[np.bool_]

    def part(self, start: int, end: int | None = None) -> "Shifted":
        """Some of its places."""
        some = slice(start, end)
        return Shifted(self.ids[some], self.targets[some], self.mask[some])


def shifted(example: Tokens) -> Shifted:
    """(T + 1,) ids -> T of them and those that follow: the shift by one."""
    return Shifted(example.ids[:-1], example.ids[1:], example.mask[1:])


def unshifted(example: Tokens) -> Shifted:
    """(T,) ids -> all of them, and nothing to predict: the mask marks the last one, where a score is read."""
    last = np.arange(len(example.ids)) == len(example.ids) - 1
    return Shifted(example.ids, np.zeros_like(example.ids), last)


class _Plan:
    """Which examples share a row. The rows of an epoch come from the lengths; which example of a length, from the seed.

    Examples are packed BUFFER at a time, so that of a long epoch only so many are held in memory as Python numbers.
    """

    def __init__(self, examples: Examples, how: Pack) -> None:
        check_lengths(examples.lengths, how.seq_len)
        self.examples, self.how = examples, how
        self.counts = [len(rows) for rows in self.buffers(0)]  # rows of each buffer

    @property
    def count(self) -> int:
        return sum(self.counts)

    def buffers(self, epoch: int) -> Iterator[list[Row]]:
        """The rows of an epoch, buffer by buffer."""
        random = np.random.default_rng((self.how.seed, epoch))
        order = self.examples.order(self.how.seed, epoch, random)
        for start in range(0, len(order), BUFFER):
            rows = best_fit(self.examples.lengths, order[start : start + BUFFER], self.how.seq_len)
            yield [rows[i] for i in random.permutation(len(rows))]

    def endless(self, start: int) -> Iterator[Row]:
        """The rows from that number on when epochs follow each other without end."""
        for epoch in count(start // self.count):
            skipped = start % self.count if epoch == start // self.count else 0
            yield from islice(chain.from_iterable(self.buffers(epoch)), skipped, None)


def _extra(rows: int, share: float) -> int:
    """Rows that rehearse in an epoch of so many others, to be `share` of all."""
    return round(rows * share / (1 - share))


def _rows(plan: _Plan, other: _Plan | None, extra: int, epoch: int) -> Iterator[tuple[Examples, Row]]:
    """The rows of an epoch in order; `extra` rows of the other plan are spread among them, the next ones each epoch."""
    more = other.endless(epoch * extra) if other is not None else iter(())
    for number, buffer in enumerate(plan.buffers(epoch)):
        rows = [(plan.examples, row) for row in buffer]
        if other is not None:
            parts = len(plan.counts)
            here = extra * (number + 1) // parts - extra * number // parts
            rows += [(other.examples, row) for row in islice(more, here)]
            seed = (plan.how.seed, epoch, 2, number) if number else (plan.how.seed, epoch, 2)
            rows = [rows[i] for i in np.random.default_rng(seed).permutation(len(rows))]
        yield from rows


def chunks(rows: Iterator[T], size: int) -> Iterator[tuple[list[T], bool]]:
    """Runs of `size` rows, and whether there are none after them."""
    chunk = list(islice(rows, size))
    while chunk:
        following = list(islice(rows, size))
        yield chunk, not following
        chunk = following


def _collate_share(chunk: list[tuple[Examples, Row]], how: Pack, cursor: dict[str, Any]) -> Batch:
    """The batch of this rank. Where the last rows of an epoch do not go round, a rank sees one without learning it."""
    own = chunk[how.rank :: how.ranks]
    batch = collate(own or chunk[:1], how.seq_len, cursor)
    return batch if own else replace(batch, mask=torch.zeros_like(batch.mask), tokens=0)


def best_fit(lengths: NDArray[np.int64], order: NDArray[np.int64], room: int) -> list[Row]:
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


def check_lengths(lengths: NDArray[np.int64], seq_len: int) -> None:
    longest = int(lengths.max())
    if longest > seq_len:
        raise DataError(f"an example has {longest + 1} tokens, but --seq-len is {seq_len}; cut it or raise --seq-len")
