"""Fine-tuning speed: `chatwright sft` beside trl's SFTTrainer, the same model and rows, each in its own process.

    python benchmarks/sft.py instructions.json [--rounds 3] [--steps 8] [--quick] [--json]

A GPT-2 124M with random weights (made by transformers from a seed), rows with instruction, input and output, the
Alpaca layout, windows of 256 tokens, 4 rows a batch. Counted are real tokens, not padding, from the end of one step to
the end of the next, the first two left out; medians over rounds taken in turn. Needs the extra `dev` (with trl)
and, in CHATWRIGHT_TEST_DATA or beside the rows, gpt2-encoder.json and gpt2-vocab.bpe.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

ROWS, WINDOW, WARM = 4, 256, 2
LEARNING_RATE = 1e-4
WAYS = {
    "chatwright": "chatwright sft",
    "trl": "trl SFTTrainer as shipped",
    "trl-bf16": "trl SFTTrainer, bf16, no checkpointing",
}
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


def main() -> None:
    """Makes the model once, measures every way in turn, and prints a table or, with --json, one object."""
    given = arguments()
    if given.one:
        print(json.dumps(ours(given) if given.one == "chatwright" else theirs(given, given.one)))
        return
    os.environ.update(OFFLINE)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make_model(folder / "model", vocabulary(given.data))
        began = os.getloadavg()[0]
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in WAYS}
        for turn in range(given.rounds):
            for name in WAYS:
                print(f"round {turn + 1} of {given.rounds}: {WAYS[name]}", file=sys.stderr)
                found[name].append(child(name, given, folder, turn))
    result = summary(found, given, (began, os.getloadavg()[0]))
    print(json.dumps(result)) if given.json else show(result)


def arguments() -> argparse.Namespace:
    """The words of the command line; --one, --model and --out are for the children."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = os.environ.get("CHATWRIGHT_TEST_DATA")
    place = Path(default) / "instructions.json" if default else None
    parser.add_argument("data", nargs="?", type=Path, default=place, help="JSON rows of instruction, input, output")
    parser.add_argument("--rounds", type=int, default=3, help="how often each way is measured")
    parser.add_argument("--steps", type=int, default=8, help="steps that are counted")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="processor threads of each way")
    parser.add_argument("--quick", action="store_true", help="one round of three steps: to see that it runs")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    for hidden in ("--one", "--model", "--out"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.data is None or not given.data.is_file():
        parser.error("give the file of rows, or set CHATWRIGHT_TEST_DATA to the folder of instructions.json")
    if given.quick:
        given.rounds, given.steps = 1, 3
    return given


def vocabulary(data: Path) -> Path:
    """The folder with GPT-2's two vocabulary files."""
    folder = Path(os.environ.get("CHATWRIGHT_TEST_DATA", data.parent))
    if not (folder / "gpt2-encoder.json").is_file():
        raise SystemExit(f"{folder} has no gpt2-encoder.json; set CHATWRIGHT_TEST_DATA to the folder that has it")
    return folder


def make_model(folder: Path, files: Path) -> None:
    """A random GPT-2 124M and GPT-2's vocabulary in one Hugging Face folder."""
    try:
        import torch
        import trl  # noqa: F401
        from transformers import GPT2Config, GPT2LMHeadModel
    except ImportError as error:
        raise SystemExit(
            f"{error.name} is missing; the other side of this benchmark needs pip install 'chatwright[dev]'"
        ) from None
    from chatwright.text.tokenizer import Tokenizer

    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config()).save_pretrained(folder)
    Tokenizer.from_gpt2_files(files / "gpt2-encoder.json", files / "gpt2-vocab.bpe").save(folder)
    names = dict.fromkeys(("eos_token", "bos_token", "pad_token"), "<|endoftext|>")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **names}))


def child(name: str, given: argparse.Namespace, folder: Path, turn: int) -> dict[str, Any]:
    """One way in a process of its own."""
    words = [str(given.data), "--one", name, "--steps", str(given.steps), "--threads", str(given.threads)]
    words += ["--model", str(folder / "model"), "--out", str(folder / f"{name}-{turn}")]
    environ = {**os.environ, "OMP_NUM_THREADS": str(given.threads)}
    ended = subprocess.run([sys.executable, __file__, *words], env=environ, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise SystemExit(f"{WAYS[name]} failed:\n{ended.stderr[-2000:]}")
    return dict(json.loads(ended.stdout.splitlines()[-1]))


def ours(given: argparse.Namespace) -> dict[str, Any]:
    """The verb itself, in this process; the times are those of its own Trainer's steps, from end to end."""
    from chatwright import commands
    from chatwright.train import trainer

    steps: list[tuple[float, int]] = []

    class Timed(trainer.Trainer):
        def step(self, batches: Any, signals: Any) -> dict[str, Any]:
            before = self.progress.tokens
            row = super().step(batches, signals)
            steps.append((time.perf_counter(), self.progress.tokens - before))
            return row

    from chatwright.train import stage

    stage.Trainer = Timed  # type: ignore[misc]
    count = given.steps + WARM
    never = {"save_every": count, "eval_every": count, "sample_every": count, "eval_batches": 1, "compare": False}
    settings = {
        "model": given.model,
        "data": str(given.data),
        "template": "alpaca",
        "out": given.out,
        "lr": LEARNING_RATE,
    }
    size = {"steps": count, "batch_size": ROWS, "seq_len": WINDOW, "from_scratch": True, "device": "cpu"}
    commands.run("sft", {**settings, **size, **never, "threads": given.threads})
    return figures(steps)


def theirs(given: argparse.Namespace, name: str) -> dict[str, Any]:
    """SFTTrainer on prompt and completion; real tokens are read off each batch's attention mask."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    model = AutoModelForCausalLM.from_pretrained(given.model)
    tokens: list[int] = []
    ends: list[float] = []

    def count(_: Any, words: tuple[Any, ...], named: dict[str, Any]) -> None:
        seen = named.get("attention_mask")
        ids = named.get("input_ids", words[0] if words else None)
        tokens.append(int(seen.sum()) if seen is not None else ids.numel())

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            ends.append(time.perf_counter())

    model.register_forward_pre_hook(count, with_kwargs=True)
    shipped: dict[str, Any] = {} if name == "trl" else {"bf16": True, "gradient_checkpointing": False}
    settings = SFTConfig(
        output_dir=given.out, per_device_train_batch_size=ROWS, max_steps=given.steps + WARM, max_length=WINDOW,
        learning_rate=LEARNING_RATE, use_cpu=True, save_strategy="no", report_to=[], disable_tqdm=True, seed=0,
        logging_strategy="no", **shipped,
    )  # fmt: skip
    tokenizer = AutoTokenizer.from_pretrained(given.model)
    data = Dataset.from_list(prompts(given.data))
    trainer = SFTTrainer(
        model=model, args=settings, train_dataset=data, processing_class=tokenizer, callbacks=[Clock()]
    )
    trainer.train()
    return figures(list(zip(ends, tokens, strict=False)))


def prompts(data: Path) -> list[dict[str, str]]:
    """The rows as trl takes them, with the text that our alpaca template writes."""
    from chatwright.data import source
    from chatwright.text.layouts import LAYOUTS
    from chatwright.text.records import Conversation

    found = []
    for record in source.gather(str(data)).records:
        assert isinstance(record, Conversation)
        pieces = list(LAYOUTS["alpaca"].pieces(record))
        start = next(place for place, piece in enumerate(pieces) if piece.answer)
        prompt = "".join(piece.text for piece in pieces[:start])
        found.append({"prompt": prompt, "completion": pieces[start].text})
    return found


def figures(steps: list[tuple[float, int]]) -> dict[str, Any]:
    """Tokens a second over the counted steps, and this process's peak memory in GB (10^9 bytes)."""
    taken = steps[-1][0] - steps[WARM - 1][0]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    real = sum(tokens for _, tokens in steps[WARM:])
    return {"tokens_per_second": real / taken, "tokens_per_step": real / len(steps[WARM:]), "peak_gb": peak / 1e9}


def summary(
    found: dict[str, list[dict[str, Any]]], given: argparse.Namespace, load: tuple[float, float]
) -> dict[str, Any]:
    """Medians of each way, and ours over theirs."""
    from importlib.metadata import version

    table = {
        name: {key: round(median(row[key] for row in rows), 2) for key in rows[0]}
        | {"rounds": [round(row["tokens_per_second"], 1) for row in rows]}
        for name, rows in found.items()
    }
    mine = table["chatwright"]["tokens_per_second"]
    ratios = {name: round(mine / row["tokens_per_second"], 2) for name, row in table.items() if name != "chatwright"}
    versions = {name: version(name) for name in ("chatwright", "torch", "transformers", "trl")}
    machine = {"threads": given.threads, "load_before": round(load[0], 2), "load_after": round(load[1], 2)}
    return {"ways": table, "chatwright_over": ratios, "steps": given.steps, **machine, "versions": versions}


def show(result: dict[str, Any]) -> None:
    """The table for a person."""
    named = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    print(f"{named}; {result['threads']} threads, load {result['load_before']} to {result['load_after']}")
    print(f"{'':<42}{'tokens/s':>10}{'tokens/step':>13}{'peak GB':>9}{'ours is':>9}")
    for name, row in result["ways"].items():
        ratio = result["chatwright_over"].get(name)
        numbers = f"{row['tokens_per_second']:10.1f}{row['tokens_per_step']:13.0f}{row['peak_gb']:9.2f}"
        print(f"{WAYS[name]:<42}{numbers}" + (f"{ratio:8.2f}x" if ratio else ""))


if __name__ == "__main__":
    main()
