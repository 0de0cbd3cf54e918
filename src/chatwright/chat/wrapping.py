"""Lines that end between words where a screen is narrow: of an answer while it comes, and of what the program says."""

import re
import textwrap
from collections.abc import Callable, Iterable, Iterator

HANGING = re.compile(r"\S.*? {2,}(?=\S)")  # the first column of a line that has two


def wrapped(pieces: Iterable[str], width: Callable[[], int]) -> Iterator[str]:
    """The pieces with a line break in the place of each space where the next word would not fit.

    A word waits for its end, so that it is never cut; one that is wider than the screen is left to the terminal, and so are
    wide characters, whose languages write without spaces. `width` is asked each time: windows change.
    """
    line = _Line()
    for piece in pieces:
        yield "".join(line.take(sign, width()) for sign in piece)
    yield line.rest(width())


def folded(text: str, width: int) -> str:
    """A text of the program's in so many columns; where a line has two, the second one stays a column."""
    lines = []
    for line in text.split("\n"):
        first = HANGING.match(line)
        indent = len(first.group()) if first and len(first.group()) <= width // 2 else 0
        lines += textwrap.wrap(
            line, max(width, 20), subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False
        ) or [""]
    return "\n".join(lines)


class _Line:
    """Where the cursor is, and the word that is not finished with the spaces before it."""

    def __init__(self) -> None:
        self.column, self.space, self.word, self.wide = 0, "", "", 0

    def take(self, sign: str, width: int) -> str:
        """What can be written after one more character."""
        if sign == "\n":
            said = self.rest(width) + sign
            self.column = 0
            return said
        if sign.isspace():
            said = self._placed(width) if self.word else ""
            self.space += sign
            return said
        cells = _cells(sign)
        self.word += sign
        self.wide += cells
        return self._placed(width) if cells == 2 or self.wide >= width else ""

    def rest(self, width: int) -> str:
        """What is left at the end of a line or of all."""
        said = self._placed(width) if self.word else ""
        space, self.space = self.space, ""
        return said + space

    def _placed(self, width: int) -> str:
        """The word after its spaces, or in their place at the beginning of the next line."""
        end = self.column + len(self.space.expandtabs(8)) + self.wide
        breaks = bool(self.space) and self.column > 0 and end > width
        said = ("\n" if breaks else self.space) + self.word
        self.column = ((self.wide if breaks else end) - 1) % max(width, 1) + 1  # the terminal breaks what is wider
        self.space, self.word, self.wide = "", "", 0
        return said


def _cells(sign: str) -> int:
    from rich.cells import get_character_cell_size

    return get_character_cell_size(sign)
