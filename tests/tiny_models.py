"""Tiny random models for tests: a GPT-2 over bytes, its checkpoint, and the same model as `transformers` builds it."""

from typing import Any

import torch
from torch import Tensor

from chatwright.checkpoint import Checkpoint
from chatwright.models.gpt2 import GPT2, GPT2Config
from chatwright.text import template as templates
from chatwright.text.tokenizer import Tokenizer

WORDS = [
    "Paris is the capital of France. ",
    "Was ist das? Café! ",
    "naïve 東京 🙂🙃 ",
    "User: hi\nAssistant: hey\n",
]


def tiny_config(**changes: Any) -> GPT2Config:
    """Two layers, sixteen channels; no dropout unless it is asked for."""
    small: dict[str, Any] = {"vocab_size": 300, "n_positions": 64, "n_embd": 16, "n_layer": 2, "n_head": 2}
    dropout = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    return GPT2Config(**{**small, **dropout, **changes})


def tiny_model(seed: int = 0, **changes: Any) -> GPT2:
    """Random, with weights ten times as wide as usual, so that logits differ enough to be told apart."""
    torch.manual_seed(seed)
    return GPT2(tiny_config(**{"initializer_range": 0.2, **changes})).eval()


def tiny_tokenizer(vocab_size: int = 290) -> Tokenizer:
    """Byte-level, with a few merges and <|endoftext|>."""
    return Tokenizer.train(WORDS * 4, vocab_size)


def tiny_checkpoint(template: str | None = None, seed: int = 0, **changes: Any) -> Checkpoint:
    """A base model under `plain` or, with a template's name, a chatbot under that one."""
    tokenizer = tiny_tokenizer()
    model = tiny_model(seed, **{"vocab_size": tokenizer.vocab_size, **changes})
    base = Checkpoint(model, tokenizer, templates.load("plain"), own_template=False)
    return base if template is None else base.with_template(templates.load(template))


def theirs(model: GPT2) -> Any:
    """`transformers`' GPT2LMHeadModel with the same config and the same weights."""
    from transformers import GPT2Config as TheirConfig
    from transformers import GPT2LMHeadModel

    other = GPT2LMHeadModel(TheirConfig(**model.config.to_hf())).eval()
    missing, unexpected = other.load_state_dict(model.to_hf(), strict=False)
    assert not unexpected
    assert set(missing) <= {"lm_head.weight"}
    other.tie_weights()
    return other


def random_ids(*shape: int, vocab_size: int = 300, seed: int = 1) -> Tensor:
    return torch.randint(vocab_size, shape, generator=torch.Generator().manual_seed(seed))
