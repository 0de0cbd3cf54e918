"""What every verb asks of its --out before it begins, so that no long work ends on a path that cannot be one."""

from pathlib import Path

from chatwright.errors import ConfigError


def check(out: Path | None) -> None:
    """ConfigError where --out, or a folder above it, is a file."""
    taken = next((path for path in (out, *out.parents) if path.exists() and not path.is_dir()), None) if out else None
    if taken is not None:
        where = "" if taken == out else f": {taken}"
        raise ConfigError(f"--out {out}{where} is a file; give a folder")
