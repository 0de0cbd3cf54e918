"""A whole Hugging Face folder, the adapter folded in: what transformers, vLLM and the converters of other formats read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chatwright.checkpoint import Checkpoint


def write(checkpoint: Checkpoint, out: Path, metadata: Mapping[str, Any] | None = None) -> None:
    """Writes the folder whole or not at all, in the checkpoint's `save_dtype`. Raises DiskFull."""
    checkpoint.merged().save(out, metadata=metadata)
