"""Batches of answers: several that go on from one prompt, which is read once, and who of them is preferred.

A *family* are the answers to one prompt: two of a preference, one that was rated, or many that the policy gave itself.
The shift by one is the loader's. Shapes: B rows, T tokens, n answers, N learned tokens.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chatwright.data.examples import Examples, Tokens
from chatwright.data.loader import WIDTHS, Batch, Pack, Shifted, best_fit, check_lengths, chunks, shifted, unshifted
from chatwright.models.attention import Attend
from chatwright.text.pieces import Example

ROW = 512  # tokens of the widest row where families are shorter
PLACE = 2000  # a place in a row costs as much as looking back so many tokens does (GPT-2 124M on a CPU)
NONE = np.iinfo(np.int64).min  # the parent of what goes on from nothing


@dataclass
class Answers(Batch):
    """A batch in which every learned target belongs to one of n answers; those of a family follow each other.

    answer (B, T): the number of a target's answer, -1 where nothing is learned. labels (n,): 1 where it is the preferred
    or a good one. reference (n,): its log-probability under the start model, None where that is still to be asked.
    `family` is the number of answers to a prompt.
    """

    answer: Tensor
    labels: Tensor
    reference: Tensor | None
    family: int

    @property
    def count(self) -> int:
        """n."""
        return len(self.labels)

    def select(self, families: Sequence[int]) -> Self:
        """The same rows, of which only the answers of some families are learned, in that order."""
        chosen = torch.tensor([f * self.family + k for f in families for k in range(self.family)])
        number = torch.full((self.count + 1,), -1)  # the last place is for -1
        number[chosen] = torch.arange(len(chosen))
        answer = number.to(self.answer.device)[self.answer]
        kept = (answer >= 0).to(self.mask.dtype) * self.mask
        reference = None if self.reference is None else self.reference[chosen]
        return replace(self, mask=kept, answer=answer, labels=self.labels[chosen], reference=reference)

    def parts(self) -> tuple[Self, list[Self]]:
        """As `Batch.parts`; whole families, because a loss may hold the answers of one against each other."""
        families = range(min(3, self.count // self.family))
        whole = self.select(families)
        return whole, [self.select(some) for some in (families[:1], families[1:]) if len(some)]


@dataclass(frozen=True)
class Choices:
    """Families that all have as many members: `members[k][i]` is answer k to prompt i.

    `reference[k][i]` is its log-probability under the start model, where that was computed before. `scored`: an answer is
    read to its end, where it gets a score, and nothing of it is predicted.
    """

    members: tuple[Examples, ...]
    reference: tuple[NDArray[np.float32], ...] = ()
    scored: bool = False

    def __len__(self) -> int:
        return len(self.members[0])

    @property
    def known(self) -> NDArray[np.int64]:
        """The prompts whose answers can be held against the start: where that was computed before, those it was for."""
        return np.flatnonzero(~np.isnan(self.reference[0])) if self.reference else np.arange(len(self))

    @classmethod
    def of(cls, examples: Examples, family: int) -> Self:
        """Examples of which `family` that follow each other answer the same prompt."""
        some = [examples.select(np.arange(k, len(examples), family)) for k in range(family)]
        shares = tuple((members[::family] // family, share) for members, share in examples.shares)
        return cls(tuple(replace(one, shares=shares) for one in some))


def with_strangers(data: Choices, most: int) -> Choices:
    """Beside each answer one to the next prompt that is another, after the same prompt: what nobody would say there.

    `most`: ids that an example may have; a stranger's answer is cut there.
    """
    own = data.members[0]
    starts = [int(own[i].mask.argmax()) for i in range(len(own))]
    strangers = _strangers([own[i].ids[:start].tobytes() for i, start in enumerate(starts)])
    made = []
    for i, stranger in enumerate(strangers):
        mine, other, start, begin = own[i], own[stranger], starts[i], starts[stranger]
        ids = np.concatenate([mine.ids[:start], other.ids[begin:]])[:most]
        made.append(Example(ids.tolist(), [0] * start + [1] * (len(ids) - start)))
    return Choices((own, Examples.of(made)))


def answers(data: Choices, how: Pack, *, cursor: dict[str, Any] | None = None) -> Iterator[Answers]:
    """Epoch after epoch without end, `batch_size` prompts in each batch, in an order fixed by the seed."""
    _check(data, how)
    epoch, position = (cursor["epoch"], cursor["batch"]) if cursor else (0, 0)
    while True:
        order = _order(data, how.seed, epoch)
        for number, (some, is_last) in enumerate(chunks(iter(order.tolist()), how.batch_size * how.ranks)):
            here = {"epoch": epoch + 1, "batch": 0} if is_last else {"epoch": epoch, "batch": number + 1}
            if number >= position:
                yield collate(data, some[how.rank :: how.ranks] or some[:1], here)
        epoch, position = epoch + 1, 0


def first_epoch(data: Choices, seed: int) -> NDArray[np.int64]:
    """The prompts in the order in which `answers` comes to them first."""
    return _order(data, seed, 0)


def once(data: Choices, how: Pack, at_most: int | None = None) -> Iterator[Answers]:
    """Every known prompt one time; with `at_most`, so many batches at even distances."""
    _check(data, how)
    which = data.known.tolist()
    starts = range(0, len(which), how.batch_size)
    wanted = len(starts) if at_most is None else min(at_most, len(starts))
    for start in (starts[place * len(starts) // wanted] for place in range(wanted)):
        yield collate(data, which[start : start + how.batch_size], {"batch": start})


def collate(data: Choices, which: Sequence[int], cursor: dict[str, Any]) -> Answers:
    """Some prompts with all their answers as one batch."""
    found = [[members[i] for members in data.members] for i in which]
    labels = [float(members.labels[i]) for i in which for members in data.members]
    stored = [float(values[i]) for i in which for values in data.reference]
    reference = torch.tensor(stored) if data.reference else None
    return laid_out(found, torch.tensor(labels), reference, cursor, unshifted if data.scored else shifted)


def laid_out(
    families: Sequence[Sequence[Tokens]],
    labels: Tensor,
    reference: Tensor | None,
    cursor: dict[str, Any],
    read: Callable[[Tokens], Shifted] = shifted,
) -> Answers:
    """Families of one size as rows: [prompt, answer, answer …, prompt, answer …], padding at the end.

    Answers number through all families; a family that is longer than a row begins anew, prompt and all. `read` says what
    of an example is read, and where something is learned.
    """
    size = len(families[0])
    groups = [group for number, members in enumerate(families) for group in _groups(members, number * size, read)]
    lengths = np.array([group.length for group in groups])
    rows, width = _rows(lengths)
    canvas = _Canvas.blank(len(rows), width)
    for place, row in enumerate(rows):
        canvas.fill(place, [groups[one] for one in row])
    return Answers(**canvas.batch(), cursor=cursor, labels=labels, reference=reference, family=size)


def _rows(lengths: NDArray[np.int64]) -> tuple[Sequence[Sequence[int]], int]:
    """Which groups share a row, and how wide rows are: of all widths up to ROW, the one that is computed soonest.

    Few wide rows leave more room empty than many narrow ones; what a place costs grows with the width, by attention.
    """
    longest = int(lengths.max())
    least = longest + -longest % WIDTHS
    found = []
    for room in range(least, max(least, ROW) + 1, WIDTHS):
        rows = best_fit(lengths, np.arange(len(lengths)), room)
        fullest = max(sum(int(lengths[one]) for one in row) for row in rows)
        width = fullest + -fullest % WIDTHS
        found.append((len(rows) * width * (PLACE + width), width, rows))
    _, width, rows = min(found, key=lambda one: one[:2])
    return rows, width


@dataclass(frozen=True)
class _Group:
    """What is read once, and the answers that go on from it by their numbers."""

    prefix: Shifted
    branches: list[tuple[int, Shifted]]

    @property
    def length(self) -> int:
        return len(self.prefix.ids) + sum(len(branch.ids) for _, branch in self.branches)


def _groups(members: Sequence[Tokens], first: int, read: Callable[[Tokens], Shifted]) -> Iterator[_Group]:
    """The answers of a family after what their prompts have in common, as many together as fit into a row."""
    wholes = [read(one) for one in members]
    # the id before the first one of an answer is read by each answer itself: what follows it differs
    common = min(int(one.mask[1:].argmax()) for one in members)
    if any(not np.array_equal(whole.ids[:common], wholes[0].ids[:common]) for whole in wholes):
        common = 0
    prefix = wholes[0].part(0, common)
    branches: list[tuple[int, Shifted]] = []
    for number, whole in enumerate(wholes, start=first):
        branch = whole.part(common)
        taken = common + sum(len(one.ids) for _, one in branches)
        if branches and taken + len(branch.ids) > ROW:
            yield _Group(prefix, branches)
            branches = []
        branches.append((number, branch))
    yield _Group(prefix, branches)


@dataclass(frozen=True)
class _Canvas:
    """The (B, T) arrays of a batch while they are filled."""

    ids: NDArray[np.int64]
    targets: NDArray[np.int64]
    mask: NDArray[np.float32]
    answer: NDArray[np.int64]
    segments: NDArray[np.int64]
    parents: NDArray[np.int64]

    @classmethod
    def blank(cls, rows: int, width: int) -> "_Canvas":
        shape = (rows, width)
        ids, targets = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        # a segment below 0 for each place of padding, or its positions would count up beyond the model's
        none, nobody = np.full(shape, -1, dtype=np.int64), np.tile(np.arange(-1, -width - 1, -1), (rows, 1))
        return cls(ids, targets, np.zeros(shape, dtype=np.float32), none, nobody, np.full(shape, NONE))

    def fill(self, row: int, groups: Sequence[_Group]) -> None:
        """Writes groups behind each other into a row."""
        at = segment = 0
        for group in groups:
            parent = segment if len(group.prefix.ids) else NONE
            at, segment = self._write(row, at, group.prefix, segment), segment + 1
            for number, branch in group.branches:
                end = self._write(row, at, branch, segment)
                self.parents[row, at:end] = parent
                self.answer[row, at:end][branch.mask] = number
                at, segment = end, segment + 1

    def batch(self) -> dict[str, Any]:
        """The arrays as tensors, by their names in a batch."""
        segments, parents = torch.from_numpy(self.segments), torch.from_numpy(self.parents)
        arrays = {"ids": self.ids, "targets": self.targets, "mask": self.mask, "answer": self.answer}
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        tokens = int((self.segments >= 0).sum())
        return {**tensors, "attend": Attend.shared_prefix(segments, parents), "tokens": tokens}

    def _write(self, row: int, at: int, part: Shifted, segment: int) -> int:
        end = at + len(part.ids)
        self.ids[row, at:end], self.targets[row, at:end] = part.ids, part.targets
        self.mask[row, at:end], self.segments[row, at:end] = part.mask, segment
        return end


def _strangers(prompts: Sequence[bytes]) -> list[int]:
    """For each the next that is another one, going round; simply the next where all are the same."""
    following = [(i + 1) % len(prompts) for i in range(len(prompts))]
    lasts = [i for i, after in enumerate(following) if prompts[after] != prompts[i]]  # of a run of equal ones
    if not lasts:
        return following
    return [following[lasts[k % len(lasts)]] for k in np.searchsorted(lasts, np.arange(len(prompts)))]


def _check(data: Choices, how: Pack) -> None:
    for members in data.members:
        check_lengths(members.lengths, how.seq_len - data.scored)


def _order(data: Choices, seed: int, epoch: int) -> NDArray[np.int64]:
    return data.members[0].order(seed, epoch, np.random.default_rng((seed, epoch)))
