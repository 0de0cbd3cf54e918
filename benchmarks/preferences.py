"""What the settings of `dpo` and its relatives do to a small chatbot: manners, knowledge, and how far it goes from its start.

    python benchmarks/preferences.py runs/quickstart/sft [--verb dpo] [--lr 5e-5 1e-4] [--beta 0.1] [--nll-weight 0 0.2]
        [--steps 60] [--seeds 0] [--data primer:preferences] [--set length_normalised=true] [--json]

Every combination is one run on the primer's preferences, and an examination like the quickstart's: 500 held-out open
requests at temperature 1, and the graded sets greedily. The first row is the start.
"""

import argparse
import itertools
import json
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import chatwright
from chatwright.checkpoint import Checkpoint
from chatwright.evals import benchmark, faults
from chatwright.evals.compare import Evaluation, Examination, evaluate
from chatwright.evals.machine import machine
from chatwright.generate.capacity import Capacity
from chatwright.generate.chatbot import Chatbot
from chatwright.generate.sampling import Sampling

SETS = ("phrasings", "unseen_phrasings", "never_asked", "follow_ups", "arithmetic")
MOST = 250  # problems of a set


def main() -> None:
    """Prints a row for the start and one for every combination."""
    given = arguments()
    found = [{"settings": "start", **figures(examined(given.model))}]
    show(found[-1], given.json)
    for lr, beta, nll, seed in itertools.product(given.lr, given.beta, given.nll_weight, given.seeds):
        found.append(measured(given, {"lr": lr, "beta": beta, "nll_weight": nll, "seed": seed}))
        show(found[-1], given.json)
    if given.json:
        print(json.dumps({"machine": machine(), "model": given.model, "rows": found}))
        return
    print(", ".join(f"{name} {value}" for name, value in machine().items()))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--verb", default="dpo")
    parser.add_argument("--data", default="primer:preferences")
    parser.add_argument("--lr", type=float, nargs="+", default=[5e-5, 1e-4])
    parser.add_argument("--beta", type=float, nargs="+", default=[0.1])
    parser.add_argument("--nll-weight", type=float, nargs="+", default=[0.0, 0.2])
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="other settings of the verb")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def measured(given: argparse.Namespace, settings: dict[str, Any]) -> dict[str, Any]:
    """One run with its examination."""
    own = {name: value for name, value in settings.items() if name != "nll_weight" or value}
    own |= dict(word.split("=", 1) for word in given.set)
    shared = {"steps": given.steps, "batch_size": given.batch_size, "seq_len": 256, "compare": False, "proofs": "warn"}
    shared |= {"max_truncated_share": 0.05, "eval_every": max(1, given.steps // 3), "json": True}
    with tempfile.TemporaryDirectory() as folder:
        out = str(Path(folder) / "run")
        began = time.perf_counter()
        result = chatwright.run(given.verb, {"model": given.model, "data": given.data, "out": out, **shared, **own})
        seconds = time.perf_counter() - began
        last = result["panel"][-1]
        panel = {name: last[name] for name in ("accuracy", "chosen", "rejected", "kl", "words")}
        return {"settings": own, "seconds": round(seconds, 1), **panel, **figures(examined(out))}


def examined(model: str) -> Evaluation:
    sets = {
        name: members[: None if name == "open" else MOST] for name, members in benchmark.problem_sets("primer").items()
    }
    wanted = {name: sets[name] for name in (*SETS, "open")}
    asked = Examination((), Sampling(max_tokens=72), wanted, benchmark.ways("primer"))
    return evaluate(model, Chatbot(Checkpoint.load(model, quiet=True), capacity=Capacity(max_batch=128)), asked)


def figures(one: Evaluation) -> dict[str, Any]:
    counts = Counter(faults.fault(row.completion) for row in one.scores["open"].rows)
    scores = {name: round(100 * one.scores[name].accuracy, 1) for name in SETS}
    return {"faults": round(100 * (1 - one.scores["open"].accuracy), 1), "kinds": dict(counts), **scores,
            "stops": round(100 * one.health.stop_rate, 1)}  # fmt: skip


def show(row: dict[str, Any], quiet: bool) -> None:
    if not quiet:
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
