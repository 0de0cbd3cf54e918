"""What 4 and 8 bits cost in time: to make a matrix dense, and a layer's product, beside an ordinary linear layer's.

    python benchmarks/quant.py [--threads N] [--json]

For matrices of a block of gpt2 and gpt2-xl, (out, in), in fp32 and bf16: milliseconds to make them dense, with GB/s of the
dense numbers written, and milliseconds of a product with 1, 64 and 1024 rows. "step" is forward and backward for
the gradient of x with 1024 rows, as in training an adapter. Medians, taken in turn; with one thread of CPU time, so
that what else runs on the machine counts little.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor, nn

from chatwright.models.quant import Linear4bit, Linear8bit, Quantised

SHAPES = {
    "gpt2": ((768, 768), (3072, 768), (768, 3072)),
    "gpt2-xl": ((1600, 1600), (6400, 1600), (1600, 6400)),
}
ROWS = (1, 64, 1024)
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
WAYS = ("dense", "4bit", "8bit")


def main() -> None:
    """Prints a table or, with --json, one object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="processor threads (default: 1)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    clock = time.process_time if given.threads == 1 else time.perf_counter
    rows = [
        {"model": model, "shape": shape, "precision": precision, **measured(shape, dtype, clock)}
        for model, shapes in SHAPES.items()
        for shape in shapes
        for precision, dtype in PRECISIONS.items()
    ]
    result = {"torch": torch.__version__, "threads": given.threads, "load": round(os.getloadavg()[0], 2), "rows": rows}
    print(json.dumps(result)) if given.json else show(result)


def measured(shape: tuple[int, int], dtype: torch.dtype, clock: Callable[[], float]) -> dict[str, dict[str, float]]:
    """What is done -> how -> milliseconds; and GB/s of making the matrix dense."""
    torch.manual_seed(0)
    linear = nn.Linear(shape[1], shape[0]).requires_grad_(False)
    four, eight = Linear4bit.from_linear(linear), Linear8bit.from_linear(linear)
    layers: dict[str, nn.Linear | Quantised] = {"dense": linear.to(dtype), "4bit": four, "8bit": eight}
    found = {
        "make dense": timed({"4bit": lambda: four.dequantise(dtype), "8bit": lambda: eight.dequantise(dtype)}, clock)
    }
    size = shape[0] * shape[1] * dtype.itemsize
    found["GB/s"] = {way: round(size / taken / 1e6, 1) for way, taken in found["make dense"].items()}
    for count in ROWS:
        x = torch.randn(count, shape[1], dtype=dtype)
        found[f"{count} rows"] = timed({way: product(layer, x) for way, layer in layers.items()}, clock)
    x = torch.randn(max(ROWS), shape[1], dtype=dtype, requires_grad=True)
    found["step"] = timed({way: step(layer, x) for way, layer in layers.items()}, clock)
    return found


def product(layer: nn.Module, x: Tensor) -> Callable[[], object]:
    return torch.no_grad()(lambda: layer(x))


def step(layer: nn.Linear | Quantised, x: Tensor) -> Callable[[], object]:
    return lambda: layer(x).backward(torch.ones(len(x), layer.out_features, dtype=x.dtype))


def timed(ways: dict[str, Callable[[], object]], clock: Callable[[], float]) -> dict[str, float]:
    """The median of each way's milliseconds: more turns where they are short."""
    taken: dict[str, list[float]] = {way: [] for way in ways}
    turns, began = 0, time.perf_counter()
    while turns < 4 or (turns < 20 and time.perf_counter() - began < 0.2):
        for way, act in ways.items():
            start = clock()
            act()
            if turns:  # the first one warms up
                taken[way].append(clock() - start)
        turns += 1
    return {way: round(median(seconds) * 1e3, 3) for way, seconds in taken.items()}


def show(result: dict[str, object]) -> None:
    """One line for each matrix, precision and way."""
    print(f"torch {result['torch']}, {result['threads']} threads, load {result['load']}; milliseconds")
    columns = ("make dense", "GB/s", *(f"{count} rows" for count in ROWS), "step")
    print(f"{'model':<9}{'shape':<14}{'':<6}{'':<6}" + "".join(f"{column:>12}" for column in columns))
    for row in result["rows"]:  # type: ignore[attr-defined]
        for way in WAYS:
            cells = "".join(f"{row[column].get(way, ''):>12}" for column in columns)
            print(f"{row['model']:<9}{row['shape']!s:<14}{row['precision']:<6}{way:<6}{cells}")


if __name__ == "__main__":
    main()
