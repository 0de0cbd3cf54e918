"""How fast answers come: our engine beside transformers, llama.cpp and CTranslate2, on one random GPT-2 124M, in one run.

    python benchmarks/generate.py [--peers PYTHON] [--rounds 5] [--only NAME,NAME] [--quick] [--json]

Each way has a process of its own, which the others wait for: a round asks all of them in turn, so that what else runs on
the machine hits all alike. Greedy; tokens a second over 64 tokens of prompt and 128 new ones, for 1 and 8 sequences; milliseconds
to the first token after 64 and 900; the largest memory a process held. Medians over the rounds, and their ratio to the
peer with the same bits. "without kernels" is what a user without a C compiler has.

The peers: pip install "chatwright[dev,referees]"; llama-cpp-python is built from source, in five minutes, with
CMAKE_ARGS="-DGGML_NATIVE=ON". --peers names the Python of another environment that has them (gguf, safetensors too).
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from _generate import WAYS, serve

PLAIN = " without kernels"  # of ours, in PyTorch alone
NAMES = [name for way in WAYS for name in ((way, way + PLAIN) if way.startswith("ours") else (way,))]
PEERS = {"ours fp32": "llama.cpp f32", "ours bf16": "llama.cpp bf16", "ours int8": "llama.cpp q8_0",
         "ours int4": "llama.cpp q4_0"}  # fmt: skip
CASES = {  # sequences, tokens of a prompt, new tokens
    "batch 1 tok/s": (1, 64, 128),
    "batch 8 tok/s": (8, 64, 128),
    "first ms at 64": (1, 64, 1),
    "first ms at 900": (1, 900, 1),
}
WORDS = 256  # ids from 0 on that prompts are made of


class Worker:
    """A way in its own process."""

    def __init__(self, name: str, folder: Path, given: argparse.Namespace) -> None:
        way, kernels = name.removesuffix(PLAIN), "off" if name.endswith(PLAIN) else "on"
        foreign = way.startswith(("llama", "ctranslate2"))
        python = given.peers if foreign else sys.executable
        command = [python, __file__, "--serve", way, "--folder", str(folder), "--threads", str(given.threads)]
        environment = {**os.environ, "CHATWRIGHT_KERNELS": kernels, "OMP_NUM_THREADS": str(given.threads)}
        self.log = (folder / f"{name}.log").open("w+")
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True, env=environment
        )

    def ask(self, prompts: list[list[int]], new: int) -> dict[str, float] | None:
        """Seconds and bytes; None when the process has ended."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps({"prompts": prompts, "new": new}) + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        return json.loads(answer) if answer else None

    def close(self) -> str:
        """The last line of what it had to say."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(30)
        self.log.seek(0)
        return (self.log.read().strip().splitlines() or [""])[-1]


def main() -> None:
    """Prints a table or, with --json, one object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", default=sys.executable, help="the Python that has llama_cpp and ctranslate2")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--only", default="", help=f"some of: {', '.join(NAMES)}")
    parser.add_argument("--quick", action="store_true", help="2 rounds, 16 new tokens")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(given.serve, given.folder, given.threads)
        return
    names = [name.strip() for name in given.only.split(",") if name.strip()] or NAMES
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        parser.error(f"--only names {unknown[0]!r}; there are {', '.join(NAMES)}")
    with tempfile.TemporaryDirectory() as folder:
        save_model(Path(folder))
        rows, failed = measured(names, Path(folder), given)
    result = {"threads": given.threads, "load": round(os.getloadavg()[0], 2), "rows": rows, "failed": failed}
    print(json.dumps(result)) if given.json else show(result)


def save_model(folder: Path) -> None:
    """A GPT-2 124M with random weights, as everybody reads it."""
    import torch

    from chatwright.checkpoint import Checkpoint
    from chatwright.models.gpt2 import GPT2, GPT2Config
    from chatwright.text import template
    from chatwright.text.tokenizer import Tokenizer

    torch.manual_seed(0)
    tokenizer = Tokenizer.train(["to be or not to be"] * 4, WORDS + 1)
    Checkpoint(GPT2(GPT2Config()), tokenizer, template.load("plain"), own_template=False).save(folder / "model")
    for file in (folder / "model").iterdir():
        file.rename(folder / file.name)


def measured(names: list[str], folder: Path, given: argparse.Namespace) -> tuple[dict[str, Any], dict[str, str]]:
    """Way -> case -> figure; and what those said that failed."""
    rounds, workers = 2 if given.quick else given.rounds, {}
    found: dict[str, dict[str, list[float]]] = {name: {case: [] for case in CASES} for name in names}
    peaks: dict[str, float] = {}
    failed: dict[str, str] = {}
    for name in names:  # one after the other: each loads and warms up alone
        workers[name] = Worker(name, folder, given)
        workers[name].ask(prompts(1, 64, -1), 4)
    for turn in range(rounds):
        for case, (count, length, new) in CASES.items():
            asked = prompts(count, length, turn)
            for name, worker in workers.items():
                if name in failed:
                    continue
                if turn == 0:
                    worker.ask(asked, 2)  # memory for this many
                answer = worker.ask(asked, min(new, 16) if given.quick else new)
                if answer is None:
                    failed[name] = worker.close()
                else:
                    found[name][case].append(answer["seconds"])
                    peaks[name] = answer["peak"]
    for name, worker in workers.items():
        if name not in failed:
            worker.close()
    rows = {name: figures(found[name], peaks[name], given.quick) for name in names if name not in failed}
    for name, row in rows.items():
        peer = rows.get(PEERS.get(name.removesuffix(PLAIN), ""))
        row["ratios"] = {} if peer is None else {case: ratio(case, row, peer) for case in CASES}
    return rows, failed


def prompts(count: int, length: int, seed: int) -> list[list[int]]:
    drawn = random.Random(f"{count} {length} {seed}")
    return [[drawn.randrange(WORDS) for _ in range(length)] for _ in range(count)]


def figures(taken: dict[str, list[float]], peak: float, quick: bool) -> dict[str, Any]:
    """Medians in the units that the cases' names say."""
    row: dict[str, Any] = {}
    for case, (count, _, new) in CASES.items():
        seconds = median(taken[case])
        row[case] = (
            round(1e3 * seconds, 1) if new == 1 else round(count * (min(new, 16) if quick else new) / seconds, 1)
        )
    return {**row, "peak MB": round(peak / 1e6)}


def ratio(case: str, row: dict[str, Any], peer: dict[str, Any]) -> float:
    """How many times as fast."""
    ours, theirs = row[case], peer[case]
    return round(theirs / ours if case.startswith("first") else ours / theirs, 2)


def show(result: dict[str, Any]) -> None:
    """One line for each way; ratios to the peer in brackets."""
    print(
        f"{result['threads']} threads, load {result['load']}; in brackets: times as fast as llama.cpp with the same bits"
    )
    print(f"{'':<28}" + "".join(f"{case:>20}" for case in (*CASES, "peak MB")))
    for name, row in result["rows"].items():
        cells = [f"{row[case]}" + (f" ({row['ratios'][case]:.2f})" if row["ratios"] else "") for case in CASES]
        print(f"{name:<28}" + "".join(f"{cell:>20}" for cell in (*cells, row["peak MB"])))
    for name, said in result["failed"].items():
        print(f"{name:<28} failed: {said}")


if __name__ == "__main__":
    main()
