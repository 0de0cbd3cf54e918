"""PPO (Schulman et al., 2017) as it is used on language models (Ziegler et al., 2019): a value is learned for every token.

What a token was worth is what came after it, against what was expected. Leaving the start model costs reward at every
token. Shapes: N learned tokens, n answers, L tokens of the longest of them, C channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from chatwright.checkpoint import Checkpoint
from chatwright.models.protocol import LanguageModel
from chatwright.objectives.logprobs import AnswerLogprobs, by_answer, logprobs_and_states
from chatwright.objectives.protocol import Loss
from chatwright.objectives.reinforcing import Reinforcing
from chatwright.objectives.rollouts import EQUAL, Kept, Rollouts, Round, evaluating


class ValueHead(nn.Module):
    """(…, C) hidden states -> (…,): what will yet be earned. It begins as zero everywhere.

    It reads the states and does not change them: its error is large while it knows nothing, and the same weights have to
    keep their language.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, hidden: Tensor) -> Tensor:
        # no matrix product, so that autocast leaves it in fp32
        return (hidden.detach().float() * self.weight).sum(dim=-1) + self.bias


@dataclass(frozen=True)
class Ppo(Reinforcing):
    """`head` is trained beside the policy, its loss times `value_weight`; both are clipped by `clip`.

    `gamma` discounts what is earned later; `lam` weighs what was earned against what was expected (Schulman et al., 2016).
    """

    head: ValueHead = field(kw_only=True)
    gamma: float = 1.0
    lam: float = 0.95
    value_weight: float = 0.1

    def teaching(self, made: Round) -> Sequence[int]:
        """All or none: where every answer earned the same, whitening would make advantages of noise."""
        differ = float(made.rewards.max() - made.rewards.min()) > EQUAL
        return range(len(made.problems)) if differ else ()

    @torch.no_grad()
    def priced(self, policy: Checkpoint, batch: Rollouts, kept: Kept) -> Rollouts:
        if kept.old:
            old, values = (torch.tensor(told, device=batch.ids.device) for told in (kept.old, kept.values))
        else:
            with evaluating(policy), self.autocast(batch):
                old, states = logprobs_and_states(policy.model, batch, self.asking.temperature)
            values = self.head(states)
        found = by_answer(batch, old)
        places = _places(found)
        earned, expected = old.new_zeros((2, batch.count, int(found.tokens.max())))
        expected[places] = values
        if batch.start is not None:
            earned[places] = -self.beta * (old - batch.at(batch.start))
        earned[torch.arange(batch.count, device=old.device), found.tokens.long() - 1] += batch.labels
        gained = gae(earned, expected, self.gamma, self.lam)[places]
        return replace(
            batch,
            old=batch.spread(old),
            values=batch.spread(values),
            returns=batch.spread(gained + values),
            advantages=batch.spread(whitened(gained)),
        )

    def answers_loss(self, model: LanguageModel, batch: Rollouts) -> Loss:
        assert batch.old is not None
        assert batch.values is not None
        assert batch.returns is not None
        each, states = logprobs_and_states(model, batch, self.asking.temperature)
        found = by_answer(batch, each)
        worse, clipped = self.surrogate((each - batch.at(batch.old)).exp(), batch.at(batch.advantages))
        wrong = value_loss(self.head(states), batch.at(batch.values), batch.at(batch.returns), self.clip)
        # a mean over the tokens of the round, whose answers have so many each
        total = (worse + self.value_weight * wrong).sum() / batch.told["answer_tokens"]
        weight = torch.tensor(float(batch.count), device=each.device)
        metrics = self.measured(batch, found, clipped)
        return Loss(total, weight, {**metrics, "value_loss": (found.per_answer(wrong.detach()) / found.tokens).sum()})

    @property
    def start_loss(self) -> float | None:
        """That of the values depends on the rewards."""
        return None


def gae(rewards: Tensor, values: Tensor, gamma: float, lam: float) -> Tensor:
    """(…, L) rewards of tokens and what was expected before each -> (…, L) advantages (Schulman et al., 2016, eq. 16).

    Nothing is expected after the last token. Zeros behind an answer's end leave its advantages as they are.
    """
    found = torch.zeros_like(rewards)
    later = following = torch.zeros_like(rewards[..., 0])
    for place in reversed(range(rewards.shape[-1])):
        surprise = rewards[..., place] + gamma * following - values[..., place]
        later = surprise + gamma * lam * later
        found[..., place], following = later, values[..., place]
    return found


def whitened(values: Tensor) -> Tensor:
    """The same with mean 0 and standard deviation 1; one alone is 0."""
    above = values - values.mean()
    return above / (values.std(correction=0) + 1e-8)


def value_loss(values: Tensor, old: Tensor, returns: Tensor, clip: float) -> Tensor:
    """(N,): half the squared error, or that of a value which has moved by `clip` at most where this is larger."""
    near = old + (values - old).clamp(-clip, clip)
    return 0.5 * torch.maximum((values - returns).square(), (near - returns).square())


def _places(found: AnswerLogprobs) -> tuple[Tensor, Tensor]:
    """The row and the column of each of N tokens in an (n, L) table of answers; those of an answer stand together."""
    begins = torch.ones_like(found.answer, dtype=torch.bool)
    begins[1:] = found.answer[1:] != found.answer[:-1]
    index = torch.arange(len(found.answer), device=found.answer.device)
    first = torch.where(begins, index, 0).cummax(dim=0).values
    return found.answer, index - first
