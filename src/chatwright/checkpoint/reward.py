"""Reward models as checkpoints: which folders are one, and what a language model needs to become one.

They are trained whole. An adapter's folder would have to hold the head beside the adapter, and no face of such a model
switches between adapters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from chatwright.errors import ConfigError
from chatwright.models.reward import is_reward, reads_end_of_turn

if TYPE_CHECKING:
    from chatwright.checkpoint.model import Checkpoint
    from chatwright.models.decoder import Decoder
    from chatwright.text.tokenizer import Tokenizer

Kind = Literal["language", "reward", "any"]
PADDING = "<|pad|>"
WHOLE = "a reward model is trained whole, without an adapter; leave out --lora.rank"


def check_kind(name: str | Path, config: Mapping[str, Any], wanted: Kind) -> None:
    """ConfigError where a reward model is given to what writes, or a language model to what wants scores."""
    found = is_reward(config)
    if found and wanted == "language":
        raise ConfigError(
            f"{name} is a reward model, which scores answers and writes none; use it with "
            f"`chatwright grpo --reward {name}` or `chatwright compare --judge {name}`"
        )
    if wanted == "reward" and not found:
        raise ConfigError(
            f"{name} is a language model, which scores no answers; make a reward model of it with "
            f"`chatwright reward {name} --data D --out DIR`"
        )


def scoring(start: Checkpoint, seed: int) -> Checkpoint:
    """The same model, in place, with a score that the seed draws and that is read where an answer ends.

    transformers finds the end of a text as the last token that is not padding, so padding must be a token that ends no
    answer: where the end of text does, one is added to the vocabulary. The template is the model's own from now on.
    A reward model keeps its head, and one from elsewhere is read at the same place as ours from now on.
    """
    if start.adapter is not None:
        raise ConfigError(WHOLE)
    config, tokenizer = start.model.config, start.tokenizer
    if start.model.score is not None and reads_end_of_turn(config):
        return start
    padding = config.other.get("pad_token_id") if start.model.score is not None else tokenizer.end_of_text
    if padding in (None, start.stop_ids[0]):
        tokenizer = tokenizer.with_special([PADDING])
        padding = tokenizer.special_tokens[PADDING]
        if tokenizer.vocab_size > start.tokenizer.vocab_size:
            start.model.grow(start.tokenizer.vocab_size, tokenizer.vocab_size)
    assert padding is not None
    start.model.add_score(padding, seed)
    return replace(start, tokenizer=tokenizer, own_template=True, changed=True)


def padding_of(model: Decoder, tokenizer: Tokenizer) -> dict[str, str]:
    """What tokenizer_config.json has to say of padding, so that both files of a reward model mean the same token."""
    spelled = tokenizer.spelling_of(model.config.other.get("pad_token_id")) if model.score is not None else None
    return {} if spelled is None else {"pad_token": spelled}
