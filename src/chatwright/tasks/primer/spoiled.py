"""Good answers made bad, as small chatbots make them: they loop, speak for the user, or run on."""

import random
from collections.abc import Callable

from chatwright.tasks.primer.world import World

Spoil = Callable[[World, str, random.Random], str]


def loops(_: World, answer: str, rng: random.Random) -> str:
    """The answer, and its last sentence, or a list as a whole, again and again."""
    if "\n" in answer:
        return "\n".join([answer] * rng.randint(3, 6))
    last = answer[answer.rfind(". ") + 2 :] if ". " in answer else answer
    return " ".join([answer, *[last] * rng.randint(3, 5)])


def speaks_for_user(world: World, answer: str, rng: random.Random) -> str:
    """The answer, then the user's next question and its answer."""
    other = rng.choice([fact for fact in world.asked if world.questions(fact)])
    return f"{answer}\nUser: {rng.choice(world.questions(other))}\nAssistant: {rng.choice(other.replies)}"


def runs_on(world: World, answer: str, rng: random.Random) -> str:
    """The answer, then things that nobody asked about."""
    return " ".join([answer, *(rng.choice(fact.replies) for fact in rng.sample(world.asked, min(4, len(world.asked))))])


SPOILS: tuple[Spoil, ...] = (loops, speaks_for_user, runs_on)
