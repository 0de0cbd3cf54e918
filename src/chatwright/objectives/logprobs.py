"""Log-probabilities of the tokens that are learned; the head runs only where the mask is 1.

`token_loss` is their sum with its gradient made on the way; `token_logprobs` gives each, for losses that weigh them.
Shapes: B rows, T tokens, C channels, N learned tokens, V vocabulary entries, n answers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from chatwright.data.answers import Answers
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
    at = _Learned.of(model, batch)
    total, correct = HeadLoss.apply(at.hidden, at.head, at.targets, at.count, *at.rows)  # type: ignore[no-untyped-call]
    weight = torch.tensor(float(at.count), device=total.device)
    return Loss(total, weight, {"token_accuracy": correct})


def token_logprobs(model: LanguageModel, batch: Batch, temperature: float = 1.0) -> Tensor:
    """(N,): log p of each learned target, in nats and in fp32, row after row, at the temperature that it is sampled at."""
    return logprobs_and_states(model, batch, temperature)[0]


def logprobs_and_states(model: LanguageModel, batch: Batch, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """The same, and the (N, C) hidden states that the targets are predicted from."""
    at = _Learned.of(model, batch)
    hidden = at.hidden if temperature == 1 else at.hidden / temperature  # as good as dividing the logits
    found: Tensor = HeadLogprobs.apply(hidden, at.head, at.targets, *at.rows)  # type: ignore[no-untyped-call]
    return found[: at.count], at.hidden[: at.count]


@dataclass(frozen=True)
class AnswerLogprobs:
    """Log p of n answers: `total` (n,) nats each, of `tokens` (n,) ids; `each` (N,) of every token, whose answer `answer` says."""

    total: Tensor
    tokens: Tensor
    each: Tensor
    answer: Tensor

    def per_answer(self, values: Tensor) -> Tensor:
        """(N,) of tokens -> (n,) sums over their answers."""
        return torch.zeros_like(self.total).index_add(0, self.answer, values)


def answer_logprobs(model: LanguageModel, batch: Answers) -> AnswerLogprobs:
    """What the model gives to each answer of a batch."""
    return by_answer(batch, token_logprobs(model, batch))


def by_answer(batch: Answers, each: Tensor) -> AnswerLogprobs:
    """(N,) log-probabilities of a batch's tokens with the answers that they belong to."""
    answer = batch.answer.flatten()[batch.mask.flatten() > 0]  # (N,)
    none = each.new_zeros(batch.count)
    total = none.index_add(0, answer, each)
    tokens = none.index_add(0, answer, torch.ones_like(each))
    return AnswerLogprobs(total, tokens, each, answer)


@dataclass(frozen=True)
class _Learned:
    """The positions where something is learned, filled up to a MULTIPLE: what is beyond `count` counts for nothing."""

    hidden: Tensor  # (N + fill, C)
    head: Tensor  # (V, C)
    targets: Tensor  # (N + fill,)
    count: int
    rows: tuple[Tensor | None, Tensor | None]  # trained rows of a frozen head, and their places

    @classmethod
    def of(cls, model: LanguageModel, batch: Batch) -> "_Learned":
        hidden = model.trunk(batch.ids, attend=batch.attend)  # (B, T, C)
        learned = batch.mask.flatten().nonzero().squeeze(1)  # (N,)
        filled = F.pad(learned, (0, -len(learned) % MULTIPLE))  # any position will do
        # autograd asks for the gradient of a parameter even where none is recorded: validation would pay for three products
        head = model.output_weight if torch.is_grad_enabled() else model.output_weight.detach()
        trained = model.output_rows
        rows = (trained.rows, trained.indices) if trained else (None, None)
        targets = batch.targets.flatten().index_select(0, filled)
        return cls(hidden.flatten(0, 1).index_select(0, filled), head, targets, len(learned), rows)


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
        device, dtype = hidden.device.type, _precision(hidden, head)
        grads = _Gradients.of(ctx.needs_input_grad, hidden, head, rows)
        with torch.autocast(device, enabled=False):
            states, matrix = hidden.to(dtype), head.to(dtype)
            total, correct = hidden.new_zeros((), dtype=torch.float32), hidden.new_zeros((), dtype=torch.float32)
            for some in _pieces(head, targets):
                loss, right, slope = _piece(states[some], matrix, targets[some], max(0, count - some.start))
                total, correct = total + loss, correct + right
                grads.add(some, slope.to(dtype), states, matrix, indices)
        ctx.grads = grads
        ctx.mark_non_differentiable(correct)
        return total, correct

    @staticmethod
    def backward(ctx: Any, scale: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        hidden, head, rows = (None if one is None else one * scale for one in ctx.grads.all)
        return hidden, head, None, None, rows, None


class HeadLogprobs(torch.autograd.Function):
    """(N, C) hidden, (V, C) head, (N,) targets -> (N,) log p(target), without keeping the (N, V) logits.

    How much each token counts is known only when the loss is, so the way back makes the logits a second time: one product
    more, and memory for a piece of them. `rows` and `indices` are those of `HeadLoss`.
    """

    @staticmethod
    def forward(ctx: Any, *given: Any) -> Tensor:
        hidden, head, targets, rows, indices = given
        device, dtype = hidden.device.type, _precision(hidden, head)
        found = torch.empty(len(targets), dtype=torch.float32, device=hidden.device)
        whole = torch.empty_like(found)
        with torch.autocast(device, enabled=False):
            states, matrix = hidden.to(dtype), head.to(dtype)
            for some in _pieces(head, targets):
                logits = F.linear(states[some], matrix).float()  # (n, V)
                whole[some] = logits.logsumexp(dim=1)
                found[some] = logits.gather(1, targets[some, None]).squeeze(1) - whole[some]
        ctx.dtype = dtype
        ctx.save_for_backward(hidden, head, targets, whole, rows, indices)
        return found

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        hidden, head, targets, whole, rows, indices = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        grads = _Gradients.of((wanted[0], wanted[1], False, False, wanted[3]), hidden, head, rows)
        with torch.autocast(hidden.device.type, enabled=False):
            states, matrix = hidden.to(ctx.dtype), head.to(ctx.dtype)
            for some in _pieces(head, targets):
                odds = F.linear(states[some], matrix).float().sub_(whole[some, None]).exp_()  # (n, V)
                slope = odds.neg_().scatter_add_(1, targets[some, None], torch.ones_like(odds[:, :1]))
                slope.mul_(slopes[0][some, None])
                grads.add(some, slope.to(ctx.dtype), states, matrix, indices)
        return grads.hidden, grads.head, None, grads.rows, None


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

    def add(self, some: slice, slope: Tensor, states: Tensor, matrix: Tensor, indices: Tensor | None) -> None:
        """What (n, V) `slope`, the derivative with respect to the logits of some rows, adds to each."""
        if self.hidden is not None:
            self.hidden[some] = slope @ matrix
        if self.head is not None:
            self.head += slope.t() @ states[some]
        if self.rows is not None and indices is not None:
            self.rows += slope[:, indices].t() @ states[some]

    @property
    def all(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        return self.hidden, self.head, self.rows


def _pieces(head: Tensor, targets: Tensor) -> Iterator[slice]:
    """Runs of positions whose logits may exist at one time."""
    piece = max(1, MOST_LOGITS // head.shape[0] // MULTIPLE) * MULTIPLE
    return (slice(start, start + piece) for start in range(0, len(targets), piece))


def _precision(hidden: Tensor, head: Tensor) -> torch.dtype:
    """Of the products: that of autocast, where it is on."""
    device = hidden.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else head.dtype


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
