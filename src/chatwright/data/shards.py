"""Tokenised data on disk: ids, masks, an index of their examples and the hashes that placed them, segment by segment.

Each segment has the SHA-256 of its part of the four files, so that a preparation that was killed goes on after its last
whole segment, and damage is found before anything is learned from it.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from chatwright import disk
from chatwright.data.examples import Examples, Tokens
from chatwright.data.split import NAMES

SEGMENTS, IDS, MASK, INDEX, HASHES = "segments.jsonl", "ids.bin", "mask.bin", "index.bin", "hashes.bin"
ARRAYS = (IDS, MASK, INDEX, HASHES)
# of an example: its ids, how many of its targets are learned, its split, and whether it is a preferred or good answer
ENTRY = np.dtype([("length", "<i4"), ("learned", "<i4"), ("split", "u1"), ("label", "u1")])
BLOCK = 1 << 24  # bytes read at a time for a checksum


@dataclass
class Segment:
    """Some examples behind each other, and whatever else is known of the rows that they came from.

    `hashes` are those that records, or the pieces of one, were placed by: fewer than the examples, or more.
    """

    ids: NDArray[np.integer]
    mask: NDArray[np.bool_]
    index: NDArray[np.void]  # of ENTRY
    hashes: NDArray[np.float64]
    facts: dict[str, Any] = field(default_factory=dict)


def merged(segments: Sequence[Segment], facts: dict[str, Any]) -> Segment:
    """Several segments as one."""
    if not segments:
        return Segment(np.zeros(0, "<u2"), np.zeros(0, np.bool_), np.zeros(0, ENTRY), np.zeros(0, "<f8"), facts)
    ids = np.concatenate([segment.ids for segment in segments])
    mask = np.concatenate([segment.mask for segment in segments])
    index = np.concatenate([segment.index for segment in segments])
    hashes = np.concatenate([segment.hashes for segment in segments])
    return Segment(ids, mask, index, hashes, facts)


def id_type(vocab_size: int) -> np.dtype[Any]:
    """The smallest type that holds every id."""
    return np.dtype("<u2") if vocab_size <= 1 << 16 else np.dtype("<u4")


class Writer:
    """Appends segments to a folder. What a killed process wrote after its last whole segment is cut off first."""

    def __init__(self, folder: Path, ids: np.dtype[Any]) -> None:
        folder.parent.mkdir(exist_ok=True, mode=0o700)
        folder.mkdir(exist_ok=True, mode=0o700)
        self.folder, self.ids = folder, ids
        self.facts = [segment["facts"] for segment in whole_segments(folder)]
        ends = _ends(folder, len(self.facts))
        self._files = {name: _opened(folder / name, ends.get(name, 0)) for name in ARRAYS}
        lines = _lines(folder)[: len(self.facts)]
        disk.write(folder / SEGMENTS, "".join(json.dumps(line) + "\n" for line in lines))

    def write(self, segment: Segment) -> None:
        """Adds a segment; its line in segments.jsonl comes last, when everything else is on the disk. Raises DiskFull."""
        arrays = (segment.ids.astype(self.ids), segment.mask, segment.index, segment.hashes.astype("<f8"))
        contents: dict[str, NDArray[Any]] = dict(zip(ARRAYS, arrays, strict=True))
        digest = hashlib.sha256(_json(segment.facts))
        with disk.room(self.folder):
            for name, array in contents.items():
                digest.update(array.tobytes())
                self._files[name].write(array.tobytes())
                self._files[name].flush()
                os.fsync(self._files[name].fileno())
            line = {
                "bytes": {name: array.nbytes for name, array in contents.items()},
                "sha256": digest.hexdigest(),
                "facts": segment.facts,
            }
            with (self.folder / SEGMENTS).open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
                file.flush()
                os.fsync(file.fileno())
        self.facts.append(segment.facts)

    def close(self) -> None:
        for file in self._files.values():
            with suppress(OSError):  # what is not in a whole segment does not count, and may find no room
                file.close()


def whole_segments(folder: Path) -> list[dict[str, Any]]:
    """The segments up to the first that is damaged or missing a part, in order."""
    found = []
    try:
        with ExitStack() as stack:
            files = {name: stack.enter_context((folder / name).open("rb")) for name in ARRAYS}
            for line in _lines(folder):
                if _checksum(files, line) != line["sha256"]:
                    break
                found.append(line)
    except (OSError, KeyError, TypeError):
        pass  # what cannot be read is not whole
    return found


def opened(folder: Path, ids: np.dtype[Any]) -> dict[str, Examples]:
    """The examples of each split that has any, their ids and masks mapped from the disk."""
    index: NDArray[np.void] = np.fromfile(folder / INDEX, dtype=ENTRY)
    if not len(index):
        return {}
    mask = np.memmap(folder / MASK, dtype=np.bool_, mode="r")
    tokens = Tokens(np.memmap(folder / IDS, dtype=ids, mode="r"), mask)
    ends = np.cumsum(index["length"], dtype=np.int64)
    learned, labels = index["learned"].astype(np.int64), index["label"].astype(np.int64)
    files = np.zeros(len(index), dtype=np.int64)
    whole = Examples((tokens,), files, ends - index["length"], ends, learned, labels)
    members = {name: np.flatnonzero(index["split"] == number) for number, name in enumerate(NAMES)}
    return {name: whole.select(which) for name, which in members.items() if len(which)}


def hashes(folder: Path) -> Iterator[float]:
    """The hashes that records were placed by, each once."""
    return (float(value) for value in np.unique(np.fromfile(folder / HASHES, dtype="<f8")))


def fingerprint(sums: Mapping[str, str]) -> str:
    """SHA-256 of all ids, masks and splits, from the sums of the files: of what is learned, wherever it came from."""
    return hashlib.sha256(" ".join(sums[name] for name in (IDS, MASK, INDEX)).encode()).hexdigest()


def _lines(folder: Path) -> list[dict[str, Any]]:
    """The lines of segments.jsonl up to one that is torn."""
    found: list[dict[str, Any]] = []
    try:
        found.extend(map(json.loads, (folder / SEGMENTS).read_text(encoding="utf-8", errors="replace").splitlines()))
    except (OSError, ValueError):
        pass  # what cannot be read was not finished; what could be is there
    return found


def _ends(folder: Path, count: int) -> dict[str, int]:
    """Bytes of each file that the first `count` segments take."""
    lines = _lines(folder)[:count]
    return {name: sum(line["bytes"][name] for line in lines) for name in ARRAYS}


def _opened(path: Path, end: int) -> BinaryIO:
    file = path.open("ab")
    file.truncate(end)
    return file


def _checksum(files: Mapping[str, BinaryIO], line: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(_json(line["facts"]))
    for name, file in files.items():
        left = line["bytes"][name]
        while left and (block := file.read(min(BLOCK, left))):
            digest.update(block)
            left -= len(block)
    return digest.hexdigest()


def _json(facts: Mapping[str, Any]) -> bytes:
    return json.dumps(facts).encode()
