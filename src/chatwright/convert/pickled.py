"""Files of torch.save, read by a process of its own (`unpickle.py`): tensors by name, and the settings beside them.

This process never unpickles: it reads the safetensors and the JSON that the other one leaves, and trusts neither.
"""

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from chatwright.checkpoint.weights import Weights
from chatwright.errors import DataError

SCRIPT = Path(__file__).with_name("unpickle.py")
# What Python and torch need to start; tokens and passwords are not among it
ENVIRONMENT = (
    "PATH",
    "PYTHONPATH",
    "PYTHONHOME",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "SYSTEMROOT",
    "HOME",
    "TMPDIR",
)
SECONDS = 120.0  # for starting, and for a small file
BYTES_PER_SECOND = 5 * 2**20  # of the slowest disk that is waited for


@dataclass(frozen=True)
class Pickled:
    """`tensors` are mapped from the files in the scratch folder. `entries`: numbers, texts, and dictionaries of them."""

    tensors: dict[str, Tensor]
    entries: dict[str, Any]


def read(files: Sequence[Path], scratch: Path) -> Pickled:
    """The contents of the files together, by way of the empty folder `scratch`; DataError says why one is refused."""
    entries = _answer(files, scratch)
    tensors: dict[str, Tensor] = {}
    for number, file in enumerate(files):
        found = Weights([scratch / f"{number}.safetensors"])
        twice = next((name for name in found if name in tensors), None)
        if twice is not None:
            raise DataError(f"{file} holds {twice!r}, as another shard does; get a whole copy of the model")
        tensors.update(found)
    return Pickled(_without_wrappers(tensors), entries)


def _answer(files: Sequence[Path], scratch: Path) -> dict[str, Any]:
    """Starts the process, waits for it, and gives the entries that it reports."""
    size = sum(file.stat().st_size for file in files)
    environment = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ} | {"OMP_NUM_THREADS": "1"}
    # -P: Python files that lie beside a checkpoint, or where the user stands, are not imported
    command = [sys.executable, "-P", str(SCRIPT), str(scratch.absolute()), *(str(file.absolute()) for file in files)]
    seconds = SECONDS + size / BYTES_PER_SECOND
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=scratch,
            env=environment,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise DataError(
            f"{files[0]}: was not read within {seconds:.0f} s, and that was stopped; get it again"
        ) from None
    try:
        answer = json.loads(done.stdout)
    except (ValueError, RecursionError):
        raise DataError(f"{files[0]}: {_ended(done.returncode)}; the file is damaged, or memory is short") from None
    if "refused" in answer:
        if answer.get("full"):
            raise OSError(errno.ENOSPC, "No space left on device", str(scratch))
        raise DataError(f"{_as_given(answer['file'], files)}: {' '.join(str(answer['refused']).split())}")
    entries: dict[str, Any] = answer["entries"]
    return entries


def _ended(code: int) -> str:
    """How a process ended that gave no answer."""
    if code >= 0:
        return f"the process that reads it ended with exit code {code}"
    named = {one.value: one.name for one in signal.Signals}
    return f"the process that reads it was ended by {named.get(-code, f'signal {-code}')}"


def _as_given(name: str, files: Sequence[Path]) -> Path:
    return next((file for file in files if str(file.absolute()) == name), files[0])


def _without_wrappers(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names without what torch.compile and data-parallel training put before every one."""
    for prefix in ("_orig_mod.", "module.", "_orig_mod."):
        if tensors and all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors
