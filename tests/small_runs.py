"""Training runs of a second and less: a model of some ten thousand weights, a few short conversations, one thread."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch

from chatwright.checkpoint import Checkpoint
from chatwright.data.loader import Batch
from chatwright.errors import ChatwrightError
from chatwright.models import gpt2
from chatwright.models.protocol import LanguageModel
from chatwright.objectives.protocol import Loss
from chatwright.objectives.sft import Sft
from chatwright.text import template
from chatwright.text.records import Conversation, Document, Message
from chatwright.text.tokenizer import Tokenizer
from chatwright.train import stage
from chatwright.train.settings import TrainSettings

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
WINDOW = 64
SHAPE = {"n_layer": 1, "n_embd": 16, "n_head": 2, "n_positions": WINDOW}
MEASURED = ("step", "split", "loss", "token_accuracy", "lr", "grad_norm")  # of a row: what is no clock


@dataclass(frozen=True)
class Probe(Sft):
    """Sft whose every loss is shown to `watch`, with its number from 1: to change it, or to send a signal."""

    watch: Any = None
    calls: list[int] = field(default_factory=list)

    def loss(self, model: LanguageModel, batch: Batch) -> Loss:
        self.calls.append(len(self.calls) + 1)
        loss = super().loss(model, batch)
        return loss if self.watch is None else self.watch(self.calls[-1], loss) or loss


def conversations(count: int = 24) -> list[Conversation]:
    return [
        Conversation(
            (Message("user", f"What is {i} and {i}?"), Message("assistant", "It is " + str(2 * i) * (1 + i % 3)))
        )
        for i in range(count)
    ]


def documents(count: int = 8) -> list[Document]:
    return [Document(f"Here it says that {i} and {i} is {2 * i}.") for i in range(count)]


@cache
def tokenizer() -> Tokenizer:
    return Tokenizer.train([one.text for one in documents(30)], 290, SPECIAL)


def policy(*, dropout: float = 0.0, seed: int = 0) -> Checkpoint:
    """A new model, fixed by the seed."""
    drop = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), dropout)
    torch.manual_seed(seed)
    model = gpt2.MODEL.build({**SHAPE, **drop, "vocab_size": tokenizer().vocab_size})
    return Checkpoint(model, tokenizer(), template.load("chatml"))


def settings(out: Path, **given: Any) -> TrainSettings:
    fixed = {
        "steps": 10,
        "batch_size": 2,
        "seq_len": WINDOW,
        "lr": 1e-2,
        "threads": 1,
        "dtype": "fp32",
        "device": "cpu",
    }
    return TrainSettings.model_validate({**fixed, "out": str(out), **given})


def job(out: Path, *, dropout: float = 0.0, rehearse: float = 0.0, watch: Any = None, **given: Any) -> stage.Job:
    """What a verb would hand over: 18 conversations to learn (8 documents to rehearse), 3 to validate, 3 to test."""
    wanted = settings(out, **given)
    all_of_them = conversations()
    train: Sequence[Any] = [*all_of_them[:18], *(documents() if rehearse else ())]
    objective = Probe(wanted.batch_size, wanted.seq_len, wanted.seed, rehearse, watch)
    start = policy(dropout=dropout)
    splits = {"train": train, "validation": all_of_them[18:21], "test": all_of_them[21:]}
    data = {name: objective.prepare(records, start) for name, records in splits.items()}
    return stage.Job("sft", wanted, start, objective, data, {"name": "small", "fingerprint": "0"}, loaded=False)


def train(out: Path, **given: Any) -> stage.StageResult:
    return stage.run(job(out, **given))


def resumed(one: stage.Job) -> stage.Job:
    """The same with --resume."""
    return replace(one, settings=one.settings.model_copy(update={"resume": True}))


def in_a_process(out: Path, given: dict[str, Any]) -> None:
    """`train`, ending as the command line ends."""
    try:
        train(out, **given)
    except ChatwrightError as error:
        sys.exit(error.exit_code)


def weights(out: Path) -> bytes:
    return (out / "model" / "model.safetensors").read_bytes()


def rows(out: Path) -> list[dict[str, Any]]:
    """metrics.jsonl without its clocks."""
    lines = (out / "metrics.jsonl").read_text().splitlines()
    return [{name: row.get(name) for name in MEASURED} for row in map(json.loads, lines)]


def steps(out: Path) -> list[int]:
    """The steps that checkpoints are there for."""
    return sorted(int(folder.name.removeprefix("step-")) for folder in (out / "checkpoints").glob("step-*"))
