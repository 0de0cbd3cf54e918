"""Log-probabilities of the tokens that are learned; the head runs only where the mask is 1.

Shapes: B rows, T tokens, C channels, N learned tokens, V vocabulary entries.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from chatwright.data.loader import Batch
from chatwright.models.protocol import LanguageModel
from chatwright.objectives.protocol import Loss

# Logits that exist at one time: 32 million are 128 MB in fp32. More are made piece by piece.
MOST_LOGITS = 32_000_000
# Learned tokens are filled up to a multiple of this: the CPU library plans each new matrix size anew, keeps the plans, and
# would otherwise meet another size in every batch (seen: 2 GB of plans after 1,500 steps).
MULTIPLE = 128


def token_loss(model: LanguageModel, batch: Batch) -> Loss:
    """Cross-entropy in nats, summed over the N learned tokens, and how many of them were the likeliest."""
    hidden = model.trunk(batch.ids, attend=batch.attend)  # (B, T, C)
    learned = batch.mask.flatten().nonzero().squeeze(1)  # (N,)
    count = len(learned)
    filled = F.pad(learned, (0, -count % MULTIPLE))  # any position will do: what is beyond N counts for nothing
    hidden = hidden.flatten(0, 1).index_select(0, filled)  # (N + fill, C)
    targets = batch.targets.flatten().index_select(0, filled)  # (N + fill,)
    # autograd asks for the gradient of a parameter even where none is recorded: validation would pay for three products
    head = model.output_weight if torch.is_grad_enabled() else model.output_weight.detach()
    trained = model.output_rows
    rows = (trained.rows, trained.indices) if trained else (None, None)
    total, correct = HeadLoss.apply(hidden, head, targets, count, *rows)  # type: ignore[no-untyped-call]
    weight = torch.tensor(float(count), device=total.device)
    return Loss(total, weight, {"token_accuracy": correct})


class HeadLoss(torch.autograd.Function):
    """(N, C) hidden, (V, C) head, (N,) targets -> the sum of -log p(target), and the number of right predictions.

    Only the first `count` rows count. Where the head is frozen but some of its rows are trained, `rows` (n, C) are those
    and `indices` (n,) their places; the head holds their numbers already.

    The derivative of the sum with respect to the logits is softmax - onehot, so the gradients of hidden and head are
    made on the way forward, piece by piece, and the (N, V) logits are never kept (as in Hsu et al., 2024, Liger Kernel,
    section 3.2). Products run in the precision of autocast, everything between them in fp32.
    """

    @staticmethod
    def forward(ctx: Any, *given: Any) -> tuple[Tensor, Tensor]:
        hidden, head, targets, count, rows, indices = given
        device = hidden.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else head.dtype
        grads = _Gradients.of(ctx.needs_input_grad, hidden, head, rows)
        with torch.autocast(device, enabled=False):
            states, matrix = hidden.to(dtype), head.to(dtype)
            total, correct = hidden.new_zeros((), dtype=torch.float32), hidden.new_zeros((), dtype=torch.float32)
            piece = max(1, MOST_LOGITS // head.shape[0] // MULTIPLE) * MULTIPLE
            for start in range(0, len(targets), piece):
                some = slice(start, start + piece)
                loss, right, slope = _piece(states[some], matrix, targets[some], max(0, count - start))
                total, correct = total + loss, correct + right
                slope = slope.to(dtype)
                if grads.hidden is not None:
                    grads.hidden[some] = slope @ matrix
                if grads.head is not None:
                    grads.head += slope.t() @ states[some]
                if grads.rows is not None and indices is not None:
                    grads.rows += slope[:, indices].t() @ states[some]
        ctx.grads = grads
        ctx.mark_non_differentiable(correct)
        return total, correct

    @staticmethod
    def backward(ctx: Any, scale: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        hidden, head, rows = (None if one is None else one * scale for one in ctx.grads.all)
        return hidden, head, None, None, rows, None


@dataclass
class _Gradients:
    """Where the gradients are collected, None for what needs none."""

    hidden: Tensor | None
    head: Tensor | None
    rows: Tensor | None

    @classmethod
    def of(cls, wanted: Sequence[bool], hidden: Tensor, head: Tensor, rows: Tensor | None) -> "_Gradients":
        return cls(
            torch.empty_like(hidden) if wanted[0] else None,
            torch.zeros_like(head) if wanted[1] else None,
            torch.zeros_like(rows) if rows is not None and wanted[4] else None,
        )

    @property
    def all(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        return self.hidden, self.head, self.rows


def _piece(states: Tensor, head: Tensor, targets: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Loss, right predictions and (n, V) softmax - onehot of some rows, the first `count` of which count."""
    logits = F.linear(states, head).float()  # (n, V)
    picked = logits.gather(1, targets[:, None])  # (n, 1)
    highest = logits.amax(dim=1, keepdim=True)
    right = (picked >= highest)[:count].float().sum()
    odds = logits.sub_(highest).exp_()
    whole = odds.sum(dim=1, keepdim=True)
    loss = (whole.log() + highest - picked)[:count].sum()
    slope = odds.div_(whole)
    slope.scatter_add_(1, targets[:, None], torch.full_like(picked, -1.0))
    slope[count:] = 0
    return loss, right, slope
