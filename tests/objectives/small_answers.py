"""Answers to small prompts as ids, models of all seven families to ask about them, and what an answer is worth by itself."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from chatwright import registry
from chatwright.data.answers import Answers, Choices, laid_out
from chatwright.data.examples import Examples, Tokens
from chatwright.models.decoder import Decoder
from chatwright.objectives.preference import Pairs
from chatwright.text.pieces import Example

VOCABULARY = 97
LLAMA: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.2,
}
GPT2: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "n_positions": 64,
    "n_embd": 16,
    "n_layer": 2,
    "n_head": 2,
    "resid_pdrop": 0.0,
    "embd_pdrop": 0.0,
    "attn_pdrop": 0.0,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "initializer_range": 0.2,
}
GPT_NEO: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "num_layers": 2,
    "num_heads": 4,
    "attention_types": [[["global", "local"], 1]],
    "window_size": 4,
    "max_position_embeddings": 64,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "initializer_range": 0.2,
}
NEOX = {name: value for name, value in LLAMA.items() if name != "num_key_value_heads"} | {"rotary_pct": 0.5}
SLIDES = {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}
# by name: the family, and its config
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("gpt2", GPT2),
    "gpt_neo, every other layer through a window of 4": ("gpt_neo", GPT_NEO),
    "gpt_neo, all through a window of 2": (
        "gpt_neo",
        {**GPT_NEO, "attention_types": [[["local"], 2]], "window_size": 2},
    ),
    "gpt_neox": ("gpt_neox", NEOX),
    "llama": ("llama", LLAMA),
    "mistral through a window of 4": ("mistral", {**LLAMA, "sliding_window": 4}),
    "mistral through a window of 1": ("mistral", {**LLAMA, "sliding_window": 1}),
    "qwen2, one layer through a window": ("qwen2", {**LLAMA, **SLIDES}),
    "qwen3, one layer through a window": ("qwen3", {**LLAMA, **SLIDES}),
}


def model_of(family: str, config: dict[str, Any], seed: int = 0) -> Decoder:
    """Random, with wide weights and with norms and biases that are not what they begin as."""
    torch.manual_seed(seed)
    model: Decoder = registry.load("models", family).MODEL.build(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)
    return model


def gpt2(seed: int = 0, **changes: Any) -> Decoder:
    return model_of("gpt2", {**GPT2, **changes}, seed)


def family(prompt: Sequence[int], *answers: Sequence[int]) -> list[Tokens]:
    """Answers that are learned, each after the same prompt, which is not."""
    return [_tokens([*prompt, *answer], len(prompt)) for answer in answers]


def families(*lengths: tuple[int, ...], seed: int = 0) -> list[list[Tokens]]:
    """Of random ids: `(5, 2, 7)` is a prompt of five and answers of two and seven."""
    random = np.random.default_rng(seed)
    return [family(*(random.integers(VOCABULARY, size=n).tolist() for n in some)) for some in lengths]


def batch(some: Sequence[Sequence[Tokens]], reference: Tensor | None = None, labels: Tensor | None = None) -> Answers:
    """As a batch; unless it is said otherwise, the first of each family is the better one."""
    first = [float(place == 0) for members in some for place, _ in enumerate(members)]
    return laid_out(some, torch.tensor(first) if labels is None else labels, reference, {})


def against(start: Decoder, some: Sequence[Sequence[Tokens]]) -> Answers:
    """As a batch that knows what the start model gives to each answer."""
    with torch.no_grad():
        return batch(some, alone(start, some))


def three_pairs() -> Pairs:
    """Made up: in nats, and tokens. The chosen answers gained 2, -1 and 0; the rejected ones lost 1, gained 1, lost 4."""
    chosen, start_chosen, chosen_tokens = (-10.0, -9.0, -4.0), (-12.0, -8.0, -4.0), (4.0, 2.0, 8.0)
    rejected, start_rejected, rejected_tokens = (-20.0, -6.0, -9.0), (-19.0, -7.0, -5.0), (5.0, 2.0, 2.0)
    columns = (chosen, rejected, start_chosen, start_rejected, chosen_tokens, rejected_tokens)
    return Pairs(*(torch.tensor(column) for column in columns))


def choices(some: Sequence[Sequence[Tokens]]) -> Choices:
    """As an objective's data."""
    made = [Example(one.ids.tolist(), one.mask.astype(int).tolist()) for members in some for one in members]
    labels = [int(place == 0) for members in some for place, _ in enumerate(members)]
    return Choices.of(Examples.of(made).labelled(labels), len(some[0]))


def each_alone(model: nn.Module, one: Tokens) -> Tensor:
    """(n,): log p of each learned token of a conversation that is read by itself, from all logits."""
    ids = torch.from_numpy(one.ids).long()
    logprobs: Tensor = model(ids[None])[0, :-1].float().log_softmax(-1)
    return logprobs.gather(1, ids[1:, None])[:, 0][torch.from_numpy(one.mask[1:])]


def alone(model: nn.Module, some: Sequence[Sequence[Tokens]]) -> Tensor:
    """(n,): log p of each answer of some families, read by itself."""
    return torch.stack([each_alone(model, one).sum() for members in some for one in members])


def gradients(model: nn.Module, loss: Tensor) -> list[Tensor]:
    model.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]


def difference(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Relative, in norm, over all of them."""
    away = torch.stack([(a - b).norm() for a, b in zip(found, expected, strict=True)]).norm()
    return float(away / torch.stack([b.norm() for b in expected]).norm())


def _tokens(ids: list[int], start: int) -> Tokens:
    return Tokens(np.array(ids), np.arange(len(ids)) >= start)
