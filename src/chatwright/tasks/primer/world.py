"""All facts of the primer, and which of their questions training may see.

Facts come from `domains/`; every cut is made by a hash of the fact's id, so that it is the same in every run, every
stage and every seed. Nothing held out here is in any document, conversation or preference.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from chatwright import registry
from chatwright.tasks.primer.classic import CLASSIC_PROMPTS
from chatwright.tasks.primer.fact import Fact

NEVER_ASKED = 0.2  # share of the closed facts that only documents state
LARGE_RELATION = 25  # a smaller relation has no facts to spare: its manner of answering has to be taught
FOLLOW_UPS_HELD_OUT = 0.1  # share of the ordered pairs of facts
# No training text has the one-turn classic prompts; the two-turn one is held out as a pair of facts.
CLASSIC_WORDINGS = tuple(classic.turns[0] for classic in CLASSIC_PROMPTS if len(classic.turns) == 1)
CLASSIC_PAIRS = frozenset(classic.facts for classic in CLASSIC_PROMPTS if len(classic.facts) == 2)


@dataclass(frozen=True)
class World:
    """The facts, and what of them is held out of training."""

    facts: tuple[Fact, ...]
    relations: dict[str, tuple[Fact, ...]]
    asked: tuple[Fact, ...]  # the facts that conversations ask about: all but the never asked ones
    allowed: dict[str, tuple[str, ...]]  # fact id -> the questions that training may have
    held_out: dict[str, int]  # fact id -> index of the phrasing that training has for other facts only
    unseen: dict[str, int]  # relation -> index of the phrasing that training has for none of its facts
    never: frozenset[str]  # ids of the facts that only documents state

    def fact(self, name: str) -> Fact:
        """The fact of this id."""
        return next(fact for fact in self.facts if fact.id == name)

    def never_asked(self, fact: Fact) -> bool:
        """Whether the fact is in documents only."""
        return fact.id in self.never

    def unseen_template(self, relation: str) -> int | None:
        """Index of the question that training has for no fact of this relation; None where facts share no phrasings."""
        return self.unseen.get(relation)

    def held_out_question(self, fact: Fact) -> int | None:
        """Index of the question held out for this fact; None for one that is never asked or cannot be graded."""
        return self.held_out.get(fact.id)

    def questions(self, fact: Fact) -> tuple[str, ...]:
        """The questions by which training may ask (for a never asked fact: those whose form it knows from others)."""
        return self.allowed[fact.id]

    def follow_up_held_out(self, first: Fact, second: Fact) -> bool:
        """Whether training never asks for `second` by its follow-up once `first` was talked about."""
        pair = (first.id, second.id)
        return pair in CLASSIC_PAIRS or share("follow-up", *pair) < FOLLOW_UPS_HELD_OUT


@lru_cache(maxsize=1)
def load() -> World:
    """Collects the facts of all domains and cuts them; once, for each part of the primer asks for them."""
    facts: list[Fact] = []
    for domain in registry.names("tasks.primer.domains"):
        facts.extend(registry.load("tasks.primer.domains", domain).facts())
    return build(facts)


def build(facts: Iterable[Fact]) -> World:
    """The world of these facts; raises ValueError when two have one id."""
    everything = tuple(facts)
    if len({fact.id for fact in everything}) < len(everything):
        raise ValueError("two facts of the primer have the same id")
    grouped: dict[str, list[Fact]] = defaultdict(list)
    for fact in everything:
        grouped[fact.relation].append(fact)
    relations = {name: tuple(members) for name, members in grouped.items()}
    never = _never_asked(everything, relations)
    unseen = {name: i for name, members in relations.items() if (i := _unseen_template(members)) is not None}
    held_out = {
        fact.id: i
        for fact in everything
        if fact.id not in never and fact.answers and (i := _held_out(fact, unseen.get(fact.relation))) is not None
    }
    return World(
        facts=everything,
        relations=relations,
        asked=tuple(fact for fact in everything if fact.id not in never),
        allowed=_allowed(everything, held_out, unseen),
        held_out=held_out,
        unseen=unseen,
        never=never,
    )


def normalise(text: str) -> str:
    """Lower case, one space between words, no punctuation but the signs of sums: how wordings are compared."""
    return " ".join(re.findall(r"[\w']+|[-+*/=]", text.casefold()))


def share(purpose: str, *names: str) -> float:
    """A number in [0, 1) fixed by a purpose and names, as `Fact.share` has it for one fact."""
    digest = hashlib.sha256("/".join((purpose, *names)).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _allowed(facts: tuple[Fact, ...], held_out: dict[str, int], unseen: dict[str, int]) -> dict[str, tuple[str, ...]]:
    """The questions of each fact that are held out for none, and hold no question of its own that is."""
    kept_back = {
        fact.id: [
            _words(fact.questions[i]) for i in (held_out.get(fact.id), unseen.get(fact.relation)) if i is not None
        ]
        for fact in facts
    }
    hidden = {words for questions in kept_back.values() for words in questions}
    classic = [_words(wording) for wording in CLASSIC_WORDINGS]

    def free(fact: Fact, question: str) -> bool:
        words = _words(question)
        return words not in hidden and not any(part in words for part in (*kept_back[fact.id], *classic))

    return {fact.id: tuple(question for question in fact.questions if free(fact, question)) for fact in facts}


def _never_asked(facts: tuple[Fact, ...], relations: dict[str, tuple[Fact, ...]]) -> frozenset[str]:
    """A fifth of the closed facts of the large relations, less those that an asked fact's reply gives away."""
    needed = {name for classic in CLASSIC_PROMPTS for name in classic.facts}
    chosen = {
        fact.id: fact
        for fact in facts
        if fact.closed
        and len(relations[fact.relation]) >= LARGE_RELATION
        and fact.id not in needed
        and fact.share("never asked") < NEVER_ASKED
    }
    # Asked, "The opposite of cold is hot" would tell what "the opposite of hot" asks; dropping one may expose the next.
    while given_away := _given_away(chosen, facts):
        for name in given_away:
            del chosen[name]
    return frozenset(chosen)


def _given_away(chosen: dict[str, Fact], facts: tuple[Fact, ...]) -> list[str]:
    """The chosen facts whose subject and answer stand together in a reply of a fact that is not chosen."""
    replies = [_words(reply) for fact in facts if fact.id not in chosen for reply in fact.replies]
    found = []
    for fact in chosen.values():
        subject, answers = _words(fact.subject), [_words(answer) for answer in fact.answers]
        if any(subject in reply and any(answer in reply for answer in answers) for reply in replies):
            found.append(fact.id)
    return found


def _unseen_template(members: tuple[Fact, ...]) -> int | None:
    """The phrasing of a closed relation that training never has: the first, in hashed order, that no other one holds.

    Never the plainest wording, which comes first: whoever tries the bot types that.
    """
    first = members[0]
    if not first.closed or len(members) < 2 or len({len(fact.questions) for fact in members}) > 1:
        return None
    for i in _hashed_order("unseen", first.relation, len(first.questions)):
        if i > 0 and not any(_held_elsewhere(fact, i) for fact in members):
            return i
    return None


def _held_out(fact: Fact, unseen: int | None) -> int | None:
    """The phrasing that training has for other facts but not for this one."""
    classic = {normalise(wording) for wording in CLASSIC_WORDINGS}
    for i in _hashed_order("held out", fact.id, len(fact.questions)):
        if i != unseen and normalise(fact.questions[i]) not in classic and not _held_elsewhere(fact, i):
            return i
    return None


def _held_elsewhere(fact: Fact, i: int) -> bool:
    """Whether another text of the fact holds its i-th question, so that holding this one out would be hollow."""
    others = (*fact.questions[:i], *fact.questions[i + 1 :], *fact.statements, *fact.replies, fact.follow_up)
    return _words(fact.questions[i]) in _words(" = ".join(others))  # a sign that no question has keeps them apart


def _words(text: str) -> str:
    """The normalised text between spaces, so that a part of it is found as whole words only."""
    return f" {normalise(text)} "


def _hashed_order(purpose: str, name: str, count: int) -> list[int]:
    """0 … count-1 in an order fixed by the hash of a name."""
    return sorted(range(count), key=lambda i: share(purpose, name, str(i)))
