"""The folder that prepared data lies in: found or made, held by one process at a time, deleted when nobody uses it.

Only its owner may read what is in it. Where the usual place cannot be written, the system's temporary folder has another.
"""

import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from chatwright import console, disk
from chatwright.errors import ConfigError

LOCK = "lock"  # in each folder; its time says when the folder was last used
GONE = ".gone"  # ends the name of a folder that is being deleted
UNUSED_DAYS = 30  # after which what was prepared is deleted
PRIVATE = 0o700


class _Unusable(Exception):
    """Why nothing can be prepared in a place."""

    def __init__(self, why: str, remedy: str = "") -> None:
        super().__init__(why)
        self.said = f"{why}; {remedy}give a folder for prepared data with --prepared"


@contextmanager
def held(root: Path | None, name: str) -> Iterator[Path]:
    """The folder `name` in `root`, by default in the usual place: made where it is missing, and nobody else's meanwhile.

    Another process that wants it waits. Raises DiskFull, and ConfigError where `root` cannot be written.
    """
    folder = _folder(root, name)
    with _locked(folder):
        yield folder
    sweep(folder.parent)


def usual() -> Path:
    """Where prepared data lies, unless somebody gives another folder."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "chatwright" / "prepared"
    except RuntimeError:
        raise _Unusable("there is no home folder") from None


def temporary() -> Path:
    """The same where there is no home that can be written."""
    return Path(tempfile.gettempdir()) / f"chatwright-{os.geteuid()}" / ".prepared"


def sweep(root: Path) -> None:
    """Deletes what nobody has used for a month, and what such a deletion has left."""
    oldest = time.time() - UNUSED_DAYS * 86_400
    for folder in root.iterdir():
        if len(folder.name.removesuffix(GONE)) != 64:
            continue
        if folder.name.endswith(GONE):
            shutil.rmtree(folder, ignore_errors=True)
            continue
        with suppress(OSError):  # held by another process, or deleted by it
            if (folder / LOCK).stat().st_mtime < oldest:
                _delete(folder, oldest)


def _delete(folder: Path, oldest: float) -> None:
    """Under its lock and under another name, so that nobody finds half of it. OSError where somebody holds it."""
    with (folder / LOCK).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(lock.fileno()).st_mtime < oldest:
            gone = folder.with_name(folder.name + GONE)
            os.rename(folder, gone)
            shutil.rmtree(gone, ignore_errors=True)


def _folder(root: Path | None, name: str) -> Path:
    """Made. Nobody asked for the usual place, so where it cannot be written another one will do."""
    try:
        return _made((usual() if root is None else root) / name)
    except _Unusable as error:
        if root is not None:
            raise ConfigError(error.said) from None
        why = error
    other = temporary()
    try:
        _make_own(other.parent)
        made = _made(other / name)
    except _Unusable as error:
        raise ConfigError(f"{why}, and {error.said}") from None
    console.note(f"{why}; the data is prepared in {other}, or wherever --prepared says")
    return made


def _make_own(folder: Path) -> None:
    """Where everybody may write, somebody else may have been first with our name."""
    try:
        with disk.room(folder):
            folder.mkdir(mode=PRIVATE, exist_ok=True)
        found = folder.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid():
            folder.chmod(PRIVATE)
            return
    except OSError as error:
        raise _unusable(folder, error) from None
    raise _Unusable(f"{folder} is somebody else's")


def _made(folder: Path) -> Path:
    """A folder in which we can write, its root made before it."""
    try:
        with disk.room(folder):
            folder.parent.parent.mkdir(parents=True, exist_ok=True)
            folder.parent.mkdir(mode=PRIVATE, exist_ok=True)
            folder.mkdir(mode=PRIVATE, exist_ok=True)
            with suppress(OSError):  # a file system that knows no such rights
                folder.chmod(PRIVATE)
            (folder / LOCK).open("a").close()
    except OSError as error:
        raise _unusable(folder, error) from None
    return folder


def _unusable(folder: Path, error: OSError) -> _Unusable:
    """By the path that is in the way."""
    with suppress(OSError):
        if (folder / LOCK).is_dir():
            return _Unusable(f"{folder / LOCK} is a folder where a file belongs", "remove it, or ")
    for path in (folder, *folder.parents):
        with suppress(OSError):
            if not stat.S_ISDIR(path.lstat().st_mode) and not path.is_dir():
                return _Unusable(f"{path} is a file where a folder belongs", "remove it, or ")
    return _Unusable(f"{error.filename or folder} cannot be written ({error.strerror})")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time prepares the same data; another one waits, and then finds it done."""
    while True:
        with _opened(folder) as lock:
            _take(lock)
            if _is_there(folder / LOCK, lock):
                yield
                return


def _opened(folder: Path) -> TextIO:
    """The lock, its time that of this use before anything else happens, so that nobody takes the folder for unused."""
    try:
        lock = (_made(folder) / LOCK).open("a")
    except _Unusable as error:
        raise ConfigError(error.said) from None
    except FileNotFoundError:  # another process has deleted the folder between the two
        return _opened(folder)
    os.utime(lock.fileno())
    return lock


def _take(lock: TextIO) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        console.note("another process is preparing the same data; waiting for it")
        fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError:
        pass  # a file system without locks: two would write the same


def _is_there(path: Path, lock: TextIO) -> bool:
    """Whether it still is the file of that name: another process may have deleted the folder before it was ours."""
    try:
        return os.path.samestat(path.stat(), os.fstat(lock.fileno()))
    except FileNotFoundError:
        return False
