"""The primer's preferences for DPO: a good reply beside one that loops, speaks for the user, runs on or is wrong."""

import random
from collections.abc import Iterator

from chatwright.tasks.primer import open_ended
from chatwright.tasks.primer.fact import Fact
from chatwright.tasks.primer.spoiled import SPOILS
from chatwright.tasks.primer.world import World
from chatwright.text.records import Preference, conversation

COUNT = 1000
OPEN = 1000


def preferences(world: World, seed: int = 0) -> Iterator[Preference]:
    """COUNT rows, a quarter of each kind, and OPEN open requests; only facts that conversations ask about."""
    rng = random.Random(f"preferences/{seed}")
    asked = [fact for fact in world.asked if fact.domain != "smalltalk" and world.questions(fact)]
    found = []
    for row in range(COUNT if asked else 0):
        fact = rng.choice(asked)
        question, reply = rng.choice(world.questions(fact)), rng.choice(fact.replies)
        kind = row % (len(SPOILS) + 1)
        rejected = SPOILS[kind](world, reply, rng) if kind < len(SPOILS) else _wrong(world, fact, reply, rng)
        found.append(Preference(conversation(question, reply), conversation(question, rejected)))
    found += open_ended.preferences(world, rng, OPEN)
    rng.shuffle(found)
    yield from found


def _wrong(world: World, fact: Fact, reply: str, rng: random.Random) -> str:
    """The reply with the answer of another fact of its relation, or, where that cannot be, another fact's reply."""
    relatives = [f for f in world.relations[fact.relation] if f.id not in world.never and f is not fact]
    wrong = [f.answers[0] for f in relatives if f.closed and f.answers[0] not in fact.answers]
    if fact.closed and wrong and fact.answers[0] in reply:
        return reply.replace(fact.answers[0], rng.choice(wrong))
    others = relatives or [f for f in world.asked if f is not fact]
    return rng.choice(rng.choice(others).replies)
