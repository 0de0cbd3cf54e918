"""What the engine's features give and cost, on a random GPT-2 124M: each against the same engine without it, in turns.

    python benchmarks/engine.py [--load-in bf16|8bit|4bit] [--family llama] [--rounds 3] [--only prefixes,chunks] [--json]

prefixes       time to the first token of a chat's next turn, with what was read before kept, and without
chunks         the longest wait of a running stream while a prompt of 900 tokens is read, in chunks and whole
batch          tokens/s of 1, 8 and 32 sequences
blocks         tokens/s of one sequence with each block computed whole by a kernel, and layer by layer
deterministic  tokens/s of 8 sequences, each computed alone, against together
speculation    tokens/s of one sequence that repeats its prompt, with guesses and without; and of one that does not

Other families have the shapes of SmolLM 135M (llama), a Qwen3 of 16 layers, and Pythia 160M (gpt_neox).
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, get_args

import torch

from chatwright import registry
from chatwright.checkpoint import Checkpoint, LoadIn
from chatwright.evals.machine import machine
from chatwright.generate.capacity import Capacity
from chatwright.generate.engine import Engine
from chatwright.generate.sampling import Sampling
from chatwright.models.gpt2 import SIZES
from chatwright.models.inference import prepare
from chatwright.text import template
from chatwright.text.tokenizer import Tokenizer

CHUNK = 256
Row = dict[str, Any]
SHAPES: dict[str, dict[str, Any]] = {
    "gpt2": SIZES["gpt2"],
    "llama": {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
              "num_key_value_heads": 3, "max_position_embeddings": 2048, "tie_word_embeddings": True},
    "qwen3": {"hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 16, "num_attention_heads": 8, "head_dim": 128,
              "num_key_value_heads": 4, "max_position_embeddings": 2048, "tie_word_embeddings": True},
    "gpt_neox": {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
                 "max_position_embeddings": 2048},
}  # fmt: skip


def main() -> None:
    """Prints a table or, with --json, one object."""
    given = arguments()
    with TemporaryDirectory() as folder:
        checkpoint = random_model(Path(folder), given.family, given.load_in)
    rows = [row for name in given.only for row in FEATURES[name](checkpoint, given.rounds)]
    if given.json:
        print(
            json.dumps({"machine": machine(), "family": given.family, "load_in": given.load_in or "fp32", "rows": rows})
        )
        return
    for row in rows:
        print(f"{row['what']:<62}{row['with']:>10.1f}{row['without']:>10.1f} {row['unit']:<9}{row['ratio']:>6.2f}×")
    told = ", ".join(f"{name} {value}" for name, value in machine().items())
    print(f"{told} · {given.family} · {given.load_in or 'fp32'}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--load-in", choices=get_args(LoadIn), help="precision of the weights (default: fp32)")
    parser.add_argument("--family", choices=SHAPES, default="gpt2")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help=f"some of {','.join(FEATURES)}")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args()
    given.only = [name.strip() for name in given.only.split(",") if name.strip()] or list(FEATURES)
    unknown = [name for name in given.only if name not in FEATURES]
    if unknown:
        parser.error(f"--only names {unknown[0]!r}; there are {', '.join(FEATURES)}")
    return given


def random_model(folder: Path, family: str, load_in: LoadIn | None) -> Checkpoint:
    """From a seed, with a small tokenizer: what it says does not matter."""
    torch.manual_seed(0)
    model = registry.load("models", family).MODEL.build({"vocab_size": 50257, **SHAPES[family]})
    tokenizer = Tokenizer.train(["a b c d"], 260, ("<|endoftext|>", "<|im_start|>", "<|im_end|>"))
    Checkpoint(model, tokenizer, template.load("chatml")).save(folder)
    checkpoint = Checkpoint.load(folder, quiet=True, load_in=load_in)
    prepare(checkpoint.model.eval())
    return checkpoint


def engine(checkpoint: Checkpoint, **capacity: Any) -> Engine:
    """One that stops at nothing, so that every answer has as many tokens as it may."""
    return Engine(checkpoint.model, checkpoint.tokenizer, (), Capacity(**capacity))


def ids(count: int, seed: int = 0) -> list[int]:
    return torch.randint(256, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


def compared(what: str, ways: tuple[Callable[[], float], Callable[[], float]], unit: str, rounds: int) -> Row:
    """Medians of both ways, taken in turns. `ratio` is above 1 where the feature is the better way."""
    found: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for way, values in zip(ways, found, strict=True):
            values.append(way())
    with_it, without = median(found[0]), median(found[1])
    better = with_it / without if unit == "tokens/s" else without / with_it
    return {
        "what": what,
        "with": round(with_it, 1),
        "without": round(without, 1),
        "unit": unit,
        "ratio": round(better, 2),
    }


def seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def speed(running: Engine, prompts: list[list[int]], tokens: int) -> float:
    """Tokens written in a second, once all prompts are read."""
    for prompt in prompts:
        running.add(prompt, Sampling(max_tokens=tokens))
    while running.running < len(prompts) or running._reading:
        running.step()
    written = len(prompts) * (tokens - 1)  # each has its first

    def rest() -> None:
        while running.busy:
            running.step()

    return written / seconds(rest)


def prefixes(checkpoint: Checkpoint, rounds: int) -> list[Row]:
    rows = []
    for turns in (200, 600):
        talk, kept = ids(turns), engine(checkpoint, prefix_tokens=4096)
        kept.generate([talk], Sampling(max_tokens=4))
        counter = iter(range(10**6))

        def first(one: Engine, talk: list[int] = talk, counter: Any = counter) -> float:
            prompt = [*talk, *ids(24, seed=next(counter))]
            return 1000 * seconds(lambda: one.generate([prompt], Sampling(max_tokens=1)))

        fresh = engine(checkpoint)
        ways = (lambda kept=kept, first=first: first(kept), lambda fresh=fresh, first=first: first(fresh))
        rows.append(compared(f"first token of the next turn, {turns} tokens kept + 24", ways, "ms", rounds))
    return rows


def chunks(checkpoint: Checkpoint, rounds: int) -> list[Row]:
    def longest(chunk: int) -> float:
        running = engine(checkpoint, chunk=chunk)
        stream = running.add(ids(16), Sampling(max_tokens=60))
        for _ in range(5):
            running.step()
        running.add(ids(900), Sampling(max_tokens=2))
        gaps = [seconds(running.step) for _ in range(8)]
        running.cancel(stream)
        return 1000 * max(gaps)

    ways = (lambda: longest(CHUNK), lambda: longest(8192))
    return [compared("a stream's longest wait beside a prompt of 900 tokens", ways, "ms", rounds)]


def batch(checkpoint: Checkpoint, rounds: int) -> list[Row]:
    rows = []
    for count in (8, 32):
        prompts = [ids(64, seed=n) for n in range(count)]
        ways = (
            lambda prompts=prompts: speed(engine(checkpoint), prompts, 48),
            lambda prompts=prompts: speed(engine(checkpoint), prompts[:1], 48),
        )
        rows.append(compared(f"{count} sequences against one", ways, "tokens/s", rounds))
    return rows


def blocks(checkpoint: Checkpoint, rounds: int) -> list[Row]:
    prompts, made = [ids(64)], list(checkpoint.model.blocks)
    speed(engine(checkpoint), prompts, 4)  # now each knows what it is made of
    known = [block.known for block in made]
    if None in known:
        return []  # without a C compiler there is nothing to compare

    def rate(whole: bool) -> float:
        for block, its in zip(made, known, strict=True):
            block.known = its if whole else replace(its, block=None)
        return speed(engine(checkpoint), prompts, 64)

    row = compared("blocks computed whole", (lambda: rate(True), lambda: rate(False)), "tokens/s", rounds)
    rate(True)
    return [row]


def deterministic(checkpoint: Checkpoint, rounds: int) -> list[Row]:
    prompts = [ids(64, seed=n) for n in range(8)]
    ways = (
        lambda: speed(engine(checkpoint, deterministic=True, chunk=CHUNK), prompts, 48),
        lambda: speed(engine(checkpoint), prompts, 48),
    )
    return [compared("8 sequences, --deterministic against together", ways, "tokens/s", rounds)]


def speculation(checkpoint: Checkpoint, rounds: int) -> list[Row]:
    """Greedily, a random model repeats itself soon; drawn from, it never does."""
    rows = []
    for what, way in (
        ("repeats itself", Sampling(max_tokens=128)),
        ("does not", Sampling(max_tokens=128, temperature=1.0)),
    ):

        def rate(guesses: int, way: Sampling = way) -> float:
            running = engine(checkpoint, speculate=guesses)
            running.add(ids(64), replace(way, seed=1))
            running.step()

            def rest() -> None:
                while running.busy:
                    running.step()

            return 127 / seconds(rest)

        ways = (lambda rate=rate: rate(8), lambda rate=rate: rate(0))
        rows.append(compared(f"one sequence that {what}, --speculate 8", ways, "tokens/s", rounds))
    return rows


FEATURES: dict[str, Callable[[Checkpoint, int], list[Row]]] = {
    "prefixes": prefixes,
    "chunks": chunks,
    "batch": batch,
    "blocks": blocks,
    "deterministic": deterministic,
    "speculation": speculation,
}


if __name__ == "__main__":
    main()
