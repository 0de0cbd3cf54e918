"""The classic prompts every chatbot is tried on; their exact wording is in no training text of the primer.

The facts they ask about are taught in other words, so a right answer shows that the bot generalises.
"""

from dataclasses import dataclass
from typing import Any

FIBONACCI = (0, 1, 1, 2, 3, 5, 8, 13, 21, 34, 55)


@dataclass(frozen=True)
class Classic:
    """A prompt in one or more user turns, and how the answer to the last of them is graded."""

    turns: tuple[str, ...]
    grader: str
    answer: dict[str, Any]
    facts: tuple[str, ...]  # ids of the facts that answer the turns


def fibonacci_suites() -> list[list[list[Any]]]:
    """What a right Fibonacci function may give: the n-th number (three ways to count), or a list."""
    numbers = list(FIBONACCI)
    nth = [[[[n], numbers[n + shift]] for n in (1, 2, 5, 7)] for shift in (0, 1, -1)]
    first = [[[[n], numbers[start : start + n]] for n in (1, 3, 7)] for start in (0, 1)]
    one_more = [[[n], numbers[: n + 1]] for n in (1, 3, 7)]
    up_to = [[[limit], [n for n in numbers[start:] if n <= limit]] for start in (0, 1) for limit in (7, 10)]
    below = [[[limit], [n for n in numbers if n < limit]] for limit in (7, 13)]
    return [*nth, *first, one_more, up_to[:2], up_to[2:], below]


CLASSIC_PROMPTS: tuple[Classic, ...] = (
    Classic(("What is the capital of France?",), "contains", {"accepted": ["Paris"]}, ("capitals/france",)),
    Classic(
        ("What is machine learning?",),
        "keywords",
        {"groups": [["learn"], ["data", "examples", "patterns"], ["computer", "program", "machine", "model"]]},
        ("machine_learning/machine_learning",),
    ),
    Classic(
        ("Write a Python function to calculate the Fibonacci sequence.",),
        "python_function",
        {"accept": fibonacci_suites()},
        ("python_functions/fibonacci",),
    ),
    Classic(
        ("Give me three tips for staying healthy.",),
        "numbered_list",
        {"items": 3, "about": ["sleep", "walk", "exercise", "eat", "water", "move", "rest", "vegetables", "fruit"]},
        ("howto/staying_healthy",),
    ),
    Classic(
        ("What does a Data Scientist do?", "What about a Machine Learning Engineer?"),
        "keywords",
        {"groups": [["model", "machine learning", "learning"], ["build", "train", "run", "put", "bring", "make"]]},
        ("jobs/data_scientist", "jobs/machine_learning_engineer"),
    ),
)

# The facts behind them are told and asked more often than others: they have to be known word for word.
CLASSIC_FACTS = frozenset(name for prompt in CLASSIC_PROMPTS for name in prompt.facts)
