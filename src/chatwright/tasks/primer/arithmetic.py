"""Sums and differences of small numbers: stated in documents, and asked in every wording but one that a hash holds out.

LARGEST is the dial of difficulty: more numbers leave fewer examples of each in the same training time.
"""

import random
from collections.abc import Iterator
from typing import NamedTuple

from chatwright.tasks.primer.world import share
from chatwright.text.records import Conversation, Problem, conversation

LARGEST = 10
STATED = 4  # times in a round of documents, which makes about as much of a sum as of any other fact
ASKED = 3  # times in each wording
THINGS = ("apples", "books", "pencils", "stones", "shells", "coins", "cards", "eggs")
NAMES = ("Anna", "Ben", "Clara", "Daniel", "Emma", "Felix", "Grace", "Hugo")

ADDITION = ("What is {a} + {b}?", "Calculate {a} + {b}.", "How much is {a} plus {b}?", "Please work out {a} + {b}.")
SUBTRACTION = ("What is {a} - {b}?", "Calculate {a} - {b}.", "How much is {a} minus {b}?", "Please work out {a} - {b}.")


class Sum(NamedTuple):
    """`a + b` or `a - b`."""

    a: int
    sign: str
    b: int

    @property
    def value(self) -> int:
        """What it comes to."""
        return self.a + self.b if self.sign == "+" else self.a - self.b

    @property
    def equation(self) -> str:
        """`7 + 12 = 19`."""
        return f"{self.a} {self.sign} {self.b} = {self.value}"

    @property
    def questions(self) -> list[str]:
        """All ways to ask for it."""
        return [form.format(a=self.a, b=self.b) for form in (ADDITION if self.sign == "+" else SUBTRACTION)]


def sums() -> list[Sum]:
    """All of them."""
    numbers = range(1, LARGEST + 1)
    return [Sum(a, sign, b) for sign in "+-" for a in numbers for b in numbers if sign == "+" or b <= a]


def held_out_question(s: Sum) -> str:
    """The wording in which training never asks for this sum, though it does for others."""
    return s.questions[int(share("asked as", *map(str, s)) * len(s.questions))]


def documents(rng: random.Random) -> list[str]:
    """Texts that state every sum as an equation, and most of them in a little story too."""
    texts = []
    dealt = sums() * STATED
    rng.shuffle(dealt)
    while dealt:
        taken, dealt = dealt[: (n := rng.randint(3, 6))], dealt[n:]
        texts.append(rng.choice((" ", "\n")).join(f"{s.equation}." for s in taken))
        texts.append(" ".join(_story(s, rng) for s in taken[:3]))
    return texts


def conversations() -> Iterator[Conversation]:
    """Every sum, asked in every wording but the one held out, ASKED times."""
    for s in sums():
        for question in s.questions * ASKED:
            if question != held_out_question(s):
                yield conversation(question, f"{s.equation}.")


def problems() -> Iterator[Problem]:
    """Every sum in its held-out wording, mixed by their hashes."""
    for s in sorted(sums(), key=lambda s: share("order of problems", *map(str, s))):
        yield _problem(s, held_out_question(s))


def practice() -> Iterator[Problem]:
    """Every sum in each of the wordings that training may have, mixed in the same way."""
    places = [(s, question) for s in sums() for question in s.questions if question != held_out_question(s)]
    for s, question in sorted(places, key=lambda place: share("order of practice", place[1])):
        yield _problem(s, question)


def _problem(s: Sum, question: str) -> Problem:
    return Problem(conversation(question), "number", {"value": s.value, "given": [s.a, s.b]})


def _story(s: Sum, rng: random.Random) -> str:
    """The sum as something that happens, where no number asks for a singular ("1 books")."""
    if 1 in s or s.value == 1:
        return f"{s.a} {'plus' if s.sign == '+' else 'minus'} {s.b} is {s.value}, so {s.equation}."
    name, things = rng.choice(NAMES), rng.choice(THINGS)
    if s.sign == "+":
        form = "{name} has {a} {things} and finds {b} more. Now there are {value} {things}, because {equation}."
    else:
        form = "{name} has {a} {things} and gives away {b}. Now there are {value} {things}, because {equation}."
    return form.format(name=name, things=things, a=s.a, b=s.b, value=s.value, equation=s.equation)
