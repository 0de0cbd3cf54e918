"""Rollouts: what a policy itself answers to problems, what the answers earn, and batches of them.

A round asks `prompts` problems `group` times each. Order and luck come from (seed, round, number of the answer), so what
is said depends on the weights alone. Shapes: B rows, T tokens, N learned tokens, n answers.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chatwright.checkpoint import Checkpoint
from chatwright.data.answers import Answers, laid_out
from chatwright.data.examples import Examples, Tokens
from chatwright.data.loader import Batch, Pack, batches_per_epoch, pack
from chatwright.errors import DataError
from chatwright.generate.capacity import Capacity
from chatwright.generate.chatbot import Chatbot
from chatwright.generate.completion import Completion
from chatwright.generate.sampling import Sampling
from chatwright.text.records import Problem

MOST_TOGETHER = 256  # answers that are decoded side by side
EQUAL = 1e-6  # rewards that differ by less are the same: a reward model's depend a little on what is scored beside them
PRIME = 1_000_003


@dataclass(frozen=True)
class Earned:
    """What answers earned: the `rewards` that are learned from and, where graders were asked, their `grades` in [0, 1]."""

    rewards: Sequence[float]
    grades: Sequence[float] = ()


Worth = Callable[
    [Sequence[Problem], Sequence[Completion]], Earned
]  # of each answer, beside the problem that it answers


@dataclass(frozen=True)
class Place:
    """Where a run stands: at this chunk of this epoch's problems, after so many rounds, `given` of which were learned from.

    As a dict it is a batch's cursor.
    """

    epoch: int = 0
    batch: int = 0
    round: int = 0
    given: int = 0


@dataclass(frozen=True)
class Practice:
    """Problems in the order of their source, and the policy that is asked them."""

    problems: tuple[Problem, ...]
    policy: Checkpoint

    def __len__(self) -> int:
        return len(self.problems)

    def chunk(self, place: Place, size: int, seed: int) -> tuple[list[Problem], Place]:
        """The problems of a round, and the place after it; every epoch has an order of its own."""
        order = np.random.default_rng((seed, place.epoch)).permutation(len(self))
        first = place.batch * size
        last = first + size >= len(self)
        epoch, batch = (place.epoch + 1, 0) if last else (place.epoch, place.batch + 1)
        some = [self.problems[i] for i in order[first : first + size]]
        return some, replace(place, epoch=epoch, batch=batch, round=place.round + 1)


@dataclass(frozen=True)
class Asking:
    """How a round is asked: `prompts` problems, each `group` times, at a temperature, for up to `max_tokens` each.

    `length_penalty` is taken from the reward of an answer of `max_tokens`, and from shorter ones in proportion.
    """

    prompts: int = 8
    group: int = 8
    max_tokens: int = 64
    temperature: float = 1.0
    length_penalty: float = 0.0
    seed: int = 0

    def ask(self, policy: Checkpoint, problems: Sequence[Problem], number: int, worth: Worth) -> "Round":
        """Asks and grades. The policy is in evaluation mode meanwhile; DataError for a reward that is no number."""
        began = time.perf_counter()
        many = [problem for problem in problems for _ in range(self.group)]
        completions, before = self._completions(policy, problems, number)
        tokens = [as_tokens(before[i // self.group], one) for i, one in enumerate(completions)]
        earned = worth(many, completions)
        lengths = np.array([one.mask.sum() for one in tokens])
        rewards = np.array(earned.rewards, dtype=np.float64) - self.length_penalty * lengths / self.max_tokens
        if not np.isfinite(rewards).all():
            wrong = int(np.flatnonzero(~np.isfinite(rewards))[0])
            raise DataError(
                f"the reward of {completions[wrong].text[:60]!r} is {earned.rewards[wrong]}; what grades answers has to "
                "give a number for each"
            )
        seconds = time.perf_counter() - began
        return Round(number, self.group, tuple(problems), tokens, completions, rewards, tuple(earned.grades), seconds)

    def _completions(
        self, policy: Checkpoint, problems: Sequence[Problem], number: int
    ) -> tuple[list[Completion], list[list[int]]]:
        """The answers, and the ids of the prompt of each problem."""
        count = len(problems) * self.group
        ways = [
            Sampling(self.max_tokens, self.temperature, seed=(self.seed * PRIME + number) * PRIME + answer)
            for answer in range(count)
        ]
        with evaluating(policy):
            # a new engine, so that no round's arithmetic depends on the cache of the one before
            bot = Chatbot(policy, device=str(device_of(policy)), capacity=Capacity(max_batch=min(count, MOST_TOGETHER)))
            fitted = [bot.fit(problem.prompt, self.max_tokens)[0] for problem in problems]
            completions = bot.replies([one for one in fitted for _ in range(self.group)], ways)
        return completions, [policy.render(one, reply=True).ids for one in fitted]


@dataclass(frozen=True)
class Round:
    """Every answer to some problems, `group` to each and behind each other; `rewards` (n,) have the length's penalty."""

    number: int
    group: int
    problems: tuple[Problem, ...]
    tokens: Sequence[Tokens]  # prompt and answer of each
    completions: Sequence[Completion]
    rewards: NDArray[np.float64]
    grades: tuple[float, ...]
    seconds: float

    @property
    def lengths(self) -> list[int]:
        """Tokens of each answer, with the one that ended it."""
        return [int(one.mask.sum()) for one in self.tokens]

    @property
    def different(self) -> list[int]:
        """The problems, by number, whose answers do not all have the same reward."""
        spread = np.ptp(self.rewards.reshape(len(self.problems), self.group), axis=1)
        return [int(number) for number in np.flatnonzero(spread > EQUAL)]

    @property
    def told(self) -> dict[str, float]:
        """Means over all answers: what a step's metrics say of the round."""
        stopped = [one.finish == "stop" for one in self.completions]
        figures = {
            "reward": float(self.rewards.mean()),
            "answer_tokens": float(np.mean(self.lengths)),
            "stop_rate": float(np.mean(stopped)),
        }
        if self.group > 1:
            figures["equal_rewards"] = 1 - len(self.different) / len(self.problems)
        if self.grades:
            figures["accuracy"] = float(np.mean(self.grades))
        return figures


class Rehearsal:
    """Conversations and documents, of which every step sees the next few, packed as fine-tuning packs them."""

    def __init__(self, examples: Examples, how: Pack) -> None:
        self.examples, self.how = examples, how
        self._per_epoch = batches_per_epoch(examples, how)
        self._batches: Iterator[Batch] | None = None
        self._next = 0  # the number of the batch that comes next out of them

    def batch(self, number: int) -> Batch:
        """The batch of that number, from 0, when epochs follow each other without end."""
        if self._batches is None or number != self._next:
            epoch, batch = divmod(number, self._per_epoch)
            self._batches = pack(self.examples, self.how, cursor={"epoch": epoch, "batch": batch})
        self._next = number + 1
        return next(self._batches)


class Log(Protocol):
    """Keeps every round for people to read."""

    def begin(self, number: int) -> None:
        """Forgets the rounds from this one on: they are done again."""
        ...

    def add(self, made: Round, step: int, learned: Sequence[int]) -> None:
        """Of the round, the problems by number whose answers are learned from, in the optimizer's step of that number."""
        ...


@dataclass(frozen=True)
class Kept:
    """The answers of a round that are learned from, as JSON can hold them.

    A round that is learned from in several steps cannot be asked again after the first: the policy is another one. So
    what it gave at the time stays: `old` and, of PPO, `values`, a number for each learned token.
    """

    ids: list[list[int]]
    begins: list[int]  # where the answer begins in each
    rewards: list[float]
    group: int
    told: dict[str, float]
    old: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    @classmethod
    def of(cls, made: Round, problems: Sequence[int], told: dict[str, float]) -> Self:
        """Those to some of its problems, by number."""
        which = [number * made.group + k for number in problems for k in range(made.group)]
        begins = [int(made.tokens[i].mask.argmax()) for i in which]
        rewards = [float(made.rewards[i]) for i in which]
        return cls([made.tokens[i].ids.tolist() for i in which], begins, rewards, made.group, told)

    def batch(self) -> "Rollouts":
        """The answers in rows, without advantages."""
        tokens = [
            Tokens(np.array(ids), np.arange(len(ids)) >= begin)
            for ids, begin in zip(self.ids, self.begins, strict=True)
        ]
        families = [tokens[first : first + self.group] for first in range(0, len(tokens), self.group)]
        rows = laid_out(families, torch.tensor(self.rewards), None, {})
        parts = {one.name: getattr(rows, one.name) for one in fields(rows)}
        return Rollouts(**parts, advantages=torch.zeros_like(rows.mask), told=self.told)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Rollouts(Answers):
    """Answers of a policy's own: `labels` are their rewards, and what else there is stands at the learned targets, (B, T).

    advantages: by how much an answer, or the choice of a token, was better than usual. old: log p under the policy that
    gave the answers, None where that is the present one. start: log p under the start model, where it was asked. values
    and returns: of PPO, what was expected to be earned from there, and what was. `told`: means over the whole round.
    rehearsed: conversations that are learned from in the same step.
    """

    advantages: Tensor
    told: dict[str, float]
    old: Tensor | None = None
    start: Tensor | None = None
    values: Tensor | None = None
    returns: Tensor | None = None
    rehearsed: Batch | None = None

    def at(self, spread: Tensor) -> Tensor:
        """(B, T) -> (N,): what stands at the learned targets, row after row."""
        return spread.flatten()[self.mask.flatten() > 0]

    def spread(self, values: Tensor) -> Tensor:
        """(N,) -> (B, T), zero where nothing is learned."""
        found = torch.zeros_like(self.mask)
        found.flatten()[self.mask.flatten() > 0] = values.to(found.dtype)
        return found

    @property
    def numbers(self) -> Tensor:
        """(N,): the answer that each learned target belongs to."""
        return self.at(self.answer)


def as_tokens(before: Sequence[int], answer: Completion) -> Tokens:
    """The ids of a prompt and of its answer, of which the answer's are learned, with the token that ended it."""
    ids = [*before, *answer.ids, *([] if answer.end is None else [answer.end])]
    return Tokens(np.array(ids), np.arange(len(ids)) >= len(before))


def device_of(policy: Checkpoint) -> torch.device:
    """Where the policy is."""
    return next(policy.model.parameters()).device


@contextmanager
def evaluating(policy: Checkpoint) -> Iterator[None]:
    """The policy in evaluation mode, and afterwards in the mode that it had."""
    training = policy.model.training
    policy.model.eval()
    try:
        yield
    finally:
        policy.model.train(training)
