"""What every verb asks of its --out before it begins, so that no long work ends on a path that cannot be one."""

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
