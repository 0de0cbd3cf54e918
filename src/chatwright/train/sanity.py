"""What can be known before the first step: does the start model fit the data, do gradients add up, does a step move weights.

Silent here, and costly later: random weights taken for a loaded model, a mean of means, an optimizer that holds copies.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from chatwright.checkpoint import Checkpoint
from chatwright.data.loader import Batch
from chatwright.evals.proofs import Proof
from chatwright.objectives.protocol import Objective

LARGEST_DIFFERENCE = 1e-5  # relative, between the gradient of a batch and of its parts
LOWER_DIFFERENCE = 2e-2  # the same where the frozen matrices have fewer bits, and the products are rounded to bf16
RANDOM_WITHIN = 0.05  # a loaded model whose loss is this near to ln V (relative) knows nothing of language
ROWS = 2  # of the first batch, in fp32: enough to see, small enough for any model


def gradient_difference(policy: Checkpoint, objective: Objective[Any], batch: Batch) -> float:
    """Relative difference, in norm, between the gradient of a batch and the sum of those of its two halves.

    The halves share the batch's learned tokens, every second one each, so that they hold different numbers of them.
    """
    model, few = policy.model, _first_rows(batch, ROWS)
    order = torch.arange(few.mask.numel(), device=few.mask.device).reshape(few.mask.shape)
    halves = [replace(few, mask=few.mask * (order % 3 == 0)), replace(few, mask=few.mask * (order % 3 != 0))]
    training = model.training
    model.eval()  # dropout would draw differently for the parts
    try:
        whole = _gradient(model, policy, objective, [few])
        parts = _gradient(model, policy, objective, [half for half in halves if half.mask.any()])
    finally:
        model.train(training)
    difference = torch.stack([(a - b).norm() for a, b in zip(whole, parts, strict=True)]).norm()
    return float(difference / torch.stack([a.norm() for a in whole]).norm())


def fingerprint(model: nn.Module) -> float:
    """A sum that changes when any weight does (up to rounding): what shows that a step has moved them."""
    with torch.no_grad():
        return sum(float(p.double().pow(2).sum()) for p in model.parameters() if p.requires_grad)


def proof(checks: Mapping[str, float], policy: Checkpoint, moved: bool | None, loaded: bool) -> Proof:
    """`loaded`: the weights came from a file and are expected to know language. `moved`: None when no step was taken.

    `checks` are the start_loss and the gradient_difference.
    """
    start_loss, difference = checks["start_loss"], checks["gradient_difference"]
    vocab_size, lower = policy.model.config.vocab_size, policy.model.matrix_dtype is not None
    chance = math.log(vocab_size)
    figures = {
        "start_loss": start_loss,
        "ln_vocabulary": chance,
        "gradient_difference": difference,
        "weights_moved": moved,
    }
    says = f"The start model's loss is {start_loss:.2f} nats a token (chance: ln {vocab_size:,} = {chance:.2f})"
    if not difference <= (LOWER_DIFFERENCE if lower else LARGEST_DIFFERENCE):  # NaN is no small difference
        return Proof(
            "sanity", "red", f"{says}; accumulated and whole gradient differ by {difference:.1e} relative.", figures
        )
    if moved is False:
        return Proof("sanity", "red", f"{says}; the steps taken moved no weight.", figures)
    if loaded and abs(start_loss - chance) < RANDOM_WITHIN * chance:
        hint = "these are random weights; give --from-scratch if that is meant"
        return Proof("sanity", "red", f"{says}, so {hint}.", figures)
    rounding = " (its products are rounded to bf16)" if lower else ""
    step = f"{rounding}; the steps taken moved the weights" if moved else rounding
    return Proof("sanity", "green", f"{says}; accumulated = whole gradient within {difference:.1e}{step}.", figures)


def _first_rows(batch: Batch, rows: int) -> Batch:
    keep = batch.mask.sum(dim=1).argsort(descending=True)[:rows]
    attend = replace(batch.attend, positions=batch.attend.positions[keep])
    if batch.attend.mask is not None:
        attend = replace(attend, mask=batch.attend.mask[keep])
    return replace(batch, ids=batch.ids[keep], targets=batch.targets[keep], mask=batch.mask[keep], attend=attend)


def _gradient(model: nn.Module, policy: Checkpoint, objective: Objective[Any], parts: Sequence[Batch]) -> list[Tensor]:
    weight = 0.0
    for part in parts:
        loss = objective.loss(policy.model, part)
        loss.total.backward()  # type: ignore[no-untyped-call]
        weight += loss.weight.item()
    gradient = [p.grad / weight for p in model.parameters() if p.grad is not None]
    model.zero_grad(set_to_none=True)
    return gradient
