"""The adapter alone, in PEFT's layout, with tokenizer and chat template; its base is named and not copied."""

from pathlib import Path

from chatwright.checkpoint import Checkpoint
from chatwright.errors import ConfigError


def write(checkpoint: Checkpoint, out: Path) -> None:
    """Writes the folder whole or not at all. ConfigError for a model without an adapter."""
    if checkpoint.adapter is None:
        raise ConfigError(f"{checkpoint.origin} has no adapter; --to hf writes the whole model")
    checkpoint.save(out)
