"""What `/train` of a chat teaches, and what it costs: one corrected answer, learned by sft, by dpo, and by both.

    python benchmarks/feedback.py runs/quickstart/sft [--problems 60] [--json]

MODEL is one that was made from the primer. It is asked its name, is told that it is Robin, and learns as the chat does it.
Then: whether it says so, of how many other questions it says the same (there should be none), and how many graded questions
of four held-out sets it answers rightly, beside the model as it was.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from chatwright import commands, registry
from chatwright.chat import learning
from chatwright.chat.feedback import Feedback
from chatwright.chat.opening import Opening
from chatwright.chat.session import Session
from chatwright.evals.intervals import wilson
from chatwright.evals.machine import machine
from chatwright.generate.chatbot import Chatbot
from chatwright.generate.sampling import Sampling
from chatwright.tasks import primer
from chatwright.text.records import Problem

ASKED, SAID = "What is your name?", "My name is Robin."
OTHER, BETTER = "Name a mammal.", "The cat is a mammal."
SETS = ("phrasings", "unseen_phrasings", "arithmetic", "never_asked")
WAYS = {"sft": ("fix",), "dpo": ("prefer",), "sft and dpo": ("fix", "prefer other")}
ANSWER = Sampling(max_tokens=48)


def main() -> None:
    """Prints a table or, with --json, one object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--problems", type=int, default=60, help="of each set (default: 60)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args()
    problems = chosen(given.problems)
    rows = [{"way": "as it was", **asked(given.model, problems), "seconds": 0.0}]
    for way in WAYS:
        with tempfile.TemporaryDirectory() as folder:
            rows.append({"way": way, **taught(given.model, way, Path(folder) / "bot", problems)})
    if given.json:
        print(json.dumps({"machine": machine(), "problems": len(problems), "rows": rows}))
        return
    print(f"{'':<14}{'says so':>9}{'elsewhere':>11}{'right':>8}{'95 %':>18}{'seconds':>9}")
    for row in rows:
        low, high = row["interval"]
        share = f"{row['right']:>8.1%}{f'{low:.1%} to {high:.1%}':>18}"
        print(f"{row['way']:<14}{row['says so']!s:>9}{row['elsewhere']:>11}{share}{row['seconds']:>9.0f}")
    print(f"{len(problems)} questions;", ", ".join(f"{name} {value}" for name, value in machine().items()))


def chosen(most: int) -> list[Problem]:
    """So many of each set, from all over it."""
    found: list[Problem] = []
    for name in SETS:
        records = [one for one in primer.records(f"problems/{name}") if isinstance(one, Problem)]
        found += records[:: max(1, len(records) // most)][:most]
    return found


def taught(model: str, way: str, folder: Path, problems: list[Problem]) -> dict[str, Any]:
    """Corrects the model in this way, lets it learn, and asks what it learned."""
    opening = Opening(model, run=lambda verb, settings: commands.run(verb, {**settings, "json": True}))
    session = Session(opening.load(model), Sampling(max_tokens=60), "", model, opening, Feedback(folder))
    list(session.ask(ASKED))
    steps = {
        "fix": lambda: session.fix(SAID),
        "prefer": lambda: session.prefer(SAID),
        "prefer other": lambda: (session.reset(), list(session.ask(OTHER)), session.prefer(BETTER)),
    }
    for step in WAYS[way]:
        steps[step]()
    start = time.perf_counter()
    learning.train(session)
    seconds = time.perf_counter() - start
    last = sorted(folder.parent.glob("bot-feedback-*"))[-1]
    return {**asked(str(last), problems), "seconds": round(seconds, 1)}


def asked(model: str, problems: list[Problem]) -> dict[str, Any]:
    """What it says to the corrected question and to all others."""
    bot = Chatbot.load(model)
    texts = [one.text for one in bot.replies([ASKED, *(problem.prompt for problem in problems)], ANSWER)]
    graded = zip(problems, texts[1:], strict=True)
    right = sum(registry.load("tasks", problem.grader).grade(text, problem.answer) for problem, text in graded)
    return {
        "says so": texts[0].strip() == SAID,
        "elsewhere": sum("Robin" in text for text in texts[1:]),
        "right": right / len(problems),
        "interval": wilson(right, len(problems)),
    }


if __name__ == "__main__":
    main()
