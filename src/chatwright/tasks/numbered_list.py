"""Right when the reply is a numbered list (1., 2., 3., …) of different items on its topic."""

import re
from typing import Any

ITEM = re.compile(r"^[ \t]*(\d+)[.)][ \t]+(\S.*?)[ \t]*$", re.MULTILINE)


def grade(reply: str, answer: dict[str, Any]) -> float:
    """1.0 or 0.0; `answer` holds `items` (least number, 3), perhaps `about` and `max_words` (120).

    The numbers count from 1 without a gap, no item comes twice, and each has two words or more. Of the words in
    `about`, at least one starts a word of the list.
    """
    items = ITEM.findall(reply)
    texts = [text.casefold() for _, text in items]
    if len(reply.split()) > int(answer.get("max_words", 120)) or len(items) < int(answer.get("items", 3)):
        return 0.0
    if [int(number) for number, _ in items] != list(range(1, len(items) + 1)) or len(set(texts)) < len(texts):
        return 0.0
    if any(len(text.split()) < 2 for text in texts):
        return 0.0
    about, listed = answer.get("about", ()), "\n".join(texts)
    on_topic = not about or any(re.search(rf"(?<!\w){re.escape(word)}", listed, re.IGNORECASE) for word in about)
    return 1.0 if on_topic else 0.0
