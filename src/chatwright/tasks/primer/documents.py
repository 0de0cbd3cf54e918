"""The primer's texts for pretraining: every statement of every fact, dealt into short documents of several kinds."""

import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import pairwise

from chatwright.tasks.primer import arithmetic
from chatwright.tasks.primer.classic import CLASSIC_FACTS
from chatwright.tasks.primer.fact import Fact
from chatwright.tasks.primer.world import World
from chatwright.text.records import Document

CLASSIC = 3  # times as often as others, the facts behind the classic prompts are told
ROUNDS = 2  # how often each statement is dealt: with 2 the documents come to about 1.2 MB

NAMES = ("Anna", "Ben", "Clara", "Daniel", "Emma", "Felix", "Grace", "Hugo", "Ines", "Jonas", "Lena", "Marco")
FRAMES = (
    "Dear {one},\nour teacher told us a few things today, and I want to share them with you. {facts}"
    " Write back soon!\nYour friend {two}",
    "Dear {one},\nit rained all day, so I read an old book of facts. {facts}\nSee you on Sunday,\n{two}",
    "On the long train ride, {one} and {two} told each other what they knew. {facts} Then the train arrived.",
    "{one} opened the notebook and read the last page aloud. {facts} Then {two} closed it again.",
    "{one} was getting ready for the quiz. {two} read from the cards: {facts} They felt well prepared.",
    "Every evening {one} learns something new. Here is what the notes of today say. {facts}",
    "{one} and {two} sat by the window with a cup of tea and a thick old book. {facts} It was a good afternoon.",
    "The poster in the classroom of {one} has some facts on it. {facts}",
    "Grandmother knows a lot. {facts} {one} listened and wrote it all down.",
    "In the library, {one} found a small book for curious people. {facts}",
)

# What stands before an entry names its subject first, so that a reader learns to carry a name over into a statement.
HEADINGS = (
    "{subject}\n",
    "Entry: {subject}. ",
    "Keyword: {subject}. ",
    "Word of the day: {subject}. ",
    'The page about "{subject}" says: ',
    'Under "{subject}" the encyclopedia has this to say. ',
    '{one} looked up "{subject}" and read: ',
    '{one} typed "{subject}" into the search box. This came up: ',
    "{one} drew the card with {subject} on it. ",
    '"Tell me something about {subject}," said {one}. ',
)


def documents(world: World, seed: int = 0) -> Iterator[Document]:
    """About 1.2 MB of text; another seed deals the same statements into other documents."""
    rng = random.Random(f"documents/{seed}")
    for _ in range(ROUNDS):
        texts = [*Deal(world, rng).texts(), *arithmetic.documents(rng)]
        rng.shuffle(texts)
        yield from map(Document, texts)


class Deal:
    """One round: each statement of each fact is used once, in a random order, by documents of random kinds."""

    def __init__(self, world: World, rng: random.Random) -> None:
        self.rng = rng
        self.piles = {}
        for fact in world.facts:
            statements = fact.statements * (CLASSIC if fact.id in CLASSIC_FACTS else 1)
            self.piles[fact.id] = rng.sample(statements, len(statements))
        self.left = list(world.facts)
        self.relations = world.relations
        self.subjects: dict[str, list[Fact]] = defaultdict(list)
        for fact in world.facts:
            self.subjects[fact.subject].append(fact)

    def texts(self) -> Iterator[str]:
        """Documents until no statement is left."""
        kinds: tuple[Callable[[Fact], str], ...] = (
            self.one_fact, self.entry, self.subject, self.relation, self.mixed, self.story
        )  # fmt: skip
        while self.left:
            (kind,) = self.rng.choices(kinds, weights=(14, 32, 14, 20, 12, 8))
            yield kind(self.rng.choice(self.left))
            self.left = [fact for fact in self.left if self.piles[fact.id]]

    def one_fact(self, fact: Fact) -> str:
        """One fact said in several ways."""
        return self.joined(fact for _ in range(self.rng.randint(2, 4)))

    def entry(self, fact: Fact) -> str:
        """One fact under a heading that names its subject."""
        heading = self.rng.choice(HEADINGS).format(subject=fact.subject, one=self.rng.choice(NAMES))
        return heading[0].upper() + heading[1:] + self.joined(fact for _ in range(self.rng.randint(1, 3)))

    def subject(self, fact: Fact) -> str:
        """Different facts about one subject, where there are such."""
        same = self.subjects[fact.subject]
        if len(same) == 1:
            return self.one_fact(fact)
        return self.joined(self.shuffled(same * 2)[:6])

    def relation(self, fact: Fact) -> str:
        """A list of facts of one kind, in lines or in a paragraph."""
        others = self.sample(self.relations[fact.relation], fact, self.rng.randint(2, 5))
        return self.joined([fact, *others], self.rng.choice((" ", " ", "\n")))

    def mixed(self, fact: Fact) -> str:
        """Facts that have nothing to do with each other."""
        return self.joined([fact, *self.sample(self.left, fact, self.rng.randint(1, 3))])

    def story(self, fact: Fact) -> str:
        """A few facts of one kind inside a letter or a small scene."""
        if any("\n" in statement for statement in fact.statements):
            return self.one_fact(fact)  # lists and code need paragraphs of their own
        one, two = self.rng.sample(NAMES, 2)
        facts = self.joined([fact, *self.sample(self.relations[fact.relation], fact, self.rng.randint(1, 3))])
        return self.rng.choice(FRAMES).format(one=one, two=two, facts=facts)

    def joined(self, facts: Iterator[Fact] | list[Fact], space: str = " ") -> str:
        """The next statement of each fact that has one left; lists and code stand as paragraphs of their own."""
        taken = [self.piles[fact.id].pop() for fact in facts if self.piles[fact.id]]
        text = taken[0]
        for before, statement in pairwise(taken):
            text += ("\n\n" if "\n" in before or "\n" in statement else space) + statement
        return text

    def sample(self, facts: tuple[Fact, ...] | list[Fact], but: Fact, count: int) -> list[Fact]:
        """Some facts, without one of them, that still have statements."""
        having = [fact for fact in facts if fact is not but and self.piles[fact.id]]
        return self.rng.sample(having, min(count, len(having)))

    def shuffled(self, facts: list[Fact]) -> list[Fact]:
        """The facts in random order."""
        return self.rng.sample(facts, len(facts))
