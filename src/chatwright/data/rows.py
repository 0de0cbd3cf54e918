"""What the readers of files give: rows, and the rows that cannot or shall not be used, each with its place and reason.

Nothing is lost between the two: the `covers` of all rows and the `rows` of everything listed add up to the rows of the
file, whatever becomes of them later.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Row:
    """One object, and the line that it begins in (from 1).

    `covers` counts the rows of the file that it was put together from (a message tree, a session of a chat). `split` is
    set where the source itself says what is held out: the newest part of somebody's own chats.
    """

    line: int
    value: dict[str, Any]
    covers: int = 1
    split: Literal["", "train", "validation", "test"] = ""


@dataclass(frozen=True)
class BadRow:
    """A row that is not used; `str(row)` is `file:line: reason`.

    `kind` is "bad" where something is wrong with it, which counts against --max-bad-share, and "filtered" where a
    setting or the kind of row leaves it out on purpose (another language, a lower-ranked answer, a picture).
    """

    file: str
    line: int
    reason: str
    kind: Literal["bad", "filtered"] = "bad"
    rows: int = 1  # of the file, that this entry stands for

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}"


Rows = Iterator[Row | BadRow]
