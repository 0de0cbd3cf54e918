"""Right when a short reply names an accepted answer and none of the wrong candidates."""

import re
from typing import Any

SHORT = 2  # answers this short ("He", "As", "In") are also ordinary words, so their case counts


def grade(reply: str, answer: dict[str, Any]) -> float:
    """1.0 or 0.0; `answer` holds `accepted` (spellings), and perhaps `others` (wrong candidates) and `max_words` (60).

    Naming any of `others` fails, so a reply that lists every candidate wins nothing.
    """
    if len(reply.split()) > int(answer.get("max_words", 60)):
        return 0.0
    if not any(names(reply, spelling) for spelling in answer["accepted"]):
        return 0.0
    rest = reply
    for spelling in sorted(answer["accepted"], key=len, reverse=True):  # "New Delhi" is not the wrong answer "Delhi"
        rest = _pattern(spelling).sub(" ", rest)
    return 0.0 if any(names(rest, wrong) for wrong in answer.get("others", ())) else 1.0


def names(reply: str, answer: str) -> bool:
    """Whether the answer stands in the reply as whole words."""
    first = answer.split()[0].lower()  # looked for first because most candidates are not there at all
    return first in reply.lower() and _pattern(answer).search(reply) is not None


def _pattern(answer: str) -> re.Pattern[str]:
    """The answer as whole words; any white space between its words."""
    words = r"\s+".join(re.escape(word) for word in answer.split())
    return re.compile(rf"(?<!\w){words}(?!\w)", 0 if len(answer) <= SHORT else re.IGNORECASE)
