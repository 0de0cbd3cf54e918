"""PPO is what its papers say on a few numbers worked out by hand: advantages, values, and what leaving the start costs."""

from pathlib import Path

import pytest
import torch
from small_answers import each_alone, families, gpt2
from small_rollouts import ASKING, PROBLEMS, even, job, kept, measured, objective
from small_runs import policy
from torch import Tensor

from chatwright.checkpoint import Checkpoint
from chatwright.models.decoder import Decoder
from chatwright.objectives.ppo import Ppo, ValueHead, gae, value_loss, whitened
from chatwright.objectives.reference import FrozenCopy
from chatwright.train import stage


def test_advantages_of_three_tokens_by_hand() -> None:
    """Rewards 0, 0, 1 and values 0.2, 0.4, 0.7 with gamma 0.9 and lambda 0.5.

    Surprises: 0 + 0.36 - 0.2 = 0.16, 0 + 0.63 - 0.4 = 0.23, 1 - 0.7 = 0.3; each later one counts 0.45 times as much.
    """
    rewards, values = torch.tensor([0.0, 0.0, 1.0]), torch.tensor([0.2, 0.4, 0.7])
    found = gae(rewards, values, 0.9, 0.5).tolist()
    assert found == pytest.approx([0.16 + 0.45 * (0.23 + 0.45 * 0.3), 0.23 + 0.45 * 0.3, 0.3])
    assert found == pytest.approx([0.32425, 0.365, 0.3])
    # lambda 1: all that was earned, against what was expected; lambda 0: the next surprise alone
    assert gae(rewards, values, 1.0, 1.0).tolist() == pytest.approx([0.8, 0.6, 0.3])
    assert gae(rewards, values, 0.9, 0.0).tolist() == pytest.approx([0.16, 0.23, 0.3])


def test_answers_of_other_lengths_beside_it_change_no_advantage() -> None:
    alone = gae(torch.tensor([0.1, 1.0]), torch.tensor([0.3, 0.5]), 0.9, 0.8)
    rewards, values = torch.tensor([[0.1, 1.0, 0.0, 0.0], [1.0] * 4]), torch.tensor([[0.3, 0.5, 0.0, 0.0], [0.2] * 4])
    assert torch.allclose(gae(rewards, values, 0.9, 0.8)[0, :2], alone)


def test_whitened_advantages_by_hand() -> None:
    """1, 2 and 6: a mean of 3, and a mean square distance of (4 + 1 + 9) / 3."""
    expected = [(value - 3) / (14 / 3) ** 0.5 for value in (1, 2, 6)]
    assert whitened(torch.tensor([1.0, 2.0, 6.0])).tolist() == pytest.approx(expected)
    assert whitened(torch.tensor([5.0])).tolist() == [0.0]


def test_a_value_may_not_gain_by_moving_further_than_the_clip() -> None:
    """Values of 0.5, 0.5, 0.1 that were 0 with returns of 1, -1, 1: (0.2 - 1)^2, (0.5 + 1)^2 and (0.1 - 1)^2, halved."""
    found = value_loss(torch.tensor([0.5, 0.5, 0.1]), torch.zeros(3), torch.tensor([1.0, -1.0, 1.0]), 0.2)
    assert found.tolist() == pytest.approx([0.32, 1.125, 0.405])


def checkpoint(model: Decoder) -> Checkpoint:
    return Checkpoint(model, policy().tokenizer, policy().template)


def headed(**given: float) -> tuple[Ppo, ValueHead]:
    head = ValueHead(16)
    with torch.no_grad():
        head.weight.copy_(torch.randn(16, generator=torch.Generator().manual_seed(8)) * 0.3)
        head.bias.fill_(0.1)
    return Ppo(ASKING, even, head=head, **given), head  # type: ignore[arg-type]


def values_of(model: Decoder, head: ValueHead, ids: Tensor, mask: Tensor) -> Tensor:
    """What is expected before each learned token of an answer that is read by itself."""
    with torch.no_grad():
        return head(model.trunk(ids[None])[0, :-1])[mask[1:]]


def test_a_whole_batch_is_what_each_answer_gives_by_itself() -> None:
    """Three answers of different lengths to two prompts each, laid out together and in any order of rows."""
    model, start = gpt2(vocab_size=290), gpt2(vocab_size=290, seed=4)
    one, head = headed(beta=0.2, gamma=0.9, lam=0.7)
    one = Ppo(ASKING, even, head=head, beta=0.2, gamma=0.9, lam=0.7, reference=FrozenCopy(checkpoint(start)))
    some = families((4, 2, 1, 3), (7, 1, 6, 2))
    rewards = (1.0, 0.0, 0.5, -0.5, 2.0, 0.25)
    made = kept(some, rewards)
    batch = one._batch(checkpoint(model), made)
    assert batch.old is not None
    assert batch.returns is not None
    assert batch.values is not None
    flat = [answer for members in some for answer in members]
    gains: list[Tensor] = []
    for answer, reward in zip(flat, rewards, strict=True):
        ids, mask = torch.from_numpy(answer.ids).long(), torch.from_numpy(answer.mask)
        with torch.no_grad():
            now, then = each_alone(model, answer), each_alone(start, answer)
        earned = -0.2 * (now - then)
        earned[-1] += reward
        gains.append(gae(earned, values_of(model, head, ids, mask), 0.9, 0.7))
    white = whitened(torch.cat(gains)).split([len(gain) for gain in gains])
    for number, answer in enumerate(flat):
        here = batch.numbers == number
        ids, mask = torch.from_numpy(answer.ids).long(), torch.from_numpy(answer.mask)
        values = values_of(model, head, ids, mask)
        assert torch.allclose(batch.at(batch.values)[here], values, atol=1e-5)
        assert torch.allclose(batch.at(batch.returns)[here], gains[number] + values, atol=1e-5)
        assert torch.allclose(batch.at(batch.advantages)[here], white[number], atol=1e-4)
        assert torch.allclose(batch.at(batch.old)[here], each_alone(model, answer).detach(), atol=1e-5)
    # on-policy: every ratio is one, so that the loss is that of whitened advantages, 0, and of values that have not moved
    loss = one.loss(model, batch)
    mean = float(torch.cat(gains).square().mean()) / 2
    assert (loss.total / loss.weight).item() == pytest.approx(0.1 * mean, rel=1e-4)
    assert loss.metrics["clipped"] == 0


def test_the_head_reads_the_model_and_changes_nothing_in_it() -> None:
    one, head = headed(value_weight=0.7)
    model = gpt2(vocab_size=290)
    some = families((4, 2, 1, 3))
    batch = one._batch(checkpoint(model), kept(some, (1.0, 0.0, 0.5)))
    batch.advantages = torch.zeros_like(batch.advantages)  # of the loss, only the values' is left
    one.loss(model, batch).total.backward()  # type: ignore[no-untyped-call]
    assert all(weight.grad is None or not weight.grad.any() for weight in model.parameters())
    assert head.weight.grad is not None
    assert head.weight.grad.abs().max() > 1e-3


def test_nothing_is_expected_before_anything_is_learned() -> None:
    assert ValueHead(16)(torch.randn(5, 16)).tolist() == [0.0] * 5


def test_all_answers_count_though_one_group_is_equal() -> None:
    """Other than GRPO's, its advantages need no group; only a round in which all rewards are equal teaches nothing."""
    made, _ = objective("ppo")
    one = policy()
    batch = next(made.batches(made.prepare(PROBLEMS, one), one, one))
    assert batch.count == 12


def test_values_come_to_say_what_is_earned(tmp_path: Path) -> None:
    wanted = job("ppo", tmp_path, beta=0.0, value_weight=1.0, settings={"steps": 30, "lr": 2e-2})
    stage.run(wanted)
    losses = [row["value_loss"] for row in measured(tmp_path)]
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])
