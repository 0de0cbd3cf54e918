"""Where many rows stand, in twelve bytes each."""

from array import array

from chatwright.text.records import Source


class Places:
    """`places[places.add(source)]` is `str(source)`."""

    def __init__(self) -> None:
        self._files: dict[str, int] = {}
        self._file = array("i")
        self._line = array("q")

    def add(self, source: Source) -> int:
        """Remembers a place; its number, from 0."""
        self._file.append(self._files.setdefault(source.file, len(self._files)))
        self._line.append(source.line)
        return len(self._line) - 1

    def __getitem__(self, number: int) -> str:
        file = list(self._files)[self._file[number]]
        return str(Source(file, self._line[number]))
