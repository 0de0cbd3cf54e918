"""What the objectives of reinforcement learning share: rounds of rollouts, made when the trainer asks for them.

The trainer pulls a batch, steps, and pulls the next one, so every round comes from the policy as it then is. A file of
the family says what an advantage is and how it is learned from. Shapes: N learned tokens, n answers, B rows, T tokens.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from chatwright import console
from chatwright.checkpoint import Checkpoint
from chatwright.data.loader import Batch
from chatwright.errors import DataError
from chatwright.models.protocol import LanguageModel
from chatwright.objectives.logprobs import AnswerLogprobs, token_logprobs, token_loss
from chatwright.objectives.protocol import Loss, Unit
from chatwright.objectives.reference import Reference
from chatwright.objectives.rollouts import (
    Asking,
    Kept,
    Log,
    Place,
    Practice,
    Rehearsal,
    Rollouts,
    Round,
    Worth,
    device_of,
    evaluating,
)
from chatwright.text.records import Problem, Record

MOST_EQUAL = 50  # rounds in a row from which nothing can be learned


@dataclass(frozen=True)
class Reinforcing:
    """`updates` steps learn from each round. `beta` weighs the divergence from the `reference`, which 0 does not ask.

    `clip` and `clip_high` (the same where it is None) are how far the ratio of the probabilities of a token, now and
    when it was said, may go below and above 1 for its gradient to count. `accumulate` is the trainer's, for the log;
    `dtype` is that of its arithmetic. `rehearse` weighs the loss on conversations of the `rehearsal`, so that what is not
    practised is not forgotten (Ouyang et al., 2022, eq. 2, PPO-ptx).
    """

    rule: ClassVar[str] = "problems"
    unit: ClassVar[Unit] = "answer"
    remedies: ClassVar[tuple[str, ...]] = ("beta",)  # settings that the panel's alarms may name

    asking: Asking
    worth: Worth
    beta: float = 0.0
    clip: float = 0.2
    clip_high: float | None = None
    updates: int = 1
    accumulate: int = 1
    reference: Reference | None = None
    log: Log | None = None
    rehearse: float = 0.0
    rehearsal: Rehearsal | None = None
    dtype: torch.dtype = field(default=torch.float32, repr=False)

    def teaching(self, made: Round) -> Sequence[int]:
        """The problems of a round, by number, whose answers teach anything."""
        raise NotImplementedError

    def priced(self, policy: Checkpoint, batch: Rollouts, kept: Kept) -> Rollouts:
        """The batch with advantages, and with what else the loss asks of the policy as it was."""
        raise NotImplementedError

    def answers_loss(self, model: LanguageModel, batch: Rollouts) -> Loss:
        """The sum over the answers of a batch."""
        raise NotImplementedError

    def loss(self, model: LanguageModel, batch: Rollouts) -> Loss:
        found = self.answers_loss(model, batch)
        if batch.rehearsed is None:
            return found
        told = token_loss(model, batch.rehearsed)
        mean = told.total / told.weight  # nats a token, as much for each answer: then batches of any size add up
        metrics = {**found.metrics, "rehearsal_loss": mean.detach() * found.weight}
        return Loss(found.total + self.rehearse * mean * found.weight, found.weight, metrics)

    @property
    def start_loss(self) -> float | None:
        raise NotImplementedError

    def prepare(self, data: Sequence[Record], start: Checkpoint) -> Practice:
        """DataError where there are no problems."""
        problems = tuple(one for one in data if isinstance(one, Problem))
        if not problems:
            raise DataError("there is no problem in the data; reinforcement learning asks problems that can be graded")
        return Practice(problems, start)

    def batches(
        self, data: Practice, policy: Checkpoint, start: Checkpoint, cursor: dict[str, Any] | None = None
    ) -> Iterator[Rollouts]:
        """Rounds from which there is something to learn; those without are left out, and counted in the metrics.

        Where there are too many of these in a row, it ends if every answer was right, and else with a DataError.
        """
        place, held, update = _read(cursor)
        if self.log is not None:
            self.log.begin(place.round)
        if held is not None:
            yield from self._updates(policy, held, place, update)
        while (found := self._round(data, policy, place)) is not None:
            kept, place = found
            yield from self._updates(policy, kept, place, 0)

    def once(self, data: Practice, at_most: int | None = None) -> Iterator[Rollouts]:
        """One round over the problems that come first, whatever `at_most`: each costs as much as a step."""
        problems, _ = data.chunk(Place(), self.asking.prompts, self.asking.seed)
        made = self.asking.ask(data.policy, problems, 0, self.worth)
        yield self._batch(data.policy, Kept.of(made, range(len(problems)), made.told))

    def steps_per_epoch(self, data: Practice) -> int:
        return -(-len(data) // self.asking.prompts) * self.updates

    def surrogate(self, ratio: Tensor, advantages: Tensor) -> tuple[Tensor, Tensor]:
        """(N,) ratios and advantages -> (N,) what is to be minimised, and whether the clip cut it (Schulman et al., 2017,
        eq. 7)."""
        high = self.clip if self.clip_high is None else self.clip_high
        whole, clipped = ratio * advantages, ratio.clamp(1 - self.clip, 1 + high) * advantages
        return -torch.minimum(whole, clipped), clipped < whole

    def measured(self, batch: Rollouts, found: AnswerLogprobs, clipped: Tensor) -> dict[str, Tensor]:
        """Sums over answers: what the round told, the share of an answer's tokens that were clipped, its divergence."""
        count = torch.tensor(float(batch.count), device=found.each.device)
        told = {name: value * count for name, value in batch.told.items()}
        shares = found.per_answer(clipped.float()) / found.tokens
        figures = {**told, "clipped": shares.sum()}
        if batch.start is not None:
            figures["kl"] = divergence(found.each.detach(), batch.at(batch.start)).sum()
        return figures

    @torch.no_grad()
    def logprobs(self, policy: Checkpoint, batch: Rollouts) -> Tensor:
        """(N,): of the policy as it is, in the arithmetic that it is trained in."""
        with evaluating(policy), self.autocast(batch):
            return token_logprobs(policy.model, batch, self.asking.temperature)

    @torch.no_grad()
    def start_logprobs(self, batch: Rollouts) -> Tensor | None:
        """(B, T): of the start model, where the loss holds on to it."""
        if not self.beta:
            return None
        assert self.reference is not None
        with self.reference.model() as model, self.autocast(batch):
            return batch.spread(token_logprobs(model, batch, self.asking.temperature))

    def autocast(self, batch: Rollouts) -> AbstractContextManager[Any]:
        """The trainer's precision, for what is computed while it waits for a batch."""
        lower = self.dtype != torch.float32
        return torch.autocast(batch.ids.device.type, self.dtype) if lower else nullcontext()

    def _round(self, data: Practice, policy: Checkpoint, place: Place) -> tuple[Kept, Place] | None:
        """The next round that teaches anything, and the place after it; None where everything is learned."""
        learned, solved = place.given * self.updates // self.accumulate, True  # steps
        for skipped in range(MOST_EQUAL):
            problems, following = data.chunk(place, self.asking.prompts, self.asking.seed)
            made = self.asking.ask(policy, problems, place.round, self.worth)
            chosen = self.teaching(made)
            if self.log is not None:
                self.log.add(made, learned + 1, chosen)
            if chosen:
                told = {**made.told, "skipped_rounds": float(skipped)}
                return Kept.of(made, chosen, told), replace(following, given=place.given + 1)
            if not place.round:
                console.warn(f"{_all_equal(made)} in the first round: {ADVICE}")
            place = following
            solved = solved and bool(made.grades) and min(made.grades) == 1
        if learned and solved:  # a start model that is never wrong is refused: nobody wants it back as it was
            console.warn(f"every answer was right in each of {MOST_EQUAL} rounds in a row: {SOLVED} {learned} steps")
            return None
        raise DataError(f"{_all_equal(made)} in each of {MOST_EQUAL} rounds in a row, so nothing is learned: {ADVICE}")

    def _updates(self, policy: Checkpoint, kept: Kept, place: Place, first: int) -> Iterator[Rollouts]:
        """The batches of one round, from update `first` on. What a resumed run could not make again is in the cursor."""
        batch = self._batch(policy, kept)
        if self.updates > 1:
            old, values = ([] if one is None else batch.at(one).tolist() for one in (batch.old, batch.values))
            kept = replace(kept, old=old, values=values)
        for number in range(first, self.updates):
            cursor: dict[str, Any] = asdict(place)
            if number + 1 < self.updates:
                cursor |= {"update": number + 1, "held": kept.as_dict()}
            yield replace(
                batch, cursor=cursor, rehearsed=self._rehearsed(policy, (place.given - 1) * self.updates + number)
            )

    def _rehearsed(self, policy: Checkpoint, number: int) -> Batch | None:
        """The conversations of the update of that number."""
        return None if self.rehearsal is None else self.rehearsal.batch(number).to(device_of(policy))

    def _batch(self, policy: Checkpoint, kept: Kept) -> Rollouts:
        batch = kept.batch().to(device_of(policy))
        batch.start = self.start_logprobs(batch)
        return self.priced(policy, batch, kept)


ADVICE = (
    "give problems that it answers rightly now and then (an easier --task, or more sft), a higher --temperature or a "
    "larger --group; where it answers all of them rightly, there is nothing left to learn"
)
SOLVED = "there is nothing left to learn from these problems, and the run ends after"


def divergence(policy: Tensor, start: Tensor) -> Tensor:
    """(N,) log p each -> (N,) an estimate of the divergence from the start that is never below 0 (Schulman, 2020, k3)."""
    gained = start - policy
    return gained.exp() - gained - 1


def _read(cursor: dict[str, Any] | None) -> tuple[Place, Kept | None, int]:
    """Where to go on: the place, and of a round that is not done with, its answers and the next update."""
    if cursor is None:
        return Place(), None, 0
    place = Place(cursor["epoch"], cursor["batch"], cursor["round"], cursor["given"])
    if "held" not in cursor:
        return place, None, 0
    return place, Kept(**cursor["held"]), cursor["update"]


def _all_equal(made: Round) -> str:
    mean = made.rewards.mean()
    return f"all answers to a prompt have the same reward (the mean is {mean:.2f})"
