"""What the start model gives to answers: asked of a frozen copy, of the model without its adapter, or computed before.

The three are the same numbers. Computed before training, by the very model that is then trained, they need no second
model in memory.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import Tensor

from chatwright import console, disk
from chatwright.checkpoint import Checkpoint
from chatwright.data.answers import Answers, Choices, collate
from chatwright.errors import NotFinite
from chatwright.models.protocol import LanguageModel
from chatwright.objectives.logprobs import answer_logprobs


class Reference(Protocol):
    """A start model that can be asked while another one is trained."""

    @contextmanager
    def model(self) -> Iterator[LanguageModel]:
        """The start model, for as long as the block runs."""
        ...


@dataclass(frozen=True)
class FrozenCopy:
    """A second model in memory, in evaluation mode."""

    start: Checkpoint

    @contextmanager
    def model(self) -> Iterator[LanguageModel]:
        yield self.start.model


@dataclass(frozen=True)
class WithoutAdapter:
    """The model that is trained, while its adapter is switched off."""

    policy: Checkpoint

    @contextmanager
    def model(self) -> Iterator[LanguageModel]:
        self.policy.without_adapter().activate()
        try:
            yield self.policy.model
        finally:
            self.policy.activate()


@dataclass(frozen=True)
class OnDisk:
    """The start model read anew each time that it is asked: for a few questions, where memory for two is short."""

    load: Callable[[], Checkpoint]
    device: str = "cpu"

    @contextmanager
    def model(self) -> Iterator[LanguageModel]:
        start = self.load()
        start.model.to(self.device).eval()
        yield start.model


@torch.no_grad()
def start_logprobs(reference: Reference, batch: Answers) -> Tensor:
    """(n,): nats that the start model gives to each answer."""
    with reference.model() as model:
        return answer_logprobs(model, batch).total


@torch.no_grad()
def computed(model: LanguageModel, data: Choices, batch_size: int, which: NDArray[np.int64]) -> Choices:
    """The same with what `model` gives to all answers of some prompts; NaN for the others, which nobody asks for.

    NotFinite where the model gives no number.
    """
    found = [np.full(len(data), np.nan, dtype=np.float32) for _ in data.members]
    device = next(iter(model.blocks.parameters())).device
    training = model.blocks.training
    model.blocks.train(False)  # dropout is off in the objectives that have a start; a norm has no other mode
    try:
        with console.progress("start model", len(which), unit="prompt") as bar:
            for first in range(0, len(which), batch_size):
                some = which[first : first + batch_size]
                values = answer_logprobs(model, collate(data, some.tolist(), {}).to(device)).total.cpu().numpy()
                if not np.isfinite(values).all():
                    raise NotFinite(
                        "the start model's log-probability of an answer is no number; its weights are damaged"
                    )
                for k, column in enumerate(found):
                    column[some] = values[k :: len(found)]
                bar.update(first + len(some))
    finally:
        model.blocks.train(training)
    return replace(data, reference=tuple(found))


@torch.no_grad()
def identity(model: LanguageModel) -> str:
    """SHA-256 of all weights: what was computed by one start model is of no use to another."""
    found = hashlib.sha256()
    for name, weight in sorted(model.to_hf().items()):
        found.update(name.encode())
        found.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def save(path: Path, data: Mapping[str, Choices], key: str) -> None:
    """Writes the numbers of some splits under a key that says what they were computed from. Raises DiskFull."""
    tensors = {f"{name}/{k}": column for name, one in data.items() for k, column in enumerate(one.reference)}
    with disk.room(path):
        temporary = path.with_name(f"{path.name}.tmp")
        save_file(tensors, temporary, metadata={"key": key})
        temporary.replace(path)


def load(path: Path, data: Mapping[str, Choices], key: str) -> dict[str, Choices] | None:
    """The splits with their numbers; None where the file is missing, broken or was computed from something else."""
    try:
        with safe_open(path, framework="numpy") as file:
            if (file.metadata() or {}).get("key") != key:
                return None
            return {
                name: replace(one, reference=tuple(file.get_tensor(f"{name}/{k}") for k in range(len(one.members))))
                for name, one in data.items()
            }
    except (OSError, SafetensorError):
        return None
