"""Right when a reply to a multiple-choice question names the right option, by its letter or its text, and no other."""

import re
from typing import Annotated, Any

from pydantic import BaseModel, Field, StringConstraints

from chatwright.errors import DataError
from chatwright.tasks._answer import Text, read
from chatwright.tasks.contains import names, without

Letter = Annotated[str, StringConstraints(pattern=r"^[A-Z]$")]
WORDS = ("A", "I")  # also words of their own, so that it takes a mark to make letters of them
MARKED = (
    re.compile(r"(?<![\w'’])([A-Z])\)"),  # "(B)", "B)"
    re.compile(r"^[ \t*]*([A-Z])[ \t]*(?:[.:]|$)", re.MULTILINE),  # "B. Paris"
    re.compile(r"\b(?i:answer|option|choice|letter)(?:\s+is)?[\s:*(]*([A-Z])(?![\w'’])"),  # "The answer is B"
    re.compile(r"(?<![\w'’])([A-Z])[.!*\s]*\Z"),  # at the end: no sentence ends with an article
)
ALONE = re.compile(r"(?<![\w'’])([A-Z])(?![\w'’])")
ONLY_A_LETTER = re.compile(r"\W*([A-Za-z])\W*")


class Answer(BaseModel):
    """The letter of the right option, and the text of each option by its letter."""

    letter: Letter
    options: Annotated[dict[Letter, Text], Field(min_length=2)]
    max_words: int = 200


def grade(reply: str, answer: dict[str, Any]) -> float:
    """1.0 or 0.0. Whoever names two options, wherever and however, has chosen none."""
    wanted = read(Answer, answer)
    if wanted.letter not in wanted.options:
        raise DataError(f"the answer's 'letter' is {wanted.letter}; the options are {', '.join(wanted.options)}")
    return float(len(reply.split()) <= wanted.max_words and named(reply, wanted.options) == {wanted.letter})


def facts(reply: str, answer: dict[str, Any]) -> int:
    """1 where the right option is named and no other."""
    return int(grade(reply, answer))


def named(reply: str, options: dict[str, str]) -> set[str]:
    """The letters of the options that the reply names."""
    if only := ONLY_A_LETTER.fullmatch(reply):
        return {only.group(1).upper()} & set(options)
    found, rest = set(), reply
    for letter, text in sorted(options.items(), key=lambda option: len(option[1]), reverse=True):
        if names(rest, text):  # the longest first: "both of them" is not the option "them"
            found.add(letter)
            rest = without(rest, [text])
    marked = {letter for pattern in MARKED for letter in pattern.findall(rest)}
    alone = {letter for letter in ALONE.findall(rest) if letter not in WORDS}
    return found | ((marked | alone) & set(options))
