"""The stages of `quickstart`, each one verb's own code. What follows them stands in `_road_end`."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from chatwright import console, registry
from chatwright.commands import _training as training
from chatwright.commands import dpo as dpo_verb
from chatwright.commands import grpo as grpo_verb
from chatwright.commands import pretrain as pretrain_verb
from chatwright.commands import sft as sft_verb
from chatwright.commands import tokenizer as tokenizer_verb
from chatwright.models.device import device_of, dtype_of
from chatwright.objectives.pretrain import Pretrain
from chatwright.text.records import Record
from chatwright.text.tokenizer import Tokenizer
from chatwright.train import optim
from chatwright.train.settings import Optim

if TYPE_CHECKING:
    from chatwright.commands.quickstart import Settings

DATA = ("primer:documents", "primer:conversations")
PREFERENCES, TASK = "primer:preferences", "arithmetic"
REHEARSED = ["primer:clean@0.7", "primer:documents@0.3"]  # while sums are practised
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
PRETRAIN = {"batch_size": 16, "seq_len": 128}  # the primer's documents are short
SFT = {"batch_size": 10, "seq_len": 192}
DPO = {"batch_size": 8, "seq_len": 256}
GRPO = {"batch_size": 16, "group": 8, "max_tokens": 24, "temperature": 0.8, "seq_len": 192, "rehearse": 0.5}
MEASURED_SECONDS = 5.0  # of training, from which --seconds is turned into steps
# the share of --seconds that a stage takes (the rest is tokenizer, evaluation and report), and what a step of it costs
# beside one of pretraining
SHARES = {"pretrain": (0.42, 1.0), "sft": (0.21, 1.0), "dpo": (0.06, 1.2), "grpo": (0.2, 4.0)}


@contextmanager
def timed(clock: dict[str, float], name: str) -> Iterator[None]:
    """Adds the block's wall time to the clock, and says on stderr that it began."""
    console.note(f"{name} …")
    began = time.perf_counter()
    yield
    clock[name] = time.perf_counter() - began


def steps_for(settings: "Settings", seconds: float) -> dict[str, int]:
    """Steps of every stage that fit, from a few seconds of training this model on this machine."""
    documents = list(_records(DATA[0]))
    tokenizer = Tokenizer.train((text for text in _texts(documents)), settings.vocab_size, SPECIAL)
    start = training.new_model(settings.model, tokenizer, seed=0, dropout=None)
    objective = Pretrain(**PRETRAIN)
    device = device_of(settings.device)
    assert isinstance(start.model, torch.nn.Module)
    start.model.to(device)
    optimizer = optim.build(start.model, settings.lr, Optim())
    batches = objective.batches(objective.prepare(documents, start), start, start)
    took: list[float] = []
    while sum(took) < MEASURED_SECONDS or len(took) < 4:
        began = time.perf_counter()
        with torch.autocast(device.type, dtype_of("auto", device)):
            loss = objective.loss(start.model, next(batches).to(device))
        loss.total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        took.append(time.perf_counter() - began)
    step = sorted(took)[len(took) // 2]
    return {verb: max(10, int(seconds * share / (step * cost))) for verb, (share, cost) in SHARES.items()}


def tokenizer(settings: "Settings") -> None:
    """A vocabulary of the primer's texts, unless it is there."""
    out = settings.out / "tokenizer"
    if not out.exists():
        tokenizer_verb.run(
            tokenizer_verb.Settings(
                data=list(DATA), out=out, vocab_size=settings.vocab_size, special=SPECIAL, json=True
            )
        )


def pretrain(settings: "Settings") -> dict[str, Any]:
    """The base model, from random weights; resumed where it was begun."""
    given = {
        "data": [DATA[0]],
        "model": settings.model,
        "tokenizer": settings.out / "tokenizer",
        "out": str(settings.out / "base"),
        "steps": settings.pretrain_steps,
        "lr": settings.lr,
        **PRETRAIN,
        **_shared(settings),
    }
    return pretrain_verb.run(pretrain_verb.Settings.model_validate(given))


def sft(settings: "Settings") -> dict[str, Any]:
    """The chatbot, from the base model; resumed where it was begun."""
    given = {
        "model": str(settings.out / "base"),
        "data": [DATA[1]],
        "template": "chatml",
        "rehearse_data": DATA[0],
        "rehearse": settings.rehearse,
        "compare": False,  # the road compares at its end
        "out": str(settings.out / "sft"),
        "steps": settings.sft_steps,
        "lr": settings.sft_lr,
        **SFT,
        **_shared(settings),
    }
    return sft_verb.run(sft_verb.Settings.model_validate(given))


def dpo(settings: "Settings") -> dict[str, Any]:
    """The chatbot with better manners, from the one that imitates all it was shown; resumed where it was begun."""
    given = {
        "model": str(settings.out / "sft"),
        "data": [PREFERENCES],
        "compare": False,
        "out": str(settings.out / "dpo"),
        "steps": settings.dpo_steps,
        "lr": settings.dpo_lr,
        **DPO,
        **_shared(settings),
        "max_truncated_share": 0.02,
    }
    return dpo_verb.run(dpo_verb.Settings.model_validate(given))


def grpo(settings: "Settings") -> dict[str, Any]:
    """The chatbot that practised its sums, from the one with manners; resumed where it was begun."""
    given = {
        "model": str(settings.out / "dpo"),
        "task": [TASK],
        "rehearse_data": REHEARSED,
        "compare": False,
        "out": str(settings.out / "grpo"),
        "steps": settings.grpo_steps,
        "lr": settings.grpo_lr,
        **GRPO,
        **_alike(settings),
    }
    return grpo_verb.run(grpo_verb.Settings.model_validate(given))


def _shared(settings: "Settings") -> dict[str, Any]:
    """What the stages that learn from data are given alike. Problems are held out from the primer itself, so all of it
    trains."""
    return {**_alike(settings), "validation_share": 0.02, "test_share": 0.02, "eval_batches": 4}


def _alike(settings: "Settings") -> dict[str, Any]:
    """What every stage is given."""
    return {
        "seed": settings.seed,
        "device": settings.device,
        "resume": True,
        "json": True,
        "proofs": "warn",
        "optim": {"final": 0.02},
    }


def _records(data: str) -> Iterator[Record]:
    name, part = data.split(":")
    yield from registry.load("tasks", name).records(part)


def _texts(records: list[Record]) -> Iterator[str]:
    for record in records:
        yield from tokenizer_verb.contents(record)
