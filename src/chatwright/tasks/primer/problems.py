"""The primer's graded questions: those that training has not seen, for evaluation, and those it may practise, for RL."""

from collections.abc import Iterable, Iterator
from typing import Any

from chatwright.tasks.contains import names
from chatwright.tasks.primer.classic import CLASSIC_PROMPTS
from chatwright.tasks.primer.domains import python_functions
from chatwright.tasks.primer.fact import Fact
from chatwright.tasks.primer.world import World, share
from chatwright.text.records import Conversation, Problem, conversation

FOLLOW_UPS = 150


def phrasings(world: World) -> Iterator[Problem]:
    """Asked facts, each by the one question that training has for other facts only."""
    for fact in _mixed(world.asked):
        i = world.held_out_question(fact)
        if i is not None:
            yield problem(world, fact, conversation(fact.questions[i]))


def unseen_phrasings(world: World) -> Iterator[Problem]:
    """Asked facts, by the question of their relation that training has for no fact at all."""
    for fact in _mixed(world.asked):
        i = world.unseen_template(fact.relation)
        if i is not None:
            yield problem(world, fact, conversation(fact.questions[i]))


def never_asked(world: World) -> Iterator[Problem]:
    """Facts that only documents state, each by a question that training has for other facts."""
    for fact in _mixed(world.facts):
        questions = world.questions(fact)
        if world.never_asked(fact) and questions:
            yield problem(world, fact, conversation(questions[int(fact.share("asked as") * len(questions))]))


def follow_ups(world: World) -> Iterator[Problem]:
    """Second questions that need the first: pairs of facts that training never has one after the other."""
    pairs = [
        (first, second)
        for members in world.relations.values()
        for first in members
        for second in members
        if first is not second
        and second.closed  # an open fact's follow-up ("And why do stars twinkle?") often says all
        and second.follow_up
        and first.answers != second.answers  # else repeating the first answer would be right
        and not {first.id, second.id} & world.never
        and world.follow_up_held_out(first, second)
        and world.questions(first)
    ]
    pairs.sort(key=lambda pair: share("follow-up problem", pair[0].id, pair[1].id))
    for first, second in pairs[:FOLLOW_UPS]:
        questions = world.questions(first)
        question = questions[int(first.share("leads") * len(questions))]
        yield problem(world, second, conversation(question, first.replies[0], second.follow_up))


def classic(world: World) -> Iterator[Problem]:
    """The classic prompts; earlier turns are answered as the primer answers them."""
    for prompt in CLASSIC_PROMPTS:
        turns: list[str] = []
        for turn, name in zip(prompt.turns[:-1], prompt.facts, strict=False):
            turns += [turn, world.fact(name).replies[0]]
        yield Problem(conversation(*turns, prompt.turns[-1]), prompt.grader, dict(prompt.answer))


def practice(world: World) -> Iterator[Problem]:
    """Asked facts by every question that training may have; small talk has no right answer."""
    places = [(fact, question) for fact in world.asked if fact.answers for question in world.questions(fact)]
    for fact, question in sorted(places, key=lambda place: share("order of practice", place[0].id, place[1])):
        yield problem(world, fact, conversation(question))


def problem(world: World, fact: Fact, prompt: Conversation) -> Problem:
    """The prompt and the fact's grader; an open fact's `answers` are keywords, "|" between alternatives."""
    if fact.closed:
        return Problem(prompt, "contains", {"accepted": list(fact.answers), "others": wrong_candidates(world, fact)})
    if fact.domain == "python_functions":
        return Problem(prompt, "python_function", {"accept": python_functions.suites(fact.id)})
    if fact.domain == "howto":
        return Problem(prompt, "numbered_list", {"items": 3, "about": list(fact.answers)})
    groups: list[list[str]] = [group.split("|") for group in fact.answers]
    answer: dict[str, Any] = {"groups": groups}
    return Problem(prompt, "keywords", answer)


def _mixed(facts: Iterable[Fact]) -> list[Fact]:
    """In an order of their hashes, so that the first n problems of a set are a fair sample of it."""
    return sorted(facts, key=lambda fact: fact.share("order of problems"))


def wrong_candidates(world: World, fact: Fact) -> list[str]:
    """The answers of the relation's other facts, without those that a right reply may have reason to name."""
    own = "\n".join((*fact.answers, *fact.questions, *fact.replies, *fact.statements))
    wrong = {spelling for other in world.relations[fact.relation] for spelling in other.answers}
    return sorted(spelling for spelling in wrong if not names(own, spelling))
