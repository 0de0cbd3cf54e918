"""What every verb asks of its --out before it begins, so that no long work ends on a path that cannot be one."""

import os
from pathlib import Path

from chatwright.errors import ConfigError


def check(out: Path | None, *, new: bool = False) -> None:
    """ConfigError where --out, or a folder above it, is a file; with `new` also where it holds anything."""
    if out is None:
        return
    try:
        taken = next((path for path in (out, *out.parents) if path.exists() and not path.is_dir()), None)
        full = new and taken is None and out.is_dir() and any(out.iterdir())
    except OSError as error:
        raise ConfigError(
            f"--out {str(out)[:80]} cannot be looked at ({error.strerror}); give another folder"
        ) from None
    if taken is not None:
        where = "" if taken == out else f": {taken}"
        raise ConfigError(f"--out {out}{where} is a file; give a folder")
    if full:
        raise ConfigError(f"--out {out} is there already and is not empty; give a new folder")


def check_file(name: str, path: Path | None) -> None:
    """ConfigError where `path`, which the setting `name` gives, cannot become a file; folders that lack are made later."""
    if path is None:
        return
    try:
        above = next(parent for parent in (path, *path.resolve().parents) if parent.exists())
        wrong = "is a folder; give the name of a file" if above == path and path.is_dir() else ""
        if above != path and not above.is_dir():
            wrong = f": {above} is a file; give a path whose folders are folders"
        elif not wrong and not os.access(above, os.W_OK):
            wrong = f"cannot be written: {above} is not yours to write in; give another path"
    except OSError as error:
        wrong = f"cannot be looked at ({error.strerror}); give another path"
    except ValueError:  # a null character
        wrong = "is no path; give another one"
    if wrong:
        raise ConfigError(f"{name} {str(path)[:120]!r}{'' if wrong[0] == ':' else ' '}{wrong}")
