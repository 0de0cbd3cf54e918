"""Why attention widens bf16 to fp32 while training on a processor: the time of PyTorch's own kernel in both precisions.

    python benchmarks/attention.py [--threads N] [--json]

Forward and backward of `scaled_dot_product_attention` under a boolean mask, as packed rows have it, for (rows, heads,
tokens, channels of a head). "widened" is what chatwright/models/attention.py does: cast to fp32, attend, cast back.
Medians, taken in turn; with one thread of CPU time, so that what else runs on the machine counts little.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor

SHAPES = ((16, 6, 128, 32), (8, 6, 256, 32), (4, 12, 256, 64))
ROUNDS = 30


def main() -> None:
    """Prints a table or, with --json, one object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="processor threads (default: 1)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    clock = time.process_time if given.threads == 1 else time.perf_counter
    rows = [measured(shape, clock) for shape in SHAPES]
    result = {"torch": torch.__version__, "threads": given.threads, "load": round(os.getloadavg()[0], 2), "rows": rows}
    if given.json:
        print(json.dumps(result))
        return
    print(f"torch {result['torch']}, {result['threads']} threads, load {result['load']}; milliseconds")
    print(f"{'shape':<18}{'fp32':>8}{'bf16':>8}{'widened':>9}{'bf16/fp32':>11}{'bf16/widened':>14}")
    for row in rows:
        figures = f"{row['fp32']:8.2f}{row['bf16']:8.2f}{row['widened']:9.2f}"
        print(f"{row['shape']!s:<18}{figures}{row['bf16/fp32']:11.2f}{row['bf16/widened']:14.2f}")


def measured(shape: tuple[int, int, int, int], clock: Callable[[], float]) -> dict[str, object]:
    """Milliseconds of each way, and the two ratios."""
    rows, _, length, _ = shape
    mask = torch.ones(length, length, dtype=torch.bool).tril().expand(rows, 1, length, length)
    wide, narrow = inputs(shape, torch.float32), inputs(shape, torch.bfloat16)
    ways: dict[str, Callable[[], Tensor]] = {
        "fp32": lambda: attend(wide, mask),
        "bf16": lambda: attend(narrow, mask),
        "widened": lambda: attend([one.float() for one in narrow], mask).to(torch.bfloat16),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(ROUNDS + 3):
        for name, way in ways.items():
            start = clock()
            way().sum().backward()  # type: ignore[no-untyped-call]
            if turn >= 3:  # the first ones warm up
                taken[name].append(clock() - start)
    found = {name: round(median(seconds) * 1e3, 3) for name, seconds in taken.items()}
    ratios = {f"bf16/{name}": round(found["bf16"] / found[name], 2) for name in ("fp32", "widened")}
    return {"shape": list(shape), **found, **ratios}


def inputs(shape: tuple[int, ...], dtype: torch.dtype) -> list[Tensor]:
    """Query, key and value."""
    torch.manual_seed(0)
    return [torch.randn(shape).to(dtype).requires_grad_() for _ in range(3)]


def attend(inputs: list[Tensor], mask: Tensor) -> Tensor:
    query, key, value = inputs
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)


if __name__ == "__main__":
    main()
