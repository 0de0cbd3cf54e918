"""Right when the reply is a numbered list (1., 2., 3., …) of different items on its topic."""

import re
from typing import Any

from pydantic import BaseModel

from chatwright.tasks._answer import Text, read
from chatwright.tasks.keywords import has

ITEM = re.compile(r"^[ \t]*(\d+)[.)][ \t]+(\S.*?)[ \t]*$", re.MULTILINE)


class Answer(BaseModel):
    """The least number of items; of the words in `about`, at least one starts a word of the list."""

    items: int = 3
    about: list[Text] = []
    max_words: int = 120


def grade(reply: str, answer: dict[str, Any]) -> float:
    """1.0 or 0.0. The numbers count from 1 without a gap, no item comes twice, and each has two words or more."""
    wanted = read(Answer, answer)
    numbers, texts = listed(reply)
    texts = [text.casefold() for text in texts]
    if len(reply.split()) > wanted.max_words or len(texts) < wanted.items:
        return 0.0
    if numbers != list(range(1, len(texts) + 1)) or len(set(texts)) < len(texts):
        return 0.0
    if any(len(text.split()) < 2 for text in texts):
        return 0.0
    return float(_on_topic(texts, wanted))


def facts(reply: str, answer: dict[str, Any]) -> int:
    """How many different items of two words or more the list has, if it is on its topic."""
    texts = {text.casefold() for text in listed(reply)[1] if len(text.split()) > 1}
    return len(texts) if _on_topic(texts, read(Answer, answer)) else 0


def listed(reply: str) -> tuple[list[int], list[str]]:
    """The numbers of the items and their texts."""
    items = ITEM.findall(reply)
    return [int(number[:6]) for number, _ in items], [text for _, text in items]


def _on_topic(texts: list[str] | set[str], wanted: Answer) -> bool:
    return not wanted.about or any(has("\n".join(texts), word) for word in wanted.about)
