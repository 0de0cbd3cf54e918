"""Right when a short reply names an accepted answer and none of the wrong candidates."""

import re
from typing import Any

from pydantic import BaseModel

from chatwright.tasks._answer import Text, Texts, read

SHORT = 2  # answers this short ("He", "As", "In") are also ordinary words, so their case counts


class Answer(BaseModel):
    """Spellings of the one right answer, and the wrong candidates."""

    accepted: Texts
    others: list[Text] = []
    max_words: int = 60


def grade(reply: str, answer: dict[str, Any]) -> float:
    """1.0 or 0.0. Naming any of `others` fails, so a reply that lists every candidate wins nothing."""
    wanted = read(Answer, answer)
    return float(len(reply.split()) <= wanted.max_words and _names_it(reply, wanted))


def facts(reply: str, answer: dict[str, Any]) -> int:
    """1 where the fact is named, however long the reply."""
    return int(_names_it(reply, read(Answer, answer)))


def names(reply: str, answer: str) -> bool:
    """Whether the answer stands in the reply as whole words."""
    first = answer.split()[0].lower()  # looked for first because most candidates are not there at all
    return first in reply.lower() and _pattern(answer).search(reply) is not None


def without(reply: str, spellings: list[str]) -> str:
    """The reply with these taken out, the longest first: "New Delhi" is not the wrong answer "Delhi"."""
    for spelling in sorted(spellings, key=len, reverse=True):
        reply = _pattern(spelling).sub(" ", reply)
    return reply


def _names_it(reply: str, wanted: Answer) -> bool:
    """Whether an accepted spelling is named and no other candidate."""
    if not any(names(reply, spelling) for spelling in wanted.accepted):
        return False
    rest = without(reply, wanted.accepted)
    return not any(names(rest, wrong) for wrong in wanted.others)


def _pattern(answer: str) -> re.Pattern[str]:
    """The answer as whole words; any white space between its words."""
    words = r"\s+".join(re.escape(word) for word in answer.split())
    return re.compile(rf"(?<!\w){words}(?!\w)", 0 if len(answer) <= SHORT else re.IGNORECASE)
