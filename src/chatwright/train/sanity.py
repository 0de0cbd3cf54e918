"""What can be known before the first step: does the start model fit the data, do gradients add up, does a step move weights.

Silent here, and costly later: random weights taken for a loaded model, a mean of means, an optimizer that holds copies.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from chatwright.checkpoint import Checkpoint
from chatwright.data.loader import Batch
from chatwright.evals.proofs import Proof
from chatwright.objectives.protocol import Objective

LARGEST_DIFFERENCE = 1e-5  # relative, between the gradient of a batch and of its parts
LOWER_DIFFERENCE = 2e-2  # the same where the frozen matrices have fewer bits, and the products are rounded to bf16
START_WITHIN = 2e-2  # of a loss that the formula says, since products may be rounded to bf16
RANDOM_WITHIN = 0.05  # a loaded model whose loss is this near to ln V (relative) knows nothing of language


def gradient_difference(model: nn.Module, policy: Checkpoint, objective: Objective[Any], batch: Batch) -> float:
    """Relative difference, in norm, between the gradient of a little of a batch and the sum of those of its parts.

    `model` is all that is trained: the policy, and what may learn beside it.
    """
    few, pieces = batch.parts()
    training = model.training
    model.eval()  # dropout would draw differently for the parts
    try:
        whole = _gradient(model, policy, objective, [few])
        parts = _gradient(model, policy, objective, pieces)
    finally:
        model.train(training)
    difference = torch.stack([(a - b).norm() for a, b in zip(whole, parts, strict=True)]).norm()
    return float(difference / torch.stack([a.norm() for a in whole]).norm())


def fingerprint(model: nn.Module) -> float:
    """A sum that changes when any weight does (up to rounding): what shows that a step has moved them."""
    with torch.no_grad():
        return sum(float(p.double().pow(2).sum()) for p in model.parameters() if p.requires_grad)


@dataclass(frozen=True)
class Expected:
    """What the start model's loss is held against: `loss` where the objective's formula says it, else chance.

    `loaded`: the weights came from a file and are expected to know language.
    """

    unit: str
    loss: float | None
    loaded: bool

    @classmethod
    def of(cls, objective: Objective[Any], loaded: bool) -> "Expected":
        return cls(objective.unit, objective.start_loss, loaded)

    def compared(self, start_loss: float, vocab_size: int) -> tuple[str, str, dict[str, float]]:
        """The sentence's beginning, what is wrong ("" if nothing is), and the figure that it was held against."""
        chance = math.log(vocab_size)
        if self.unit == "token":
            says = f"The start model's loss is {start_loss:.2f} nats a token (chance: ln {vocab_size:,} = {chance:.2f})"
            random = self.loaded and abs(start_loss - chance) < RANDOM_WITHIN * chance
            hint = "so these are random weights; give --from-scratch if that is meant"
            return says, hint if random else "", {"ln_vocabulary": chance}
        each = "an answer" if self.unit == "answer" else f"a {self.unit}"
        if self.loss is None:
            return f"The start model's loss is {start_loss:.3f} {each}", "", {}
        shown = round(start_loss, 4) + 0.0  # no -0.0
        says = f"The start model's loss is {shown:.4f} {each} (a model beside itself: {self.loss:.4f})"
        # NaN is no small difference either
        right = abs(start_loss - self.loss) <= START_WITHIN * max(1.0, self.loss)
        return says, "" if right else "so the start it is measured against is another model", {"expected": self.loss}


def proof(checks: Mapping[str, float], policy: Checkpoint, expected: Expected, moved: bool | None) -> Proof:
    """`checks` are the start_loss and the gradient_difference. `moved`: None when no step was taken."""
    start_loss, difference = checks["start_loss"], checks["gradient_difference"]
    lower = policy.model.matrix_dtype is not None
    says, wrong, known = expected.compared(start_loss, policy.model.config.vocab_size)
    figures = {"start_loss": start_loss, **known, "gradient_difference": difference, "weights_moved": moved}
    if not difference <= (LOWER_DIFFERENCE if lower else LARGEST_DIFFERENCE):  # NaN is no small difference
        return Proof(
            "sanity", "red", f"{says}; accumulated and whole gradient differ by {difference:.1e} relative.", figures
        )
    if moved is False:
        return Proof("sanity", "red", f"{says}; the steps taken moved no weight.", figures)
    if wrong:
        return Proof("sanity", "red", f"{says}, {wrong}.", figures)
    rounding = " (its products are rounded to bf16)" if lower else ""
    step = f"{rounding}; the steps taken moved the weights" if moved else rounding
    return Proof("sanity", "green", f"{says}; accumulated = whole gradient within {difference:.1e}{step}.", figures)


def _gradient(model: nn.Module, policy: Checkpoint, objective: Objective[Any], parts: Sequence[Batch]) -> list[Tensor]:
    weight = 0.0
    for part in parts:
        loss = objective.loss(policy.model, part)
        loss.total.backward()  # type: ignore[no-untyped-call]
        weight += loss.weight.item()
    gradient = [p.grad / weight for p in model.parameters() if p.grad is not None]
    model.zero_grad(set_to_none=True)
    return gradient
