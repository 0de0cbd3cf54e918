"""An export of several files: a zip, the folder that it was unpacked to, or its one file that matters.

Names are told from the top of the export: a folder that somebody packed again stands in the zip as a folder.
"""

import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from chatwright.data.exports import _document
from chatwright.data.exports._document import Part
from chatwright.data.files import archives
from chatwright.errors import DataError

_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_DEEPEST = 2  # folders from the top, in which an export of the programs here keeps anything that is read


@dataclass(frozen=True)
class Entry:
    """One file of an export. `place` is what messages call it: `export.zip/users.json`."""

    name: str
    place: str
    read: Callable[[], bytes]

    @property
    def text(self) -> str:
        return _document.text(self.place, self.read())


class Lines:
    """The line of each message, or its number where the whole file is one line."""

    def __init__(self, text: str) -> None:
        self._has_lines = "\n" in text.strip()
        self._number = 0

    def next(self, line: int) -> int:
        """What stands for the next message, which begins in a line."""
        self._number += 1
        return line if self._has_lines else self._number


def names(path: Path, start: bytes) -> frozenset[str]:
    """The names of the files in a zip or a folder, none where it is neither; quick, and never an error."""
    if path.is_dir():
        return frozenset(_from_the_top(_in_folder(path)).values())
    if not start.startswith(_ZIP):
        return frozenset()
    try:
        with zipfile.ZipFile(path) as archive:
            return frozenset(_from_the_top(archive.namelist()).values())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return frozenset()  # who reads it says what is wrong with it


def entries(path: Path) -> dict[str, Entry]:
    """The files by their names, in the order of the names; a file that is no zip is an export of one.

    Raises DataError for an archive that is broken or dangerous, and for what cannot be read.
    """
    if path.is_dir():
        found = {
            name: Entry(name, str(path / name), partial(_document.content, path / name)) for name in _in_folder(path)
        }
    elif is_archive(path):
        found = {member.name: Entry(member.name, member.place, member.read) for member in archives.members(path)}
    else:
        return {path.name: Entry(path.name, str(path), partial(_document.content, path))}
    short = _from_the_top(found)
    return {short[name]: found[name] for name in sorted(short)}


def is_archive(path: Path) -> bool:
    """Whether a file begins as a zip does."""
    try:
        with path.open("rb") as file:
            return file.read(4) in _ZIP
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); check the path and its permissions") from None


def elements(place: str, text: str) -> Iterator[Part]:
    """The elements of a JSON array; raises DataError for any other document."""
    for part in _document.parts(place, text, frozenset({()})):
        if not part.path or isinstance(part.path[0], str):
            raise DataError(f"{place}:{part.line}: is no list, [...], as such an export has it; {_document.AGAIN}")
        yield part


def _in_folder(folder: Path) -> list[str]:
    """The files of a folder as deep as an export goes, links left out."""
    found = []
    for depth in range(1, _DEEPEST + 2):
        files = (path for path in folder.glob("/".join("*" * depth)) if path.is_file() and not path.is_symlink())
        found += [path.relative_to(folder).as_posix() for path in files]
    return found


def _from_the_top(names: Iterable[str]) -> dict[str, str]:
    """Full name -> name below the one folder that holds everything, where there is one; hidden files are out."""
    kept = [name for name in names if name and not name.endswith("/") and not _is_hidden(name)]
    tops = {name.partition("/")[0] for name in kept}
    in_one = len(tops) == 1 and all("/" in name for name in kept)
    return {name: name.partition("/")[2] if in_one else name for name in kept}


def _is_hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in name.split("/"))
