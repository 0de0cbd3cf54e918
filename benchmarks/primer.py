"""The quickstart, timed and graded: one run a seed, each in a process and a folder of its own, and their medians.

    python benchmarks/primer.py [--seeds 3] [--seconds N] [--max-problems N] [--keep DIR] [--json]

One clock: the seconds of each stage are those that `chatwright quickstart` reports, and "process" is the wall time of
the whole process, imports included. Peak memory is that of the process. Nothing else should run on the machine: the
load before each run is printed with it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

RATES = ("stop_rate", "loop_rate", "leak_rate")


def main() -> None:
    """Runs every seed, then prints a table with the median or, with --json, one object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0 to N-1")
    parser.add_argument(
        "--seconds", type=float, help="what --seconds of quickstart is given; without it, its own steps"
    )
    parser.add_argument("--max-problems", type=int, help="grade so many of each set: to see that it runs")
    parser.add_argument("--keep", type=Path, help="folder to keep the runs in; without it they are deleted")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args()
    extra = {"--seconds": given.seconds, "--max-problems": given.max_problems}
    words = [word for name, value in extra.items() if value is not None for word in (name, str(value))]
    with tempfile.TemporaryDirectory() as place:
        folder = given.keep or Path(place)
        runs = [measured(seed, folder / f"seed-{seed}", words) for seed in range(given.seeds)]
    result = {"runs": runs, "median": medians([run["figures"] for run in runs])}
    print(json.dumps(result)) if given.json else show(result)


def measured(seed: int, out: Path, extra: list[str]) -> dict[str, Any]:
    """One quickstart: its figures by name, the sizes of the graded sets, and the answers."""
    if out.exists():
        raise SystemExit(f"{out} is there already; a run that goes on with another would not be timed whole")
    print(f"seed {seed} …", file=sys.stderr)
    words = [sys.executable, "-m", "chatwright", "quickstart", "--out", str(out), "--seed", str(seed), "--json"]
    words += ["--proofs", "warn", *extra]
    load, began = os.getloadavg()[0], time.perf_counter()
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        text = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)  # of this child alone; getrusage would give the largest of all
        process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - began
    if process.returncode:
        raise SystemExit(f"seed {seed} ended with exit code {process.returncode}")
    reached = json.loads(text)
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9
    scores = {
        f"{stage} {name}": one for stage in ("before", "after") for name, one in reached[stage]["accuracy"].items()
    }
    figures = {f"{name} s": value for name, value in reached["seconds"].items()} | {"process s": round(wall, 1)}
    figures |= {"peak GB": round(peak, 3)} | {name: one["accuracy"] for name, one in scores.items()}
    figures |= {f"after {name}": reached["after"][name] for name in RATES}
    return {
        "seed": seed,
        "load": round(load, 2),
        "steps": reached["steps"],
        "figures": figures,
        "n": {name: one["n"] for name, one in scores.items()},
        "intervals": {name: [one["low"], one["high"]] for name, one in scores.items()},
        "answers": reached["answers"],
        "proofs": reached["proofs"],
    }


def medians(rows: list[Mapping[str, float]]) -> dict[str, float]:
    """The median of every figure over the seeds."""
    return {name: round(median(row[name] for row in rows), 4) for name in rows[0]}


def show(result: Mapping[str, Any]) -> None:
    """A column a seed and one for the median; accuracies and rates in percent; then what each seed answered."""
    runs, middle = result["runs"], result["median"]
    print(f"{'':<36}{'n':>6}" + "".join(f"{'seed ' + str(run['seed']):>10}" for run in runs) + f"{'median':>10}")
    for name in middle:
        plain = name.endswith((" s", " GB"))
        cells = [*(run["figures"][name] for run in runs), middle[name]]
        texts = [f"{cell:.2f}" if plain else f"{cell:.1%}" for cell in cells]
        print(f"{name:<36}{runs[0]['n'].get(name, ''):>6}" + "".join(f"{text:>10}" for text in texts))
    for run in runs:
        red = [name for name, state in run["proofs"].items() if state == "red"]
        print(f"\nseed {run['seed']}: load {run['load']}, steps {run['steps']}, red proofs: {', '.join(red) or 'none'}")
        for question, answer in run["answers"].items():
            print(f"> {question}\n  {answer.strip().replace(chr(10), chr(10) + '  ')}")


if __name__ == "__main__":
    main()
