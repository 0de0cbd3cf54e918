"""How the next token is chosen from the logits: penalties and biases first, then temperature, the cuts, and one draw.

The order and the meaning of each knob are those of `transformers`, and of OpenAI where only that has it, so that the same
settings give the same choices. Shapes: B rows, V vocabulary entries.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chatwright.errors import ConfigError, NotFinite
from chatwright.generate.completion import Token

MOST_LOGPROBS = 20
COLDEST = 1e-4  # below it a temperature is 0: logits divided by less are no numbers any more
GOLDEN, FIRST, SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB  # of splitmix64


@dataclass(frozen=True)
class Sampling:
    """OpenAI's names where they exist. Temperature 0 is greedy; top_k 0, top_p 1 and min_p 0 cut nothing off.

    `logit_bias` are (id, what is added to its logit); `logprobs` is how many of the likeliest tokens are told in each
    place beside the chosen one (None: nothing is told); `index` is which of several answers to one prompt this is: with
    one seed, each has draws of its own.
    """

    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int = 0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    logprobs: int | None = None
    index: int = 0

    def __post_init__(self) -> None:
        limits = {
            "max_tokens": (self.max_tokens >= 1, "at least 1"),
            "temperature": (0 <= self.temperature <= 100, "between 0 (greedy) and 100"),
            "top_p": (0 < self.top_p <= 1, "above 0 and at most 1"),
            "top_k": (self.top_k >= 0, "0 (off) or more"),
            "min_p": (0 <= self.min_p <= 1, "between 0 (off) and 1"),
            "repetition_penalty": (0.01 <= self.repetition_penalty <= 100, "between 0.01 and 100; 1 is off"),
            "stop": (not isinstance(self.stop, str) and all(self.stop), "a tuple of strings that are not empty"),
            "presence_penalty": (-2 <= self.presence_penalty <= 2, "between -2 and 2; 0 is off"),
            "frequency_penalty": (-2 <= self.frequency_penalty <= 2, "between -2 and 2; 0 is off"),
            "logit_bias": (
                all(number >= 0 and -100 <= bias <= 100 for number, bias in self.logit_bias),
                "between -100 and 100 for each id, none of which is negative",
            ),
            "logprobs": (self.logprobs is None or 0 <= self.logprobs <= MOST_LOGPROBS, f"0 to {MOST_LOGPROBS}"),
        }
        for name, (holds, allowed) in limits.items():
            if not holds:
                raise ConfigError(f"{name} is {vars(self)[name]!r}; it must be {allowed}")

    @property
    def changes_logits(self) -> bool:
        """Whether anything is done to a row's logits before they are drawn from."""
        own = self.repetition_penalty != 1 or self.presence_penalty != 0 or self.frequency_penalty != 0
        return own or bool(self.logit_bias)


def pick(
    logits: Tensor, ways: Sequence[Sampling], prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]
) -> list[int]:
    """(B, V) logits -> an id for each row, chosen in its own way; rows with the same knobs are drawn in one go.

    `prompts` and `answers` are the ids of a row so far. What a row draws depends on its logits, its ids, its seed and
    index alone, never on the rows beside it.
    """
    logits = logits.float()
    changed = [row for row, way in enumerate(ways) if way.changes_logits]
    if changed:
        logits = logits.clone()
    for row in changed:
        logits[row] = weighed(logits[row], ways[row], prompts[row], answers[row])
    alike: dict[tuple[float, ...], list[int]] = {}
    for row, way in enumerate(ways):
        alike.setdefault((way.temperature, way.top_k, way.top_p, way.min_p), []).append(row)
    chosen = [0] * len(ways)
    for rows in alike.values():
        some = logits if len(rows) == len(ways) else logits[rows]
        first = ways[rows[0]]
        if first.temperature < COLDEST:
            tokens = some.argmax(dim=-1).tolist()
        else:
            seeds, indices = [ways[row].seed for row in rows], [ways[row].index for row in rows]
            tokens = _drawn(some, first, uniforms(seeds, indices, [len(answers[row]) for row in rows]))
        for row, token in zip(rows, tokens, strict=True):
            chosen[row] = token
    return chosen


def told(logits: Tensor, chosen: Sequence[int], ways: Sequence[Sampling]) -> list[tuple[Token, ...]]:
    """(B, V) logits -> for each row that asks for log-probabilities the chosen token with them, else nothing."""
    rows = [row for row, way in enumerate(ways) if way.logprobs is not None]
    found: list[tuple[Token, ...]] = [()] * len(ways)
    if not rows:
        return found
    logprobs = logits[rows].float().log_softmax(dim=-1)
    most = min(max(ways[row].logprobs or 0 for row in rows), logprobs.shape[-1])
    values, ids = (part.tolist() for part in logprobs.topk(most))
    for place, row in enumerate(rows):
        count = ways[row].logprobs or 0
        top = tuple(zip(ids[place][:count], values[place][:count], strict=True))
        found[row] = (Token(chosen[row], float(logprobs[place, chosen[row]]), top),)
    return found


def uniforms(seeds: Sequence[int], indices: Sequence[int], positions: Sequence[int]) -> NDArray[np.float64]:
    """A number in [0, 1) for each seed, index and position, which nothing else decides.

    It is number `position` of a splitmix64 generator (Steele et al., 2014) that begins at a hash of seed and index, so that
    neighbours have nothing in common; a counter needs no generator to be made and run for every token.
    """
    begin = _mixed(np.array([seed % 2**64 for seed in seeds], dtype=np.uint64))
    index = np.array(indices, dtype=np.uint64)
    begin = np.where(index > 0, _mixed(begin + index * np.uint64(SECOND)), begin)
    place = np.array(positions, dtype=np.uint64) + np.uint64(1)
    return (_mixed(begin + place * np.uint64(GOLDEN)) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The hash of splitmix64; products wrap at 64 bits."""
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(FIRST)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(SECOND)
    return numbers ^ (numbers >> np.uint64(31))


def _drawn(logits: Tensor, way: Sampling, numbers: NDArray[np.float64]) -> list[int]:
    """(B, V) logits -> an id for each row: where its number falls among the summed probabilities."""
    odds = cut(logits / way.temperature, way).softmax(dim=-1)
    if odds.device.type == "mps":  # it has no fp64
        odds = odds.cpu()
    # the sum of 50,000 small numbers in fp32 would skip some of them
    ladder = odds.cumsum(dim=-1, dtype=torch.float64)
    heights = torch.from_numpy(numbers).to(ladder.device)[:, None] * ladder[:, -1:]
    found: list[int] = torch.searchsorted(ladder, heights, right=True).squeeze(1).tolist()
    if max(found) >= logits.shape[-1]:
        raise NotFinite("the model gives no probabilities (its logits are NaN); its weights are damaged, load others")
    return found


def weighed(logits: Tensor, way: Sampling, prompt: Sequence[int], answer: Sequence[int]) -> Tensor:
    """The (V,) logits of a row with its penalties and biases.

    Presence and frequency are counted in the answer alone, and taken off as OpenAI's reference writes it:
    logit - count · frequency_penalty - (count > 0) · presence_penalty.
    """
    logits = penalise(logits, (*prompt, *answer) if way.repetition_penalty != 1 else (), way.repetition_penalty)
    if answer and (way.presence_penalty or way.frequency_penalty):
        counts = Counter(answer)
        taken = [-(count * way.frequency_penalty + way.presence_penalty) for count in counts.values()]
        logits = logits.index_add(0, torch.tensor([*counts], device=logits.device), logits.new_tensor(taken))
    for number, bias in way.logit_bias:
        if number < len(logits):
            logits = logits.index_add(0, torch.tensor([number], device=logits.device), logits.new_tensor([bias]))
    return logits


def penalise(logits: Tensor, seen: Sequence[int], penalty: float) -> Tensor:
    """Divides the positive and multiplies the negative of the (V,) logits of seen ids (Keskar et al., 2019, CTRL, 4.1)."""
    if penalty == 1.0 or not seen:
        return logits
    index = torch.tensor(sorted(set(seen)), device=logits.device)
    chosen = logits[index]
    return logits.index_copy(0, index, torch.where(chosen > 0, chosen / penalty, chosen * penalty))


def cut(logits: Tensor, sampling: Sampling) -> Tensor:
    """(…, V) logits with everything outside top_k, then top_p (Holtzman et al., 2020), then min_p set to -inf."""
    if sampling.top_k:
        threshold = logits.topk(min(sampling.top_k, logits.shape[-1])).values[..., -1:]
        logits = logits.masked_fill(logits < threshold, -torch.inf)
    if sampling.top_p < 1:
        ordered, index = logits.sort(descending=True)
        odds = ordered.softmax(-1)
        before = odds.cumsum(-1) - odds  # probability of all that rank higher
        outside = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, index, before >= sampling.top_p)
        logits = logits.masked_fill(outside, -torch.inf)
    if sampling.min_p > 0:
        odds = logits.softmax(-1)
        logits = logits.masked_fill(odds < sampling.min_p * odds.amax(-1, keepdim=True), -torch.inf)
    return logits
