"""The folder of one run: a lock against a second run, its settings, its log, its measurements, its checkpoints."""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chatwright import console, disk
from chatwright.errors import ConfigError


class RunFolder:
    """`runs/NAME`; hold it with `locked()` while writing."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.checkpoints = self.path / "checkpoints"
        self.model = self.path / "model"
        self.metrics = self.path / "metrics.jsonl"

    @property
    def finished(self) -> bool:
        """Whether the run reached its end: the result is written last."""
        return (self.path / "result.json").exists() and (self.model / "config.json").exists()

    @contextmanager
    def locked(self, *, resume: bool) -> Iterator[None]:
        """Refuses a folder in use by another process, one that holds another run, and a path that cannot be a folder."""
        if self.path.exists() and not self.path.is_dir():
            raise ConfigError(f"--out {self.path} is a file; give a folder")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"--out {self.path} cannot be made: {error.strerror}") from None
        with (self.path / ".lock").open("a+") as lock:
            self._take(lock.fileno())
            if not resume and (self.checkpoints.exists() or self.model.exists()):
                raise ConfigError(f"{self.path} already holds a run; give --resume to go on with it, or another --out")
            lock.seek(0)
            lock.truncate()
            lock.write(f"{os.getpid()}\n")
            lock.flush()
            yield

    def _take(self, descriptor: int) -> None:
        """The system drops this lock when the process dies, however it dies, so no stale lock can be left."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = (self.path / ".lock").read_text().strip() or "another process"
            raise ConfigError(f"{self.path} is in use by process {holder}; wait for it, or give another --out") from None

    def measure(self, row: Mapping[str, Any]) -> None:
        """Appends one line to metrics.jsonl. A full disk does not stop the training for it, but is said."""
        try:
            with self.metrics.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            console.warn(f"{self.metrics} cannot be written ({error.strerror}); the run goes on")

    def forget_after(self, step: int) -> None:
        """Drops measurements of steps that a resumed run will do again."""
        if self.metrics.exists():
            lines = self.metrics.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if _is_row(line) and json.loads(line)["step"] <= step]
            disk.write(self.metrics, "".join(line + "\n" for line in kept))

    def log(self, text: str) -> None:
        """One line in run.log, with the time."""
        try:
            with (self.path / "run.log").open("a", encoding="utf-8") as file:
                file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
        except OSError as error:
            console.warn(f"{self.path / 'run.log'} cannot be written ({error.strerror}); the run goes on")

    def prune(self, keep: int, protected: set[int]) -> None:
        """Deletes all but the newest `keep` checkpoints and those of the protected steps; and what a crash left half-made."""
        folders = sorted(self.checkpoints.glob("step-*"))
        for folder in folders[:-keep]:
            if int(folder.name.removeprefix("step-")) not in protected:
                shutil.rmtree(folder, ignore_errors=True)
        for leftover in (*self.checkpoints.glob(".step-*.tmp"), *self.path.glob(".model.*")):
            shutil.rmtree(leftover, ignore_errors=True)


def _is_row(line: str) -> bool:
    """A line that a crash cut short is no row."""
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
