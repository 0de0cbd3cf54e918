"""Preferences that people wrote, from the quickstart's base: what DPO changes on pairs that it never saw, and at what price.

    python benchmarks/real_pairs.py runs/quickstart/base FOLDER [--lr 6e-4] [--beta 0.05] [--nll-weight 1] [--epochs 2] [--json]

FOLDER holds instructions.json, on which the base is fine-tuned, and preferences.json, whose prompts are among them. Splits
are by the prompt, so that what is held out of the one is held out of the other. Held out are a tenth for validation and
a tenth for the test; figures are those of both together. Identical pairs are listed and left out by the verb itself.
Beside it stands what a linear model makes of the same pairs, which only counts words, or the base's own tokens: it knows
no language, and shows what is to be learned from the pairs alone.
"""

import argparse
import json
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

import chatwright
from chatwright.checkpoint import Checkpoint, read_json
from chatwright.data import source
from chatwright.data.split import split
from chatwright.evals.intervals import wilson
from chatwright.evals.loss import LossReport, measure
from chatwright.evals.machine import machine
from chatwright.objectives.dpo import Dpo
from chatwright.objectives.reference import FrozenCopy
from chatwright.objectives.sft import Sft
from chatwright.text.records import Preference

SHARES = (0.8, 0.1, 0.1)
SEQ_LEN = 256
PROMPTS = 200  # all that are held out: the lengths of a few answers say little
NEVER = 1_000_000  # the panel looks before the first step and after the last
KINDS = {"instructions": "conversations", "preferences": "preferences"}
Figures = tuple[LossReport, LossReport]  # of instructions, of pairs


def main() -> None:
    """Fine-tunes, learns from the pairs, and prints what was before and after."""
    given = arguments()
    with tempfile.TemporaryDirectory() as folder:
        found = measured(given, Path(folder))
    if given.json:
        print(json.dumps({"machine": machine(), "settings": vars(given), **found}, default=str))
        return
    for name, value in found.items():
        print(f"{name:28} {value}")
    print(", ".join(f"{name} {value}" for name, value in machine().items()))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sft-lr", type=float, default=1e-3)
    parser.add_argument("--sft-epochs", type=float, default=6)
    parser.add_argument("--lr", type=float, default=6e-4)
    parser.add_argument("--beta", type=float, default=0.05)
    parser.add_argument("--nll-weight", type=float, default=1.0)
    parser.add_argument("--epochs", type=float, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def measured(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Runs both verbs; every figure before and after."""
    instructions, pairs = str(given.folder / "instructions.json"), str(given.folder / "preferences.json")
    shared = {"seq_len": SEQ_LEN, "seed": given.seed, "compare": False, "json": True, "proofs": "warn"}
    shared |= {"validation_share": SHARES[1], "test_share": SHARES[2], "max_truncated_share": 0.02}
    sft, dpo = str(folder / "sft"), str(folder / "dpo")
    own = {
        "model": given.base,
        "data": instructions,
        "template": "chatml",
        "lr": given.sft_lr,
        "epochs": given.sft_epochs,
    }
    chatwright.run("sft", {**own, "out": sft, **shared})
    own = {"model": sft, "data": pairs, "lr": given.lr, "beta": given.beta, "nll_weight": given.nll_weight}
    watched = {"guards": {"prompts": PROMPTS}, "eval_every": NEVER}
    result = chatwright.run("dpo", {**own, **watched, "epochs": given.epochs, "out": dpo, **shared})
    before, after = (figures(one, sft, given) for one in (sft, dpo))
    first, last, count = result["panel"][0], result["panel"][-1], before[1].count
    right = {name: one.metrics[key] for name, one, key in (
        ("chosen is likelier, sft", before[1], "likelier"),
        ("chosen is likelier, dpo", after[1], "likelier"),
        ("implicit reward is right", after[1], "accuracy"),
    )}  # fmt: skip
    losses = (before[0].loss, after[0].loss)
    return {
        "identical pairs left out": read_json(Path(dpo) / "data_report.json")["filtered"],
        "held-out pairs": count,
        **{name: f"{share:.3f} (95 % {interval(share * count, count)})" for name, share in right.items()},
        "KL, nats an answer": round(last["kl"], 2),
        "words an answer": f"{first['words']:.1f} before, {last['words']:.1f} after",
        "loss on held-out instructions": f"{losses[0]:.3f} before, {losses[1]:.3f} after ({losses[1] / losses[0] - 1:+.1%})",
        "alarms": result["alarms"],
        **linear(given),
    }


def figures(model: str, start: str, given: argparse.Namespace) -> Figures:
    """A model's loss on the instructions, and its pairs, that are held out."""
    policy, reference = Checkpoint.load(model, quiet=True), FrozenCopy(Checkpoint.load(start, quiet=True))
    reference.start.model.eval()
    objectives = {
        "instructions": Sft(8, SEQ_LEN),
        "preferences": Dpo(8, SEQ_LEN, beta=given.beta, reference=reference),
    }
    found = []
    for name, objective in objectives.items():
        parts = split(source.read(str(given.folder / f"{name}.json"), kind=KINDS[name]).records, SHARES)
        held = [one for one in (*parts.validation, *parts.test) if name == "instructions" or one.chosen != one.rejected]
        prepared = objective.prepare(held, policy)
        found.append(measure(policy.model, objective, objective.once(prepared), policy.tokenizer.byte_lengths))
    return found[0], found[1]


def linear(given: argparse.Namespace) -> dict[str, str]:
    """In how many of the held-out pairs a linear model is right: of words, and of the base's tokens with their pairs."""
    read = source.read(str(given.folder / "preferences.json"), kind="preferences").records
    parts = split([one for one in read if isinstance(one, Preference)], SHARES)
    train = [one for one in parts.train if isinstance(one, Preference)]
    held = [one for one in (*parts.validation, *parts.test) if isinstance(one, Preference)]
    tokenizer = Checkpoint.load(given.base, quiet=True).tokenizer

    def words(text: str) -> list[Hashable]:
        return list(re.findall(r"\w+|[^\w\s]", text.lower()))

    def tokens(text: str) -> list[Hashable]:
        ids = tokenizer.encode(text)
        return [*ids, *pairwise(ids)]

    ways = {"linear model of words": words, "linear model of tokens": tokens}
    right = {name: fitted(train, held, parts_of) for name, parts_of in ways.items()}
    return {name: f"{share:.3f} (95 % {interval(share * len(held), len(held))})" for name, share in right.items()}


def fitted(
    train: Sequence[Preference], held: Sequence[Preference], parts_of: Callable[[str], Sequence[Hashable]]
) -> float:
    """Logistic regression on how much oftener each part is in the chosen answer: the share of held-out pairs told apart.

    What is as good on both sides counts one half.
    """

    def gained(one: Preference) -> Counter[Hashable]:
        found = Counter(parts_of(one.chosen.messages[-1].content))
        found.subtract(parts_of(one.rejected.messages[-1].content))
        return found

    rows = [gained(one) for one in train]
    number = {part: place for place, part in enumerate(dict.fromkeys(part for row in rows for part in row))}

    def matrix(several: Sequence[Counter[Hashable]]) -> torch.Tensor:
        found = torch.zeros(len(several), len(number) + 1)
        for place, row in enumerate(several):
            for part, count in row.items():
                if part in number:
                    found[place, number[part]] = count
            found[place, -1] = sum(row.values()) / 10  # how much longer it is
        return found

    data, weights = matrix(rows), torch.zeros(len(number) + 1, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=200)

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        told = torch.nn.functional.softplus(-data @ weights).mean() + 3e-4 * weights.square().sum()
        told.backward()
        return told

    optimizer.step(loss)
    margin = matrix([gained(one) for one in held]) @ weights.detach()
    return float(((margin > 0).float() + (margin == 0).float() / 2).mean())


def interval(right: float, count: int) -> str:
    low, high = wilson(right, count)
    return f"{low:.3f} to {high:.3f}"


if __name__ == "__main__":
    main()
