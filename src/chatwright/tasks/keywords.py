"""Right when a reply of reasonable length has a word from every group of alternatives."""

import re
from typing import Any

from pydantic import BaseModel

from chatwright.tasks._answer import Groups, Text, read


class Answer(BaseModel):
    """Groups such as [["learn"], ["data", "examples"]]; naming any of `others` fails."""

    groups: Groups
    others: list[Text] = []
    min_words: int = 5
    max_words: int = 60


def grade(reply: str, answer: dict[str, Any]) -> float:
    """1.0 or 0.0. A keyword matches the start of a word, so that "learn" accepts "learning"."""
    wanted = read(Answer, answer)
    if not wanted.min_words <= len(reply.split()) <= wanted.max_words:
        return 0.0
    if any(has(reply, wrong) for wrong in wanted.others):
        return 0.0
    return float(facts(reply, answer) == len(wanted.groups))


def facts(reply: str, answer: dict[str, Any]) -> int:
    """How many of the groups the reply has a word from."""
    return sum(any(has(reply, word) for word in group) for group in read(Answer, answer).groups)


def has(reply: str, keyword: str) -> bool:
    """Whether a word of the reply starts with the keyword."""
    return re.search(rf"(?<!\w){re.escape(keyword)}", reply, re.IGNORECASE) is not None
