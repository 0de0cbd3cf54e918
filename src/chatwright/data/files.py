"""Rows out of local files: JSON, JSONL, CSV, Parquet and plain text, each with the line that it stands in.

A row that cannot be read is yielded as a BadRow with its reason, so that one reading finds all of them.
"""

import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chatwright.errors import DataError

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
LONGEST_CELL = 1 << 30  # the csv module's own limit is 131,072 characters


@dataclass(frozen=True)
class Row:
    """One object, and the line that it begins in (from 1)."""

    line: int
    value: dict[str, Any]


@dataclass(frozen=True)
class BadRow:
    """One row that cannot be used; `str(row)` is `file:line: reason`."""

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}"


Rows = Iterator[Row | BadRow]


def read(path: Path) -> Rows:
    """The rows of one file, by its suffix; raises DataError for a file that cannot be opened and an unknown suffix."""
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path}: the kind of file {path.suffix!r} is not known; known are {', '.join(READERS)}")
    try:
        with path.open("rb") as file:
            start = file.read(1 << 16)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); check the path and its permissions") from None
    if not start.removeprefix(BYTE_ORDER_MARK).strip():
        return iter([BadRow(str(path), 1, "the file is empty")])
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        reason = f"byte 0x{start[0]:02x} at column 1 begins UTF-16; save the file as UTF-8"
        return iter([BadRow(str(path), 1, reason)])
    return _guarded(reader, path)


def list_folder(folder: Path) -> tuple[list[Path], list[Path]]:
    """The files of a folder and its subfolders that can be read, sorted, and those that cannot; hidden ones are out."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not _is_hidden(path.relative_to(folder)))
    known = [path for path in files if path.suffix.lower() in READERS]
    return known, [path for path in files if path.suffix.lower() not in READERS]


def is_text(path: Path) -> bool:
    """Whether the whole file is one document."""
    return READERS.get(path.suffix.lower()) is _text


class _Unreadable(Exception):
    """Nothing more of this file can be read; carries the BadRow that says why."""

    def __init__(self, file: object, line: int, reason: str) -> None:
        super().__init__(reason)
        self.row = BadRow(str(file), line, reason)


def _guarded(reader: Callable[[Path], Rows], path: Path) -> Rows:
    """The reader's rows; where it gives up, the reason is the last of them."""
    try:
        yield from reader(path)
    except _Unreadable as error:
        yield error.row


def _json_lines(path: Path) -> Rows:
    """One object a line; empty lines are no rows."""
    with path.open("rb") as file:
        for line, content in enumerate(file, start=1):
            content = content.removeprefix(BYTE_ORDER_MARK) if line == 1 else content
            if content.strip():
                yield _json_line(str(path), line, content.rstrip(b"\r\n"))


def _json_line(file: str, line: int, content: bytes) -> Row | BadRow:
    """One line as an object, or why it is none."""
    try:
        return _row(file, line, _DECODER.decode(content.decode("utf-8")))
    except UnicodeDecodeError as error:
        return BadRow(file, line, _encoding(content[error.start], error.start + 1))
    except (ValueError, RecursionError) as error:
        return BadRow(file, line, _syntax(error))


def _json_array(path: Path) -> Rows:
    """The elements of an array, each with its line. A .json file that holds objects line by line is read as JSONL."""
    text = _decoded(path)
    start = _skip_space(text, 0)
    if text.startswith("{", start):
        yield from _json_lines(path) if _is_lines(text, start) else _json_single(path, text, start)
    elif text.startswith("[", start):
        yield from _elements(str(path), text, start + 1)
    else:
        line = 1 + text.count("\n", 0, start)
        raise _Unreadable(path, line, f"{text[start : start + 20]!r} begins no JSON array or object")


def _elements(file: str, text: str, position: int) -> Rows:
    """The elements of an array from the position after its bracket."""
    line, counted = 1, 0
    position = _skip_space(text, position)
    while not text.startswith("]", position):
        line, counted = line + text.count("\n", counted, position), position
        try:
            value, position = _DECODER.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            # without the end of this element there is no telling where the next one begins
            yield BadRow(file, _line_of(error, line), f"{_syntax(error)}; nothing after it can be read")
            return
        yield _row(file, line, value)
        position = _skip_space(text, position)
        if text.startswith(",", position):
            position = _skip_space(text, position + 1)
        elif not text.startswith("]", position):
            line += text.count("\n", counted, position)
            yield BadRow(file, line, "is not JSON: ',' or ']' is missing; nothing after it can be read")
            return
    after = _skip_space(text, position + 1)
    if after < len(text):
        line += text.count("\n", counted, after)
        yield BadRow(file, line, f"is not JSON: {text[after : after + 20]!r} follows the end of the array")


def _json_single(path: Path, text: str, position: int) -> Rows:
    """A file with one object is one row."""
    line = 1 + text.count("\n", 0, position)
    try:
        yield _row(str(path), line, _DECODER.decode(text))
    except (ValueError, RecursionError) as error:
        yield BadRow(str(path), _line_of(error, line), _syntax(error))


def _is_lines(text: str, position: int) -> bool:
    """Whether the first line alone is an object and more lines follow."""
    line, _, rest = text[position:].partition("\n")
    try:
        _DECODER.decode(line)
    except (ValueError, RecursionError):
        return False
    return bool(rest.strip())


def _csv(path: Path) -> Rows:
    """A header, then one row a record; a record may span lines where a cell is quoted."""
    text = _decoded(path)
    csv.field_size_limit(LONGEST_CELL)
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    header: list[str] = []
    try:
        for cells in reader:
            line_of_row, line = line, reader.line_num + 1
            if not header:
                header = [cell.strip() for cell in cells]
                if len(set(header)) < len(header):
                    raise _Unreadable(path, line_of_row, f"two columns have the same name in {', '.join(header)}")
            elif len(cells) == len(header):
                yield Row(line_of_row, dict(zip(header, cells, strict=True)))
            elif cells:
                yield BadRow(str(path), line_of_row, f"has {len(cells)} cells; the header has {len(header)}")
    except csv.Error as error:
        yield BadRow(str(path), line, f"is not CSV: {error}; nothing after it can be read")


def _text(path: Path) -> Rows:
    """The whole file as one row; lines end as they do in Unix."""
    yield Row(1, {"text": _decoded(path).replace("\r\n", "\n")})


def _parquet(path: Path) -> Rows:
    """The rows of a Parquet file; their numbers stand in for lines."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise DataError(f"{path}: reading Parquet needs pyarrow; pip install 'chatwright[data]'") from None
    number = 0
    try:
        for batch in parquet.ParquetFile(path).iter_batches(batch_size=1024):
            for value in batch.to_pylist():
                number += 1
                yield Row(number, value)
    except (pyarrow.ArrowException, OSError) as error:
        raise _Unreadable(path, number + 1, f"is not Parquet ({str(error).splitlines()[0]})") from None


READERS: dict[str, Callable[[Path], Rows]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json_array,
    ".csv": _csv,
    ".tsv": _csv,
    ".parquet": _parquet,
    ".txt": _text,
    ".md": _text,
}


def _decoded(path: Path) -> str:
    """The whole file as text, for the kinds that cannot be read line by line."""
    content = path.read_bytes().removeprefix(BYTE_ORDER_MARK)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = 1 + content.count(b"\n", 0, error.start)
        column = error.start - content.rfind(b"\n", 0, error.start)
        raise _Unreadable(path, line, _encoding(content[error.start], column)) from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys are told apart; JSON's usual reading keeps the last of two silently."""
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} is there twice")
    return value


_DECODER = json.JSONDecoder(object_pairs_hook=_unique)


def _row(file: str, line: int, value: Any) -> Row | BadRow:
    """Only an object is a row."""
    if isinstance(value, dict):
        return Row(line, value)
    text = json.dumps(value)
    shown = text if len(text) <= 40 else text[:37] + "..."
    return BadRow(file, line, f"is {shown}; a row must be an object, {{...}}")


def _skip_space(text: str, position: int) -> int:
    """The next position that is not white space."""
    while position < len(text) and text[position] in " \t\r\n":
        position += 1
    return position


def _encoding(byte: int, column: int) -> str:
    return f"byte 0x{byte:02x} at column {column} is not UTF-8; save the file as UTF-8"


def _syntax(error: Exception) -> str:
    """Why some text is not JSON."""
    if isinstance(error, json.JSONDecodeError):
        return f"is not JSON: {error.msg} at column {error.colno}"
    return "is nested too deeply" if isinstance(error, RecursionError) else f"is not usable JSON: {error}"


def _line_of(error: Exception, line: int) -> int:
    """Where the decoder stopped; other failures know only where the value begins."""
    return error.lineno if isinstance(error, json.JSONDecodeError) else line


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
