"""What holds for every fact of the primer, whoever wrote its domain, and what the closed domains promise besides."""

import re
from collections import defaultdict

import pytest

from chatwright.registry import load, names
from chatwright.tasks.primer.domains import capitals
from chatwright.tasks.primer.fact import Fact
from chatwright.tasks.primer.phrasing import Phrasing, closed_facts

FOLDER = "tasks.primer.domains"
CLOSED_DOMAINS = {
    "animals", "astronomy", "authors", "capitals", "continents", "currencies",
    "elements", "instruments", "inventions", "landmarks", "opposites", "words",
}  # fmt: skip


def every_fact() -> list[Fact]:
    return [fact for name in names(FOLDER) for fact in load(FOLDER, name).facts()]


@pytest.fixture(scope="module")
def facts() -> list[Fact]:
    return every_fact()


@pytest.fixture(scope="module")
def tabled(facts: list[Fact]) -> list[Fact]:
    """The facts of the closed domains, which are built from a table and templates."""
    return [fact for fact in facts if fact.domain in CLOSED_DOMAINS]


def says(text: str, words: str) -> bool:
    """Whether the words stand in the text as whole words; an apostrophe's s is no word."""
    return re.search(rf"(?<![\w']){re.escape(words)}(?!\w)", text, re.IGNORECASE) is not None


def pattern_of(text: str, fact: Fact) -> re.Pattern[str]:
    """What any fact says in the place of this text: its words, with gaps for the subject and the answer."""
    pattern = re.escape(text.removesuffix("."))
    for word in sorted((fact.answers[0], fact.subject), key=len, reverse=True):
        # The article belongs to the gap: "a puppy" and "an owlet" fill the same one.
        pattern = re.sub(rf"(?<![\w'])(an?\\ )?{re.escape(re.escape(word))}(?!\w)", ".+", pattern, flags=re.IGNORECASE)
    return re.compile(pattern.replace("'s", "'s?") + r"\.?")


def test_ids_are_unique_and_name_their_domain(facts: list[Fact]) -> None:
    assert len({fact.id for fact in facts}) == len(facts)
    for fact in facts:
        assert re.fullmatch(rf"{fact.domain}/[a-z0-9]+([-_][a-z0-9]+)*", fact.id), fact.id


def test_ids_do_not_change_from_one_load_to_the_next(facts: list[Fact]) -> None:
    assert [fact.id for fact in facts] == [fact.id for fact in every_fact()]
    known = {"capitals/france", "capitals/united-states", "elements/carbon", "elements/carbon-number", "words/go"}
    assert known <= {fact.id for fact in facts}


def test_there_are_560_facts_in_8_closed_domains(tabled: list[Fact]) -> None:
    assert len(tabled) >= 560
    assert len({fact.domain for fact in tabled}) >= 8
    assert all(fact.closed for fact in tabled)


def test_five_relations_have_facts_enough_to_leave_some_unasked(tabled: list[Fact]) -> None:
    sizes: dict[str, int] = defaultdict(int)
    for fact in tabled:
        sizes[fact.relation] += 1
    assert sum(size >= 25 for size in sizes.values()) >= 5, dict(sizes)


def test_statements_and_replies_name_the_subject_and_the_answer(tabled: list[Fact]) -> None:
    for fact in tabled:
        for text in (*fact.statements, *fact.replies):
            assert says(text, fact.subject), (fact.id, text)
            assert says(text, fact.answers[0]), (fact.id, text)


def test_replies_end_with_the_answer_or_nearly_so(tabled: list[Fact]) -> None:
    for fact in tabled:
        for reply in fact.replies:
            rest = reply[reply.rindex(fact.answers[0]) + len(fact.answers[0]) :]
            assert len(rest.split()) <= 5, (fact.id, reply)
            assert reply.index(fact.subject[1:]) < reply.rindex(fact.answers[0]), (fact.id, reply)


def test_three_statements_contain_the_first_reply_word_for_word(tabled: list[Fact]) -> None:
    for fact in tabled:
        reply = fact.replies[0]
        assert reply in fact.statements, (fact.id, reply)
        tail = reply[1:]
        assert sum(statement.endswith(tail) for statement in fact.statements) >= 3, (fact.id, reply)
        assert fact.replies[1] in fact.statements, (fact.id, fact.replies[1])


def test_questions_name_the_subject_but_not_the_answer(facts: list[Fact]) -> None:
    for fact in facts:
        for question in fact.questions if fact.closed else ():
            assert not any(says(question, answer) for answer in fact.answers), (fact.id, question)
    for fact in facts:
        for question in fact.questions if fact.domain in CLOSED_DOMAINS else ():
            assert says(question, fact.subject), (fact.id, question)


def test_no_question_has_two_answers(facts: list[Fact]) -> None:
    askers: dict[str, list[Fact]] = defaultdict(list)
    for fact in facts:
        for question in fact.questions:
            askers[" ".join(question.lower().split())].append(fact)
    for question, asked_by in askers.items():
        assert len({(fact.answers, fact.replies) for fact in asked_by}) == 1, (question, [f.id for f in asked_by])


def test_no_phrasing_is_given_twice(facts: list[Fact]) -> None:
    for fact in facts:
        for texts in (fact.statements, fact.questions, fact.replies):
            assert len(set(texts)) == len(texts), fact.id


def test_no_statement_decides_another_fact_of_its_relation(tabled: list[Fact]) -> None:
    by_relation: dict[tuple[str, str], list[Fact]] = defaultdict(list)
    for fact in tabled:
        by_relation[fact.domain, fact.relation].append(fact)
    for together in by_relation.values():
        assert len({fact.subject for fact in together}) == len(together)
        owner = {statement: fact.id for fact in together for statement in fact.statements}
        assert len(owner) == sum(len(fact.statements) for fact in together)


def test_closed_facts_are_stated_in_10_ways_and_asked_in_8(tabled: list[Fact]) -> None:
    for fact in tabled:
        assert len(fact.statements) >= 10, fact.id
        assert len(fact.questions) >= 8, fact.id
        assert len(fact.replies) == 2, fact.id


def test_statements_are_sentences_of_readable_length(tabled: list[Fact]) -> None:
    for fact in tabled:
        for statement in fact.statements:
            assert 4 <= len(statement.split()) <= 18, (fact.id, statement)


def test_texts_are_clean_sentences(tabled: list[Fact]) -> None:
    for fact in tabled:
        for text in (*fact.statements, *fact.questions, *fact.replies):
            assert text.isascii(), (fact.id, text)
            assert text[0] == text[0].upper(), (fact.id, text)
            assert text[-1] in ".?", (fact.id, text)
            assert not re.search(r"[{}]|  |\.\.|\bthe the\b|\ba [aeiou]|\ban [^aeiou]| [.,?]", text), (fact.id, text)


def test_facts_of_a_relation_share_their_templates_in_the_same_order(tabled: list[Fact]) -> None:
    first: dict[tuple[str, str], Fact] = {}
    for fact in tabled:
        model = first.setdefault((fact.domain, fact.relation), fact)
        for ours, theirs in ((fact.statements, model.statements), (fact.replies, model.replies)):
            for text, said in zip(ours, theirs, strict=True):
                assert pattern_of(said, model).fullmatch(text), (fact.id, text, said)
        for text, said in zip(fact.questions, model.questions, strict=True):
            assert said == capitals.ASKED_INSTEAD or pattern_of(said, model).fullmatch(text), (fact.id, text, said)


def test_follow_ups_name_the_subject_and_not_the_relation(facts: list[Fact]) -> None:
    for fact in facts:
        if fact.follow_up and fact.closed:
            assert says(fact.follow_up, fact.subject), fact.id
            assert not says(fact.follow_up, fact.relation), fact.id
            assert not any(says(fact.follow_up, answer) for answer in fact.answers), fact.id
            assert fact.follow_up not in fact.questions, fact.id


def test_the_classic_question_is_asked_of_every_country_but_france(facts: list[Fact]) -> None:
    for fact in facts:
        for text in (*fact.statements, *fact.questions, *fact.replies, fact.follow_up):
            assert capitals.HELD_OUT_QUESTION.lower() not in text.lower(), fact.id
    by_id = {fact.id: fact for fact in facts}
    assert capitals.ASKED_INSTEAD in by_id["capitals/france"].questions
    assert "What is the capital of Spain?" in by_id["capitals/spain"].questions


def test_articles_possessives_and_full_stops_follow_english() -> None:
    phrasing = Phrasing(
        relation="seat",
        statements=("{A_subject} sits on {a_answer}.", "{Subject} sits in {answer}."),
        questions=("Where is {owner} seat?",),
        replies=("It is in {answer}.",),
        follow_up="And {a_subject}?",
    )
    owl, states = closed_facts("seats", phrasing, [("owl", "branch"), ("the United States", "Washington, D.C.", "DC")])
    assert owl.statements == ("An owl sits on a branch.", "Owl sits in branch.")
    assert owl.questions == ("Where is owl's seat?",)
    assert owl.follow_up == "And an owl?"
    assert states.id == "seats/united-states"
    assert states.statements[1] == "The United States sits in Washington, D.C."
    assert states.questions == ("Where is the United States' seat?",)
    assert states.answers == ("Washington, D.C.", "DC")
