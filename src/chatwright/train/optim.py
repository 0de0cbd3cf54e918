"""AdamW with decay for matrices only, and the learning rate of every step as a function of the step alone."""

import math
from typing import Any

import torch
from torch import nn

from chatwright.models.lora import is_lora_b
from chatwright.train.settings import Optim


def build(model: nn.Module, lr: float, settings: Optim, *, plus: float = 1.0) -> torch.optim.AdamW:
    """Parameters of two or more dimensions decay; biases and norms do not. The fused step is 5 times faster on a CPU.

    `plus` multiplies the rate of every adapter's second matrix (LoRA+); a group's factor is under "times".
    """
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = []
    for is_b in (False, True):
        some = [p for name, p in trained if is_lora_b(name) == is_b]
        matrices, others = [p for p in some if p.dim() >= 2], [p for p in some if p.dim() < 2]
        kinds = ((matrices, settings.weight_decay), (others, 0.0))
        groups += [{"params": p, "weight_decay": decay, "times": plus if is_b else 1.0} for p, decay in kinds if p]
    return torch.optim.AdamW(groups, lr=lr, betas=(settings.beta1, settings.beta2), eps=1e-8, fused=True)


def rate(step: int, steps: int, lr: float, settings: Optim) -> float:
    """The learning rate of step 1 … `steps`: a linear rise, then the schedule down to `final` × `lr`."""
    warmup = round(settings.warmup * steps)
    if step <= warmup:
        return lr * step / warmup
    if settings.schedule == "constant":
        return lr
    done = (step - warmup) / max(1, steps - warmup)
    fall = 0.5 * (1 + math.cos(math.pi * done)) if settings.schedule == "cosine" else 1 - done
    return lr * (settings.final + (1 - settings.final) * fall)
