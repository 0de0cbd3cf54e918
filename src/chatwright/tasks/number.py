"""Right when the reply ends its sum with the right number and claims no other."""

import re
from typing import Any

from pydantic import BaseModel

from chatwright.tasks._answer import Number, read

NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?")
RESULT = re.compile(r"=\s*(-?\d++(?:\.\d++)?+)(?!\s*[-+*/]\s*\d)")


class Answer(BaseModel):
    """The result, and the numbers of the question, which a reply may say again."""

    value: Number
    given: list[Number] = []
    max_words: int = 60


def grade(reply: str, answer: dict[str, Any]) -> float:
    """1.0 or 0.0.

    What stands after "=" is the result. Without one, the reply names nothing but the result, perhaps after the given
    numbers: a reply that counts through all numbers wins nothing, nor does one that repeats the question.
    """
    wanted = read(Answer, answer)
    if len(reply.split()) > wanted.max_words:
        return 0.0
    results = [float(number) for number in RESULT.findall(reply)]
    if results:
        return float(set(results) == {wanted.value})
    numbers, given = [float(number) for number in NUMBER.findall(reply)], wanted.given
    if len(numbers) > len(given) and numbers[: len(given)] == given:  # the question again, and then the result
        numbers = numbers[len(given) :]
    return float(set(numbers) == {wanted.value})


def facts(reply: str, answer: dict[str, Any]) -> int:
    """1 where the result is right."""
    return int(grade(reply, answer))
