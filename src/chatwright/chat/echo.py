"""What is typed while an answer comes is not drawn into it; it waits for the prompt, which shows it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def off() -> Iterator[None]:
    """The terminal does not show what is typed, as long as the block runs; nothing where stdin is no terminal."""
    try:
        import termios
    except ImportError:  # on Windows
        yield
        return
    try:
        before = termios.tcgetattr(sys.stdin)
        silent = [*before]
        silent[3] &= ~termios.ECHO  # Ctrl-C stays a signal
        termios.tcsetattr(sys.stdin, termios.TCSANOW, silent)
    except (OSError, ValueError, termios.error):
        yield
        return
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSANOW, before)
