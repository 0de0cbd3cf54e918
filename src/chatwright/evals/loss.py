"""Loss, perplexity, bits per byte and token accuracy over batches: sums first, one division at the end."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from chatwright.data.loader import Batch
from chatwright.models.protocol import LanguageModel
from chatwright.objectives.protocol import Objective


@dataclass(frozen=True)
class LossReport:
    """Per learned token: `loss` in nats, `perplexity` = e^loss, `token_accuracy` as a share. `bits_per_byte` compares
    models with different vocabularies; it is NaN where the tokens stand for no bytes.

    Of an objective whose `unit` is a pair or an answer, the loss is that of one, the three others are NaN, and `metrics`
    are the means of what it measures. `count` are the units.
    """

    loss: float
    perplexity: float
    bits_per_byte: float
    token_accuracy: float
    tokens: int
    unit: str = "token"
    metrics: Mapping[str, float] = field(default_factory=dict)
    count: int = 0

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> "LossReport":
        """What was written down as JSON, where null stands for NaN."""
        found: dict[str, Any] = {name: math.nan if value is None else value for name, value in stored.items()}
        metrics = {name: math.nan if value is None else value for name, value in stored.get("metrics", {}).items()}
        return cls(**{**found, "metrics": metrics})


@torch.no_grad()
def measure(
    model: LanguageModel, objective: Objective[Any], batches: Iterable[Batch], byte_lengths: Sequence[int]
) -> LossReport:
    """Runs the objective's loss over all batches in evaluation mode; the model is left in the mode it had.

    `byte_lengths` are the UTF-8 bytes that each id stands for. NaN everywhere when there is no batch.
    """
    assert isinstance(model, nn.Module)
    training = model.training
    model.eval()
    table = torch.tensor(byte_lengths)
    device = next(model.parameters()).device
    total = weight = 0.0
    tokens = size = 0
    sums: dict[str, float] = {}
    try:
        for batch in batches:
            size += _bytes(batch, table)
            tokens += int(batch.mask.count_nonzero())
            loss = objective.loss(model, batch.to(device))
            total += loss.total.item()
            weight += loss.weight.item()
            sums = {name: sums.get(name, 0.0) + value.item() for name, value in loss.metrics.items()}
    finally:
        model.train(training)
    if not weight:
        return LossReport(math.nan, math.nan, math.nan, math.nan, 0, objective.unit)
    mean, metrics = total / weight, {name: value / weight for name, value in sums.items()}
    if objective.unit != "token":
        return LossReport(mean, math.nan, math.nan, math.nan, tokens, objective.unit, metrics, int(weight))
    perplexity = math.exp(mean) if mean < 700 else math.inf
    bits = total / math.log(2) / size if size else math.nan
    return LossReport(mean, perplexity, bits, metrics["token_accuracy"], tokens, count=int(weight))


def _bytes(batch: Batch, table: Tensor) -> int:
    learned = batch.targets[batch.mask > 0]
    return int(table[learned.clamp(max=len(table) - 1)].sum())
