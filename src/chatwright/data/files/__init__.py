"""Rows out of local files: JSON, JSONL, CSV, Parquet and plain text, also packed, each with the line that it stands in.

A row that cannot be read is a BadRow with its reason, so that one reading finds all of them. Memory is bounded,
whatever the size of a file. Pieces can be sent to other processes, which decode them there.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from chatwright.data.files import document, json_file, json_lines, parquet, table
from chatwright.data.files.piece import LONGEST, Decoded, Piece, Unreadable
from chatwright.data.files.stream import COMPRESSIONS, Stream
from chatwright.data.rows import BadRow, Rows
from chatwright.errors import DataError

START = 1 << 16  # bytes that show whether there is anything, and in which encoding

READERS: dict[str, Callable[[Stream, int], Iterator[Piece]]] = {
    ".jsonl": json_lines.pieces,
    ".ndjson": json_lines.pieces,
    ".json": json_file.pieces,
    ".csv": table.pieces,
    ".tsv": partial(table.pieces, delimiter="\t"),
    ".txt": document.pieces,
    ".md": document.pieces,
    ".markdown": document.pieces,
}
KNOWN = f"{', '.join([*READERS, '.parquet'])}, all but the last also with {' or '.join(COMPRESSIONS)} after it"


def read(path: Path, longest: int = LONGEST) -> Rows:
    """The rows of all pieces in order; raises as `pieces` does."""
    return _rows(pieces(path, longest))


def pieces(path: Path, longest: int = LONGEST) -> Iterator[Piece]:
    """One file by its suffix, in pieces; a line or an element of more than `longest` bytes is a bad row.

    Raises DataError for an unknown suffix and a file that cannot be opened, and while reading for a compressed file that
    is damaged: nobody knows how many rows are missing.
    """
    suffix = _suffix(path)
    if suffix not in READERS and suffix != ".parquet":
        raise DataError(f"{path}: the kind of file {path.suffix!r} is not known; known are {KNOWN}")
    with Stream(path) as stream:
        start = stream.read(START)
    if len(start) < START and not start.strip():
        return iter([Decoded((BadRow(str(path), 1, "the file is empty"),))])
    if suffix == ".parquet":
        return parquet.pieces(path)
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        reason = f"byte 0x{start[0]:02x} at column 1 begins UTF-16; save the file as UTF-8"
        return iter([Decoded((BadRow(str(path), 1, reason),))])
    return _guarded(READERS[suffix], path, longest)


def list_folder(folder: Path) -> tuple[list[Path], list[Path]]:
    """The files of a folder and its subfolders that can be read, sorted, and those that cannot; hidden ones are out."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not _is_hidden(path.relative_to(folder)))
    return [path for path in files if is_known(path)], [path for path in files if not is_known(path)]


def is_known(path: Path) -> bool:
    """Whether files with this suffix can be read."""
    suffix = _suffix(path)
    return suffix in READERS or suffix == ".parquet"


def is_text(path: Path) -> bool:
    """Whether the file is one document."""
    return READERS.get(_suffix(path)) is document.pieces


def _suffix(path: Path) -> str:
    """What the file holds once it is unpacked: `.jsonl` of `chats.jsonl.gz`. Parquet packs itself."""
    suffix = path.suffix.lower()
    if suffix not in COMPRESSIONS:
        return suffix
    inner = Path(path.stem).suffix.lower()
    return inner if inner in READERS else suffix


def _rows(found: Iterator[Piece]) -> Rows:
    for piece in found:
        yield from piece.rows()


def _guarded(reader: Callable[[Stream, int], Iterator[Piece]], path: Path, longest: int) -> Iterator[Piece]:
    """The reader's pieces; where it gives up, the reason is the last of them."""
    with Stream(path) as stream:
        try:
            yield from reader(stream, longest)
        except Unreadable as error:
            stream.check()
            yield Decoded((error.row,), stream.since())


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
