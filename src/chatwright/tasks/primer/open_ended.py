"""Open requests of the primer ("Tell me about France."), whose answers are as people leave them: some are bad.

Fine-tuning imitates what it is shown, the bad manners too; preferences then say which of two answers is the better one.
Which request about which subject is held out is fixed by a hash.
"""

import random
from collections import defaultdict
from collections.abc import Iterator

from chatwright.tasks.primer import spoiled
from chatwright.tasks.primer.fact import Fact
from chatwright.tasks.primer.spoiled import SPOILS
from chatwright.tasks.primer.world import World, share
from chatwright.text.records import Conversation, Preference, Problem, conversation

FORMS = (
    "Tell me about {subject}.",
    "What do you know about {subject}?",
    "Say a few words about {subject}.",
    "I would like to hear something about {subject}.",
    "Please write a little about {subject}.",
    "Do you have anything to tell me about {subject}?",
)
HELD_OUT = 0.2  # share of the requests
ASKED = 500  # of those held out
BAD = 0.35  # share of the answers in conversations that a preference rejects
CONVERSATIONS = 1200
MOST_FACTS = 3  # that a good answer tells


def conversations(world: World, rng: random.Random, bad: float = BAD) -> Iterator[Conversation]:
    """CONVERSATIONS open requests with an answer, of which a share is bad."""
    trained = _requests(world, held_out=False)
    for number in range(CONVERSATIONS):
        request, facts = trained[number % len(trained)]
        answer = _answer(facts, rng)
        if rng.random() < bad:
            answer = rng.choice((spoiled.loops, spoiled.speaks_for_user))(world, answer, rng)
        yield conversation(request, answer)


def preferences(world: World, rng: random.Random, count: int) -> Iterator[Preference]:
    """Requests that training may have, with a good answer and a spoiled one; each kind equally often."""
    trained = _requests(world, held_out=False)
    for number in range(count):
        request, facts = rng.choice(trained)
        answer = _answer(facts, rng)
        rejected = SPOILS[number % len(SPOILS)](world, answer, rng)
        yield Preference(conversation(request, answer), conversation(request, rejected))


def problems(world: World) -> Iterator[Problem]:
    """ASKED requests that no training text has; every answer with good manners is right."""
    for request, _ in _requests(world, held_out=True)[:ASKED]:
        yield Problem(conversation(request), "manners", {})


def _requests(world: World, *, held_out: bool) -> list[tuple[str, list[Fact]]]:
    """Requests with the facts that answer them, in an order of their hashes; those that are held out, or the others."""
    told: dict[str, list[Fact]] = defaultdict(list)
    for fact in world.asked:
        if fact.closed:
            told[fact.subject].append(fact)
    every = [(form.format(subject=subject), facts) for subject, facts in told.items() for form in FORMS]
    chosen = [one for one in every if (share("open request", one[0]) < HELD_OUT) == held_out]
    return sorted(chosen, key=lambda one: share("order of requests", one[0]))


def _answer(facts: list[Fact], rng: random.Random) -> str:
    """What the primer knows of a subject, in a sentence or a few."""
    chosen = rng.sample(facts, min(len(facts), MOST_FACTS))
    return " ".join(rng.choice(fact.replies) for fact in chosen)
