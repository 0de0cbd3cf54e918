"""The primer's preferences for DPO: a good reply beside one that loops, speaks for the user, runs on or is wrong."""

import random
from collections.abc import Callable, Iterator

from chatwright.tasks.primer.fact import Fact
from chatwright.tasks.primer.world import World
from chatwright.text.records import Preference, conversation

COUNT = 1000


def preferences(world: World, seed: int = 0) -> Iterator[Preference]:
    """COUNT rows, a quarter of each kind; only facts that conversations ask about."""
    rng = random.Random(f"preferences/{seed}")
    asked = [fact for fact in world.asked if fact.domain != "smalltalk" and world.questions(fact)]
    spoil: tuple[Callable[[World, Fact, str, random.Random], str], ...] = (_loops, _speaks_for_user, _runs_on, _wrong)
    for row in range(COUNT if asked else 0):
        fact = rng.choice(asked)
        question, reply = rng.choice(world.questions(fact)), rng.choice(fact.replies)
        rejected = spoil[row % len(spoil)](world, fact, reply, rng)
        yield Preference(conversation(question, reply), conversation(question, rejected))


def _loops(_: World, fact: Fact, reply: str, rng: random.Random) -> str:
    """The reply again and again."""
    space = "\n" if "\n" in reply else " "
    return space.join([reply] * rng.randint(3, 6))


def _speaks_for_user(world: World, fact: Fact, reply: str, rng: random.Random) -> str:
    """The reply, then the user's next question and its answer."""
    other = rng.choice([f for f in world.asked if world.questions(f) and f is not fact] or [fact])
    return f"{reply}\nUser: {rng.choice(world.questions(other))}\nAssistant: {rng.choice(other.replies)}"


def _runs_on(world: World, fact: Fact, reply: str, rng: random.Random) -> str:
    """The reply, then things that nobody asked about."""
    others = rng.sample(world.asked, min(4, len(world.asked)))
    return " ".join([reply, *(rng.choice(other.replies) for other in others if other is not fact)])


def _wrong(world: World, fact: Fact, reply: str, rng: random.Random) -> str:
    """The reply with the answer of another fact of its relation, or, where that cannot be, another fact's reply."""
    relatives = [f for f in world.relations[fact.relation] if f.id not in world.never and f is not fact]
    wrong = [f.answers[0] for f in relatives if f.closed and f.answers[0] not in fact.answers]
    if fact.closed and wrong and fact.answers[0] in reply:
        return reply.replace(fact.answers[0], rng.choice(wrong))
    others = relatives or [f for f in world.asked if f is not fact]
    return rng.choice(rng.choice(others).replies)
