"""Sums and differences of small numbers: documents state all of them, conversations ask for those not held out by a hash.

LARGEST is the dial of difficulty: more numbers leave fewer examples of each in the same training time.
"""

import random
from collections.abc import Iterator
from typing import NamedTuple

from chatwright.tasks.primer.world import share
from chatwright.text.records import Conversation, Problem, conversation

LARGEST = 12
HELD_OUT = 0.2
ASKED = 2
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


def sums(held_out: bool) -> list[Sum]:
    """The sums of one side of the cut."""
    numbers = range(1, LARGEST + 1)
    every = [Sum(a, sign, b) for sign in "+-" for a in numbers for b in numbers if sign == "+" or b <= a]
    return [s for s in every if (share("arithmetic", *map(str, s)) < HELD_OUT) == held_out]


def documents(rng: random.Random) -> list[str]:
    """Texts that state every sum as an equation, and most of them in a little story too."""
    texts = []
    dealt = sums(held_out=False) + sums(held_out=True)
    rng.shuffle(dealt)
    while dealt:
        taken, dealt = dealt[: (n := rng.randint(3, 6))], dealt[n:]
        texts.append(rng.choice((" ", "\n")).join(f"{s.equation}." for s in taken))
        texts.append(" ".join(_story(s, rng) for s in taken[:3]))
    return texts


def conversations() -> Iterator[Conversation]:
    """Every sum of the training side, asked in every way, ASKED times."""
    for s in sums(held_out=False):
        for question in s.questions * ASKED:
            yield conversation(question, f"{s.equation}.")


def problems() -> Iterator[Problem]:
    """Every held-out sum, asked in one way."""
    for s in sums(held_out=True):
        question = s.questions[int(share("asked as", *map(str, s)) * len(s.questions))]
        yield Problem(conversation(question), "number", {"value": s.value, "given": [s.a, s.b]})


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
