"""Rollouts: what is asked depends on the weights alone, nothing is learned where nothing differs, and all of it is kept."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from small_rollouts import ASKING, PROBLEMS, even, job, measured, objective, rounds
from small_runs import policy, weights

from chatwright.checkpoint import newest_checkpoint
from chatwright.errors import DataError
from chatwright.evals import rollouts as pages
from chatwright.evals.rollouts import RolloutLog, Totals
from chatwright.generate.completion import Completion
from chatwright.generate.sampling import Sampling
from chatwright.objectives.rollouts import Earned, Place, Worth, as_tokens
from chatwright.text.records import Problem, conversation
from chatwright.train import stage
from chatwright.train.panel import Panel
from chatwright.train.signals import Interrupted

BOTH = pytest.mark.parametrize("name", ["grpo", "ppo"])


def nothing(problems: Sequence[Problem], completions: Sequence[Completion]) -> Earned:
    """The same for everybody."""
    return Earned([0.0] * len(completions))


# ---- asking


def test_a_round_depends_on_the_weights_the_seed_and_its_number_and_on_nothing_else() -> None:
    first = ASKING.ask(policy(), PROBLEMS[:3], 4, even)
    torch.manual_seed(99)
    again = ASKING.ask(policy(), PROBLEMS[:3], 4, even)
    assert first.completions == again.completions
    assert first.rewards.tolist() == again.rewards.tolist()
    assert len(set(first.completions)) == 12, "each answer has luck of its own"
    for other in (
        ASKING.ask(policy(), PROBLEMS[:3], 5, even),
        replace(ASKING, seed=6).ask(policy(), PROBLEMS[:3], 4, even),
        ASKING.ask(policy(seed=1), PROBLEMS[:3], 4, even),
    ):
        assert not set(other.completions) & set(first.completions)


def test_what_is_learned_is_what_was_sampled_with_the_token_that_ended_it() -> None:
    one = policy()
    made = replace(ASKING, group=60, max_tokens=20).ask(one, PROBLEMS[:2], 0, even)
    assert {answer.finish for answer in made.completions} == {"stop", "length"}
    for number, (tokens, answer) in enumerate(zip(made.tokens, made.completions, strict=True)):
        before = one.render(PROBLEMS[number // 60].prompt, reply=True).ids
        assert tokens.ids.tolist() == [*before, *answer.ids, *([] if answer.end is None else [answer.end])]
        assert tokens.mask.tolist() == [False] * len(before) + [True] * made.lengths[number]
        assert (answer.end in one.stop_ids) == (answer.finish == "stop")
    assert as_tokens([1, 2], Completion((3,), "x", "length")).ids.tolist() == [1, 2, 3]


@pytest.mark.parametrize("training", [True, False])
def test_the_policy_is_left_in_the_mode_that_it_had(training: bool) -> None:
    one = policy(dropout=0.3)
    one.model.train(training)
    seen = []

    def watching(problems: Sequence[Problem], completions: Sequence[Completion]) -> Earned:
        seen.append(completions)
        return even(problems, completions)

    ASKING.ask(one, PROBLEMS[:3], 0, watching)
    ASKING.ask(one, PROBLEMS[:3], 0, watching)
    assert one.model.training == training
    assert seen[0] == seen[1], "it answers without dropout"


def test_every_problem_is_asked_once_an_epoch_in_an_order_of_its_own() -> None:
    made, _ = objective("grpo")
    data, place = made.prepare(PROBLEMS, policy()), Place()
    asked: list[list[Problem]] = []
    for _ in range(6):  # two epochs of three rounds: 3 + 3 + 1
        some, place = data.chunk(place, 3, seed=1)
        asked.append(some)
    assert [len(some) for some in asked] == [3, 3, 1, 3, 3, 1]
    epochs = [[one for some in asked[first : first + 3] for one in some] for first in (0, 3)]
    assert all(sorted(map(PROBLEMS.index, epoch)) == list(range(7)) for epoch in epochs)
    assert epochs[0] != epochs[1]
    assert place == Place(epoch=2, batch=0, round=6)


def test_a_long_answer_loses_reward_in_proportion_to_its_tokens() -> None:
    plain = ASKING.ask(policy(), PROBLEMS[:3], 0, even)
    dear = replace(ASKING, length_penalty=0.3).ask(policy(), PROBLEMS[:3], 0, even)
    lost = plain.rewards - dear.rewards
    assert lost.tolist() == pytest.approx([0.3 * length / 6 for length in plain.lengths])


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_a_reward_that_is_no_number_is_refused_with_the_answer(wrong: float) -> None:
    with pytest.raises(DataError, match=rf"^the reward of .* is {wrong}; "):
        ASKING.ask(policy(), PROBLEMS[:1], 0, lambda problems, answers: Earned([0.0, wrong, 0.0, 0.0]))


# ---- batches


@BOTH
def test_every_round_comes_from_the_policy_as_it_is_when_the_batch_is_asked_for(name: str) -> None:
    made, _ = objective(name)
    one = policy()
    batches = made.batches(made.prepare(PROBLEMS, one), one, one)
    first = next(batches)
    with torch.no_grad():
        for weight in one.model.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)
    second = next(batches)
    expected = made.asking.ask(one, made.prepare(PROBLEMS, one).chunk(Place(**first.cursor), 3, 5)[0], 1, even)
    assert second.labels.tolist() == pytest.approx(
        [reward for number in made.teaching(expected) for reward in expected.rewards[4 * number :][:4].tolist()]
    )


@BOTH
@pytest.mark.parametrize("updates", [1, 3])
def test_from_any_cursor_the_same_batches_follow(name: str, updates: int) -> None:
    def made_anew() -> Any:
        made, _ = objective(name, updates=updates)
        one = policy()
        return made, made.prepare(PROBLEMS, one), one

    made, data, one = made_anew()
    whole = list(islice(made.batches(data, one, one), 7))
    for number in range(6):
        other, again, same = made_anew()
        cursor = json.loads(json.dumps(whole[number].cursor))
        for expected, found in zip(
            whole[number + 1 :], islice(other.batches(again, same, same, cursor), 6 - number), strict=True
        ):
            assert found.cursor == expected.cursor
            for part in ("ids", "mask", "answer", "labels", "advantages", "old", "start", "values", "returns"):
                mine, theirs = getattr(found, part), getattr(expected, part)
                assert (mine is None) == (theirs is None)
                assert mine is None or torch.equal(mine, theirs), part


def test_groups_whose_answers_all_earn_the_same_are_left_out_and_counted() -> None:
    def some(problems: Sequence[Problem], completions: Sequence[Completion]) -> Earned:
        """Everybody earns one, but for the answers to every third problem."""
        shares = even(problems, completions).rewards
        third = [PROBLEMS.index(problem) % 3 == 0 for problem in problems]
        return Earned([share if mine else 1.0 for share, mine in zip(shares, third, strict=True)])

    made, _ = objective("grpo", worth=some, beta=0.0)
    one = policy()
    for batch in islice(made.batches(made.prepare(PROBLEMS, one), one, one), 4):
        left = batch.count // 4
        assert batch.count == 4 * left
        assert batch.labels.reshape(-1, 4).std(dim=1).min() > 0
        loss = made.loss(one.model, batch)
        assert loss.weight == batch.count
        if batch.cursor["batch"]:  # a round of three problems
            assert loss.metrics["equal_rewards"] / loss.weight == pytest.approx(1 - left / 3)
            assert loss.metrics["reward"] / loss.weight > batch.labels.mean() or left == 3


@BOTH
def test_a_round_without_any_difference_is_passed_over_and_counted(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def later(problems: Sequence[Problem], completions: Sequence[Completion]) -> Earned:
        asked.append(1)
        return (nothing if len(asked) < 3 else even)(problems, completions)

    made, _ = objective(name, worth=later)
    one = policy()
    batches = made.batches(made.prepare(PROBLEMS, one), one, one)
    first, second = (made.loss(one.model, batch) for batch in islice(batches, 2))
    assert first.metrics["skipped_rounds"] / first.weight == 2
    assert second.metrics["skipped_rounds"] == 0
    warned = [line for line in capsys.readouterr().err.splitlines() if "in the first round" in line]
    assert len(warned) == 1
    assert warned[0].startswith("warning: all answers to a prompt have the same reward (the mean is 0.00)")


@BOTH
def test_rewards_that_never_differ_end_in_one_sentence_that_says_what_to_do(name: str) -> None:
    made, _ = objective(name, worth=nothing)
    one = policy()
    with pytest.raises(DataError, match=r"in each of 50 rounds in a row, so nothing is learned: give problems that"):
        next(made.batches(made.prepare(PROBLEMS, one), one, one))
    assert made.loss(one.model, next(made.once(made.prepare(PROBLEMS, one)))).total.isfinite()


def solved_after(rounds: int) -> Worth:
    """Everybody answers rightly from that round on; one more is asked to see the start model's loss."""
    asked: list[int] = []

    def worth(problems: Sequence[Problem], completions: Sequence[Completion]) -> Earned:
        asked.append(1)
        right = Earned([1.0] * len(completions), [1.0] * len(completions))
        return even(problems, completions) if len(asked) <= rounds + (rounds > 0) else right

    return worth


@BOTH
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_run_whose_problems_are_all_solved_ends_with_the_model_that_solves_them(
    name: str, accumulate: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it stands after the last step that taught anything: looked at, saved, and said; a half-made step is forgotten."""
    given = {"accumulate": accumulate, "settings": {"accumulate": accumulate, "eval_every": 2}}
    rounds = 5 if accumulate == 2 else 3  # the round that nothing is accumulated with is the fifth
    made = job(name, tmp_path / "run", worth=solved_after(rounds), **given)
    panel = Panel(made.policy, [one.prompt for one in PROBLEMS[:2]], Sampling(max_tokens=4), None)
    made = replace(made, panel=panel)
    done = rounds // accumulate
    assert stage.run(made).steps == done
    said = capsys.readouterr().err
    assert "every answer was right in each of 50 rounds in a row: there is nothing left to learn" in said
    assert f"ends after {done} steps" in said
    steps = [row["step"] for row in measured(tmp_path / "run") if row["split"] == "train"]
    assert steps == list(range(1, done + 1))
    looks = [row["step"] for row in measured(tmp_path / "run") if row["split"] == "panel"]
    assert looks == ([0, 2, 3] if done == 3 else [0, 2])
    last = newest_checkpoint(tmp_path / "run")
    assert last.name == f"step-{done:06d}"
    assert (last / "model.safetensors").read_bytes() == weights(tmp_path / "run")
    again = stage.run(job(name, tmp_path / "run", resume=True, worth=solved_after(0), **given))
    assert again.steps == done  # it is finished


@BOTH
def test_a_start_that_is_always_right_and_answers_that_are_all_as_wrong_end_in_the_sentence(
    name: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="nothing is learned"):
        stage.run(job(name, tmp_path / "right", worth=solved_after(0)))

    asked: list[int] = []

    def gone(problems: Sequence[Problem], completions: Sequence[Completion]) -> Earned:
        asked.append(1)
        wrong = Earned([0.0] * len(completions), [0.0] * len(completions))
        return even(problems, completions) if len(asked) <= 3 else wrong

    with pytest.raises(DataError, match="nothing is learned"):
        stage.run(job(name, tmp_path / "wrong", worth=gone))


def test_data_without_a_problem_are_refused() -> None:
    made, _ = objective("grpo")
    with pytest.raises(DataError, match="there is no problem in the data"):
        made.prepare([conversation("Hi", "Hello!")], policy())


# ---- whole runs


CUTS: dict[str, dict[str, Any]] = {
    "strictly on-policy": {},
    "three updates a round": {"updates": 3},
    "several rounds a step": {"accumulate": 2, "settings": {"accumulate": 2}},
    "in bf16": {"dtype": torch.bfloat16, "settings": {"dtype": "bf16"}},
}


@BOTH
@pytest.mark.parametrize("kind", CUTS)
def test_interrupted_and_resumed_it_ends_as_the_undisturbed_run_bit_for_bit(
    name: str, kind: str, tmp_path: Path
) -> None:
    """With weights, measurements, rollouts and, of PPO, the values that are learned beside the policy."""
    whole = job(name, tmp_path / "whole", **_copy(CUTS[kind]))
    stage.run(whole)
    cut = tmp_path / "cut"
    with pytest.raises(Interrupted):  # at step 5: in the middle of a round that is learned from three times
        stage.run(job(name, cut, at=9, **_copy(CUTS[kind])))
    again = job(name, cut, resume=True, **_copy(CUTS[kind]))
    stage.run(again)
    assert weights(cut) == weights(tmp_path / "whole")
    assert measured(cut) == measured(tmp_path / "whole")
    assert rounds(cut) == rounds(tmp_path / "whole")
    if whole.beside is not None and again.beside is not None:
        learned = whole.beside.state_dict()
        assert all(torch.equal(learned[key], value) for key, value in again.beside.state_dict().items())
        assert any(value.any() for value in learned.values())


@BOTH
def test_what_is_rewarded_becomes_more_frequent(name: str, tmp_path: Path) -> None:
    asking = replace(ASKING, prompts=6, group=8)
    stage.run(job(name, tmp_path / "run", asking=asking, beta=0.0, settings={"steps": 25, "lr": 1e-2}))
    rewards = [row["reward"] for row in measured(tmp_path / "run")]
    assert sum(rewards[-5:]) / 5 > sum(rewards[:5]) / 5 + 0.15, rewards


def test_rollouts_are_kept_whole_and_those_that_are_done_again_once(tmp_path: Path) -> None:
    stage.run(job("grpo", tmp_path))
    rows = rounds(tmp_path)
    assert [row["round"] for row in rows] == list(range(len(rows)))
    assert [row["step"] for row in rows] == list(range(1, 9))
    steps = [row for row in measured(tmp_path) if row["split"] == "train"]
    for row, step in zip(rows, steps, strict=True):
        answers = [answer for one in row["prompts"] for answer in one["answers"]]
        assert len(answers) == 4 * len(row["prompts"])
        assert all(set(answer) == {"text", "reward", "finish", "tokens", "grade"} for answer in answers)
        assert sum(answer["reward"] for answer in answers) / len(answers) == pytest.approx(step["reward"], abs=1e-5)
        assert sum(answer["tokens"] for answer in answers) / len(answers) == pytest.approx(step["answer_tokens"])
        assert row["reward"] == pytest.approx(step["reward"], abs=1e-5)
    told = Totals.of(RolloutLog(tmp_path).rows())
    assert (told.rounds, told.skipped, told.prompts) == (8, 0, 20)  # 3 + 3 + 1, twice, and 3 + 3
    assert told.answers == 4 * told.prompts


def test_a_line_that_a_crash_cut_short_is_dropped_with_the_rounds_that_are_done_again(tmp_path: Path) -> None:
    stage.run(job("grpo", tmp_path))
    before = rounds(tmp_path)
    with (tmp_path / "rollouts.jsonl").open("a") as file:
        file.write('{"round": 8, "pro')
    log = RolloutLog(tmp_path)
    log.begin(5)
    assert rounds(tmp_path) == before[:5]


def test_the_page_shows_first_and_last_rounds_escaped_and_runs_nothing(tmp_path: Path) -> None:
    answer = {"text": "<script>alert(1)</script>\x1b[31m", "reward": 0.5, "finish": "stop", "tokens": 3}
    hostile = {"prompt": [["user", "<b>Hi & bye</b>"]], "learned": False, "answers": [answer, answer]}
    told = {"seconds": 1.0, "reward": 0.5, "answer_tokens": 3.0, "stop_rate": 1.0}
    rows = [{"round": number, "step": number + 1, **told, "prompts": [hostile]} for number in range(40)]
    (tmp_path / "rollouts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    page = pages.write(tmp_path, RolloutLog(tmp_path), "grpo <runs>").read_text()
    assert "<script" not in page
    assert "\x1b" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "&lt;b&gt;Hi &amp; bye&lt;/b&gt;" in page
    assert "<h1>grpo &lt;runs&gt;</h1>" in page
    assert "2 ×" in page
    assert "taught nothing" in page
    shown = [number for number in range(40) if f"<h2>Round {number}, " in page]
    assert len(shown) == 12
    assert shown[0] == 0
    assert shown[-1] == 39


def _copy(given: dict[str, Any]) -> dict[str, Any]:
    return {name: dict(value) if isinstance(value, dict) else value for name, value in given.items()}
