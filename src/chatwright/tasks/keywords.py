"""Right when a reply of reasonable length has a word from every group of alternatives."""

import re
from typing import Any


def grade(reply: str, answer: dict[str, Any]) -> float:
    """1.0 or 0.0; `answer` holds `groups` such as [["learn"], ["data", "examples"]], `min_words` (5), `max_words` (60).

    A keyword matches the start of a word, so that "learn" accepts "learning"; naming any of `others` fails.
    """
    if not int(answer.get("min_words", 5)) <= len(reply.split()) <= int(answer.get("max_words", 60)):
        return 0.0
    if any(_has(reply, wrong) for wrong in answer.get("others", ())):
        return 0.0
    return 1.0 if all(any(_has(reply, word) for word in group) for group in answer["groups"]) else 0.0


def _has(reply: str, keyword: str) -> bool:
    """Whether a word of the reply starts with the keyword."""
    return re.search(rf"(?<!\w){re.escape(keyword)}", reply, re.IGNORECASE) is not None
