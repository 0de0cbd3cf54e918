"""Unlikelihood (Welleck et al., 2020): tokens that repeat what an answer said before are made less likely.

At the level of sequences (section 5, eq. 6): of a whole answer, the tokens that belong to a repeated n-gram.
"""

import torch
from torch import Tensor

from chatwright.data.answers import Answers
from chatwright.objectives.logprobs import AnswerLogprobs

GRAM = 4  # tokens; the paper's n
SMALLEST = 1e-5  # of 1 - p: a token that is certain would else have an infinite loss


def unlikelihood(policy: AnswerLogprobs, batch: Answers) -> Tensor:
    """(n,): the sum of -log(1 - p) over the repeated tokens of each answer, in nats."""
    targets = batch.targets.flatten()[batch.mask.flatten() > 0]
    again = repeated(targets, policy.answer).to(policy.each.device)
    rest = (-torch.expm1(policy.each)).clamp_min(SMALLEST)  # 1 - p
    return policy.per_answer(torch.where(again, -rest.log(), torch.zeros_like(rest)))


def repeated(targets: Tensor, answer: Tensor, gram: int = GRAM) -> Tensor:
    """(N,) ids and the answers they belong to -> whether each ends or stands in an n-gram that its answer had before.

    >>> repeated(torch.tensor([1, 2, 1, 2, 3]), torch.zeros(5, dtype=torch.long), gram=2).tolist()
    [False, False, True, True, False]
    """
    ids, owners = targets.tolist(), answer.tolist()
    found = [False] * len(ids)
    seen: set[tuple[int, ...]] = set()
    for end in range(gram, len(ids) + 1):
        start = end - gram
        if owners[start] != owners[end - 1]:
            continue
        key = (owners[start], *ids[start:end])
        if key in seen:
            found[start:end] = [True] * gram
        seen.add(key)
    return torch.tensor(found)
