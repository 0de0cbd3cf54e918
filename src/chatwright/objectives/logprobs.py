"""Log-probabilities of the tokens that are learned; the head runs only where the mask is 1.

Shapes: B rows, T tokens, C channels, N learned tokens, V vocabulary entries.
"""

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
    total, correct = HeadLoss.apply(hidden, head, targets, count)  # type: ignore[no-untyped-call]
    weight = torch.tensor(float(count), device=total.device)
    return Loss(total, weight, {"token_accuracy": correct})


class HeadLoss(torch.autograd.Function):
    """(N, C) hidden, (V, C) head, (N,) targets -> the sum of -log p(target), and the number of right predictions.

    Only the first `count` rows count.

    The derivative of the sum with respect to the logits is softmax - onehot, so the gradients of hidden and head are
    made on the way forward, piece by piece, and the (N, V) logits are never kept (as in Hsu et al., 2024, Liger Kernel,
    section 3.2). Products run in the precision of autocast, everything between them in fp32.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Tensor, targets: Tensor, count: int) -> tuple[Tensor, Tensor]:
        device = hidden.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
        with torch.autocast(device, enabled=False):
            states, matrix = hidden.to(dtype), head.to(dtype)
            wants = ctx.needs_input_grad[0] or ctx.needs_input_grad[1]
            hidden_grad = torch.empty_like(states) if wants else None
            head_grad = torch.zeros_like(head) if wants else None
            total, correct = hidden.new_zeros((), dtype=torch.float32), hidden.new_zeros((), dtype=torch.float32)
            piece = max(1, MOST_LOGITS // head.shape[0] // MULTIPLE) * MULTIPLE
            for start in range(0, len(targets), piece):
                rows = slice(start, start + piece)
                loss, right, slope = _piece(states[rows], matrix, targets[rows], max(0, count - start))
                total, correct = total + loss, correct + right
                if hidden_grad is not None and head_grad is not None:
                    slope = slope.to(dtype)
                    hidden_grad[rows] = slope @ matrix
                    head_grad += slope.t() @ states[rows]
        if hidden_grad is not None and head_grad is not None:
            ctx.save_for_backward(hidden_grad.to(hidden.dtype), head_grad)
        ctx.mark_non_differentiable(correct)
        return total, correct

    @staticmethod
    def backward(ctx: Any, scale: Tensor, _: Tensor) -> tuple[Tensor, Tensor, None, None]:
        hidden_grad, head_grad = ctx.saved_tensors
        return hidden_grad * scale, head_grad * scale, None, None


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
