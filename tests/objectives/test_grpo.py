"""GRPO is what its papers say on three numbers worked out by hand, and what TRL computes: loss and gradients."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from small_answers import difference, each_alone, families, gpt2, gradients
from small_rollouts import ASKING, PROBLEMS, even, kept, objective, per_token
from small_runs import policy
from torch import Tensor
from trl_referee import TOLERANCE, _plain, assert_same_gradients, figure, quietly, theirs, tokenizer, two_models

from chatwright.data.examples import Tokens
from chatwright.models.gpt2 import GPT2
from chatwright.objectives.grpo import Grpo, advantages
from chatwright.objectives.reinforcing import divergence
from chatwright.objectives.rollouts import Rollouts

pytestmark = list(quietly)
# of a prompt and its three answers; TRL fills prompts up on the left, which a model with learned positions would see
SHAPES = ((5, 5, 2, 7), (5, 3, 6, 6), (5, 1, 1, 8))
REWARDS = (1.0, 0.0, 0.5, 0.0, 0.0, 1.0, 2.0, -1.0, 0.25)


def grpo(**given: Any) -> Grpo:
    return Grpo(ASKING, even, **given)


# ---- by hand


def test_advantages_of_three_rewards_are_their_distances_from_the_mean_in_standard_deviations() -> None:
    """Rewards of 1, 0 and 0.5: a mean of 0.5, and deviations of 0.5, -0.5 and 0, whose square mean over two is 0.25."""
    rewards = torch.tensor([[1.0, 0.0, 0.5]])
    assert advantages(rewards, scaled=False).tolist() == [[0.5, -0.5, 0.0]]
    assert advantages(rewards, scaled=True)[0].tolist() == pytest.approx([0.9998, -0.9998, 0.0], abs=1e-6)
    both = torch.tensor([[1.0, 0.0, 0.5], [3.0, 3.0, 0.0]])
    assert advantages(both, scaled=False).tolist() == [[0.5, -0.5, 0.0], [1.0, 1.0, -2.0]]


def test_a_ratio_counts_no_further_than_the_clip_lets_it() -> None:
    """Advantages of 2, 2, -1, -1 with ratios of 1.5, 0.5, 1.5, 0.5: only what would gain by going further is cut."""
    ratios, gains = torch.tensor([1.5, 0.5, 1.5, 0.5]), torch.tensor([2.0, 2.0, -1.0, -1.0])
    each, clipped = grpo(clip=0.2).surrogate(ratios, gains)
    assert each.tolist() == pytest.approx([-2.4, -1.0, 1.5, 0.8])
    assert clipped.tolist() == [True, False, False, True]
    each, clipped = grpo(clip=0.2, clip_high=0.6).surrogate(ratios, gains)
    assert each.tolist() == pytest.approx([-3.0, -1.0, 1.5, 0.8])
    assert clipped.tolist() == [False, False, False, True]


def test_the_divergence_of_three_tokens() -> None:
    """Log-probabilities of -1, -2, -3 against -1, -1, -5 at the start: e^d - d - 1 of 0, 1 and -2."""
    found = divergence(torch.tensor([-1.0, -2.0, -3.0]), torch.tensor([-1.0, -1.0, -5.0]))
    assert found.tolist() == pytest.approx([0.0, math.e - 2, math.exp(-2) + 1])


@pytest.mark.parametrize("formula", ["grpo", "dr_grpo"])
def test_the_loss_of_three_answers_is_made_of_their_tokens_as_the_formula_says(formula: Any) -> None:
    """One prompt, answers of 2, 1 and 3 tokens that earned 1, 0 and 0.5. The policy has moved since they were given."""
    model, former, start = gpt2(), gpt2(), gpt2(seed=3)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(2)) * 0.05)
    (some,) = families((4, 2, 1, 3))
    one = grpo(formula=formula, beta=0.3, clip=0.1)
    found = one.loss(model, told(one, [some], (1.0, 0.0, 0.5), former, start))
    expected, gains = 0.0, {"grpo": 1 / 0.5001, "dr_grpo": 1.0}[formula]
    for answer, gain in zip(some, (0.5, -0.5, 0.0), strict=True):
        now, then, first = (each_alone(by, answer).tolist() for by in (model, former, start))
        tokens = []
        for p, q, r in zip(now, then, first, strict=True):
            ratio, cut = math.exp(p - q), min(max(math.exp(p - q), 0.9), 1.1)
            tokens.append(
                -min(ratio * gain * gains, cut * gain * gains) + 0.3 * ratio * (math.exp(r - p) - (r - p) - 1)
            )
        expected += sum(tokens) / (len(tokens) if formula == "grpo" else ASKING.max_tokens)
    assert found.total.item() == pytest.approx(expected, rel=1e-4)
    assert found.weight == 3
    assert 0 < found.metrics["clipped"] < 3


# ---- TRL


def trainer(model: GPT2, out: Path, **given: Any) -> Any:
    """TRL's, around the same weights."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    plain = {**_plain(out), "per_device_train_batch_size": 3}
    del plain["max_length"]
    config = GRPOConfig(**plain, num_generations=3, max_completion_length=6, **given)
    made = GRPOTrainer(
        model=theirs(model),
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        args=config,
        train_dataset=Dataset.from_list([{"prompt": "a"}]),
        processing_class=tokenizer(),
    )
    made.model.eval()
    return made


def told(
    objective: Grpo, some: Sequence[Sequence[Tokens]], rewards: Sequence[float], former: Any, start: Any
) -> Rollouts:
    """A batch of these answers that knows what the policy gave to them then, and the start model."""
    made = kept(some, rewards)
    batch = made.batch()
    flat = [one for members in some for one in members]
    with torch.no_grad():
        batch.old = None if former is None else per_token(batch, [each_alone(former, one) for one in flat])
        batch.start = per_token(batch, [each_alone(start, one) for one in flat])
    old = batch.old
    batch = objective.priced(None, batch, made)  # type: ignore[arg-type]  # it asks nobody while updates are 1
    batch.old = old
    return batch


def padded(some: Sequence[Sequence[Tokens]], objective: Grpo, rewards: Sequence[float]) -> dict[str, Any]:
    """The same for TRL: prompts of one length, and answers filled up on the right."""
    flat = [one for members in some for one in members]
    (begin,) = {int(one.mask.argmax()) for one in flat}
    width = max(len(one.ids) for one in flat) - begin
    prompts = torch.stack([torch.from_numpy(one.ids[:begin]) for one in flat])
    answers, mask = (torch.zeros(len(flat), width, dtype=torch.long) for _ in range(2))
    for row, one in enumerate(flat):
        answers[row, : len(one.ids) - begin], mask[row, : len(one.ids) - begin] = torch.from_numpy(one.ids[begin:]), 1
    each = advantages(torch.tensor(rewards).reshape(-1, len(some[0])), objective.formula == "grpo").flatten()
    parts = {"prompt_ids": prompts, "prompt_mask": torch.ones_like(prompts)}
    return {**parts, "completion_ids": answers, "completion_mask": mask, "advantages": each}


def spread(some: Sequence[Sequence[Tokens]], model: Any, width: int) -> Tensor:
    """(answers, width): what a model gives to their tokens, filled up on the right."""
    rows = [each_alone(model, one) for members in some for one in members]
    return torch.stack([torch.nn.functional.pad(row, (0, width - len(row))) for row in rows])


@pytest.mark.parametrize("moved", [False, True], ids=["on-policy", "off-policy"])
@pytest.mark.parametrize("beta", [0.0, 0.04])
@pytest.mark.parametrize("formula", ["grpo", "dr_grpo"])
def test_loss_and_gradients_are_those_of_trl(formula: Any, beta: float, moved: bool, tmp_path: Path) -> None:
    model, start = two_models()
    former = gpt2(vocab_size=300, seed=1)
    with torch.no_grad():  # near the policy, so that some ratios are clipped and some are not
        for mine, other in zip(former.parameters(), model.parameters(), strict=True):
            mine.copy_(other + torch.randn(other.shape, generator=torch.Generator().manual_seed(1)) * 0.02)
    some = families(*SHAPES)
    one = grpo(formula=formula, beta=beta, clip=0.2, clip_high=0.28)
    ours = one.loss(model, told(one, some, REWARDS, former if moved else None, start))
    trl = trainer(model, tmp_path, loss_type=formula, beta=0.0, epsilon=0.2, epsilon_high=0.28)
    trl.beta = beta
    given = padded(some, one, REWARDS)
    width = given["completion_ids"].shape[1]
    with torch.no_grad():
        given["ref_per_token_logps"] = spread(some, start, width)
        given["old_per_token_logps"] = spread(some, former, width) if moved else None
    expected = trl._compute_loss(trl.model, given)
    assert (ours.total / ours.weight).item() == pytest.approx(expected.item(), abs=TOLERANCE)
    assert_same_gradients(model, ours.total / ours.weight, trl.model, expected)
    if moved:
        share = (ours.metrics["clipped"] / ours.weight).item()
        assert 0 < share < 1
        answers = figure(trl, "clip_ratio/region_mean")
        assert answers > 0


# ---- laws


@pytest.mark.parametrize("formula", ["grpo", "dr_grpo"])
def test_on_policy_every_ratio_is_one_and_nothing_is_clipped(formula: Any) -> None:
    made, _ = objective("grpo", beta=0.0)
    one = policy()
    batch = next(made.batches(made.prepare(PROBLEMS, one), one, one))
    loss = Grpo(ASKING, even, formula=formula).loss(one.model, batch)
    assert loss.metrics["clipped"] == 0
    if formula == "grpo":
        assert abs(loss.total.item()) < 1e-5
        assert made.start_loss == 0
    gradient = torch.autograd.grad(loss.total, list(one.model.parameters()), allow_unused=True)
    assert sum(float(part.norm()) for part in gradient if part is not None) > 1e-3


def test_at_the_start_the_divergence_is_zero() -> None:
    made, _ = objective("grpo")
    one = policy()
    loss = made.loss(one.model, next(made.batches(made.prepare(PROBLEMS, one), one, one)))
    assert loss.metrics["kl"] == pytest.approx(0.0, abs=1e-5)
    assert loss.total.item() == pytest.approx(0.0, abs=1e-5)


def test_the_penalty_pulls_as_hard_as_the_policy_has_left_the_start() -> None:
    """On-policy, its gradient is (log p - log p_start) times that of log p: that of the divergence itself."""
    model, start = gpt2(), gpt2(seed=3)
    (some,) = families((4, 2, 1, 3))
    one = grpo(formula="dr_grpo", beta=0.5)
    found = gradients(model, one.loss(model, told(one, [some], (0.0, 0.0, 0.0), None, start)).total)
    wanted = torch.zeros(())
    for answer in some:
        now, then = each_alone(model, answer), each_alone(start, answer)
        wanted = wanted + ((now - then).detach() * now).sum() * 0.5 / ASKING.max_tokens
    assert difference(found, gradients(model, wanted)) < 1e-4


def test_a_second_update_of_a_round_sees_how_far_the_first_has_gone() -> None:
    made, _ = objective("grpo", updates=2, beta=0.0)
    one = policy()
    batches = made.batches(made.prepare(PROBLEMS, one), one, one)
    first = next(batches)
    made.loss(one.model, first).total.backward()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for weight in one.model.parameters():
            weight.sub_(0.003 * weight.grad if weight.grad is not None else 0)
    second = next(batches)
    assert torch.equal(first.ids, second.ids)
    assert torch.equal(first.advantages, second.advantages)
    assert made.loss(one.model, second).total.item() < -1e-3
    assert next(batches).cursor["round"] == 2


def test_answers_that_are_sampled_at_another_temperature_are_learned_at_it() -> None:
    """Else the gradient would be that of another policy than the one that answers."""
    one = policy()
    some = families((4, 2, 1, 3))
    hot, cold = (Grpo(type(ASKING)(temperature=t), even, updates=2) for t in (2.0, 1.0))
    made = kept(some, (1.0, 0.0, 0.5))
    found = hot.priced(one, made.batch(), made).old
    usual = cold.priced(one, made.batch(), made).old
    assert found is not None
    assert usual is not None
    batch = made.batch()
    expected = []
    for answer in some[0]:
        ids = torch.from_numpy(answer.ids).long()
        with torch.no_grad():
            logprobs = (one.model(ids[None])[0, :-1] / 2.0).log_softmax(-1)
        expected.append(logprobs.gather(1, ids[1:, None])[:, 0][torch.from_numpy(answer.mask[1:])])
    assert torch.allclose(found, per_token(batch, expected), atol=1e-5)
    assert not torch.allclose(found, usual, atol=1e-3)
