"""The token that a command was given for the hub: in the environment while it runs, and nowhere else."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from chatwright.errors import ConfigError

VARIABLE = "HF_TOKEN"


@contextmanager
def token_of(text: str | None) -> Iterator[None]:
    """Sets HF_TOKEN for the block; None leaves it as it is. ConfigError for what no header can hold, not repeating it.

    It is no setting of any verb, so it gets into no config.yaml, no log and no report.
    """
    if text is None:
        yield
        return
    if not re.fullmatch("[!-~]+", text):
        raise ConfigError(
            "--token must be one word of plain letters and digits, such as hf_...; the hub gives them out"
        )
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = text
    try:
        yield
    finally:
        del os.environ[VARIABLE]
        if before is not None:
            os.environ[VARIABLE] = before
