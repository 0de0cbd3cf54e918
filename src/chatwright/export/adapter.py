"""The adapter alone, in PEFT's layout, with tokenizer and chat template; its base is named and not copied."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chatwright.checkpoint import Checkpoint
from chatwright.errors import ConfigError


def write(checkpoint: Checkpoint, out: Path, metadata: Mapping[str, Any] | None = None) -> None:
    """Writes the folder whole or not at all. ConfigError for a model without an adapter, or one with rows of no base."""
    if checkpoint.adapter is None:
        raise ConfigError(f"{checkpoint.origin} has no adapter; --to hf writes the whole model")
    if checkpoint.changed:
        raise ConfigError(
            f"the template {checkpoint.template.name} needs tokens that the base of {checkpoint.origin} lacks, and an "
            "adapter cannot bring them; --to hf writes the whole model"
        )
    checkpoint.save(out, metadata=metadata)
