"""What the benchmarks of fine-tuning share: one model, one file of rows, every way in its own process, medians in turn.

A `Way` is chatwright's own verb or trl's SFTTrainer, with what differs; `main(ways, doc)` measures all and prints a table.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

ROWS, WINDOW, WARM = 4, 256, 2
LEARNING_RATE = 1e-4
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


@dataclass(frozen=True)
class Way:
    """`settings` of `chatwright sft`, or those of trl's SFTConfig and, under "peft", of PEFT's LoraConfig.

    `beside` is the way of ours that one of theirs is held against.
    """

    label: str
    is_ours: bool
    settings: Mapping[str, Any] = field(default_factory=dict)
    beside: str = "chatwright"


def main(ways: Mapping[str, Way], doc: str, script: str) -> None:
    """Makes the model once, measures every way in turn, and prints a table or, with --json, one object."""
    given = arguments(doc)
    if given.one:
        way = ways[given.one]
        print(json.dumps((ours if way.is_ours else theirs)(given, way)))
        return
    os.environ.update(OFFLINE)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make_model(folder / "model", vocabulary(given.data))
        began = os.getloadavg()[0]
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in ways}
        for turn in range(given.rounds):
            for name, way in ways.items():
                print(f"round {turn + 1} of {given.rounds}: {way.label}", file=sys.stderr)
                found[name].append(child(name, script, given, folder / f"{name}-{turn}"))
    result = summary(found, ways, given, (began, os.getloadavg()[0]))
    print(json.dumps(result)) if given.json else show(result, ways)


def arguments(doc: str) -> argparse.Namespace:
    """The words of the command line; --one, --model and --out are for the children."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
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


def make_model(folder: Path, files: Path, shape: Mapping[str, int] | None = None) -> None:
    """A random GPT-2, of 124M unless a shape is given, and GPT-2's vocabulary in one Hugging Face folder."""
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
    GPT2LMHeadModel(GPT2Config(**(shape or {}))).save_pretrained(folder)
    Tokenizer.from_gpt2_files(files / "gpt2-encoder.json", files / "gpt2-vocab.bpe").save(folder)
    names = dict.fromkeys(("eos_token", "bos_token", "pad_token"), "<|endoftext|>")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **names}))


def child(name: str, script: str, given: argparse.Namespace, out: Path) -> dict[str, Any]:
    """One way in a process of its own."""
    words = [str(given.data), "--one", name, "--steps", str(given.steps), "--threads", str(given.threads)]
    words += ["--model", str(out.parent / "model"), "--out", str(out)]
    environ = {**os.environ, "OMP_NUM_THREADS": str(given.threads)}
    ended = subprocess.run([sys.executable, script, *words], env=environ, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise SystemExit(f"{name} failed:\n{ended.stderr[-2000:]}")
    return dict(json.loads(ended.stdout.splitlines()[-1]))


def ours(given: argparse.Namespace, way: Way) -> dict[str, Any]:
    """The verb itself, in this process; the times are those of its own Trainer's steps, from end to end."""
    from chatwright import commands
    from chatwright.train import stage, trainer

    steps: list[tuple[float, int]] = []
    trained: list[int] = []

    class Timed(trainer.Trainer):
        def step(self, batches: Any, signals: Any) -> dict[str, Any]:
            before = self.progress.tokens
            row = super().step(batches, signals)
            steps.append((time.perf_counter(), self.progress.tokens - before))
            trained.append(self.policy.model.trained_size)
            return row

    stage.Trainer = Timed  # type: ignore[misc]
    count = given.steps + WARM
    never = {"save_every": count, "eval_every": count, "sample_every": count, "eval_batches": 1, "compare": False}
    place = {"model": given.model, "data": str(given.data), "template": "alpaca", "out": given.out}
    size = {"steps": count, "batch_size": ROWS, "seq_len": WINDOW, "from_scratch": True, "device": "cpu"}
    settings = {**place, **size, **never, "lr": LEARNING_RATE, "threads": given.threads, **way.settings}
    commands.run("sft", settings)
    return figures(steps, trained[-1])


def theirs(given: argparse.Namespace, way: Way) -> dict[str, Any]:
    """SFTTrainer on prompt and completion; real tokens are read off each batch's attention mask."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    given_settings = dict(way.settings)
    adapter, dtype = given_settings.pop("peft", None), given_settings.pop("weights", "fp32")
    model = AutoModelForCausalLM.from_pretrained(given.model, dtype=getattr(torch, dtype, torch.float32))
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
    settings = SFTConfig(
        output_dir=given.out, per_device_train_batch_size=ROWS, max_steps=given.steps + WARM, max_length=WINDOW,
        learning_rate=LEARNING_RATE, use_cpu=True, save_strategy="no", report_to=[], disable_tqdm=True, seed=0,
        logging_strategy="no", **given_settings,
    )  # fmt: skip
    trainer = SFTTrainer(
        model=model,
        args=settings,
        train_dataset=Dataset.from_list(prompts(given.data)),
        processing_class=AutoTokenizer.from_pretrained(given.model),
        callbacks=[Clock()],
        peft_config=LoraConfig(**adapter) if adapter else None,
    )
    trainer.train()
    trained = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
    return figures(list(zip(ends, tokens, strict=False)), trained)


def prompts(data: Path) -> list[dict[str, str]]:
    """The rows as trl takes them, with the text that our alpaca template writes."""
    from chatwright.data import source
    from chatwright.text.layouts import LAYOUTS
    from chatwright.text.records import Conversation

    found = []
    for record in source.gather(str(data)).records:
        assert isinstance(record, Conversation)
        pieces = list(LAYOUTS["alpaca"].pieces(record))
        start = next(place for place, piece in enumerate(pieces) if piece.cut)
        prompt = "".join(piece.text for piece in pieces[:start])
        found.append({"prompt": prompt, "completion": pieces[start].text})
    return found


def figures(steps: list[tuple[float, int]], trained: int) -> dict[str, Any]:
    """Tokens a second over the counted steps, and this process's peak memory in GB (10^9 bytes)."""
    taken = steps[-1][0] - steps[WARM - 1][0]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    real = sum(tokens for _, tokens in steps[WARM:])
    per_step = real / len(steps[WARM:])
    return {"tokens_per_second": real / taken, "tokens_per_step": per_step, "peak_gb": peak / 1e9, "trained": trained}


def summary(
    found: dict[str, list[dict[str, Any]]],
    ways: Mapping[str, Way],
    given: argparse.Namespace,
    load: tuple[float, float],
) -> dict[str, Any]:
    """Medians of each way, and ours over theirs."""
    from importlib.metadata import version

    table = {
        name: {key: round(median(row[key] for row in rows), 2) for key in rows[0]}
        | {"rounds": [round(row["tokens_per_second"], 1) for row in rows]}
        for name, rows in found.items()
    }
    speed = {name: row["tokens_per_second"] for name, row in table.items()}
    ratios = {name: round(speed[way.beside] / speed[name], 2) for name, way in ways.items() if not way.is_ours}
    versions = {name: version(name) for name in ("chatwright", "torch", "transformers", "peft", "trl")}
    machine = {"threads": given.threads, "load_before": round(load[0], 2), "load_after": round(load[1], 2)}
    return {"ways": table, "chatwright_over": ratios, "steps": given.steps, **machine, "versions": versions}


def show(result: dict[str, Any], ways: Mapping[str, Way]) -> None:
    """The table for a person."""
    named = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    print(f"{named}; {result['threads']} threads, load {result['load_before']} to {result['load_after']}")
    print(f"{'':<52}{'trained':>13}{'tokens/s':>10}{'tokens/step':>13}{'peak GB':>9}{'ours is':>9}")
    for name, row in result["ways"].items():
        ratio = result["chatwright_over"].get(name)
        numbers = f"{row['tokens_per_second']:10.1f}{row['tokens_per_step']:13.0f}{row['peak_gb']:9.2f}"
        print(f"{ways[name].label:<52}{row['trained']:13,.0f}{numbers}" + (f"{ratio:8.2f}x" if ratio else ""))
