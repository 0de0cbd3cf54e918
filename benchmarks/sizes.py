"""What each size costs to fine-tune here: peak memory and tokens a second of real SFT steps, by method.

    python benchmarks/sizes.py instructions.json [--steps 2] [--only gpt2-xl:4bit] [--json]

Random weights in the published shapes, GPT-2's vocabulary, the Alpaca layout, 4 rows of 256 tokens a step. `full` trains
everything, `lora` an adapter of rank 8 beside a frozen base in bf16, `4bit` one beside NF4 (QLoRA); `+` recomputes
activations (--checkpointing). Each in its own process, whose memory at the highest is the peak, reading and saving included.
"""

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _sft import ROWS, WINDOW, vocabulary

WARM = 1  # step that is not counted
METHODS: dict[str, dict[str, Any]] = {
    "full": {},
    "full+": {"checkpointing": True},
    "lora": {"lora": {"rank": 8}},
    "lora+": {"lora": {"rank": 8}, "checkpointing": True},
    "4bit": {"lora": {"rank": 8}, "load_in": "4bit"},
    "4bit+": {"lora": {"rank": 8}, "load_in": "4bit", "checkpointing": True},
}
TABLE = {
    "gpt2": ("full", "lora", "4bit"),
    "gpt2-medium": ("full", "lora", "4bit"),
    "gpt2-large": ("full+", "lora", "4bit"),
    "gpt2-xl": ("lora+", "4bit+"),
    "llama-1b": ("lora+", "4bit+"),
}


def main() -> None:
    """Makes each model once, takes the steps by each method, and prints a table or, with --json, one object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = os.environ.get("CHATWRIGHT_TEST_DATA")
    place = Path(default) / "instructions.json" if default else None
    parser.add_argument("data", nargs="?", type=Path, default=place, help="JSON rows of instruction, input, output")
    parser.add_argument("--steps", type=int, default=2, help="steps that are counted")
    parser.add_argument("--only", action="append", default=[], help="SIZE or SIZE:METHOD; may be given several times")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    for hidden in ("--one", "--model", "--out"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.data is None or not given.data.is_file():
        parser.error("give the file of rows, or set CHATWRIGHT_TEST_DATA to the folder of instructions.json")
    if given.one:
        print(json.dumps(take_steps(given)))
        return
    rows = []
    for size, methods in TABLE.items():
        wanted = [m for m in methods if not given.only or size in given.only or f"{size}:{m}" in given.only]
        with tempfile.TemporaryDirectory() as folder:
            if wanted:
                child(given, ["--one", "model", "--model", folder, "--out", size])
            for method in wanted:
                print(f"{size}: {method}", file=sys.stderr)
                out = Path(folder) / f"run-{method}"
                rows.append(
                    {
                        "size": size,
                        "method": method,
                        **child(given, ["--one", method, "--model", folder, "--out", str(out)]),
                    }
                )
    if given.json:
        print(json.dumps({"threads": os.cpu_count(), "steps": given.steps, "rows": rows}))
        return
    print(f"{'':<14}{'method':<8}{'parameters':>15}{'trained':>15}{'peak GiB':>10}{'tokens/s':>10}")
    for row in rows:
        print(
            f"{row['size']:<14}{row['method']:<8}{row['parameters']:15,}{row['trained']:15,}"
            f"{row['peak_gib']:10.2f}{row['tokens_per_second']:10.1f}"
        )


def child(given: argparse.Namespace, words: list[str]) -> dict[str, Any]:
    """One job in a process of its own."""
    command = [sys.executable, __file__, str(given.data), "--steps", str(given.steps), *words]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise SystemExit(f"{' '.join(words)} failed:\n{ended.stderr[-2000:]}")
    return dict(json.loads(ended.stdout.splitlines()[-1]))


def take_steps(given: argparse.Namespace) -> dict[str, Any]:
    """The steps of one method, or (--one model) the folder with the random weights of a size, in bf16."""
    if given.one == "model":
        make(Path(given.model), given.out, vocabulary(given.data))
        return {}
    from chatwright import commands
    from chatwright.evals.loss import LossReport
    from chatwright.train import sanity, stage, trainer

    steps: list[tuple[float, int]] = []
    sizes: dict[str, int] = {}

    class Timed(trainer.Trainer):
        def step(self, batches: Any, signals: Any) -> dict[str, Any]:
            before = self.progress.tokens
            row = super().step(batches, signals)
            steps.append((time.perf_counter(), self.progress.tokens - before))
            sizes.update(parameters=self.policy.model.size, trained=self.policy.model.trained_size)
            return row

        def validate(self, batches: Any) -> LossReport:  # the steps are measured, and nothing beside them
            return LossReport(math.nan, math.nan, math.nan, math.nan, 0)

    sanity.gradient_difference = lambda *_: 0.0
    stage.Trainer = Timed  # type: ignore[misc]
    count = given.steps + WARM
    never = {"save_every": count, "eval_every": count, "sample_every": count, "eval_batches": 1, "compare": False}
    settings = {"model": given.model, "data": str(given.data), "template": "alpaca", "out": given.out, "keep": 1}
    size = {"steps": count, "batch_size": ROWS, "seq_len": WINDOW, "from_scratch": True, "device": "cpu"}
    commands.run("sft", {**settings, **size, **never, **METHODS[given.one]})
    seconds = steps[-1][0] - steps[WARM - 1][0]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    speed = sum(tokens for _, tokens in steps[WARM:]) / seconds
    return {**sizes, "peak_gib": round(peak / 2**30, 2), "tokens_per_second": round(speed, 1)}


def make(folder: Path, size: str, files: Path) -> None:
    """A model folder with random weights and GPT-2's vocabulary."""
    import torch

    from chatwright import registry
    from chatwright.checkpoint import Checkpoint
    from chatwright.commands._training import sizes
    from chatwright.text import template
    from chatwright.text.tokenizer import Tokenizer

    family, config = sizes()[size]
    tokenizer = Tokenizer.from_gpt2_files(files / "gpt2-encoder.json", files / "gpt2-vocab.bpe")
    torch.manual_seed(0)
    model = registry.load("models", family).MODEL.build({"vocab_size": tokenizer.vocab_size, **config})
    checkpoint = Checkpoint(model, tokenizer, template.load("plain"), own_template=False, save_dtype=torch.bfloat16)
    checkpoint.write(folder)


if __name__ == "__main__":
    main()
