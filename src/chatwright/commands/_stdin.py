"""Text that comes through a pipe."""

import sys

from chatwright.errors import ConfigError, DataError


def piped() -> bool:
    """Whether standard input is something else than a person's terminal."""
    return sys.stdin is not None and not sys.stdin.isatty()


def read() -> str:
    """All of standard input. Raises DataError where it is no UTF-8, ConfigError where there is no standard input."""
    if sys.stdin is None:
        raise ConfigError("standard input is closed; give the text on the command line")
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise DataError(f"standard input is no UTF-8 text (byte {error.start}); convert it first") from None
