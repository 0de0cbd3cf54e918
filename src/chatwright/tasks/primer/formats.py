"""Requests for a form of answer: one word, a few words, so many sentences, so many numbered points, about the primer.

Each is practised in every wording but one that a hash holds out, and a fifth of the subjects is not practised at all.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from chatwright.tasks.primer import problems as facts
from chatwright.tasks.primer.fact import Fact
from chatwright.tasks.primer.world import World, share
from chatwright.text.records import Problem, conversation

WORD = (
    "Answer in one word: {question}",
    "{question} Answer in one word.",
    "In one word only: {question}",
    "{question} Reply with a single word.",
    "Use just one word. {question}",
)
WORDS = (
    "Answer in at most {n} words: {question}",
    "{question} Answer in at most {n} words.",
    "In {n} words or fewer: {question}",
    "{question} Use no more than {n} words.",
    "Keep it to {n} words. {question}",
)
SENTENCES = (
    "Answer in exactly {n}: {question}",
    "{question} Answer in exactly {n}.",
    "In {n}, please: {question}",
    "{question} Use exactly {n}, no more and no less.",
    "I want {n} and nothing else. {question}",
)
TIPS = (
    "Give me exactly {n} tips for {things}, as numbered points.",
    "Write down {n} tips for {things}, each as a numbered point.",
    "I need {n} tips for {things}, numbered from one on.",
    "Write exactly {n} numbered points: tips for {things}.",
    "Tips for {things}, please: exactly {n}, as numbered points.",
)
NAMES = (
    "Name {n} {things}, as {n} numbered points.",
    "Write down {n} {things}, each as a numbered point.",
    "I need {n} {things}, numbered from one on.",
    "Write exactly {n} numbered points: {things}.",
    "Give me a numbered list of exactly {n} {things}.",
)
NUMBERS = {2: "two", 3: "three", 4: "four", 5: "five"}
POINTS = (2, 3)
ONE_WORD, FEW_WORDS = 24, 16  # facts that are asked for so
LONGEST_QUESTION = 10  # words; evaluation data and training data may not have 13 in a row in common
NEVER_PRACTISED = 0.2  # share of the subjects

# What the subjects of a relation are, what its answers are, and what the subjects of one answer are.
SUBJECTS = {
    "capital": "countries",
    "symbol": "chemical elements",
    "measured quantity": "measuring instruments",
    "job": "jobs",
}
ANSWERS = {
    "capital": "capital cities",
    "currency": "currencies",
    "author": "writers",
    "planet of a moon": "planets",
    "constellation of a star": "constellations",
}
OF_ONE_ANSWER = {
    "continent": "countries in {answer}",
    "planet of a moon": "moons of {answer}",
    "author": "books by {answer}",
    "young": "animals whose baby is called a {answer}",
}


@dataclass(frozen=True)
class Request:
    """One thing that is asked for in several wordings; `subject` and `name` are what hashes cut by."""

    subject: str
    name: str
    prompts: tuple[str, ...]
    grader: str
    answer: dict[str, Any]

    @property
    def held_out(self) -> int:
        """The wording in which it is not practised."""
        return int(share("asked for as", self.name) * len(self.prompts))

    @property
    def is_practised(self) -> bool:
        return share("practised", self.subject) >= NEVER_PRACTISED

    def problem(self, i: int) -> Problem:
        return Problem(conversation(self.prompts[i]), self.grader, self.answer)


def problems(world: World) -> Iterator[Problem]:
    """Each request in the wording that is held out."""
    for request in sorted(requests(world), key=lambda one: share("order of problems", one.name)):
        yield request.problem(request.held_out)


def practice(world: World) -> Iterator[Problem]:
    """Each request that is practised in each wording that may be."""
    places = [
        (one, i) for one in requests(world) if one.is_practised for i in range(len(one.prompts)) if i != one.held_out
    ]
    for request, i in sorted(places, key=lambda place: share("order of practice", place[0].name, str(place[1]))):
        yield request.problem(i)


def requests(world: World) -> Iterator[Request]:
    """All of them."""
    yield from _in_few_words(world)
    yield from _in_sentences(world)
    for fact in world.relations["advice"]:
        for n in POINTS:
            answer = {"points": n, "max_words": 120, "groups": [list(fact.answers)]}
            yield _request(fact.id, TIPS, "shape", answer, n=NUMBERS[n], things=fact.subject)
    for things, items, others in _kinds(world):
        for n in POINTS:
            answer = {"points": n, "max_words": 60, "items": items, "others": others}
            yield _request(things, NAMES, "shape", answer, n=NUMBERS[n], things=things)


def _in_few_words(world: World) -> Iterator[Request]:
    """Facts with short answers, by a question that is known and a limit to the words of the answer."""
    closed = [(fact, question) for fact in world.asked if fact.closed and (question := _question(world, fact))]
    closed.sort(key=lambda pair: pair[0].share("in few words"))
    for fact, question in [pair for pair in closed if len(pair[0].answers[0].split()) == 1][:ONE_WORD]:
        answer = _contains(world, fact, 1)
        yield _request(fact.id, WORD, "contains", answer, question=question)
    for fact, question in closed[-FEW_WORDS:]:
        n = 3 + int(fact.share("few words") * 3)
        yield _request(fact.id, WORDS, "contains", _contains(world, fact, n), question=question, n=NUMBERS[n])


def _in_sentences(world: World) -> Iterator[Request]:
    """Facts that take a sentence or two to tell."""
    for fact in world.asked:
        if fact.relation in ("why", "job", "idea of machine learning") and (question := _question(world, fact)):
            n = 1 + int(fact.share("sentences") * 2)
            answer = {"sentences": n, "max_words": 60, "groups": [group.split("|") for group in fact.answers]}
            asked_for = "one sentence" if n == 1 else "two sentences"
            yield _request(fact.id, SENTENCES, "shape", answer, question=question, n=asked_for)


def _kinds(world: World) -> Iterator[tuple[str, list[list[str]], list[str]]]:
    """Kinds of things with the spellings of each that the primer knows, and the wrong ones where it knows some."""
    for relation, things in SUBJECTS.items():
        yield things, [[_bare(fact.subject)] for fact in world.relations[relation]], []
    for relation, things in ANSWERS.items():
        spellings = {fact.answers[0]: list(fact.answers) for fact in world.relations[relation]}
        yield things, list(spellings.values()), []
    for relation, things in OF_ONE_ANSWER.items():
        members: dict[str, list[str]] = {}
        for fact in world.relations[relation]:
            members.setdefault(fact.answers[0], []).append(_bare(fact.subject))
        for answer, subjects in members.items():
            if len(subjects) >= max(POINTS):
                others = sorted(name for other, names in members.items() if other != answer for name in names)
                yield things.format(answer=answer), [[name] for name in subjects], others


def _request(subject: str, wordings: tuple[str, ...], grader: str, answer: dict[str, Any], **gaps: str) -> Request:
    name = "/".join((subject, *gaps.values()))
    return Request(subject, name, tuple(wording.format(**gaps) for wording in wordings), grader, answer)


def _question(world: World, fact: Fact) -> str:
    """A short question of the fact that training may have and that asks for no form itself; "" where there is none."""
    short = [one for one in world.questions(fact) if len(one.split()) <= LONGEST_QUESTION and one.endswith("?")]
    fitting = [one for one in short if ". " not in one and "word" not in one and "sentence" not in one]
    return fitting[int(fact.share("question of a form") * len(fitting))] if fitting else ""


def _contains(world: World, fact: Fact, most: int) -> dict[str, Any]:
    """The fact's own grading, in so many words at most."""
    return {**facts.problem(world, fact, conversation("?")).answer, "max_words": most}


def _bare(subject: str) -> str:
    """`the Netherlands` is named without its article too."""
    return subject.removeprefix("the ")
