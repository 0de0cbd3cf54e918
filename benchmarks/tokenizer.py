"""Tokenizer speed on one core: encoding beside raw tiktoken and HF `tokenizers`, and BPE training beside HF's trainer.

    CHATWRIGHT_TEST_DATA=folder python benchmarks/tokenizer.py [--json]

Medians of CPU time (what else runs on the machine does not count), taken in turn; all ids and merges are compared too.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

ROUNDS = 7


def main() -> None:
    """Measures, checks that all ids and merges are equal, and prints a table or, with --json, one object."""
    one_core()
    folder = Path(os.environ["CHATWRIGHT_TEST_DATA"])
    play = (folder / "shakespeare.txt").read_text(encoding="utf-8")
    rows = json.loads((folder / "instructions.json").read_text(encoding="utf-8"))
    short = [f"{row['instruction']}\n\n{row['input']}\n\n{row['output']}" for row in rows]
    result = {
        "encode, one long text, MB/s": encoding(folder, [play]),
        f"encode, {len(short)} short texts, MB/s": encoding(folder, short),
        "train 4,096 ids, seconds": training(play),
    }
    if "--json" in sys.argv[1:]:
        print(json.dumps(result))
        return
    for title, table in result.items():
        print(title)
        for name, figure in table.items():
            print(f"  {name:<28} {figure:8.2f}")


def one_core() -> None:
    """Keeps this process, and the thread pools that it starts later, on a single core."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    if "sched_setaffinity" in dir(os):  # Linux
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def encoding(folder: Path, texts: list[str]) -> dict[str, float]:
    """MB/s (10^6 bytes) with GPT-2's vocabulary, by name of the encoder."""
    import tiktoken
    from tokenizers import Tokenizer as HFTokenizer

    from chatwright.text.bpe import GPT2_PATTERN
    from chatwright.text.tokenizer import Tokenizer

    ours = Tokenizer.from_gpt2_files(folder / "gpt2-encoder.json", folder / "gpt2-vocab.bpe")
    ordinary = [number for number in range(ours.vocab_size) if number not in ours.special_tokens.values()]
    ranks = {ours._pieces[number]: number for number in ordinary}
    raw = tiktoken.Encoding("gpt2", pat_str=GPT2_PATTERN, mergeable_ranks=ranks, special_tokens={})
    hf = HFTokenizer.from_buffer(ours.file)
    ways: dict[str, Callable[[], list[list[int]]]] = {
        "chatwright": lambda: ours.encode_batch(texts),
        "tiktoken": lambda: [raw.encode_ordinary(text) for text in texts],
        "tokenizers, one by one": lambda: [hf.encode(text, add_special_tokens=False).ids for text in texts],
        "tokenizers, batch": lambda: [row.ids for row in hf.encode_batch_fast(texts, add_special_tokens=False)],
    }
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    return {name: round(megabytes / seconds, 2) for name, seconds in in_turn(ways, ROUNDS).items()}


def training(text: str) -> dict[str, float]:
    """Seconds to learn 4,096 ids from the text, ours and HF's, with the same merges."""
    from tokenizers import Tokenizer as HFTokenizer
    from tokenizers import models, pre_tokenizers, trainers

    from chatwright.text import bpe

    def ours() -> list[str]:
        return [f"{bpe.to_symbols(a)} {bpe.to_symbols(b)}" for a, b in bpe.train([text], 4096).merges]

    def theirs() -> list[str]:
        tokenizer = HFTokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=4096, min_frequency=2, show_progress=False, initial_alphabet=alphabet)
        tokenizer.train_from_iterator([text], trainer)
        return [" ".join(merge) for merge in json.loads(tokenizer.to_str())["model"]["merges"]]

    seconds = in_turn({"chatwright": ours, "tokenizers": theirs}, 5)
    return {name: round(value, 3) for name, value in seconds.items()}


def in_turn(ways: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """The median CPU seconds of each way, after a first round whose results have to be equal."""
    first = {name: way() for name, way in ways.items()}
    reference = next(iter(first))
    for name, found in first.items():
        if found != first[reference]:
            raise SystemExit(f"{name} and {reference} differ; the figures would mean nothing")
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.process_time()
            way()
            taken[name].append(time.process_time() - start)
    return {name: median(seconds) for name, seconds in taken.items()}


if __name__ == "__main__":
    main()
