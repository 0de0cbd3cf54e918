"""What benchmarks/dpo.py runs in processes of their own: the model and the pairs, `chatwright dpo`, and trl's DPOTrainer.

Both are given the same ids in the same order: trl as columns, chatwright as its own verb reads and shuffles the file, each
of its batches read back and compared.
"""

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _sft import make_model, vocabulary

if TYPE_CHECKING:
    from chatwright.data.answers import Answers, Choices
    from chatwright.data.examples import Tokens

BATCH, WINDOW, WARM = 8, 512, 2
LEARNING_RATE = 1e-5
SMALL = {"n_layer": 2, "n_head": 2, "n_embd": 64}
ALWAYS = {"template": "alpaca", "device": "cpu", "seq_len": WINDOW, "lr": LEARNING_RATE}
# nothing but steps: the other side neither validates nor samples nor asks questions at the end
ONLY = {"validation_share": 0, "test_share": 0, "eval_batches": 1, "compare": False, "guards": {"prompts": 0}}
PAIRS = "pairs.json"  # in the folder that all processes share: what is learned, in the order in which it is learned


@dataclass(frozen=True)
class Way:
    """`settings` of `chatwright dpo`, or those of trl's DPOConfig with PEFT's LoraConfig under "peft".

    `beside` is the way of ours that it is held against, "" for none. `apart`: each answer is read with a prompt of its own.
    """

    label: str
    is_ours: bool
    settings: Mapping[str, Any] = field(default_factory=dict)
    beside: str = "chatwright"
    apart: bool = False


@dataclass
class Watch:
    """What is seen of a run: when each step ended, its loss, and what asking the start model beforehand took."""

    held: float = field(default_factory=lambda: peak())
    ends: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    asked: int = 0
    asking: float = 0.0

    def figures(self, trained: int, batch: int) -> dict[str, Any]:
        """Pairs a second over the counted steps, with and without the start model's forwards; peak memory in GB."""
        pair = (self.ends[-1] - self.ends[WARM - 1]) / (batch * (len(self.ends) - WARM))
        before = self.asking / self.asked if self.asked else 0.0
        found = {"pairs_per_second": 1 / (pair + before), "in_steps": 1 / pair, "trained": trained}
        return {**found, "peak_gb": peak(), "over_gb": peak() - self.held, "losses": self.losses}

    def asks(self, ask: Callable[..., Any], count: Callable[..., int]) -> Callable[..., Any]:
        """The same function, timed; `count` says of how many pairs it is asked."""

        def timed(*given: Any) -> Any:
            began = time.perf_counter()
            found = ask(*given)
            self.asking, self.asked = self.asking + time.perf_counter() - began, self.asked + count(*given)
            return found

        return timed


def make(given: argparse.Namespace) -> dict[str, Any]:
    """Writes the model and the pairs."""
    from chatwright.checkpoint import Checkpoint
    from chatwright.data import source
    from chatwright.data.answers import first_epoch
    from chatwright.objectives.dpo import Dpo

    folder = given.place / "model"
    make_model(folder, vocabulary(given.data), SMALL if given.quick else {})
    found = source.gather(str(given.data), "preferences")
    choices = Dpo(BATCH, WINDOW).prepare(found.records, Checkpoint.load(folder, template="alpaca", quiet=True))
    pairs = [_pair(choices, number) for number in first_epoch(choices, 0).tolist()]
    (given.place / PAIRS).write_text(json.dumps(pairs))
    return {"pairs": len(pairs), "left_out": found.report.read - len(pairs)}


def _pair(choices: "Choices", number: int) -> dict[str, list[int]]:
    """The columns of trl's collator."""
    chosen, rejected = (members[number] for members in choices.members)
    start = int(chosen.mask.argmax())
    ids = {"prompt_ids": chosen.ids[:start], "chosen_ids": chosen.ids[start:], "rejected_ids": rejected.ids[start:]}
    assert rejected.ids[:start].tolist() == chosen.ids[:start].tolist()
    return {name: some.tolist() for name, some in ids.items()}


def ours(given: argparse.Namespace, way: Way) -> dict[str, Any]:
    """The verb itself, in this process; the times are those of its own Trainer's steps, from end to end."""
    from chatwright import commands
    from chatwright.data import answers
    from chatwright.objectives import reference
    from chatwright.train import stage, trainer

    watch = Watch()
    trained: list[int] = []
    expected = iter(json.loads((given.place / PAIRS).read_text()))

    class Watched(trainer.Trainer):
        def step(self, batches: Any, signals: Any) -> dict[str, Any]:
            row = super().step(_checked(batches, expected), signals)
            watch.ends.append(time.perf_counter())
            watch.losses.append(row["loss"])
            trained.append(self.policy.model.trained_size)
            return row

    stage.Trainer = Watched  # type: ignore[misc]
    reference.computed = watch.asks(reference.computed, lambda *asked: len(asked[-1]))
    if way.apart:
        answers._groups = _apart(answers._groups)
    place = {"model": str(given.place / "model"), "data": str(given.data), "out": given.out}
    never = {"save_every": given.steps, "eval_every": given.steps, "sample_every": given.steps}
    batch = {"batch_size": given.batch}
    run = {"steps": given.steps, "threads": given.threads, "prepared": str(given.place / "prepared"), "json": True}
    commands.run("dpo", {**ALWAYS, **ONLY, **place, **never, **batch, **run, **way.settings})
    return watch.figures(trained[-1], given.batch)


def _checked(batches: Iterator["Answers"], expected: Iterator[dict[str, list[int]]]) -> Iterator["Answers"]:
    """The batches, where they have the ids that the other side has; AssertionError where they do not."""
    for batch in batches:
        wanted = [next(expected) for _ in range(batch.count // 2)]
        ids = [one["prompt_ids"] + one[side] for one in wanted for side in ("chosen_ids", "rejected_ids")]
        lengths = [len(one[side]) for one in wanted for side in ("chosen_ids", "rejected_ids")]
        found = [_read_back(batch, number) for number in range(batch.count)]
        assert found == list(zip(ids, lengths, strict=True)), "a batch of chatwright has other ids than trl's"
        yield batch


def _read_back(batch: "Answers", number: int) -> tuple[list[int], int]:
    """All ids that the last of an answer's places sees, itself and its target included; how many are learned."""
    row, places = (some.tolist() for some in (batch.answer == number).nonzero(as_tuple=True))
    assert batch.attend.mask is not None
    seen = batch.attend.mask[row[-1], 0, places[-1]]
    return [*batch.ids[row[-1]][seen].tolist(), int(batch.targets[row[-1], places[-1]])], len(places)


def _apart(groups: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    """The function that puts a family together, asked for one answer at a time: each has its own copy of the prompt."""

    def each(members: Sequence["Tokens"], first: int, *how: Any) -> Iterator[Any]:
        for number, one in enumerate(members, start=first):
            yield from groups([one], number, *how)

    return each


def theirs(given: argparse.Namespace, way: Way) -> dict[str, Any]:
    """DPOTrainer on the ids themselves, with our schedule's learning rates."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from torch.optim.lr_scheduler import LambdaLR
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import DPOConfig, DPOTrainer

    from chatwright.train.optim import rate
    from chatwright.train.settings import Optim

    watch, optim = Watch(), Optim()
    steps, rest = given.steps, dict(way.settings)
    adapter, dtype = rest.pop("peft", None), rest.pop("weights", "float32")

    class Watching(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            watch.ends.append(time.perf_counter())

        def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:
            if "loss" in logs:
                watch.losses.append(logs["loss"])

    class Fed(DPOTrainer):  # type: ignore[misc]
        def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
            return dataset

        def _precompute_ref_logps(self, dataset: Dataset, *rest: Any) -> Dataset:
            return watch.asks(super()._precompute_ref_logps, lambda *asked: len(asked[0]))(dataset, *rest)

        def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> LambdaLR:
            assert num_training_steps == steps
            self.lr_scheduler = LambdaLR(self.optimizer, lambda done: rate(done + 1, steps, 1.0, optim))
            return self.lr_scheduler

    pairs = json.loads((given.place / PAIRS).read_text())[: steps * given.batch]
    sizes = {"per_device_train_batch_size": given.batch, "max_steps": steps, "max_length": WINDOW + 1}
    same = {"beta": 0.1, "adam_beta1": optim.beta1, "adam_beta2": optim.beta2, "weight_decay": optim.weight_decay}
    trainer = Fed(
        model=AutoModelForCausalLM.from_pretrained(given.place / "model", dtype=getattr(torch, dtype)),
        args=DPOConfig(
            output_dir=given.out, learning_rate=LEARNING_RATE, max_grad_norm=optim.clip, use_cpu=True, seed=0,
            train_sampling_strategy="sequential", save_strategy="no", report_to=[], disable_tqdm=True,
            logging_steps=1, **{**sizes, **same, **rest},
        ),
        train_dataset=Dataset.from_list(pairs),
        processing_class=AutoTokenizer.from_pretrained(given.place / "model"),
        callbacks=[Watching()],
        peft_config=LoraConfig(**adapter) if adapter else None,
    )  # fmt: skip
    trainer.train()
    return watch.figures(sum(p.numel() for p in trainer.model.parameters() if p.requires_grad), given.batch)


def peak() -> float:
    """GB (10^9 bytes) that this process has held at most.

    `getrusage` also counts what the parent held when it started this one, so it is asked only where there is no /proc.
    """
    status = Path("/proc/self/status")
    if status.exists():
        most = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(most.split()[1]) * 1024 / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9
