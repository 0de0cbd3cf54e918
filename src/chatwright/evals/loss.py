"""Loss, perplexity, bits per byte and token accuracy over batches: sums first, one division at the end."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from chatwright.data.loader import Batch
from chatwright.models.protocol import LanguageModel
from chatwright.objectives.protocol import Objective


@dataclass(frozen=True)
class LossReport:
    """Per learned token: `loss` in nats, `perplexity` = e^loss, `token_accuracy` as a share. `bits_per_byte` compares
    models with different vocabularies; it is NaN where the tokens stand for no bytes."""

    loss: float
    perplexity: float
    bits_per_byte: float
    token_accuracy: float
    tokens: int


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
    total = weight = correct = 0.0
    size = 0
    try:
        for batch in batches:
            size += _bytes(batch, table)
            loss = objective.loss(model, batch.to(device))
            total += loss.total.item()
            weight += loss.weight.item()
            correct += loss.metrics["token_accuracy"].item()
    finally:
        model.train(training)
    if not weight:
        return LossReport(math.nan, math.nan, math.nan, math.nan, 0)
    mean = total / weight
    perplexity = math.exp(mean) if mean < 700 else math.inf
    bits = total / math.log(2) / size if size else math.nan
    return LossReport(mean, perplexity, bits, correct / weight, int(weight))


def _bytes(batch: Batch, table: Tensor) -> int:
    learned = batch.targets[batch.mask > 0]
    return int(table[learned.clamp(max=len(table) - 1)].sum())
