"""Against severe repetition: pairs of a model's own loops beside what people answered, with and without unlikelihood.

    python benchmarks/loops.py MODEL DATA [--lr 5e-5] [--steps 60] [--unlikelihood 0 0.5 1] [--temperature 1] [--json]

MODEL is a fine-tuned model, DATA the conversations it was tuned on; or MODEL is a base and DATA a play (.txt, speeches with
a name and a colon above each), on whose longer speeches it is fine-tuned first: the first line asks for the others, which
a small model soon answers in circles. Its answers to the prompts that are trained on, given
at that temperature (0: one answer each), are made into pairs by `chatwright pairs`; `dpo` learns from them; then it is
asked the prompts that are held out, greedily.
Shown are the share of repeated 4-grams, of different word pairs, of answers that loop and that stop, and the loss on the
held-out answers of people, which is the price.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import chatwright
from chatwright.checkpoint import Checkpoint
from chatwright.data import source
from chatwright.data.split import split
from chatwright.evals import health
from chatwright.evals.benchmark import ask
from chatwright.evals.loss import measure
from chatwright.evals.machine import machine
from chatwright.generate.chatbot import Chatbot
from chatwright.generate.sampling import Sampling
from chatwright.objectives.sft import Sft

SHARES = (0.8, 0.1, 0.1)
LONGEST = 128  # tokens of an answer
SEQ_LEN = 256
LINES, MOST_LINES, MOST_SPEECHES = 4, 9, 800  # of a speech besides its first line; of a play


def main() -> None:
    """Measures the start, and what each weight of unlikelihood makes of it."""
    given = arguments()
    with tempfile.TemporaryDirectory() as name:
        rows = measured(given, Path(name))
    if given.json:
        print(json.dumps({"machine": machine(), "rows": rows}))
        return
    for row in rows:
        print(", ".join(f"{key} {value}" for key, value in row.items()))
    print(", ".join(f"{name} {value}" for name, value in machine().items()))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--lr", type=float, default=5e-5)
    parser.add_argument("--nll-weight", type=float, default=0.2)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--temperature", type=float, default=1.0, help="of the answers that pairs are made of")
    parser.add_argument("--sft-lr", type=float, default=1e-3, help="of the fine-tuning on a play")
    parser.add_argument("--sft-steps", type=int, default=60, help="of the fine-tuning on a play")
    parser.add_argument("--prompts", type=int, help="that pairs are made of, at most")
    parser.add_argument("--unlikelihood", type=float, nargs="+", default=[0.0, 0.5, 1.0])
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def measured(given: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """A row for the start and one for every run."""
    if given.data.endswith(".txt"):
        given.data = speeches(Path(given.data), folder / "speeches.jsonl")
        given.model = tuned(given, str(folder / "sft"))
    parts = split(source.read(given.data, kind="conversations").records, SHARES)
    train, held = folder / "train.jsonl", [*parts.validation, *parts.test]
    train.write_text("".join(json.dumps(as_row(one)) + "\n" for one in parts.train), encoding="utf-8")
    pairs = folder / "pairs.jsonl"
    asked = {"temperature": given.temperature, "answers": 2, "each": 2, "max_tokens": LONGEST, "json": True}
    asked |= {"kind": ["loops", "runs-on"], "max_samples": given.prompts}
    made = chatwright.run("pairs", {"model": given.model, "data": str(train), "out": str(pairs), **asked})
    rows = [{"unlikelihood": "start", "pairs": made["pairs"], **figures(given.model, held)}]
    if not made["pairs"]:  # a model without faults has nothing to unlearn
        return rows
    for weight in given.unlikelihood:
        out = str(folder / f"dpo-{weight}")
        own = {"lr": given.lr, "steps": given.steps, "nll_weight": given.nll_weight, "unlikelihood": weight}
        fixed = {"seq_len": SEQ_LEN, "compare": False, "proofs": "warn", "json": True, "max_truncated_share": 0.05}
        chatwright.run("dpo", {"model": given.model, "data": str(pairs), "out": out, **own, **fixed})
        rows.append({"unlikelihood": weight, "pairs": made["pairs"], **figures(out, held)})
    return rows


def speeches(play: Path, out: Path) -> str:
    """The longer speeches as conversations, one a line: where they are."""
    rows = []
    for block in play.read_text(encoding="utf-8").split("\n\n"):
        first, *others = block.strip().split("\n")[1:] or [""]
        if len(others) >= LINES:
            rows.append({"instruction": first, "input": "", "output": "\n".join(others[:MOST_LINES])})
    out.write_text("".join(json.dumps(row) + "\n" for row in rows[:MOST_SPEECHES]), encoding="utf-8")
    return str(out)


def tuned(given: argparse.Namespace, out: str) -> str:
    """A base fine-tuned on the conversations of `given`, with the same ones held out."""
    own = {"model": given.model, "data": given.data, "template": "chatml", "lr": given.sft_lr, "steps": given.sft_steps}
    held = {"validation_share": SHARES[1], "test_share": SHARES[2], "seq_len": SEQ_LEN, "max_truncated_share": 0.05}
    chatwright.run("sft", {**own, **held, "out": out, "compare": False, "proofs": "warn", "json": True})
    return out


def as_row(conversation: Any) -> dict[str, Any]:
    return {"messages": [{"role": one.role, "content": one.content} for one in conversation.messages]}


def figures(model: str, held: list[Any]) -> dict[str, Any]:
    """What the model says greedily to held-out prompts, and its loss on what people said."""
    checkpoint = Checkpoint.load(model, quiet=True)
    objective = Sft(8, SEQ_LEN)
    prepared = objective.prepare(held, checkpoint)
    loss = measure(checkpoint.model, objective, objective.once(prepared), checkpoint.tokenizer.byte_lengths).loss
    bot = Chatbot(checkpoint)
    seen = health.measure(ask(bot, [one[:-1] for one in held], Sampling(max_tokens=LONGEST), "answering"))
    return {
        "n": seen.n,
        "repeated 4-grams": f"{seen.rep_4:.3f}",
        "distinct word pairs": f"{seen.distinct_2:.3f}",
        "loops": f"{seen.loop_rate:.3f}",
        "stops": f"{seen.stop_rate:.3f}",
        "words": f"{seen.mean_words:.1f}",
        "loss": f"{loss:.3f}",
    }


if __name__ == "__main__":
    main()
