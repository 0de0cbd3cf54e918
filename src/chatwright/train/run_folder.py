"""The folder of one run: a lock against a second run, its settings, its log, its measurements, its checkpoints."""

import fcntl
import json
import math
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chatwright import console, disk
from chatwright.checkpoint import checkpoints, step_of
from chatwright.checkpoint.places import CONFIG, is_adapter
from chatwright.errors import ConfigError, DiskFull, NoCheckpoint
from chatwright.evals.plots import read_metrics


class RunFolder:
    """`runs/NAME`; hold it with `locked()` while writing."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.checkpoints = self.path / "checkpoints"
        self.model = self.path / "model"
        self.metrics = self.path / "metrics.jsonl"
        self.result = self.path / "result.json"
        self._checked: dict[str, bool] = {}  # checkpoints by name, and whether they were whole when last looked at

    @property
    def finished(self) -> bool:
        """Whether the run reached its end: the result is written last."""
        return self.result.exists() and ((self.model / CONFIG).exists() or is_adapter(self.model))

    @contextmanager
    def locked(self, *, resume: bool) -> Iterator[None]:
        """Refuses a folder in use by another process, one that holds another run, and a path that cannot be a folder."""
        if self.path.exists() and not self.path.is_dir():
            raise ConfigError(f"--out {self.path} is a file; give a folder")
        new = not self.path.exists()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"--out {self.path} cannot be made: {error.strerror}") from None
        try:
            lock = (self.path / ".lock").open("a+")
        except OSError as error:
            raise ConfigError(f"--out {self.path} cannot be written: {error.strerror}; give another folder") from None
        with lock:
            self._take(lock.fileno())
            if not resume and (self.checkpoints.exists() or self.model.exists()):
                raise ConfigError(f"{self.path} already holds a run; give --resume to go on with it, or another --out")
            lock.seek(0)
            lock.truncate()
            lock.write(f"{os.getpid()}\n")
            lock.flush()
            disk.sweep(self.path)
            disk.sweep(self.checkpoints)
            if not self.model.exists():
                self.result.unlink(missing_ok=True)  # of a run whose folders somebody has deleted
            try:
                yield
            except BaseException:
                if new and [file.name for file in self.path.iterdir()] == [
                    ".lock"
                ]:  # refused before anything was written
                    shutil.rmtree(self.path, ignore_errors=True)
                raise

    def _take(self, descriptor: int) -> None:
        """The system drops this lock when the process dies, however it dies, so no stale lock can be left."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = (self.path / ".lock").read_text().strip() or "another process"
            raise ConfigError(
                f"{self.path} is in use by process {holder}; wait for it, or give another --out"
            ) from None
        except OSError as error:
            console.warn(f"{self.path} is on a file system without locks ({error.strerror}); start no second run in it")

    def check_room(self, needed: int) -> None:
        """DiskFull when the disk plainly has no room for `needed` bytes, those of the present checkpoints included."""
        free = shutil.disk_usage(self.path).free
        present = sum(file.stat().st_size for file in self.checkpoints.rglob("*") if file.is_file())
        if free + present < needed:
            raise DiskFull(
                f"{self.path} needs about {needed / 1e6:,.0f} MB for its checkpoints and the model, but "
                f"{free / 1e6:,.0f} MB are free; make room, or give a smaller --keep or another --out"
            )

    def measure(self, row: Mapping[str, Any]) -> None:
        """Appends one line to metrics.jsonl. A full disk does not stop the training for it, but is said."""
        try:
            with self.metrics.open("a", encoding="utf-8") as file:
                file.write(json.dumps(_finite(row)) + "\n")
        except OSError as error:
            console.warn(f"{self.metrics} cannot be written ({error.strerror}); the run goes on")

    def forget_after(self, step: int) -> None:
        """Drops measurements of steps that a resumed run will do again."""
        if self.metrics.exists():
            lines = self.metrics.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if _is_row(line) and json.loads(line)["step"] <= step]
            disk.write(self.metrics, "".join(line + "\n" for line in kept))

    def rows(self) -> list[dict[str, Any]]:
        """What was measured until now."""
        return read_metrics(self.metrics)

    def log(self, text: str) -> None:
        """One line in run.log, with the time."""
        try:
            with (self.path / "run.log").open("a", encoding="utf-8") as file:
                file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
        except OSError as error:
            console.warn(f"{self.path / 'run.log'} cannot be written ({error.strerror}); the run goes on")

    def prune(self, keep: int, protected: set[int], *, saved: Path | None = None) -> None:
        """Deletes what is older than the newest `keep` whole checkpoints, the protected steps apart.

        Damaged ones do not count, or they would push out the last whole one. Each is read once to see that it is whole,
        and `saved`, which has just been written, not at all.
        """
        if saved is not None:
            self._checked[saved.name] = True
        whole = 0
        for folder in reversed(checkpoints(self.path)):
            if whole < keep:
                whole += self._is_whole(folder)
            elif step_of(folder) not in protected:
                shutil.rmtree(folder, ignore_errors=True)

    def _is_whole(self, folder: Path) -> bool:
        if folder.name not in self._checked:
            try:
                disk.verify(folder)
            except NoCheckpoint:
                self._checked[folder.name] = False
            else:
                self._checked[folder.name] = True
        return self._checked[folder.name]


def _finite(row: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has no NaN and no infinity: null stands for both."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}


def _is_row(line: str) -> bool:
    """A line that a crash cut short is no row."""
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
