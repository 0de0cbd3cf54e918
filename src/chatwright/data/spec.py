"""The name of some data, taken apart: `HuggingFaceH4/ultrachat_200k:train_sft#5000@0.5`.

A local path that exists is taken literally first, whatever characters it holds.
"""

import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from chatwright.data import files
from chatwright.errors import DataError

MOST_WEIGHT = 1_000_000
_HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w.-]+){0,2}")


@dataclass(frozen=True)
class Spec:
    """One source of data. `limit` is the number of first records that are wanted, `weight` their share in a mixture."""

    text: str  # as it was given
    place: Literal["local", "hub", "primer"]
    name: str  # the path, the hub id or "primer"
    config: str = ""
    split: str = ""  # of the primer: its part
    limit: int | None = None
    weight: float | None = None


def parse(spec: str) -> Spec:
    """`SOURCE[/CONFIG after a hub id][:SPLIT][#N][@WEIGHT]`; raises DataError for what is none of these."""
    check_name(spec)
    if not spec.strip():
        raise DataError("the data is not named; give a file, a folder, a hub dataset or primer")
    rest, limit = spec, None
    weight: float | None = None
    if not _exists(rest) and "@" in rest:
        rest, _, text = rest.rpartition("@")
        weight = _weight(spec, text)
    if not _exists(rest) and "#" in rest:
        rest, _, text = rest.rpartition("#")
        limit = _limit(spec, text)
    if _exists(rest):
        return Spec(spec, "local", rest, "", "", limit, weight)
    if "://" in rest:
        raise DataError(f"{spec!r} is an address; download the file and give its path")
    rest, colon, split = rest.partition(":")
    if colon and not split:
        raise DataError(f"{spec!r} names no split after ':'; leave the colon out or name one, as in {rest}:train")
    if rest == "primer":
        return Spec(spec, "primer", rest, "", split, limit, weight)
    if _exists(rest):
        raise DataError(f"{spec!r}: the local path {rest} has no splits; give the path of the file that you mean")
    if not _HUB_ID.fullmatch(rest) or files.is_known(Path(rest)):
        raise DataError(f"{rest!r} does not exist{nearest(rest)}")
    owner_and_name, config = "/".join(rest.split("/")[:2]), "/".join(rest.split("/")[2:])
    return Spec(spec, "hub", owner_and_name, config, split, limit, weight)


def check_name(name: str) -> None:
    """DataError for a name of bytes that are no text: no report, page or settings could say it."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        raise DataError(f"{name!a}: this name is not UTF-8; rename the file") from None


def nearest(path: str) -> str:
    """`; did you mean chats.jsonl?` for a file with a similar name in the same folder, or what to give instead."""
    folder = Path(path).parent
    if not folder.is_dir():
        return f": there is no folder {folder}; give a file, a folder, a hub dataset (owner/name) or primer"
    return similar_file(path) or "; give a file, a folder, a hub dataset (owner/name) or primer"


def similar_file(path: str) -> str:
    """`; did you mean chats.jsonl?`, or nothing where no name is similar."""
    folder = Path(path).parent
    files = folder.iterdir() if folder.is_dir() else iter(())
    known = [file.name for file in files if not file.name.startswith(".") and file.name != Path(path).name]
    by_name = {name: name for name in known} | {Path(name).stem: name for name in known}
    near = difflib.get_close_matches(Path(path).name, by_name, n=1, cutoff=0.6)
    return f"; did you mean {folder / by_name[near[0]]}?" if near else ""


def _exists(path: str) -> bool:
    """Whether this is a local path; a name that is too long for one is none."""
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


def _weight(spec: str, text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = 0.0
    if not 0 < weight <= MOST_WEIGHT:
        raise DataError(
            f"{spec!r}: the weight after '@' must be a number above 0, and {MOST_WEIGHT:,} at most, got {text!r}"
        )
    return weight


def _limit(spec: str, text: str) -> int:
    if not re.fullmatch(r"[0-9_,]+", text) or int(re.sub("[_,]", "", text) or 0) < 1:
        raise DataError(f"{spec!r}: what follows '#' must be a number of records above 0, got {text!r}")
    return int(re.sub("[_,]", "", text))
