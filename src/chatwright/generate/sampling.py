"""How the next token is chosen from the logits: penalties first, then temperature, then the cuts, then one draw.

The order and the meaning of each knob are those of `transformers`, so that the same settings give the same choices.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from chatwright.errors import ConfigError


@dataclass(frozen=True)
class Sampling:
    """OpenAI's names where they exist. Temperature 0 is greedy; top_k 0, top_p 1 and min_p 0 cut nothing off."""

    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        limits = {
            "max_tokens": (self.max_tokens >= 1, "at least 1"),
            "temperature": (0 <= self.temperature <= 100, "between 0 (greedy) and 100"),
            "top_p": (0 < self.top_p <= 1, "above 0 and at most 1"),
            "top_k": (self.top_k >= 0, "0 (off) or more"),
            "min_p": (0 <= self.min_p <= 1, "between 0 (off) and 1"),
            "repetition_penalty": (0 < self.repetition_penalty <= 100, "above 0; 1 is off"),
            "stop": (not isinstance(self.stop, str) and all(self.stop), "a tuple of strings that are not empty"),
        }
        for name, (holds, allowed) in limits.items():
            if not holds:
                raise ConfigError(f"{name} is {vars(self)[name]!r}; it must be {allowed}")


def pick(logits: Tensor, sampling: Sampling, seen: Sequence[int], position: int) -> int:
    """(V,) logits -> one id. `seen` are the ids so far, prompt included; the draw depends on (seed, position) alone."""
    logits = penalise(logits.float(), seen, sampling.repetition_penalty)
    if sampling.temperature == 0:
        return int(logits.argmax())
    probabilities = cut(logits / sampling.temperature, sampling).softmax(dim=-1)
    generator = torch.Generator().manual_seed((sampling.seed * 1_000_003 + position) % 2**63)
    return int(torch.multinomial(probabilities.cpu(), 1, generator=generator))


def penalise(logits: Tensor, seen: Sequence[int], penalty: float) -> Tensor:
    """Divides the positive and multiplies the negative logits of seen ids (Keskar et al., 2019, CTRL, section 4.1)."""
    if penalty == 1.0 or not seen:
        return logits
    index = torch.tensor(sorted(set(seen)), device=logits.device)
    chosen = logits[index]
    return logits.index_copy(0, index, torch.where(chosen > 0, chosen / penalty, chosen * penalty))


def cut(logits: Tensor, sampling: Sampling) -> Tensor:
    """(V,) logits with everything outside top_k, then top_p (Holtzman et al., 2020), then min_p set to -inf."""
    if sampling.top_k:
        threshold = logits.topk(min(sampling.top_k, len(logits))).values[-1]
        logits = logits.masked_fill(logits < threshold, -torch.inf)
    if sampling.top_p < 1:
        ordered, index = logits.sort(descending=True)
        before = ordered.softmax(-1).cumsum(-1) - ordered.softmax(-1)  # probability of all that rank higher
        logits = logits.index_fill(0, index[before >= sampling.top_p], -torch.inf)
    if sampling.min_p > 0:
        probabilities = logits.softmax(-1)
        logits = logits.masked_fill(probabilities < sampling.min_p * probabilities.max(), -torch.inf)
    return logits
