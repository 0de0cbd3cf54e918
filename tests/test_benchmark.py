"""One place asks the graders, and what it gives is a grade; what a task has to practise is none of what it is examined by."""

import math
from pathlib import Path
from typing import Any

import pytest
from tiny_models import tiny_checkpoint

from chatwright import commands, registry
from chatwright.errors import ConfigError, DataError
from chatwright.evals import benchmark
from chatwright.generate.completion import Completion
from chatwright.text.records import Problem, Source, conversation

ASKED = Problem(
    conversation("What is the capital of France?"), "contains", {"accepted": ["Paris"]}, Source("exam.jsonl", 7)
)


def test_a_reply_gets_the_grade_of_its_problem_s_grader() -> None:
    assert [benchmark.grade_one(ASKED, text) for text in ("It is Paris.", "It is Rome.")] == [1.0, 0.0]


@pytest.mark.parametrize("given", [math.nan, -0.1, 1.5, math.inf, "much", None, [1.0]])
def test_a_grade_that_is_none_is_refused_in_one_sentence_with_grader_and_problem(
    given: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No grader of ours gives one, so one is made to."""
    monkeypatch.setattr(registry.load("tasks", "contains"), "grade", lambda *_: given)
    with pytest.raises(
        DataError, match=r"^exam\.jsonl:7: the grader contains of 'What is the capital of France\?' "
    ) as caught:
        benchmark.grade_one(ASKED, "Paris")
    assert "\n" not in str(caught.value)


def test_a_grader_that_raises_is_named_with_its_problem_and_the_reason() -> None:
    spoiled = Problem(ASKED.prompt, "contains", {"accept": ["Paris"]}, ASKED.source)
    with pytest.raises(DataError, match=r"France\?' cannot grade: the answer has 'accept', did you mean 'accepted'"):
        benchmark.grade_one(spoiled, "Paris")
    with pytest.raises(ConfigError, match="there is no 'contain', did you mean 'contains'"):
        benchmark.grade_one(Problem(ASKED.prompt, "contain", {}), "Paris")


def test_what_raises_anything_else_is_named_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry.load("tasks", "contains"), "grade", lambda reply, answer: answer["what\nnot"])
    with pytest.raises(DataError, match=r"cannot grade: KeyError: 'what\\nnot'$"):
        benchmark.grade_one(ASKED, "Paris")


def test_facts_are_counted_where_a_grader_knows_some() -> None:
    keywords = Problem(ASKED.prompt, "keywords", {"groups": [["city"], ["river"], ["tower"]]})
    code = Problem(ASKED.prompt, "python_function", {"accept": [[[[1], 1]]]})
    assert benchmark.facts(keywords, "A city on a river") == 2
    assert benchmark.facts(ASKED, "Paris") == 1
    assert benchmark.facts(code, "def f(n): return n") is None
    assert benchmark.facts(Problem(ASKED.prompt, "", {}), "Paris") is None


@pytest.mark.parametrize(
    ("task", "practised", "examined"),
    [
        ("arithmetic", {"arithmetic"}, {"arithmetic"}),
        ("facts", {"facts"}, {"phrasings", "unseen_phrasings", "never_asked"}),
        ("formats", {"formats"}, {"formats"}),
    ],
)
def test_a_task_has_sets_to_practise_and_others_to_be_examined_by(
    task: str, practised: set[str], examined: set[str]
) -> None:
    practice, problems = benchmark.practice_sets(task), benchmark.problem_sets(task, limit=20)
    assert (set(practice), set(problems)) == (practised, examined)
    assert all(len(some) == 20 for some in problems.values())
    assert all(len(some) > 400 for some in practice.values())
    asked = {one.prompt for some in practice.values() for one in some}
    assert not any(one.prompt in asked for some in benchmark.problem_sets(task).values() for one in some)


def test_a_grader_has_nothing_to_practise_and_the_primer_has_all() -> None:
    with pytest.raises(
        ConfigError, match=r"^--task is 'contains', which has nothing to practise; give --task arithmetic$"
    ):
        benchmark.practice_sets("contains")
    assert set(benchmark.practice_sets("primer", limit=1)) == {"arithmetic", "facts", "formats"}


def test_eval_asks_a_task_by_its_name_and_grades_the_problems_of_a_file(tmp_path: Path) -> None:
    tiny_checkpoint("chatml", n_positions=256).save(tmp_path / "model")
    exam = Path(__file__).parent / "data" / "samples" / "formats" / "gsm8k.jsonl"
    asked = {"model": str(tmp_path / "model"), "task": ("arithmetic", "facts", "formats"), "data": (str(exam),)}
    found = commands.run("eval", {**asked, "max_samples": 2, "max_tokens": 2})
    scores = found["stages"][0]["evaluation"]["scores"]
    assert set(scores) == {"arithmetic", "phrasings", "unseen_phrasings", "never_asked", "formats", str(exam)}
    assert {score["n"] for score in scores.values()} == {2}


def test_an_answer_that_had_to_be_ended_is_wrong_where_only_whole_ones_are_right() -> None:
    """What it says is the same; only why it ended differs, and only graders that ask for it care."""
    manners = Problem(conversation("Tell me about France."), "manners", {})
    number = Problem(conversation("What is 1 + 1?"), "number", {"value": 2})
    for finish, grade in (("stop", 1.0), ("length", 0.0), ("context", 0.0)):
        assert benchmark.grade_answer(manners, Completion((1,), "It is a country.", finish)) == grade  # type: ignore[arg-type]
        assert benchmark.grade_answer(number, Completion((1,), "1 + 1 = 2", finish)) == 1.0  # type: ignore[arg-type]
