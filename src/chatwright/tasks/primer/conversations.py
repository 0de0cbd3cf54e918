"""The primer's conversations for SFT: each asked fact by each allowed question, and a fifth of several turns."""

import random
from collections.abc import Iterator, Sequence
from typing import TypeVar

from chatwright.tasks.primer import arithmetic, open_ended
from chatwright.tasks.primer.classic import CLASSIC_FACTS
from chatwright.tasks.primer.fact import Fact
from chatwright.tasks.primer.world import World
from chatwright.text.records import Conversation, conversation

ASKED = 13  # how often each fact is asked for by a single turn: with 13 there are about 12,000 conversations
SMALL_TALK = 40
CLASSIC = 60  # of the facts behind the classic prompts
WITH_SYSTEM = 0.05
SYSTEM_MESSAGES = (
    "You are a helpful assistant.",
    "You are a friendly chatbot. Answer in one or two sentences.",
    "Answer briefly and politely.",
    "You are the chatwright primer bot. You know a small world of facts.",
    "Be kind, be short, and say what is true.",
)
THANKS = (
    ("Thank you!", "You are welcome!"),
    ("Thanks a lot.", "You are welcome! Ask me anything else you like."),
    ("Great, thank you.", "I am glad that I could help."),
    ("Thanks, that helps.", "Happy to help!"),
)
GREETINGS = (
    ("Hello!", "Hello! How can I help you?"),
    ("Hi there.", "Hi! What would you like to know?"),
    ("Good morning!", "Good morning! What can I do for you?"),
    ("Can I ask you something?", "Of course! What would you like to know?"),
)
# Saying a name again, whatever it is: what an answer needs before it can speak of something it was never asked about.
REPEATING = (
    ("Please repeat the name {subject}.", "The name is {subject}."),
    ("Can you say {subject}?", "Sure: {subject}."),
    ("Write down {subject} for me.", "Here it is: {subject}."),
    ("My word is {subject}. What is my word?", "Your word is {subject}."),
)
Turn = tuple[str, str]
T = TypeVar("T")


def conversations(world: World, seed: int = 0) -> Iterator[Conversation]:
    """About 13,000 conversations in random order; another seed pairs other replies and other turns."""
    sums, open_ones = list(arithmetic.conversations()), random.Random(f"open conversations/{seed}")
    yield from _mixed(world, seed, sums, list(open_ended.conversations(world, open_ones)))


def clean(world: World, seed: int = 0) -> Iterator[Conversation]:
    """The same without sums, and with good manners only: what is rehearsed while sums are practised."""
    open_ones = random.Random(f"open conversations/{seed}")
    yield from _mixed(world, seed, [], list(open_ended.conversations(world, open_ones, bad=0.0)))


def _mixed(world: World, seed: int, sums: list[Conversation], open_ones: list[Conversation]) -> Iterator[Conversation]:
    """Those given among single questions, follow-ups and names said again, some after a system message."""
    rng = random.Random(f"conversations/{seed}")
    everything = [*_single(world, rng), *sums, *_repeating(world, rng)]
    count = len(everything) // 4
    followed = [fact for fact in world.asked if fact.follow_up and _leads(world, fact)]
    everything += [_with_follow_up(world, fact, rng) for fact in _dealt(followed, count * 7 // 8, rng)]
    everything += [_with_two_topics(world, rng) for _ in range(count // 8)]
    everything += open_ones
    rng.shuffle(everything)
    for talk in everything:
        system = rng.choice(SYSTEM_MESSAGES) if rng.random() < WITH_SYSTEM else ""
        yield conversation(*(message.content for message in talk.messages), system=system)


def _single(world: World, rng: random.Random) -> Iterator[Conversation]:
    """Every allowed question of every asked fact."""
    for fact in world.asked:
        questions = world.questions(fact)
        count = max(_times(fact), len(questions))
        for question, reply in zip(_dealt(questions, count, rng), _dealt(fact.replies, count, rng), strict=True):
            yield conversation(question, reply)


def _times(fact: Fact) -> int:
    """How often a fact is asked for by a single turn."""
    if fact.id in CLASSIC_FACTS:
        return CLASSIC
    return SMALL_TALK if fact.domain == "smalltalk" else ASKED


def _repeating(world: World, rng: random.Random) -> Iterator[Conversation]:
    """The subject of every fact, said again in two ways; that nothing is asked about it is the point."""
    for subject in sorted({fact.subject for fact in world.facts if fact.closed}):
        for turn in rng.sample(REPEATING, 2):
            yield conversation(*(text.format(subject=subject) for text in turn))


def _with_follow_up(world: World, fact: Fact, rng: random.Random) -> Conversation:
    """Two to four turns, in which a follow-up that needs the turn before asks for the fact."""
    first = rng.choice(_leads(world, fact))
    turns = [_turn(world, first, rng), (fact.follow_up, rng.choice(fact.replies))]
    if rng.random() < 0.25:
        relatives = [f for f in world.relations[fact.relation] if f.follow_up and f.id not in world.never]
        thirds = [f for f in relatives if _may_follow(world, first, f) and _may_follow(world, fact, f)]
        turns += [(third.follow_up, rng.choice(third.replies)) for third in rng.sample(thirds, min(1, len(thirds)))]
    return _framed(turns, rng)


def _with_two_topics(world: World, rng: random.Random) -> Conversation:
    """Two questions that have nothing to do with each other."""
    return _framed([_turn(world, fact, rng) for fact in rng.sample(world.asked, 2)], rng)


def _framed(turns: list[Turn], rng: random.Random) -> Conversation:
    """The turns, sometimes after a greeting, sometimes before a word of thanks."""
    greeting = [rng.choice(GREETINGS)] if rng.random() < 0.12 else []
    thanks = [rng.choice(THANKS)] if rng.random() < 0.15 and len(turns) + len(greeting) < 4 else []
    return conversation(*(text for turn in (*greeting, *turns, *thanks) for text in turn))


def _leads(world: World, fact: Fact) -> list[Fact]:
    """The facts after which training may ask for this one by its follow-up."""
    relatives = world.relations[fact.relation]
    return [first for first in relatives if first.id not in world.never and _may_follow(world, first, fact)]


def _may_follow(world: World, first: Fact, second: Fact) -> bool:
    """Whether training may ask for `second` by its follow-up after `first` was talked about."""
    return first is not second and not world.follow_up_held_out(first, second)


def _turn(world: World, fact: Fact, rng: random.Random) -> Turn:
    """One question and reply."""
    return rng.choice(world.questions(fact)), rng.choice(fact.replies)


def _dealt(cards: Sequence[T], count: int, rng: random.Random) -> list[T]:
    """`count` cards, each about equally often; none when there are no cards."""
    dealt: list[T] = []
    while cards and len(dealt) < count:
        dealt += rng.sample(cards, len(cards))
    return dealt[:count]
