"""Laws of what the primer gives to practise: it is nothing that evaluation asks, and its graders know right from wrong."""

import random
from collections import Counter

import pytest

from chatwright.commands import _road_end
from chatwright.evals.benchmark import facts, grade_one, practice_sets, problem_sets
from chatwright.tasks.primer import arithmetic, formats
from chatwright.tasks.primer import world as worlds
from chatwright.tasks.primer.world import World, normalise
from chatwright.text.records import Problem

Sets = dict[str, list[Problem]]


@pytest.fixture(scope="module")
def world() -> World:
    return worlds.load()


@pytest.fixture(scope="module")
def practised() -> Sets:
    return practice_sets("primer")


@pytest.fixture(scope="module")
def examined() -> Sets:
    return problem_sets("primer")


def words(problem: Problem) -> str:
    """Every turn of the prompt, in a form that a comparison of wordings needs."""
    return " | ".join(f" {normalise(message.content)} " for message in problem.prompt.messages)


def test_nothing_that_evaluation_asks_is_practised(practised: Sets, examined: Sets) -> None:
    asked = {words(problem) for some in practised.values() for problem in some}
    assert [one for some in examined.values() for one in some if words(one) in asked] == []


@pytest.mark.parametrize("name", ["phrasings", "unseen_phrasings", "arithmetic", "formats", "classic"])
def test_no_held_out_question_is_part_of_what_is_practised(practised: Sets, examined: Sets, name: str) -> None:
    asked = "".join(words(problem) + "|" for some in practised.values() for problem in some)
    last = [f" {normalise(problem.prompt.messages[-1].content)} " for problem in examined[name]]
    assert [question for question in last if question in asked] == []


def test_a_never_asked_fact_is_not_practised(world: World, practised: Sets) -> None:
    asked = {words(problem) for problem in practised["facts"]}
    held_out = [fact for fact in world.facts if world.never_asked(fact)]
    assert held_out
    assert not any(f" {normalise(question)} " in asked for fact in held_out for question in fact.questions)


def test_every_sum_and_every_asked_fact_is_practised_by_every_question_that_training_may_have(
    world: World, practised: Sets
) -> None:
    sums = Counter(problem.prompt.first_user for problem in practised["arithmetic"])
    assert sums == Counter(
        question for s in arithmetic.sums() for question in s.questions if question != arithmetic.held_out_question(s)
    )
    asked = Counter(problem.prompt.first_user for problem in practised["facts"])
    assert asked == Counter(question for fact in world.asked if fact.answers for question in world.questions(fact))


def test_forms_are_practised_in_hundreds_and_examined_in_other_wordings_or_on_other_subjects(
    world: World, practised: Sets, examined: Sets
) -> None:
    requests = list(formats.requests(world))
    assert len({request.name for request in requests}) == len(requests) == len(examined["formats"])
    assert 130 <= len(examined["formats"]) <= 200
    assert 400 <= len(practised["formats"]) <= 800
    unpractised = [request for request in requests if not request.is_practised]
    assert 0.1 < len(unpractised) / len(requests) < 0.35
    asked = {problem.prompt.first_user for problem in practised["formats"]}
    assert not any(prompt in asked for request in unpractised for prompt in request.prompts)
    for request in requests:
        missing = [i for i, prompt in enumerate(request.prompts) if prompt not in asked]
        assert missing == ([request.held_out] if request.is_practised else [0, 1, 2, 3, 4])


def test_a_question_in_another_form_has_no_thirteen_words_of_training_in_it(world: World) -> None:
    """Else the data that the primer trains on would be said to give its problems away."""
    for fact in world.asked:
        assert len(formats._question(world, fact).split()) <= formats.LONGEST_QUESTION


# --- what is right


def answer_of(world: World, problem: Problem) -> str:
    """What the primer itself would say, in the form that is asked for."""
    wanted = problem.answer
    if problem.grader == "contains":
        return wanted["accepted"][0]
    if "items" in wanted:
        return "\n".join(f"{n}. {item[0]}" for n, item in enumerate(wanted["items"][: wanted["points"]], start=1))
    groups = {frozenset(group) for group in wanted["groups"]}
    if "points" in wanted:
        (fact,) = [fact for fact in world.asked if fact.relation == "advice" and {frozenset(fact.answers)} == groups]
        lines = [line for line in fact.replies[0].splitlines() if any(word in line.lower() for word in fact.answers)]
        rest = [line for line in fact.replies[0].splitlines() if line not in lines]
        points = [line.partition(" ")[2] for line in (lines + rest)[: wanted["points"]]]
        return "\n".join(f"{n}. {point}" for n, point in enumerate(points, start=1))
    facts = [fact for fact in world.asked if {frozenset(group.split("|")) for group in fact.answers} == groups]
    return facts[0].replies[wanted["sentences"] - 1]


@pytest.mark.parametrize("sets", ["practised", "examined"])
def test_the_primer_s_own_knowledge_in_the_right_form_gets_full_marks(
    world: World, sets: str, request: pytest.FixtureRequest
) -> None:
    problems = request.getfixturevalue(sets)["formats"]
    wrong = [(one.prompt.first_user, said) for one in problems if grade_one(one, said := answer_of(world, one)) < 1]
    assert wrong == []
    assert all((facts(one, answer_of(world, one)) or 0) >= 1 for one in problems)


def test_the_right_answer_in_another_form_gets_nothing(world: World, practised: Sets) -> None:
    for problem in practised["formats"]:
        right = answer_of(world, problem)
        assert problem.grader == "contains" or grade_one(problem, f"{right}\n{right}") == 0
        if "points" in problem.answer:
            assert grade_one(problem, right.replace("1. ", "").replace("2. ", "")) == 0
        else:
            assert grade_one(problem, f"You ask for it. I say {right} So it is.") == 0


def test_no_question_and_no_answer_of_chance_wins_anything(practised: Sets, examined: Sets, world: World) -> None:
    chance = random.Random(0)
    for problem in (*practised["formats"], *practised["arithmetic"], *practised["facts"], *examined["formats"]):
        assert grade_one(problem, problem.prompt.first_user) == 0, problem.prompt.first_user
        assert grade_one(problem, "") == 0
    posed = [*practised["formats"], *examined["formats"]]
    others = [answer_of(world, problem) for problem in posed]
    lucky = sum(grade_one(problem, chance.choice(others)) for problem in posed)
    assert lucky / len(posed) < 0.05


# --- the quickstart


def test_the_quickstart_examines_sets_that_there_are() -> None:
    assert set(_road_end.EXAMINED) == set(problem_sets("primer", limit=1)) - {"formats"}
