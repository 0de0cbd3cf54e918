"""Reinforcement in a second: a chatbot of some ten thousand weights, problems, and a reward that it can learn to earn."""

import json
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from small_runs import policy, settings
from torch import Tensor

from chatwright.data.examples import Tokens
from chatwright.evals.rollouts import RolloutLog
from chatwright.generate.completion import Completion
from chatwright.models.protocol import LanguageModel
from chatwright.objectives.grpo import Grpo
from chatwright.objectives.ppo import Ppo, ValueHead
from chatwright.objectives.protocol import Loss
from chatwright.objectives.reference import FrozenCopy
from chatwright.objectives.reinforcing import Reinforcing
from chatwright.objectives.rollouts import Asking, Earned, Kept, Rollouts
from chatwright.text.records import Problem, conversation
from chatwright.train import stage

ASKING = Asking(prompts=3, group=4, max_tokens=6, seed=5)
PROBLEMS = [Problem(conversation(f"What is {i} and {i}?"), "number", {"value": 2 * i}) for i in range(7)]


def even(problems: Sequence[Problem], completions: Sequence[Completion]) -> Earned:
    """The share of even ids: something that nobody would ask for, but that differs, and can be learned."""
    shares = [sum(number % 2 == 0 for number in one.ids) / 6 for one in completions]
    return Earned(shares, [float(share > 0.5) for share in shares])


def kept(some: Sequence[Sequence[Tokens]], rewards: Sequence[float], **told: float) -> Kept:
    """Families of answers with their rewards, as a round leaves them."""
    flat = [one for members in some for one in members]
    begins = [int(one.mask.argmax()) for one in flat]
    lengths = float(np.mean([one.mask.sum() for one in flat]))
    return Kept(
        [one.ids.tolist() for one in flat], begins, list(rewards), len(some[0]), {"answer_tokens": lengths, **told}
    )


def per_token(batch: Rollouts, values: Sequence[Tensor]) -> Tensor:
    """A tensor for each answer, in order -> what stands at the learned targets of the batch, (B, T)."""
    places = [values[int(answer)] for answer in batch.numbers.unique_consecutive()]
    return batch.spread(torch.cat(places))


@dataclass(frozen=True)
class WatchedGrpo(Grpo):
    """Sends a signal to this process from within the loss of that number."""

    at: int = 0
    calls: list[int] = field(default_factory=list)

    def loss(self, model: LanguageModel, batch: Rollouts) -> Loss:
        self.calls.append(1)
        if len(self.calls) == self.at:
            os.kill(os.getpid(), signal.SIGINT)
        return super().loss(model, batch)


@dataclass(frozen=True)
class WatchedPpo(Ppo):
    """The same."""

    at: int = 0
    calls: list[int] = field(default_factory=list)

    def loss(self, model: LanguageModel, batch: Rollouts) -> Loss:
        self.calls.append(1)
        if len(self.calls) == self.at:
            os.kill(os.getpid(), signal.SIGINT)
        return super().loss(model, batch)


def objective(name: str, out: Path | None = None, *, at: int = 0, **given: Any) -> tuple[Reinforcing, ValueHead | None]:
    """`grpo` or `ppo` held to the start model, with its log in a folder, and the head of `ppo`."""
    shared: dict[str, Any] = {"beta": 0.1, "reference": FrozenCopy(policy()), "asking": ASKING, "worth": even, **given}
    shared["log"] = None if out is None else RolloutLog(out)
    if name == "grpo":
        return WatchedGrpo(**shared, at=at), None
    head = ValueHead(16)
    return WatchedPpo(**shared, head=head, at=at), head


def job(name: str, out: Path, *, at: int = 0, resume: bool = False, **given: Any) -> stage.Job:
    """What a verb would hand over, of eight steps unless it is said otherwise."""
    wanted = settings(out, **{"steps": 8, "save_every": 3, "lr": 3e-3, **given.pop("settings", {})}, resume=resume)
    made, head = objective(name, out, at=at, **given)
    start = policy()
    data = {"train": made.prepare(PROBLEMS, start)}
    return stage.Job(name, wanted, start, made, data, {"name": "small", "fingerprint": "0"}, loaded=False, beside=head)


def rounds(out: Path) -> list[dict[str, Any]]:
    """rollouts.jsonl without its clock."""
    found = [json.loads(line) for line in (out / "rollouts.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in found]


def measured(out: Path) -> list[dict[str, Any]]:
    """metrics.jsonl without its clocks."""
    clocks = ("seconds", "data_seconds", "tokens_per_second")
    found = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name not in clocks} for row in found]


def without_log(made: Reinforcing) -> Reinforcing:
    return replace(made, log=None)
