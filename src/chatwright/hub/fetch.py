"""Files of a repository into the blobs of the hub's cache: with a bar, with Range where a try was cut, and checked.

The hub's client writes each try to a name of its own and deletes it when the connection breaks, and it checks sizes
only. Under its lock and with its names, this goes on where any earlier run stopped.
"""

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import NoReturn

from chatwright import console, disk
from chatwright.errors import ConfigError, DiskFull
from chatwright.hub.sentences import reason_of, wanted_wait

WAITS = (1.0, 2.0, 4.0)  # seconds before the tries that follow one which brought nothing
PATIENCE = 30.0  # the longest wait that the hub may ask for
TRANSIENT = (408, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository. `digest` is the SHA-256 of a large one, else git's SHA-1; the cache calls its blob so."""

    name: str
    size: int
    digest: str


@dataclass(frozen=True)
class Place:
    """A repository at a commit, and the folders of the cache for its blobs and its locks."""

    repo: str
    commit: str
    blobs: Path
    locks: Path


def fetch(place: Place, files: list[RemoteFile]) -> None:
    """Puts files that the cache lacks into its blobs. ConfigError for a broken connection or a wrong checksum."""
    from huggingface_hub.utils import WeakFileLock

    for folder in (place.blobs, place.locks):
        folder.mkdir(parents=True, exist_ok=True)
    _check_room(place, sum(file.size - _size(_unfinished(place, file)) for file in files))
    starts = accumulate((file.size for file in files), initial=0)
    with _progress(f"fetching {place.repo}", sum(file.size for file in files)) as show:
        for start, file in zip(starts, files, strict=False):

            def show_file(count: int, start: int = start) -> None:
                show(start + count)

            with WeakFileLock(place.locks / f"{file.digest}.lock"):
                if not (place.blobs / file.digest).is_file():  # another program may have been quicker
                    _fetch(place, file, show_file)


def check(repo: str, file: RemoteFile, path: Path) -> None:
    """ConfigError where a file is not what the hub says that it is; it is then gone."""
    start = hashlib.sha256() if len(file.digest) == 64 else hashlib.sha1(f"blob {path.stat().st_size}\0".encode())
    with path.open("rb") as opened:
        if hashlib.file_digest(opened, lambda: start).hexdigest() == file.digest:
            return
    path.resolve().unlink()
    path.unlink(missing_ok=True)
    raise ConfigError(
        f"{file.name} of {repo} arrived damaged, with another checksum than the hub's; it was thrown away, so run the "
        "same command again"
    )


def _fetch(place: Place, file: RemoteFile, show: Callable[[int], None]) -> None:
    """One file, until it is whole or three tries in a row have brought nothing; `show` is told the bytes there are."""
    unfinished, failures = _unfinished(place, file), 0
    unfinished.touch()
    while (have := _size(unfinished)) < file.size:
        broken = _try(place, file, show)
        if _size(unfinished) > have:
            failures = 0
            continue
        if failures == len(WAITS) or wanted_wait(broken) > PATIENCE:
            _give_up(place, file, broken)
        time.sleep(max(wanted_wait(broken), WAITS[failures]))
        failures += 1
    check(place.repo, file, unfinished)
    disk.sync(unfinished)
    os.replace(unfinished, place.blobs / file.digest)


def _try(place: Place, file: RemoteFile, show: Callable[[int], None]) -> Exception:
    """Appends what comes until it ends. What ended it is returned where another try may help, and raised where not."""
    from huggingface_hub.errors import HfHubHTTPError, HTTPError

    try:
        _append(place, file, show)
    except HfHubHTTPError as error:
        if error.response.status_code not in TRANSIENT:
            raise
        return error
    except HTTPError as error:
        return error
    except OSError as error:
        if error.errno in disk.FULL:
            _unfinished(place, file).unlink()
        raise
    return EOFError("it ended early")


def _give_up(place: Place, file: RemoteFile, error: Exception) -> NoReturn:
    """The hub's own refusal, or where the connection broke for good."""
    from huggingface_hub.errors import HfHubHTTPError

    if isinstance(error, HfHubHTTPError):
        raise error
    where = f"at {_size(_unfinished(place, file)):,} of the {file.size:,} bytes of {file.name}"
    raise ConfigError(
        f"the connection to the hub broke {where} ({place.repo}; {reason_of(error)}); run the same command again, and it "
        "goes on where this one stopped"
    )


def _append(place: Place, file: RemoteFile, show: Callable[[int], None]) -> None:
    """Streams what a file still lacks to its end."""
    from huggingface_hub import constants, hf_hub_url
    from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

    unfinished = _unfinished(place, file)
    have = _size(unfinished)
    url = hf_hub_url(place.repo, file.name, revision=place.commit)
    headers = {**build_hf_headers(), "Accept-Encoding": "identity", **({"Range": f"bytes={have}-"} if have else {})}
    timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
    with get_session().stream("GET", url, headers=headers, timeout=timeout, follow_redirects=True) as response:
        hf_raise_for_status(response)
        with unfinished.open("ab" if response.status_code == 206 else "wb") as out:  # 200: it comes whole again
            for piece in response.iter_bytes():
                out.write(piece)
                show(min(out.tell(), file.size))
                if out.tell() > file.size:  # its checksum will be wrong
                    return


@contextmanager
def _progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar or a line on stderr that is told the bytes there are, unless HF_HUB_DISABLE_PROGRESS_BARS is set."""
    from huggingface_hub.utils import are_progress_bars_disabled

    if are_progress_bars_disabled():
        yield lambda count: None
        return
    unit, size = ("megabyte", 1e6) if total >= 1e7 else ("kilobyte", 1e3)
    began, first = time.monotonic(), -1
    with console.progress(what, round(total / size), unit) as bar:

        def show(count: int) -> None:
            nonlocal first
            first = count if first < 0 else first  # what an earlier run fetched says nothing about the speed
            speed = (count - first) / size / max(time.monotonic() - began, 1e-3)
            bar.update(round(count / size), **{f"{unit}s_per_second": speed})

        yield show


def _check_room(place: Place, needed: int) -> None:
    """DiskFull before anything is fetched that cannot fit."""
    free = shutil.disk_usage(place.blobs).free
    if free < needed:
        raise DiskFull(
            f"{place.repo} needs {needed / 1e6:,.0f} MB in {place.blobs}, where {free / 1e6:,.0f} MB are free; make room, "
            "or set HF_HOME to a folder on a larger disk"
        )


def _unfinished(place: Place, file: RemoteFile) -> Path:
    """The name that the client's tools know, and clear away, as a download that did not end."""
    return place.blobs / f"{file.digest}.incomplete"


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
