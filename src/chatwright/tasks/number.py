"""Right when the reply ends its sum with the right number and claims no other."""

import re
from typing import Any

NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?")
RESULT = re.compile(r"=\s*(-?\d++(?:\.\d++)?+)(?!\s*[-+*/]\s*\d)")


def grade(reply: str, answer: dict[str, Any]) -> float:
    """1.0 or 0.0; `answer` holds `value`, perhaps `given` (the numbers of the question) and `max_words` (60).

    What stands after "=" is the result. Without one, the reply names nothing but the result, perhaps after the given
    numbers: a reply that counts through all numbers wins nothing, nor does one that repeats the question.
    """
    if len(reply.split()) > int(answer.get("max_words", 60)):
        return 0.0
    value = float(answer["value"])
    results = [float(number) for number in RESULT.findall(reply)]
    if results:
        return 1.0 if set(results) == {value} else 0.0
    numbers = [float(number) for number in NUMBER.findall(reply)]
    given = [float(number) for number in answer.get("given", ())]
    if len(numbers) > len(given) and numbers[: len(given)] == given:  # the question again, and then the result
        numbers = numbers[len(given) :]
    return 1.0 if set(numbers) == {value} else 0.0
