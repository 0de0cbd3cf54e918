"""What is rehearsed while something else is practised: added to the loss as its weight says, in an order that resumes."""

from itertools import islice
from pathlib import Path

import pytest
import torch
from small_rollouts import PROBLEMS, job, measured, objective
from small_runs import conversations, policy

from chatwright.data import lessons
from chatwright.data.examples import Examples
from chatwright.data.loader import Pack, batches_per_epoch
from chatwright.objectives.logprobs import token_loss
from chatwright.objectives.rollouts import Rehearsal
from chatwright.text.records import Document
from chatwright.train import sanity, stage
from chatwright.train.signals import Interrupted

HOW = Pack(2, 63, 3)


def examples() -> Examples:
    text = lessons.Text(policy().tokenizer, policy().template)
    records = [*conversations(20), Document("Here it says that 3 and 3 is 6.")]
    return Examples.of(lessons.examples(records, lessons.rehearsed, text, 63))


def rehearsal() -> Rehearsal:
    return Rehearsal(examples(), HOW)


def test_the_loss_is_that_of_the_answers_and_the_mean_of_what_is_rehearsed() -> None:
    start = policy()
    made, _ = objective("grpo", rehearse=0.25, rehearsal=rehearsal())
    batch = next(made.batches(made.prepare(PROBLEMS, start), start, start))
    assert batch.rehearsed is not None
    found, answers = made.loss(start.model, batch), made.answers_loss(start.model, batch)
    told = token_loss(start.model, batch.rehearsed)
    expected = answers.total + 0.25 * (told.total / told.weight) * answers.weight
    assert found.total.item() == pytest.approx(expected.item(), rel=1e-6)
    assert found.weight == answers.weight
    assert (found.metrics["rehearsal_loss"] / found.weight).item() == pytest.approx((told.total / told.weight).item())


def test_its_gradient_adds_up_over_parts_of_a_batch() -> None:
    start = policy()
    made, _ = objective("grpo", rehearse=0.5, rehearsal=rehearsal())
    batch = next(made.batches(made.prepare(PROBLEMS, start), start, start))
    assert sanity.gradient_difference(start.model, start, made, batch) < 1e-5


def test_from_any_number_the_same_batches_follow() -> None:
    one, count = rehearsal(), 2 * batches_per_epoch(examples(), HOW) + 1
    whole = [one.batch(number).ids for number in range(count)]
    assert not all(torch.equal(whole[0], other) for other in whole[1:])
    for start in (0, 1, count - 1):
        other = rehearsal()
        for number in range(start, count):
            assert torch.equal(other.batch(number).ids, whole[number])


@pytest.mark.parametrize("updates", [1, 2])
def test_every_step_rehearses_the_next_batch_also_from_a_cursor(updates: int) -> None:
    start, wanted = policy(), rehearsal()
    made, _ = objective("grpo", updates=updates, rehearse=0.5, rehearsal=rehearsal())
    practice = made.prepare(PROBLEMS, start)
    some = list(islice(made.batches(practice, start, start), 5))
    for number, batch in enumerate(some):
        assert batch.rehearsed is not None
        assert torch.equal(batch.rehearsed.ids, wanted.batch(number).ids)
    other, _ = objective("grpo", updates=updates, rehearse=0.5, rehearsal=rehearsal())
    following = next(other.batches(practice, start, start, some[2].cursor))
    assert following.rehearsed is not None
    assert torch.equal(following.rehearsed.ids, wanted.batch(3).ids)


@pytest.mark.parametrize(("updates", "at"), [(1, 5), (2, 6)])
def test_interrupted_and_resumed_it_ends_as_the_undisturbed_run(updates: int, at: int, tmp_path: Path) -> None:
    given = {"updates": updates, "rehearse": 0.5}
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    stage.run(job("grpo", whole, **given, rehearsal=rehearsal()))
    with pytest.raises(Interrupted):
        stage.run(job("grpo", cut, at=at + 2, **given, rehearsal=rehearsal()))  # two losses are the sanity proof's
    stage.run(job("grpo", cut, resume=True, **given, rehearsal=rehearsal()))
    weights = [(one / "model" / "model.safetensors").read_bytes() for one in (whole, cut)]
    assert weights[0] == weights[1]
    assert measured(whole) == measured(cut)
    assert all("rehearsal_loss" in row for row in measured(whole) if row["split"] == "train")
