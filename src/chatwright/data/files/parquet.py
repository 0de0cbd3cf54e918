"""Parquet: small row groups are read by whoever gets the piece, large ones here, a batch at a time.

Every file is read by its own schema. The numbers of rows, from 1, stand in for lines.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chatwright.data.files.piece import BYTES, ROWS, Decoded, Piece, Unreadable
from chatwright.data.rows import BadRow, Row, Rows
from chatwright.errors import DataError

SMALL_GROUP = 16 * BYTES, 10 * ROWS  # unpacked bytes and rows: a row group up to these is one piece


@dataclass(frozen=True)
class RowGroup:
    """A row group of a file, `first` being the number of its first row."""

    file: str
    group: int
    first: int
    size: int

    def rows(self) -> Rows:
        try:
            with _opened(Path(self.file)) as file:
                for piece in _batches(file, self.file, self.group, self.first):
                    yield from piece.rows()
        except Unreadable as error:  # the file has changed
            yield error.row


@dataclass(frozen=True)
class Batch:
    """Some rows of a file as an Arrow stream, `first` being the number of the first."""

    file: str
    first: int
    content: bytes
    size: int

    def rows(self) -> Rows:
        import pyarrow

        with pyarrow.ipc.open_stream(self.content) as stream:
            for batch in stream:
                yield from _rows(batch, self.file, self.first)


def pieces(path: Path) -> Iterator[Piece]:
    """The rows of the file; a row group that is damaged is listed with the number of its rows that are lost."""
    try:
        with _opened(path) as file:
            first = 1
            for number in range(file.metadata.num_row_groups):
                group = file.metadata.row_group(number)
                if group.total_byte_size <= SMALL_GROUP[0] and group.num_rows <= SMALL_GROUP[1]:
                    yield RowGroup(str(path), number, first, _share(file, path, group.num_rows))
                else:
                    yield from _batches(file, str(path), number, first)
                first += group.num_rows
    except Unreadable as error:
        yield Decoded((error.row,))


def _opened(path: Path) -> Any:
    """A pyarrow.parquet.ParquetFile; raises Unreadable where it is none."""
    try:
        from pyarrow import parquet
    except ImportError:
        raise DataError(f"{path}: reading Parquet needs pyarrow; pip install 'chatwright[data]'") from None
    try:
        # with a buffer, a column is read in steps and not as a whole
        file = parquet.ParquetFile(path, buffer_size=BYTES, pre_buffer=False)
    except _damage() as error:
        raise Unreadable(str(path), 1, f"is not Parquet ({_first_line(error)})") from None
    names = file.schema_arrow.names
    if len(set(names)) < len(names):
        file.close()
        raise Unreadable(str(path), 1, f"two columns have the same name in {', '.join(names)}")
    return file


def _batches(file: Any, name: str, number: int, first: int) -> Iterator[Batch | Decoded]:
    """The rows of a group, about BYTES a batch."""
    group = file.metadata.row_group(number)
    end = first + group.num_rows
    size = max(1, min(ROWS, BYTES * group.num_rows // max(group.total_byte_size, 1)))
    try:
        for batch in file.iter_batches(batch_size=size, row_groups=[number]):
            yield Batch(name, first, _packed(batch), _share(file, Path(name), batch.num_rows))
            first += batch.num_rows
    except _damage() as error:
        reason = f"is not Parquet ({_first_line(error)}); {end - first:,} rows of row group {number + 1} are lost"
        yield Decoded((BadRow(name, first, reason, rows=end - first),))


def _share(file: Any, path: Path, rows: int) -> int:
    """The bytes of the file that some of its rows stand for."""
    return path.stat().st_size * rows // max(int(file.metadata.num_rows), 1)


def _packed(batch: Any) -> bytes:
    """A batch as an Arrow stream of its own."""
    import pyarrow

    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _rows(batch: Any, file: str, first: int) -> Rows:
    """A batch as rows; where a value is none that Python has, its row alone is bad."""
    try:
        for number, value in enumerate(batch.to_pylist(), start=first):
            yield Row(number, value)
        return
    except _damage():
        pass  # nothing has been yielded: the list comes first
    for index in range(batch.num_rows):
        try:
            yield Row(first + index, batch.slice(index, 1).to_pylist()[0])
        except _damage() as error:
            yield BadRow(file, first + index, f"holds a value that cannot be read ({_first_line(error)})")


def _damage() -> tuple[type[Exception], ...]:
    """What pyarrow raises for damage: its own errors, and Python's for names and values that are no text or no time."""
    import pyarrow

    return (pyarrow.ArrowException, OSError, ValueError, OverflowError)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
