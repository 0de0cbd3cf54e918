"""Conversations to ids and masks: `prepare` beside `datasets.map` with `transformers`, two processes each.

    python benchmarks/prepare.py [--sizes 10000 50000 200000] [--rounds 1] [--json]

The dialogues are made here to the length statistics of UltraChat, which are printed with what was reached. Each way runs
in a process of its own on a cold cache: its time is from opening the file to having everything on disk, its memory the
most that its processes hold together over the start. Then the ids and masks of every row are compared: ours end with a
whole turn within the window, theirs are cut there. Needs the extra `dev`, and GPT-2's vocabulary in CHATWRIGHT_TEST_DATA.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import accumulate
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

WINDOW = 1024
PROCESSES = 2
SPECIAL = ("<|im_start|>", "<|im_end|>")
EXCHANGES = (1, 1, 2, 2, 2, 3, 3, 3, 3, 4, 5, 7)  # of a dialogue, one of these
WORDS = {"first question": (30, 90), "later question": (10, 40), "reply": (130, 320)}  # fewest and most
INVENTED = 30_000  # words beside those of the primer, each as frequent as Zipf has a rare word


def main() -> None:
    """Measures every size, and prints a table or, with --json, one object."""
    given = arguments()
    if given.run:
        way, *places = given.run
        print(json.dumps(WAYS[way](*map(Path, places))))
        return
    from chatwright.evals.machine import machine

    found = []
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = make_tokenizer(Path(folder) / "tokenizer", given.vocabulary)
        for count in given.sizes:
            found.append(measured(Path(folder), tokenizer, count, given.rounds))
            if not given.json:
                show(found[-1])
    if given.json:
        print(json.dumps({"machine": machine(), "window": WINDOW, "processes": PROCESSES, "sizes": found}))
        return
    print(", ".join(f"{name} {value}" for name, value in machine().items()))


def arguments() -> argparse.Namespace:
    """The words of the command line; --run is for the children."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = os.environ.get("CHATWRIGHT_TEST_DATA")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 50_000, 200_000], help="dialogues")
    parser.add_argument("--rounds", type=int, default=1, help="how often each way is measured, in turn; medians")
    parser.add_argument(
        "--vocabulary",
        type=Path,
        default=Path(default) if default else None,
        help="folder with gpt2-encoder.json and gpt2-vocab.bpe; one is learned where there is none",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--run", nargs=4, help=argparse.SUPPRESS)
    return parser.parse_args()


# ---- the dialogues


def write(path: Path, count: int) -> dict[str, float]:
    """So many dialogues as JSONL, the same in every run, and what they are like."""
    rng = random.Random(1)
    pool = words(1_000_000)  # sliced, because drawing each word would take longer than reading it
    sizes: dict[str, list[int]] = {name: [] for name in WORDS}

    def text(kind: str) -> str:
        size = rng.randint(*WORDS[kind])
        sizes[kind].append(size)
        start = rng.randrange(len(pool) - size)
        return " ".join(pool[start : start + size])

    turns = 0
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            messages = []
            for turn in range(rng.choice(EXCHANGES)):
                messages.append({"role": "user", "content": text("later question" if turn else "first question")})
                messages.append({"role": "assistant", "content": text("reply")})
            turns += len(messages) // 2
            row = {"prompt": messages[0]["content"], "prompt_id": f"{number:08x}", "messages": messages}
            file.write(json.dumps(row) + "\n")
    means = {f"words in a {name}": sum(some) / max(1, len(some)) for name, some in sizes.items()}
    return {"MB": path.stat().st_size / 1e6, "exchanges": turns / count, **means}


def words(count: int) -> list[str]:
    """Running text: the primer's words as often as they are there, rarer invented ones among them, in sentences."""
    from chatwright import registry

    records = registry.load("tasks", "primer").records("documents", 0)
    known = Counter(word.strip(".,:;?!\"'()").lower() for record in records for word in record.text.split())
    rng = random.Random(0)
    syllables = [a + b for a in ("b", "c", "d", "f", "l", "m", "n", "p", "r", "s", "st", "t", "th") for b in "aeiou"]
    invented = (
        "".join(rng.choices(syllables, k=rng.randint(2, 3))) + rng.choice(("", "n", "s", "ing", "ed"))
        for _ in iter(int, 1)
    )
    share = sum(known.values()) / 8  # of the text that is invented, so that GPT-2 needs some 1.4 tokens a word
    for rank, word in zip(range(INVENTED), invented, strict=False):
        known[word] += share / (rank + 50) / 6.4  # the sum of 1 / (rank + 50) up to 30,000
    drawn = rng.choices(list(known), cum_weights=list(accumulate(known.values())), k=count)
    at = 0
    while at < count:
        length = rng.randint(6, 24)
        drawn[at] = drawn[at].capitalize()
        last = min(at + length, count) - 1
        drawn[last] += rng.choice((".", ".", ".", ".", "?", ".\n\n"))
        if length > 14:
            drawn[at + length // 2 if at + length // 2 < count else last] += ","
        at += length
    return drawn


def make_tokenizer(folder: Path, files: Path | None) -> Path:
    """A folder with our template and GPT-2's vocabulary, or one that is learned here."""
    from chatwright.text import template
    from chatwright.text.tokenizer import Tokenizer

    if files is None:
        tokenizer = Tokenizer.train([" ".join(words(200_000))], 8_000)
    else:
        tokenizer = Tokenizer.from_gpt2_files(files / "gpt2-encoder.json", files / "gpt2-vocab.bpe")
    tokenizer = tokenizer.with_special(SPECIAL)
    tokenizer.save(folder)
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>", "model_max_length": 10**9}
    settings["chat_template"] = template.load("chatml").to_jinja(tokenizer)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


# ---- the two ways, each in a process of its own


def ours(path: Path, tokenizer_folder: Path, place: Path) -> dict[str, Any]:
    """`prepare`, as `sft` calls it."""
    from chatwright.data import source
    from chatwright.data.prepare import prepare
    from chatwright.data.split import SplitRule
    from chatwright.data.tokenise import How, TextKey
    from chatwright.text import template
    from chatwright.text.tokenizer import Tokenizer

    key = TextKey.of(Tokenizer.load(tokenizer_folder), template.load("chatml"))
    how = How(key, "conversations", WINDOW, SplitRule((1.0, 0.0, 0.0)))
    watch = Watch()
    found = prepare(source.open(str(path), "conversations"), how, root=place, workers=PROCESSES)
    figures = watch.stop()
    examples, account = found.examples["train"], found.report.account
    assert account.used == account.read == len(examples), (
        "every row is one example, so that their numbers are the rows'"
    )
    (tokens,) = examples.tokens
    keep(place, tokens.ids, tokens.mask, examples.ends)
    return {**figures, "truncated": len(account.truncated)}


def theirs(path: Path, tokenizer_folder: Path, place: Path) -> dict[str, Any]:
    """`load_dataset` and `map`, as trainers prepare conversations, under the names that `datasets` keeps in 4 bytes."""
    import datasets
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    datasets.disable_progress_bars()

    def tokenised(row: dict[str, Any]) -> dict[str, Any]:
        made = tokenizer.apply_chat_template(
            row["messages"], tokenize=True, return_dict=True, return_assistant_tokens_mask=True
        )
        ids, mask = made["input_ids"], made["assistant_masks"]
        # the shift by one makes WINDOW predictions of one id more
        return {"input_ids": ids[: WINDOW + 1], "assistant_masks": mask[: WINDOW + 1], "whole": len(ids)}

    watch = Watch()
    rows = datasets.load_dataset("json", data_files=str(path), split="train", cache_dir=str(place))
    done = rows.map(tokenised, num_proc=PROCESSES, remove_columns=rows.column_names)
    figures = watch.stop()
    ids, mask = (
        np.concatenate([chunk.flatten().to_numpy() for chunk in done.data.column(name).chunks])
        for name in ("input_ids", "assistant_masks")
    )
    whole = np.asarray(done["whole"])
    keep(place, ids, mask, np.cumsum(np.minimum(whole, WINDOW + 1)))
    return {**figures, "tokens": float(whole.mean())}


def keep(place: Path, ids: Any, mask: Any, ends: Any) -> None:
    """What a way made, for the comparison."""
    for name, array in {"ids": ids, "mask": mask, "ends": ends}.items():
        np.save(place / f"{name}.npy", array.astype({"ids": np.int32, "mask": np.bool_, "ends": np.int64}[name]))


class Watch:
    """Seconds, and the most memory of this process and its children together, over what there was at the start."""

    def __init__(self) -> None:
        self.before = self.peak = memory()
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.look, daemon=True)
        self.thread.start()
        self.began = time.perf_counter()

    def look(self) -> None:
        while not self.ended.wait(0.1):
            self.peak = max(self.peak, memory())

    def stop(self) -> dict[str, float]:
        seconds = time.perf_counter() - self.began
        self.ended.set()
        self.thread.join()
        return {"seconds": seconds, "peak_mb": (max(self.peak, memory()) - self.before) / 1e6}


def memory() -> int:
    """Bytes that this process and its children hold, what they share counted once (PSS).

    Pages of files are left out: `datasets` maps its own, and the system takes them back when it needs them.
    """
    import psutil

    own, total = psutil.Process(), 0
    for one in (own, *own.children(recursive=True)):
        try:
            lines = Path(f"/proc/{one.pid}/smaps_rollup").read_text().splitlines()[1:]
        except OSError:
            continue  # it has just ended
        kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
        total += 1024 * (kilobytes["Pss_Anon"] + kilobytes["Pss_Shmem"])
    return total


WAYS: dict[str, Callable[[Path, Path, Path], dict[str, Any]]] = {"chatwright": ours, "datasets": theirs}


# ---- side by side


def measured(folder: Path, tokenizer: Path, count: int, rounds: int) -> dict[str, Any]:
    """The figures of one size: medians over the rounds, the most of their memory, and the rows that are the same."""
    path = folder / f"{count}.jsonl"
    like = write(path, count)
    found: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for turn in range(rounds):
        with tempfile.TemporaryDirectory(dir=folder) as place:
            for way in WAYS:
                print(f"{count:,} dialogues, round {turn + 1} of {rounds}: {way}", file=sys.stderr)
                (Path(place) / way).mkdir()
                found[way].append(child(way, path, tokenizer, Path(place) / way))
            different = [row for row, same in enumerate(compared(Path(place), count)) if not same]
        if different:
            raise SystemExit(f"the ids or masks of {len(different):,} rows differ, the first being row {different[0]}")
    path.unlink()
    like |= {"tokens in a dialogue": found["datasets"][0]["tokens"]}
    like |= {"share truncated": found["chatwright"][0]["truncated"] / count}
    ways = {way: summary(some, count) for way, some in found.items()}
    faster = ways["datasets"]["seconds"] / ways["chatwright"]["seconds"]
    return {"dialogues": count, "like": like, **ways, "times_as_fast": faster, "identical": count}


def child(way: str, path: Path, tokenizer: Path, place: Path) -> dict[str, Any]:
    """One way, once."""
    command = [sys.executable, __file__, "--run", way, str(path), str(tokenizer), str(place)]
    quiet = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=quiet, check=False)
    if done.returncode:
        raise SystemExit(f"{way} failed:\n{done.stderr[-2000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def compared(place: Path, count: int) -> Iterator[bool]:
    """Whether each row has the same ids and mask: where it fits the window all of them, else up to our cut."""
    (ids, mask, ends), (others, masks, stops) = (
        [np.load(place / way / f"{name}.npy", mmap_mode="r") for name in ("ids", "mask", "ends")] for way in WAYS
    )
    assert len(ends) == len(stops) == count
    start = begin = 0
    for end, stop in zip(ends.tolist(), stops.tolist(), strict=True):
        size, whole = end - start, stop - begin
        same = np.array_equal(ids[start:end], others[begin : begin + size])
        same = same and np.array_equal(mask[start:end], masks[begin : begin + size])
        yield same and (size == whole or (size < whole == WINDOW + 1))
        start, begin = end, stop


def summary(rounds: list[dict[str, Any]], count: int) -> dict[str, float]:
    seconds = median(one["seconds"] for one in rounds)
    peak = max(one["peak_mb"] for one in rounds)
    return {"seconds": round(seconds, 2), "rows_per_second": round(count / seconds), "peak_mb": round(peak)}


def show(found: dict[str, Any]) -> None:
    """One size as a table."""
    print(
        f"{found['dialogues']:,} dialogues: "
        + ", ".join(f"{name} {value:.4g}" for name, value in found["like"].items())
    )
    for way in WAYS:
        one = found[way]
        print(
            f"  {way:<12}{one['seconds']:9.1f} s {one['rows_per_second']:9,} rows/s {one['peak_mb']:8,} MB over the start"
        )
    print(
        f"  {found['times_as_fast']:.2f} times as fast; the ids and masks of all {found['identical']:,} rows are the same",
        flush=True,
    )


if __name__ == "__main__":
    main()
