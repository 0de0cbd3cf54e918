"""Laws of the primer: what is held out is held out, and what is said is right."""

import hashlib
import random
import re
from collections.abc import Iterable
from itertools import islice

import pytest

from chatwright import registry
from chatwright.errors import ConfigError
from chatwright.tasks.primer import PARTS, arithmetic, problems, records
from chatwright.tasks.primer import world as worlds
from chatwright.tasks.primer.classic import CLASSIC_PROMPTS
from chatwright.tasks.primer.domains import python_functions
from chatwright.tasks.primer.world import World, normalise
from chatwright.text.manners import leaks_role, loops
from chatwright.text.records import Conversation, Document, Preference, Problem, conversation


@pytest.fixture(scope="module")
def world() -> World:
    return worlds.load()


@pytest.fixture(scope="module")
def parts() -> dict[str, list]:
    return {part: list(records(part)) for part in PARTS}


@pytest.fixture(scope="module")
def training_texts(parts) -> list[str]:
    """Every document and every turn that any stage trains on."""
    talks = [*parts["conversations"], *(p.chosen for p in parts["preferences"])]
    talks += [p.rejected for p in parts["preferences"]]
    return [d.text for d in parts["documents"]] + [m.content for talk in talks for m in talk.messages]


@pytest.fixture(scope="module")
def training_words(training_texts) -> str:
    return "".join(f" {normalise(text)} |" for text in training_texts)


def grade(problem: Problem, reply: str) -> float:
    return registry.load("tasks", problem.grader).grade(reply, problem.answer)


def user_turns(talk: Conversation) -> list[str]:
    return [message.content for message in talk.messages if message.role == "user"]


def last_turn(problem: Problem) -> str:
    return problem.prompt.messages[-1].content


# --- what is held out


@pytest.mark.parametrize("part", ["phrasings", "unseen_phrasings", "arithmetic"])
def test_a_held_out_question_is_nowhere_in_the_training_data(parts, training_words, part):
    asked = [last_turn(problem) for problem in parts[f"problems/{part}"]]
    assert asked
    assert [question for question in asked if f" {normalise(question)} " in training_words] == []


def test_the_classic_prompts_are_nowhere_in_the_training_data_but_their_neighbours_are(world, parts, training_words):
    for classic in CLASSIC_PROMPTS:
        if len(classic.turns) == 1:
            assert f" {normalise(classic.turns[0])} " not in training_words
        assert all(world.questions(world.fact(name)) for name in classic.facts)
        assert not any(world.never_asked(world.fact(name)) for name in classic.facts)
    for name in ("machine_learning/machine_learning", "howto/staying_healthy", "python_functions/fibonacci"):
        assert len(world.questions(world.fact(name))) >= 12
    assert f" {normalise('What is the capital of Spain?')} " in training_words
    two_turns = list(next(c.turns for c in CLASSIC_PROMPTS if len(c.turns) == 2))
    assert not any(user_turns(talk)[i:][:2] == two_turns for talk in parts["conversations"] for i in range(3))


def test_every_sum_is_stated_in_documents_and_asked_in_all_wordings_but_one(parts):
    written = "\n".join(document.text for document in parts["documents"])
    asked = {message.content for talk in parts["conversations"] for message in talk.messages}
    for s in arithmetic.sums():
        assert re.search(rf"(?<!\d){re.escape(s.equation)}(?!\d)", written)
        assert set(s.questions) - asked == {arithmetic.held_out_question(s)}


def test_a_never_asked_fact_is_in_documents_but_in_no_conversation(world, parts):
    talks = [*parts["conversations"], *(p.chosen for p in parts["preferences"])]
    talks += [p.rejected for p in parts["preferences"]]
    said = "".join(f" {normalise(message.content)} |" for talk in talks for message in talk.messages)
    written = "\n".join(document.text for document in parts["documents"])
    for fact in (fact for fact in world.facts if world.never_asked(fact)):
        texts = {normalise(text) for text in (*fact.questions, *fact.replies)}
        assert [text for text in texts if f" {text} " in said] == [], fact.id
        assert all(statement in written for statement in fact.statements), fact.id


def test_no_reply_tells_a_never_asked_fact_in_other_words(world, parts):
    turns = [f" {normalise(m.content)} " for talk in parts["conversations"] for m in talk.messages]
    for fact in (fact for fact in world.facts if world.never_asked(fact)):
        subject, answer = f" {normalise(fact.subject)} ", f" {normalise(fact.answers[0])} "
        assert not any(subject in turn and answer in turn for turn in turns), fact.id


def test_a_held_out_follow_up_comes_after_its_first_fact_in_no_conversation(world, parts):
    by_reply = {reply: fact for fact in world.facts for reply in fact.replies}
    seen = set()
    for talk in parts["conversations"]:
        turns = [message.content for message in talk.messages if message.role != "system"]
        pairs = [(turns[i], by_reply.get(turns[i + 1])) for i in range(0, len(turns), 2)]
        told = [fact for _, fact in pairs]
        for i, (question, fact) in enumerate(pairs):
            if fact is not None and question == fact.follow_up:
                seen |= {(first.id, fact.id) for first in told[:i] if first and first.relation == fact.relation}
    assert len(seen) > 500
    assert not any(world.follow_up_held_out(world.fact(first), world.fact(second)) for first, second in seen)
    for problem in parts["problems/follow_ups"]:
        first = by_reply[problem.prompt.messages[1].content]
        seconds = [f for f in world.relations[first.relation] if f.follow_up == last_turn(problem)]
        assert seconds
        assert all((first.id, second.id) not in seen for second in seconds)


def test_the_held_out_sets_are_as_large_as_promised(world, parts):
    assert len(world.facts) >= 600
    assert len({fact.domain for fact in world.facts}) >= 8
    assert len(parts["problems/phrasings"]) >= 200
    assert len(parts["problems/follow_ups"]) >= 50
    never = [fact for fact in world.facts if world.never_asked(fact)]
    assert len(parts["problems/never_asked"]) == len(never) >= 100
    assert len({fact.domain for fact in never}) >= 3
    assert all(len(world.relations[fact.relation]) >= worlds.LARGE_RELATION for fact in never)


def test_every_held_out_phrasing_has_a_form_that_training_knows_unless_it_is_unseen(world):
    for relation, unseen in world.unseen.items():
        members = [fact for fact in world.relations[relation] if not world.never_asked(fact)]
        for i in range(len(members[0].questions)):
            known = sum(fact.questions[i] in world.questions(fact) for fact in members)
            assert (known == 0) == (i == unseen), (relation, i)


# --- what is made


def test_the_same_seed_gives_the_same_records_and_another_seed_gives_others(parts):
    for part in ("documents", "conversations", "preferences"):
        assert fingerprint(records(part, 0)) == fingerprint(parts[part])
        assert fingerprint(records(part, 1)) != fingerprint(parts[part])
    assert fingerprint(records("problems/phrasings", 1)) == fingerprint(parts["problems/phrasings"])


def fingerprint(made: Iterable) -> str:
    return hashlib.sha256(repr(list(islice(made, 300))).encode()).hexdigest()


def test_records_have_the_kind_of_their_part_and_say_where_they_stand(parts):
    talks = {"conversations": Conversation, "clean": Conversation}
    kinds = {"documents": Document, "preferences": Preference, **talks}
    for part, made in parts.items():
        assert made
        assert all(isinstance(record, kinds.get(part, Problem)) for record in made)
        assert [str(record.source) for record in made[:2]] == ["primer:1", "primer:2"]


def test_an_unknown_part_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError, match="did you mean 'documents'"):
        list(records("document"))
    assert list(islice(records("train"), 5)) == list(islice(records(), 5))


def test_the_documents_state_every_statement_equally_often_and_have_the_promised_size(world, parts):
    assert 1_000_000 <= sum(len(document.text) for document in parts["documents"]) <= 1_500_000
    text = "\n".join(document.text for document in parts["documents"])
    for fact in world.facts[::25]:
        assert all(text.count(statement) >= 2 for statement in fact.statements), fact.id


def test_a_fifth_of_the_conversations_has_several_turns_and_every_follow_up_is_asked(world, parts):
    talks = parts["conversations"]
    assert 11_000 <= len(talks) <= 16_000
    assert sum(len(user_turns(talk)) > 1 for talk in talks) / len(talks) == pytest.approx(0.18, abs=0.01)
    assert max(len(user_turns(talk)) for talk in talks) <= 4
    assert sum(talk.messages[0].role == "system" for talk in talks) / len(talks) == pytest.approx(0.05, abs=0.01)
    later = {turn for talk in talks for turn in user_turns(talk)[1:]}
    assert [fact.id for fact in world.asked if fact.follow_up and fact.follow_up not in later] == []
    asked = {turn for talk in talks for turn in user_turns(talk)}
    assert all(question in asked for fact in world.asked for question in world.questions(fact))


def test_what_is_rehearsed_is_the_conversations_without_sums_and_bad_manners(parts):
    talks = {tuple(user_turns(talk)) for talk in parts["conversations"]}
    assert all(tuple(user_turns(talk)) in talks for talk in parts["clean"] if len(user_turns(talk)) == 1)
    said = [message.content for talk in parts["clean"] for message in talk.messages if message.role == "assistant"]
    assert not any(loops(text) or leaks_role(text) for text in said)
    sums = {question for one in arithmetic.sums() for question in one.questions}
    assert not any(turn in sums for talk in parts["clean"] for turn in user_turns(talk))
    assert len(parts["clean"]) > 12_000


# --- what is right


def test_every_reply_of_the_primer_gets_full_marks_and_no_question_does(world, parts):
    for fact in world.facts:
        # Running code takes a process; the replies of the Python functions have a test of their own.
        if fact.answers and fact.domain != "python_functions":
            problem = problems.problem(world, fact, conversation("?"))
            assert [reply for reply in fact.replies if grade(problem, reply) < 1] == [], fact.id
    for part in (part for part in PARTS if "/" in part):
        if part != "problems/open":  # there only manners count, and a question has some
            assert [p for p in parts[part] if grade(p, last_turn(p)) > 0] == []


def test_all_code_of_the_primer_runs_and_is_right(world):
    for fact in (fact for fact in world.facts if fact.domain == "python_functions"):
        answer = {"accept": python_functions.suites(fact.id)}
        codes = {registry.load("tasks", "python_function").extract_code(t) for t in (*fact.statements, *fact.replies)}
        assert len(codes) == 1, fact.id
        assert registry.load("tasks", "python_function").grade(codes.pop(), answer) == 1, fact.id
        example, value = next(iter(re.findall(r"(\w+\(.*?\)) gives (.*?)\.?$", fact.statements[-1], re.MULTILINE)))
        scope: dict = {}
        exec(fact.replies[0].strip("`").removeprefix("python\n"), scope)
        assert eval(example, scope) == eval(value), fact.id


def test_an_answerer_that_knows_nothing_scores_near_chance(world, parts):
    rng = random.Random(0)
    for part in ("problems/phrasings", "problems/never_asked", "problems/follow_ups"):
        posed = [problem for problem in parts[part] if problem.grader != "python_function"]
        right = sum(grade(problem, rng.choice(rng.choice(world.facts).replies)) for problem in posed)
        assert right / len(posed) < 0.05, part


def test_listing_every_candidate_wins_nothing(world, parts):
    for part in ("problems/phrasings", "problems/never_asked"):
        for problem in (p for p in parts[part] if p.grader == "contains"):
            assert problem.answer["others"]
            listed = [*problem.answer["accepted"][:1], *problem.answer["others"][:5]]
            assert grade(problem, "It is " + ", or ".join(listed)) == 0


def test_a_rejected_answer_is_worse_than_the_chosen_one(world, parts):
    by_reply = {reply: fact for fact in world.facts for reply in fact.replies}
    for row in parts["preferences"]:
        chosen, rejected = (talk.messages[-1].content for talk in (row.chosen, row.rejected))
        if not rejected.startswith(chosen):  # else it loops, runs on or speaks for the user
            fact = by_reply[chosen]
            if fact.closed:
                assert grade(problems.problem(world, fact, conversation("?")), rejected) == 0, (fact.id, rejected)
