"""A win rate names its judge, and beside it stands what is left of it at equal length."""

import json
import math
import random
from typing import Any

import numpy
import pytest
import torch

from chatwright.errors import DataError
from chatwright.evals import compare, intervals, judging, winrate
from chatwright.evals.prompts import NO_ANSWER, prompt
from chatwright.evals.results import plain
from chatwright.evals.winrate import Agreement, Judge, Judged, win_rate
from chatwright.generate.completion import Completion
from chatwright.generate.sampling import Sampling
from chatwright.text.records import Conversation, Message, Preference, Problem, conversation

JUDGE = Judge("runs/reward")


def judged(name: str, lengths: list[int], scores: list[float]) -> Judged:
    return Judged(name, tuple(" ".join(["word"] * length) for length in lengths), tuple(scores))


def test_at_equal_lengths_both_rates_are_the_same_and_ties_count_half() -> None:
    first, second = judged("a", [5] * 10, [0.0] * 10), judged("b", [5] * 10, [1.0] * 6 + [0.0] * 3 + [-1.0])
    found = win_rate(first, second, JUDGE)
    assert found.plain.value == pytest.approx((6 + 1.5) / 10)
    assert found.controlled.value == pytest.approx(0.75, abs=1e-9)
    assert (found.controlled.low, found.controlled.high) == pytest.approx((found.plain.low, found.plain.high))
    assert (found.n, found.ties, found.words) == (10, 3, (5.0, 5.0))


def test_what_is_won_by_length_alone_is_taken_out() -> None:
    # Of 70 answers that are 10 words longer 63 win, of 10 that are 10 words shorter one does: 64 of 80 win. The odds are
    # 9 to 1 for the longer answer on either side, so at equal length they are even.
    lengths = [15] * 70 + [5] * 10
    wins = [1.0] * 63 + [-1.0] * 7 + [1.0] + [-1.0] * 9
    found = win_rate(judged("a", [5] * 70 + [15] * 10, [0.0] * 80), judged("b", lengths, wins), JUDGE)
    assert found.plain.value == pytest.approx(0.8)
    assert found.controlled.value == pytest.approx(0.5, abs=0.01)
    assert found.controlled.low < 0.5 < found.controlled.high
    assert found.controlled.high - found.controlled.low > found.plain.high - found.plain.low


def test_what_is_won_in_spite_of_length_is_given_back() -> None:
    draw = random.Random(0)
    lengths = [draw.randint(3, 20) for _ in range(200)]
    wins = [1.0 if draw.random() < (0.75 if length > 10 else 0.35) else -1.0 for length in lengths]
    found = win_rate(judged("a", [14] * 200, [0.0] * 200), judged("b", lengths, wins), JUDGE)
    assert found.controlled.value > found.plain.value


def test_exchanging_the_models_exchanges_the_rates() -> None:
    draw = random.Random(1)
    lengths = [[draw.randint(1, 30) for _ in range(60)] for _ in range(2)]
    scores = [[draw.gauss(0, 1) for _ in range(60)] for _ in range(2)]
    one, two = (judged(name, *rest) for name, *rest in zip("ab", lengths, scores, strict=True))
    there, back = win_rate(one, two, JUDGE), win_rate(two, one, JUDGE)
    assert back.plain.value == pytest.approx(1 - there.plain.value)
    assert back.controlled.value == pytest.approx(1 - there.controlled.value)
    assert back.words == there.words[::-1]


def by_gradient(wins: numpy.ndarray[Any, Any], lean: numpy.ndarray[Any, Any]) -> float:
    """The same regression by another road: torch's LBFGS on the penalised likelihood."""
    target, slant = torch.tensor(wins), torch.tensor(lean)
    weights = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS(
        [weights], max_iter=500, tolerance_grad=1e-12, tolerance_change=1e-14, line_search_fn="strong_wolfe"
    )

    def loss() -> torch.Tensor:
        search.zero_grad()
        logits = weights[0] + weights[1] * slant
        total = torch.nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="sum")
        total = total + winrate.RIDGE / 2 * weights[1] ** 2
        total.backward()
        return total

    search.step(loss)
    return float(torch.sigmoid(weights[0].detach()))


@pytest.mark.parametrize("case", ["noise", "ties", "divided by length", "one loss", "always longer", "one long answer"])
def test_the_regression_finds_the_likeliest_line_whatever_the_answers(case: str) -> None:
    generator = numpy.random.default_rng(3)
    longer = generator.normal(4, 8, 50)
    wins = (generator.random(50) < 0.6).astype(float)
    match case:
        case "ties":
            wins[::3] = 0.5
        case "divided by length":
            wins = (longer > 0).astype(float)
        case "one loss":
            wins = numpy.array([0.0] + [1.0] * 49)
        case "always longer":
            longer = numpy.abs(longer) + 1
        case "one long answer":
            longer[:] = 0
            longer[7] = 500
    lean = numpy.tanh(longer / math.sqrt((longer**2).mean()))
    assert winrate.controlled(wins, longer, resamples=2).value == pytest.approx(by_gradient(wins, lean), abs=1e-4)


def test_a_win_rate_is_the_same_each_time_and_moves_with_its_seed() -> None:
    draw = random.Random(2)
    one = judged("a", [draw.randint(1, 9) for _ in range(40)], [draw.random() for _ in range(40)])
    two = judged("b", [draw.randint(1, 9) for _ in range(40)], [draw.random() for _ in range(40)])
    found = win_rate(one, two, JUDGE)
    assert found == win_rate(one, two, JUDGE)
    assert found.controlled != win_rate(one, two, JUDGE, seed=1).controlled
    assert found.plain.low < found.plain.value < found.plain.high


def test_the_interval_at_equal_length_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = numpy.random.default_rng(5)
    covered = 0
    for _ in range(60):
        longer = generator.normal(5, 8, 80)
        chance = 1 / (1 + numpy.exp(-2 * numpy.tanh(longer / math.sqrt((longer**2).mean()))))  # even at equal length
        rate = winrate.controlled((generator.random(80) < chance).astype(float), longer, resamples=300)
        covered += rate.low <= 0.5 <= rate.high
    assert 52 <= covered <= 60


@pytest.mark.parametrize("wins", [0.0, 1.0])
def test_a_model_that_wins_or_loses_everything_does_so_at_equal_length(wins: float) -> None:
    found = win_rate(judged("a", [1, 2, 3], [0.5] * 3), judged("b", [9, 1, 4], [wins] * 3), JUDGE)
    assert (found.plain.value, found.controlled.value) == (wins, wins)


def test_one_prompt_has_a_rate_but_no_interval_and_none_has_neither() -> None:
    one = win_rate(judged("a", [1], [0]), judged("b", [1], [1]), JUDGE)
    assert (one.plain.value, one.controlled.value) == (1, 1)
    assert math.isnan(one.plain.low)
    assert math.isnan(one.controlled.high)
    none = win_rate(judged("a", [], []), judged("b", [], []), JUDGE)
    assert (none.n, math.isnan(none.plain.value), math.isnan(none.controlled.value)) == (0, True, True)
    assert winrate.sheet([one, none]).rows[2][1:5] == ("–", "–", "0", "0")


def test_scores_that_differ_by_rounding_prefer_neither() -> None:
    found = win_rate(judged("a", [3, 3], [1.0, 1.0]), judged("b", [3, 3], [1.00001, 0.99999]), JUDGE)
    assert (found.ties, found.plain.value) == (2, 0.5)


def test_a_judge_that_gives_no_number_is_named_with_the_answer() -> None:
    with pytest.raises(DataError, match=r"runs/reward scored answer 2 of b with nan; a judge has to give numbers"):
        win_rate(judged("a", [1, 1], [0, 0]), judged("b", [1, 1], [0, math.nan]), JUDGE)
    with pytest.raises(ValueError, match="as many answers"):
        win_rate(judged("a", [1], [0]), judged("b", [1, 1], [0, 0]), JUDGE)


# ---- judges


def test_the_judge_is_named_wherever_the_rate_is_shown_with_its_agreement_beside_it() -> None:
    agreed = Agreement(182, 200, "pairs.jsonl, test")
    assert agreed.interval == intervals.wilson(182, 200)
    assert Judge("held-out grader").says == "held-out grader"
    assert JUDGE.says == "runs/reward, which was held against no labelled pairs"
    named = Judge("runs/reward", agreed)
    assert named.says == ("runs/reward, which agrees with 91 % of 200 labelled pairs (86.2–94.2 %; pairs.jsonl, test)")
    rate = win_rate(judged("a", [4] * 4, [0] * 4), judged("b", [6, 6, 2, 4], [1, 1, 1, -1]), named)
    assert rate.says.startswith("b wins 75 % (")
    assert "of 4 prompts against a, " in rate.says
    assert rate.says.endswith(f"0 ties, 4.5 against 4.0 words. Judge: {named.says}.")
    sheet = winrate.sheet([rate, rate])
    assert sheet.hint.startswith(f"Judge: {named.says}. A tie counts half.")
    assert (sheet.rows[0][:2], sheet.rows[0][3:]) == (("b against a", "75 %"), ("4", "0", "4.5 : 4.0"))
    assert sheet.rows[1][0] == "at equal length"
    found = json.loads(json.dumps(plain(rate), allow_nan=False))
    assert found["judge"]["agreement"] == {"agreed": 182, "n": 200, "data": "pairs.jsonl, test"}


def test_agreement_is_how_often_the_better_answer_scores_higher() -> None:
    pairs = [
        Preference(conversation("Hi", good), conversation("Hi", bad))
        for good, bad in (("aaaa", "b"), ("a", "bbb"), ("aa", "bb"))
    ]

    def longest(asked: Any) -> list[float]:
        return [float(len(one.messages[-1].content)) for one in asked]

    assert judging.agreement_with(pairs, longest, "three") == Agreement(1.5, 3, "three")


SHORT = Sampling(max_tokens=6)
TWO_TURNS = prompt([Message("user", "Who?"), Message("user", "And then?")])
PROBLEMS = {"numbers": [Problem(conversation(f"{i}?"), "contains", {"accepted": [str(i)]}) for i in range(4)]}


class Says:
    """A chatbot whose answers are what its function makes of the conversation."""

    def __init__(self, says: Any) -> None:
        self.says = says

    def replies(self, conversations: Any, sampling: Sampling = SHORT) -> list[Completion]:
        return [Completion((), self.says(one), "stop") for one in conversations]


def compared() -> compare.Comparison:
    bots: Any = {
        "parrot": Says(lambda one: one.messages[-1].content),
        "silent": Says(lambda one: ""),
        "other": Says(lambda one: "zero 0"),
    }
    return compare.compare(bots, [TWO_TURNS], SHORT, PROBLEMS)


def test_the_grader_judges_graded_questions_alone() -> None:
    silent, other = judging.by_grader(compared())
    assert (silent.second, silent.first, silent.n, silent.judge.name) == ("silent", "parrot", 4, "held-out grader")
    assert silent.plain.value == 0  # the parrot names every number
    assert (other.plain.value, other.ties) == (0.125, 1)


def test_a_reward_model_reads_every_answer_in_the_conversation_that_the_model_had() -> None:
    read: list[Conversation] = []

    def score(asked: Any) -> list[float]:
        read.extend(asked)
        return [float(len(one.messages[-1].content)) for one in asked]

    silent, _ = judging.by_model(compared(), score, JUDGE)
    assert (silent.n, silent.judge) == (6, JUDGE)
    turns = [[message.content for message in one.messages] for one in read]
    assert turns[:3] == [["Who?", "Who?"], ["Who?", "Who?", "And then?", "And then?"], ["0?", "0?"]]
    assert turns[7] == ["Who?", NO_ANSWER, "And then?", NO_ANSWER]
    assert silent.words[1] == 0
