"""DPO: `chatwright dpo` beside trl's DPOTrainer: whether both learn the same, how fast, and in how much memory.

    python benchmarks/dpo.py preferences.json [--rounds 3] [--steps 8] [--curve 30] [--only curve|speed]
        [--curves NAME ...] [--ways NAME ...] [--batch 8] [--quick] [--json]

A GPT-2 124M with random weights (made by transformers from a seed), rows with instruction, input, chosen and rejected, the
Alpaca layout, `--batch` pairs a step, every run in its own process; rows whose answers are equal are left out on both sides.
The curve: the loss of every step in fp32, the same ids, AdamW, learning rates and clipping. Speed: pairs a second from the
end of one step to the end of the next, the first two left out, and what the start model was asked before training shared
out among the pairs; medians over rounds taken in turn. Needs the extra `dev` (with trl) and, in CHATWRIGHT_TEST_DATA or
beside the rows, gpt2-encoder.json and gpt2-vocab.bpe.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from _dpo import BATCH, WARM, Way, make, ours, theirs

OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
IN_TWOS = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": BATCH // 2}
FP32 = {"bf16": False, "gradient_checkpointing": False}
BF16 = {"bf16": True, "gradient_checkpointing": False}
STORED = {"precompute_ref_log_probs": True, "precompute_ref_batch_size": BATCH}
PEFT = {"r": 8, "lora_alpha": 16, "fan_in_fan_out": True, "task_type": "CAUSAL_LM"}
ADAPTER = {"peft": {**PEFT, "target_modules": ["c_attn", "c_proj", "c_fc"]}}
HALF = {"weights": "bfloat16"}  # the base held in bf16, as ours is

CURVES = {
    "trl": Way("trl", False, FP32),
    "trl-2x4": Way("trl, 4 times 2", False, {**FP32, **IN_TWOS}),
    "chatwright": Way("chatwright", True, {"dtype": "fp32"}),
    "chatwright-2x4": Way("chatwright, 4 times 2", True, {"dtype": "fp32", "batch_size": 2, "accumulate": 4}),
    "chatwright-auto": Way("chatwright as shipped", True),
}
ALIKE = 0.01  # relative, of every step's loss
AGAINST = {"chatwright": "trl", "chatwright-2x4": "trl-2x4", "trl-2x4": "trl", "chatwright-auto": "trl"}
SPEEDS = {
    "chatwright": Way("chatwright dpo as shipped", True),
    "chatwright-apart": Way("chatwright dpo, each answer with its own prompt", True, apart=True),
    "trl": Way("trl DPOTrainer as shipped", False),
    "trl-bf16": Way("trl, bf16, no checkpointing", False, BF16),
    "trl-2x4": Way("trl, bf16, no checkpointing, 4 times 2", False, {**BF16, **IN_TWOS}),
    "trl-stored": Way("trl, bf16, no checkpointing, start precomputed", False, {**BF16, **STORED}),
    "chatwright-fp32": Way("chatwright dpo --dtype fp32", True, {"dtype": "fp32"}, ""),
    "trl-fp32": Way("trl, fp32, no checkpointing", False, FP32, "chatwright-fp32"),
    "chatwright-lora": Way("chatwright dpo --lora.rank 8", True, {"lora": {"rank": 8}}, ""),
    "peft": Way("trl + peft, r=8, as shipped", False, ADAPTER, "chatwright-lora"),
    "peft-bf16": Way("trl + peft, r=8, bf16, no checkpointing", False, {**BF16, **ADAPTER}, "chatwright-lora"),
    "peft-half": Way("trl + peft, r=8, bf16, base held in bf16", False, {**BF16, **ADAPTER, **HALF}, "chatwright-lora"),
}


def main() -> None:
    """Makes model and pairs once, then the curves, then every way of SPEEDS in turn; prints tables or one object."""
    given = arguments()
    if given.one:
        print(json.dumps(one(given)))
        return
    os.environ.update(OFFLINE)
    with tempfile.TemporaryDirectory() as place:
        given.place = Path(place)
        began = os.getloadavg()[0]
        result: dict[str, Any] = child("make", given, 1)
        if given.only != "speed":
            result["curve"] = curve(given)
        if given.only != "curve":
            result["speed"] = speed(given)
    result |= machine(given, (began, os.getloadavg()[0]))
    print(json.dumps(result)) if given.json else show(result)


def arguments() -> argparse.Namespace:
    """The words of the command line; the hidden ones are for the children."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = os.environ.get("CHATWRIGHT_TEST_DATA")
    file = Path(default) / "preferences.json" if default else None
    parser.add_argument("data", nargs="?", type=Path, default=file, help="rows of instruction, input, chosen, rejected")
    parser.add_argument("--rounds", type=int, default=3, help="how often the speed of each way is measured")
    parser.add_argument("--steps", type=int, default=8, help="steps that are counted")
    parser.add_argument("--curve", type=int, default=30, help="steps of the curves")
    parser.add_argument("--curves", nargs="+", choices=CURVES, default=list(CURVES), help="whose losses are compared")
    parser.add_argument("--only", choices=("curve", "speed"), help="leave the other one out")
    parser.add_argument("--ways", nargs="+", choices=SPEEDS, default=list(SPEEDS), help="whose speed is measured")
    parser.add_argument("--batch", type=int, default=BATCH, help="pairs a step; 8 where they come 2 at a time")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="processor threads of each way")
    parser.add_argument("--quick", action="store_true", help="a tiny model and few steps: to see that it runs")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    for hidden in ("--one", "--out"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--place", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.data is None or not given.data.is_file():
        parser.error("give the file of rows, or set CHATWRIGHT_TEST_DATA to the folder of preferences.json")
    asked = (given.curves if given.only != "speed" else []) + (given.ways if given.only != "curve" else [])
    if given.batch != BATCH and not given.one and any(name.endswith("2x4") for name in asked):
        parser.error(f"--batch {given.batch}: what comes 4 times 2 is a batch of 8; name the other --curves and --ways")
    if given.quick and not given.one:
        given.rounds, given.steps, given.curve = 1, 3, 5
    return given


def one(given: argparse.Namespace) -> dict[str, Any]:
    """What a child was started for."""
    if given.one == "make":
        return make(given)
    kind, name = given.one.split("/")
    way = (CURVES if kind == "curve" else SPEEDS)[name]
    return (ours if way.is_ours else theirs)(given, way)


def child(name: str, given: argparse.Namespace, steps: int) -> dict[str, Any]:
    """One of them in a process of its own."""
    print(name, file=sys.stderr)
    words = [str(given.data), "--one", name, "--steps", str(steps), "--threads", str(given.threads)]
    words += ["--batch", str(given.batch), "--place", str(given.place)] + (["--quick"] if given.quick else [])
    environ = {**os.environ, "OMP_NUM_THREADS": str(given.threads)}
    with tempfile.TemporaryDirectory(dir=given.place) as out:
        command = [sys.executable, __file__, *words, "--out", str(Path(out) / "run")]
        ended = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise SystemExit(f"{name} ended with {ended.returncode}:\n{ended.stderr[-2000:]}")
    return dict(json.loads(ended.stdout.splitlines()[-1]))


def curve(given: argparse.Namespace) -> dict[str, Any]:
    """The losses of every run, and the largest relative difference of a step between some two of them."""
    losses = {name: child(f"curve/{name}", given, given.curve)["losses"] for name in CURVES if name in given.curves}
    apart = {}
    for name, other in AGAINST.items():
        if not {name, other} <= set(losses):
            continue
        each = [abs(a - b) / abs(b) for a, b in zip(losses[name], losses[other], strict=True)]
        most = max(each)
        apart[name] = {"against": other, "largest": most, "at_step": each.index(most) + 1, "same": most <= ALIKE}
    return {"losses": losses, "differences": apart, "steps": given.curve}


def speed(given: argparse.Namespace) -> dict[str, Any]:
    """Medians of each way, and ours over the others."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in SPEEDS if name in given.ways}
    for turn in range(given.rounds):
        print(f"round {turn + 1} of {given.rounds}", file=sys.stderr)
        for name in found:
            found[name].append(child(f"speed/{name}", given, given.steps + WARM))
    numbers = ("pairs_per_second", "in_steps", "peak_gb", "over_gb", "trained")
    table: dict[str, dict[str, Any]] = {
        name: {key: round(median(row[key] for row in rows), 3) for key in numbers}
        | {"rounds": [round(row["pairs_per_second"], 3) for row in rows]}
        for name, rows in found.items()
    }
    pairs = {name: row["pairs_per_second"] for name, row in table.items()}
    beside = {name: SPEEDS[name].beside for name in table}
    times = {name: round(pairs[one] / pairs[name], 2) for name, one in beside.items() if name != one in pairs}
    return {"ways": table, "chatwright_over": times, "steps": given.steps, "rounds": given.rounds}


def machine(given: argparse.Namespace, load: tuple[float, float]) -> dict[str, Any]:
    """On what it was measured."""
    from importlib.metadata import version

    from chatwright.evals.machine import machine as here

    versions = {name: version(name) for name in ("chatwright", "torch", "transformers", "peft", "trl")}
    told = {**here(), "threads": given.threads, "load": [round(one, 2) for one in load]}
    return {"machine": told, "versions": versions, "batch": given.batch, "quick": given.quick}


def show(result: Mapping[str, Any]) -> None:
    """The tables for a person."""
    told = result["machine"]
    print(", ".join(f"{name} {number}" for name, number in result["versions"].items()))
    print(
        f"{told['processor']}, {told['cores']} cores, {told['memory']}, {told['threads']} threads, load {told['load']}"
    )
    print(
        f"{result['pairs']:,} pairs, {result['batch']} a step; {result['left_out']} rows of equal answers are left out"
    )
    if "curve" in result:
        show_curve(result["curve"])
    if "speed" in result:
        show_speed(result["speed"])


def show_curve(result: Mapping[str, Any]) -> None:
    steps = [step for step in range(1, result["steps"] + 1) if step == 1 or step % 5 == 0]
    print(f"\n{'loss at step':<34}" + "".join(f"{step:>9}" for step in steps) + f"{'farthest apart':>18}")
    for name, losses in result["losses"].items():
        apart = result["differences"].get(name)
        numbers = "".join(f"{losses[step - 1]:9.5f}" for step in steps)
        print(f"{CURVES[name].label:<34}{numbers}" + (farthest(apart) if apart else ""))


def farthest(apart: Mapping[str, Any]) -> str:
    """Where two curves are farthest apart, in words."""
    kind = "the same" if apart["same"] else "ANOTHER"
    other = CURVES[apart["against"]].label
    return f"{apart['largest']:9.4%} at step {apart['at_step']} from {other}: {kind} curve"


def show_speed(result: Mapping[str, Any]) -> None:
    print(f"\n{'':<52}{'pairs/s':>9}{'in steps':>10}{'peak GB':>9}{'over imports':>14}{'ours is':>9}")
    for name, row in result["ways"].items():
        ratio = result["chatwright_over"].get(name)
        numbers = f"{row['pairs_per_second']:9.2f}{row['in_steps']:10.2f}{row['peak_gb']:9.2f}{row['over_gb']:14.2f}"
        print(f"{SPEEDS[name].label:<52}{numbers}" + (f"{ratio:8.2f}x" if ratio else ""))


if __name__ == "__main__":
    main()
