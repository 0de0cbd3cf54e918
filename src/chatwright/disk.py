"""Folders and files that appear whole or not at all.

A folder is written beside its place, synced, sealed by a manifest of SHA-256 sums, and renamed; whoever reads it
checks the manifest, because a weight file with a flipped bit opens without complaint.
"""

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from chatwright.errors import DiskFull, NoCheckpoint

MANIFEST = "manifest.json"
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
LEFTOVER = re.compile(r"\.(?P<name>.+)\.\d+\.(?P<kind>tmp|old)")  # the names that new_folder and write give


@contextmanager
def new_folder(target: Path, *, manifest: bool = False) -> Iterator[Path]:
    """A temporary folder that replaces `target` when the block ends well, and vanishes when it does not.

    Raises DiskFull when there is no room; the former `target` is then untouched.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / f".{target.name}.{os.getpid()}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with room(target):
            temporary.mkdir()
            yield temporary
            _sync_tree(temporary)
            if manifest:
                _write_synced(temporary / MANIFEST, json.dumps({"files": checksums(temporary)}, indent=1).encode())
            sync(temporary)
            _replace_folder(temporary, target)
            sync(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write(target: Path, contents: str | bytes) -> None:
    """Writes a file so that a reader sees the old contents or the new, never a part. Raises DiskFull."""
    temporary = target.parent / f".{target.name}.{os.getpid()}.tmp"
    try:
        with room(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            _write_synced(temporary, contents.encode("utf-8") if isinstance(contents, str) else contents)
            os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_file(target: Path) -> Iterator[TextIO]:
    """`write` for UTF-8 text that comes in pieces: the file is there when the block has ended well. Raises DiskFull."""
    temporary = target.parent / f".{target.name}.{os.getpid()}.tmp"
    try:
        with room(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("w", encoding="utf-8", newline="\n") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(target: Path, contents: Any) -> None:
    """`write` for what json can hold; keys keep their order."""
    text = json.dumps(contents, indent=2, ensure_ascii=False) + "\n"
    write(target, text.encode("utf-8", "backslashreplace"))  # half a surrogate pair, as JSON escapes it


@contextmanager
def room(target: Path) -> Iterator[None]:
    """Turns "no space left" of any kind (the file system's, a quota's, a size limit's, a library's) into DiskFull."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise _full(target) from error
        raise
    except Exception as error:
        if any(words in str(error) for words in ("No space left", "File too large", "Disk quota")):
            raise _full(target) from error
        raise


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of every file under `folder` but the manifest, by its path inside it."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST)
    return {str(path.relative_to(folder)): sha256(path) for path in files}


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(folder: Path) -> None:
    """Raises NoCheckpoint naming the first file that is missing, new or changed since the folder was sealed."""
    path = folder / MANIFEST
    try:
        sealed: dict[str, str] = dict(json.loads(path.read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError):
        raise NoCheckpoint(f"{path} is missing or unreadable; the checkpoint was not written to its end") from None
    present = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST}
    for name in sorted(sealed.keys() | present):
        if name not in present:
            raise NoCheckpoint(f"{folder / name} is missing from the checkpoint")
        if name not in sealed:
            raise NoCheckpoint(f"{folder / name} does not belong to the checkpoint")
        try:
            found = sha256(folder / name)
        except OSError as error:  # a bad sector, or rights that were taken away
            raise NoCheckpoint(f"{folder / name} cannot be read ({error.strerror})") from None
        if found != sealed[name]:
            raise NoCheckpoint(f"{folder / name} was changed or damaged after it was written")


def sweep(folder: Path) -> None:
    """Clears what killed processes left half-made in `folder`, and puts back what one had moved aside and not replaced.

    Only for whoever holds the folder: the half-made work of a living process looks the same.
    """
    for leftover in sorted(folder.glob(".*")):
        found = LEFTOVER.fullmatch(leftover.name)
        if found is None:
            continue
        if found["kind"] == "old" and not (folder / found["name"]).exists():
            os.rename(leftover, folder / found["name"])
        elif leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Makes sure that a file's contents, or a folder's list of names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        sync(path)


def _write_synced(path: Path, contents: bytes) -> None:
    with path.open("wb") as file:
        file.write(contents)
        file.flush()
        os.fsync(file.fileno())


def _replace_folder(temporary: Path, target: Path) -> None:
    """rename(2) refuses a folder that is not empty, so the old one steps aside first and goes last."""
    old = target.parent / f".{target.name}.{os.getpid()}.old"
    shutil.rmtree(old, ignore_errors=True)
    try:
        if target.exists():
            os.rename(target, old)
        os.rename(temporary, target)
    finally:  # a second Ctrl-C may come between the two
        if old.exists() and not target.exists():
            os.rename(old, target)
    shutil.rmtree(old, ignore_errors=True)


def _full(target: Path) -> DiskFull:
    return DiskFull(
        f"no room left on the disk while writing {target}; what stood there before is untouched, free some space"
    )
