"""Log-probabilities of the tokens that are learned; the head runs only where the mask is 1.

Shapes: B rows, T tokens, C channels, N learned tokens, V vocabulary entries.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from chatwright.data.loader import Batch
from chatwright.models.protocol import LanguageModel
from chatwright.objectives.protocol import Loss

# Logits of one piece in numbers: 32 million are 128 MB in fp32. More are made piece by piece and made again for backward.
MOST_LOGITS = 32_000_000


def token_loss(model: LanguageModel, batch: Batch) -> Loss:
    """Cross-entropy in nats, summed over the N learned tokens, and how many of them were the likeliest."""
    hidden = model.trunk(batch.ids, attend=batch.attend)  # (B, T, C)
    learned = batch.mask.flatten().nonzero().squeeze(1)  # (N,)
    hidden = hidden.flatten(0, 1).index_select(0, learned)  # (N, C)
    targets = batch.targets.flatten().index_select(0, learned)  # (N,)
    piece = max(1, MOST_LOGITS // model.config.vocab_size)
    if len(learned) <= piece:
        total, correct = _cross_entropy(model, hidden, targets)
    else:
        parts = [
            checkpoint(_cross_entropy, model, h, t, use_reentrant=False)
            for h, t in zip(torch.split(hidden, piece), torch.split(targets, piece), strict=True)
        ]
        total = torch.stack([part[0] for part in parts]).sum()
        correct = torch.stack([part[1] for part in parts]).sum()
    weight = torch.tensor(float(len(learned)), device=total.device)
    return Loss(total, weight, {"token_accuracy": correct})


def _cross_entropy(model: LanguageModel, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """(N, C), (N,) -> the sum of -log p(target) in fp32, and the number of right predictions."""
    logits = model.head(hidden).float()  # (N, V)
    with torch.no_grad():
        best = logits.detach().amax(dim=-1)
        correct = (logits.detach().gather(1, targets[:, None]).squeeze(1) >= best).float().sum()
    return F.cross_entropy(logits, targets, reduction="sum"), correct
