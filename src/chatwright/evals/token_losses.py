"""How surprised a model is by each token of some examples: what a page that shows data colours them by.

In come examples, out come a loss, a rank and the model's own choice for each id. Examples of like length run together,
and of their logits only a piece exists at a time. Shapes: B rows, T tokens, C channels, N tokens that are scored, V
vocabulary entries.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from chatwright import console
from chatwright.data.examples import Examples
from chatwright.data.loader import WIDTHS, collate
from chatwright.models.attention import Attend
from chatwright.models.protocol import LanguageModel
from chatwright.objectives.logprobs import MULTIPLE
from chatwright.text.pieces import Example

BATCH_TOKENS = 8_192  # of a batch, padding included; one example alone may be longer
MOST_LOGITS = 8_000_000  # that exist at one time: 32 MB in fp32, and as much again while they are summed


@dataclass(frozen=True)
class TokenLosses:
    """For each id of an example: its loss in nats, its place among all V (1 is the likeliest), the id that the model
    thought likeliest there, and that one's loss. NaN, 0 and -1 where the model says nothing: for the first id, which
    nothing stands before, and for those beyond its window."""

    nats: NDArray[np.float32]
    ranks: NDArray[np.int32]
    likeliest: NDArray[np.int32]
    likeliest_nats: NDArray[np.float32]

    @classmethod
    def nothing(cls, size: int) -> "TokenLosses":
        """Of an example of so many ids, before anything is known."""
        nats, ids = np.full(size, np.nan, np.float32), np.full(size, -1, np.int32)
        return cls(nats, np.zeros(size, np.int32), ids, nats.copy())


def token_losses(
    model: LanguageModel, examples: Sequence[Example], *, batch_tokens: int = BATCH_TOKENS
) -> list[TokenLosses]:
    """The losses of every example, in their order, learned or not; the model is left in the mode it had.

    Runs where the model is, without gradients, and shows its progress on stderr.
    """
    assert isinstance(model, nn.Module)
    found = [TokenLosses.nothing(len(example.ids)) for example in examples]
    training = model.training
    model.eval()
    try:
        with torch.inference_mode(), console.progress("token losses", len(examples), "row") as bar:
            done = sum(1 for example in examples if len(example.ids) < 2)
            for group in _groups(examples, model.config.context_length, batch_tokens):
                _score(model, [examples[one] for one in group], [found[one] for one in group])
                done += len(group)
                bar.update(done)
    finally:
        model.train(training)
    return found


def _groups(examples: Sequence[Example], window: int, batch_tokens: int) -> Iterator[list[int]]:
    """Examples by number, shortest first, as many as fill a batch; those without a token to predict are left out."""
    lengths = [min(len(example.ids) - 1, window) for example in examples]
    group: list[int] = []
    for one in sorted((i for i, length in enumerate(lengths) if length > 0), key=lambda i: lengths[i]):
        width = min(window, lengths[one] + -lengths[one] % WIDTHS)  # as collate makes it
        if group and width * (len(group) + 1) > batch_tokens:
            yield group
            group = []
        group.append(one)
    if group:
        yield group


def _score(model: LanguageModel, group: list[Example], found: list[TokenLosses]) -> None:
    """Fills in what is found for one batch."""
    window = model.config.context_length
    examples = Examples.of(Example(one.ids[: window + 1], [1] * len(one.ids[: window + 1])) for one in group)
    batch = collate([(examples, [one]) for one in range(len(group))], window, {})
    device = next(iter(model.blocks.parameters())).device
    width = batch.ids.shape[1]
    # padding stands behind what it pads, so that causal attention alone hides it
    hidden = model.trunk(batch.ids.to(device), attend=Attend.causal(width, device))  # (B, T, C)
    real = batch.mask.flatten().nonzero().squeeze(1)  # (N,)
    filled = F.pad(real, (0, -len(real) % MULTIPLE))  # matrices of few sizes, as objectives/logprobs.py has them
    scores = _scores(model, hidden.flatten(0, 1)[filled.to(device)], batch.targets.flatten()[filled].to(device))
    at = 0
    for one, length in zip(found, examples.lengths, strict=True):
        for column, values in zip((one.nats, one.ranks, one.likeliest, one.likeliest_nats), scores, strict=True):
            column[1 : length + 1] = values[at : at + length]
        at += int(length)


def _scores(model: LanguageModel, hidden: Tensor, targets: Tensor) -> list[NDArray[np.float32]]:
    """(N, C), (N,) -> loss, rank, likeliest id and its loss, (N,) each."""
    size = max(1, MOST_LOGITS // model.config.vocab_size // MULTIPLE) * MULTIPLE
    columns: list[tuple[Tensor, ...]] = []
    for start in range(0, len(targets), size):
        logits = model.head(hidden[start : start + size]).float()  # (n, V)
        picked = logits.gather(1, targets[start : start + size, None])  # (n, 1)
        ranks = (logits > picked).sum(1) + 1
        highest, likeliest = logits.max(1)
        whole = logits.sub_(highest[:, None]).exp_().sum(1).log() + highest  # (n,): the logarithm of the sum
        columns.append((whole - picked.squeeze(1), ranks, likeliest, whole - highest))
    return [torch.cat(column).cpu().numpy() for column in zip(*columns, strict=True)]
