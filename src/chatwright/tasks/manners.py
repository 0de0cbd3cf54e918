"""Right when a reply of any content ends by itself, repeats nothing and speaks for nobody else."""

from typing import Any

from chatwright.text.manners import leaks_role, loops

NEEDS_END = True  # a reply that ran into its limit is wrong, whatever it says


def grade(reply: str, answer: dict[str, Any]) -> float:
    """1.0 or 0.0; `answer` may hold `max_words`."""
    if not reply.strip() or len(reply.split()) > int(answer.get("max_words", 1000)):
        return 0.0
    return 0.0 if loops(reply) or leaks_role(reply) else 1.0
