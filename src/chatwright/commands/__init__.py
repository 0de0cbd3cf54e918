"""One file = one verb: POSITIONAL, EXAMPLES, Settings and run(settings); here are the two doors to them.

`main` is the command line. `run` is the same from Python: the same names and checks, the result as a dictionary.
"""

import sys
from pathlib import Path
from typing import Any

from chatwright import config, registry


def main() -> None:
    """The program `chatwright`; ends the process with the exit code of errors.py."""
    from chatwright.commands import _cli

    sys.exit(_cli.main(sys.argv[1:]))


def run(verb: str, settings: dict[str, Any] | None = None, config_file: str | Path | None = None) -> dict[str, Any]:
    """Runs a verb without printing its result: `run("sft", {"model": "gpt2", "lora.rank": 8})`.

    `config_file` is what --config is on the command line. The environment's CHATWRIGHT_ settings are not read.
    Raises ConfigError for an unknown verb or setting, and whatever the verb raises.
    """
    module = registry.load("commands", verb)
    path = None if config_file is None else Path(config_file)
    result: dict[str, Any] = module.run(
        config.resolve(module.Settings, path, flags={"json": True, **(settings or {})}, verb=verb)
    )
    return result
