"""Right when a reply has the form that was asked for: so many sentences, numbered points, or words at most.

What it has to say in that form is asked for as well, where something is known of it: keywords, or names for the points.
"""

import re
from typing import Any

from pydantic import BaseModel, Field

from chatwright.errors import DataError
from chatwright.tasks._answer import Text, Texts, read
from chatwright.tasks.contains import names
from chatwright.tasks.keywords import has
from chatwright.tasks.numbered_list import listed

# A letter alone, as in "H. G. Wells" and "e.g.", ends no sentence, nor does the number of a point.
END = re.compile(r"(?<![\s.][A-Za-z])(?<!^[A-Za-z\d])[.!?]+[\"'”’)]*(?:\s+|$)|\n+", re.MULTILINE)
ENDED = re.compile(r"[.!?][\"'”’)]*\s*\Z")


class Answer(BaseModel):
    """`sentences` and `points` are exact numbers; at least one of the first three has to be given.

    groups: as the grader `keywords` has them. items: the spellings of each thing that may be named; a point names one
    that no other point does. others: what must not be named.
    """

    sentences: int | None = Field(default=None, ge=1)
    points: int | None = Field(default=None, ge=1)
    max_words: int | None = Field(default=None, ge=1)
    groups: list[Texts] = []
    items: list[Texts] = []
    others: list[Text] = []


def grade(reply: str, answer: dict[str, Any]) -> float:
    """1.0 or 0.0."""
    wanted = read(Answer, answer)
    if wanted.sentences is None and wanted.points is None and wanted.max_words is None:
        raise DataError("the answer asks for no form; give 'sentences', 'points' or 'max_words'")
    clean = not any(names(reply, wrong) for wrong in wanted.others)
    return float(_is_formed(reply, wanted) and clean and _says_all(reply, wanted))


def facts(reply: str, answer: dict[str, Any]) -> int:
    """How many of the items are named, and of the groups met."""
    wanted = read(Answer, answer)
    return len(_named(reply, wanted.items)) + _met(reply, wanted)


def sentences(text: str) -> list[str]:
    """The sentences of a text; the end of a line ends one too."""
    return [part.strip() for part in END.split(text) if re.search(r"\w", part)]


def _is_formed(reply: str, wanted: Answer) -> bool:
    """Whether sentences, points and words are as many as asked for, the last sentence is whole, and none is said twice."""
    said, (numbers, points) = sentences(reply), listed(reply)
    if not said or len(reply.split()) > (wanted.max_words or len(reply)):
        return False
    if wanted.sentences is not None:
        whole = ENDED.search(reply) is not None and len({one.casefold() for one in said}) == len(said)
        if len(said) != wanted.sentences or not whole:
            return False
    in_order = numbers == list(range(1, len(points) + 1)) and len({point.casefold() for point in points}) == len(points)
    return wanted.points is None or (len(points) == wanted.points and in_order)


def _says_all(reply: str, wanted: Answer) -> bool:
    """Whether every group is met and each point, or else the reply, names an item."""
    if _met(reply, wanted) < len(wanted.groups):
        return False
    if not wanted.items:
        return True
    parts = listed(reply)[1] if wanted.points else [reply]
    named = [_named(part, wanted.items) for part in parts]
    return all(named) and len(set().union(*named)) >= len(parts)


def _named(text: str, items: list[list[str]]) -> set[int]:
    """Which of the items the text names."""
    return {number for number, item in enumerate(items) if any(names(text, spelling) for spelling in item)}


def _met(reply: str, wanted: Answer) -> int:
    """How many of the groups the reply has a word from."""
    return sum(any(has(reply, word) for word in group) for group in wanted.groups)
