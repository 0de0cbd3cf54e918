"""What answers say is counted beside how long they are, by rules that a reader can check by eye."""

import math

import pytest

from chatwright.evals import informativeness
from chatwright.evals.benchmark import Row, Score
from chatwright.evals.compare import Evaluation
from chatwright.generate.completion import Completion
from chatwright.text.manners import points
from chatwright.text.records import Problem, conversation

CAPITAL = Problem(conversation("What is the capital of France?"), "contains", {"accepted": ["Paris"]})
TIPS = Problem(conversation("How do I stay healthy?"), "keywords", {"groups": [["sleep"], ["walk", "run"], ["eat"]]})
UNKNOWN = Problem(conversation("What do you think?"), "", {})


def evaluation(name: str, *said: tuple[Problem, str]) -> Evaluation:
    rows = tuple(Row(problem, Completion((), text, "stop"), 0.0) for problem, text in said)
    return Evaluation(name, "", (), {"asked": Score("asked", rows)}, 1.0)


def test_facts_points_and_words_are_counted_per_answer() -> None:
    listed = "1. Sleep for eight hours.\n2. Walk a lot."
    found = informativeness.informativeness(
        evaluation("sft", (CAPITAL, "It is Paris."), (TIPS, listed), (UNKNOWN, "x"))
    )
    assert found is not None
    assert found.n == 2
    assert found.facts.value == pytest.approx((1 + 2) / 2)
    assert (found.points, found.words) == (1, pytest.approx((3 + 9) / 2))
    assert found.facts_per_100_words == pytest.approx(100 * 3 / 12)
    assert found.facts.low <= found.facts.value <= found.facts.high


def test_a_longer_answer_with_the_same_facts_says_less_in_a_hundred_words() -> None:
    short, long = (
        informativeness.informativeness(evaluation("x", (CAPITAL, text), (TIPS, "Sleep.")))
        for text in ("Paris.", "Well, as far as I know it is Paris, which is a city, and a nice one.")
    )
    assert short is not None
    assert long is not None
    assert short.facts.value == long.facts.value
    assert short.facts_per_100_words > 4 * long.facts_per_100_words


def test_the_sheet_has_a_row_for_each_model_and_there_is_none_without_known_facts() -> None:
    sheet = informativeness.sheet([evaluation("base", (CAPITAL, "")), evaluation("sft", (CAPITAL, "Paris."))])
    assert sheet is not None
    assert sheet.rows == (
        ("base", "1", "0.00", "–", "–", "0.00", "0.0"),
        ("sft", "1", "1.00", "–", "100.0", "0.00", "1.0"),
    )
    assert informativeness.sheet([evaluation("base", (UNKNOWN, "x")), evaluation("sft")]) is None
    alone = informativeness.informativeness(evaluation("base", (CAPITAL, "")))
    assert alone is not None
    assert math.isnan(alone.facts_per_100_words)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("1. Sleep.\n2. Walk.\n  3) Eat.", 3),
        ("- a\n* b\n• c", 3),
        ("It costs 3. That is all.", 0),
        ("```\n- not\n- prose\n```\n- one", 1),
        ("", 0),
    ],
)
def test_points_are_the_items_of_lists(text: str, count: int) -> None:
    assert points(text) == count
