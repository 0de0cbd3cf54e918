"""Preference runs of a second through the real verbs: a chatbot of ten thousand weights, short pairs, one thread."""

import json
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch.optim.optimizer import register_optimizer_step_post_hook
from tuned_runs import undrawn

from chatwright import commands

VERBS = ("dpo", "ipo", "simpo", "orpo", "kto")


def pair(number: int, **columns: Any) -> dict[str, Any]:
    """A question, a short answer, and a wrong one that goes on."""
    asked = f"What is {number} and {number}?"
    wrong = f"It is {2 * number + 1} " * (1 + number % 3)
    return {"prompt": asked, "chosen": f"It is {2 * number}.", "rejected": wrong, **columns}


def pairs(path: Path, count: int = 24) -> Path:
    return written(path, [pair(number) for number in range(count)])


def written(path: Path, rows: Sequence[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def talk(*turns: str) -> list[dict[str, str]]:
    """Messages of the user's and the assistant's in turn."""
    return [{"role": ("user", "assistant")[place % 2], "content": turn} for place, turn in enumerate(turns)]


def given(model: Path, data: Path | str, out: Path, **more: Any) -> dict[str, Any]:
    """The settings of a short run; `lora.rank` and `guards.prompts` stand here as `lora_rank` and `guards_prompts`.

    What is None is not given.
    """
    fixed: dict[str, Any] = {"steps": 3, "batch_size": 2, "seq_len": 128, "lr": 1e-2, "save_every": 100}
    fixed |= {"dtype": "fp32", "device": "cpu", "threads": 1, "compare": False, "guards_prompts": 4}
    fixed |= {"sample_every": 100, "eval_every": 100, "guards_max_tokens": 16, "workers": 1}
    fixed |= {"model": str(model), "data": str(data), "out": str(out), **more}
    groups = ("lora_", "guards_", "optim_")
    return {
        next((name.replace(group, group[:-1] + ".", 1) for group in groups if name.startswith(group)), name): value
        for name, value in fixed.items()
        if value is not None
    }


def prefer(verb: str, model: Path, data: Path | str, out: Path, **more: Any) -> dict[str, Any]:
    """Runs the verb, its report without pictures."""
    with undrawn():
        return commands.run(verb, given(model, data, out, **more))


@contextmanager
def signalled_after(steps: int) -> Iterator[None]:
    """Ctrl-C during that optimizer step."""
    done: list[int] = []

    def stepped(*_: Any) -> None:
        done.append(1)
        if len(done) == steps:
            os.kill(os.getpid(), signal.SIGINT)

    hook = register_optimizer_step_post_hook(stepped)
    try:
        yield
    finally:
        hook.remove()


def rows(out: Path, split: str) -> list[dict[str, Any]]:
    """Those of metrics.jsonl, without clocks."""
    clocks = ("seconds", "tokens_per_second", "data_seconds")
    found = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [
        {name: value for name, value in row.items() if name not in clocks} for row in found if row["split"] == split
    ]


def losses(out: Path) -> list[float]:
    """Of every step."""
    return [row["loss"] for row in rows(out, "train")]
