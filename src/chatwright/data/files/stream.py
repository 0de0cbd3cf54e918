"""The bytes of one file, unpacked where its name ends in .gz or .zst, without its byte order mark, in bounded memory.

A compressed file that is damaged is an error, never a bad row: nobody knows how many rows are missing.
"""

import gzip
import io
import zlib
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from chatwright.errors import DataError

COMPRESSIONS = (".gz", ".zst")
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
WIDEST_WINDOW = 1 << 27  # bytes that a zstd file may make us keep; `zstd` itself writes no wider one unasked
PACKED = 1 << 10  # bytes given to zstd at a time: 4 of them can unpack to 128 KB


class Stream:
    """A file being read. `position` counts the bytes that came out of it, packed or not."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.position = 0
        self._packed = path.suffix.lower() in COMPRESSIONS
        self._told = 0  # bytes of the file itself, by the last `since`
        self._breaks = 0  # line ends that came out, counted for compressed files only
        self._failure: DataError | None = None
        try:
            self._file = path.open("rb", buffering=0)
        except OSError as error:
            raise _not_read(path, error) from None
        self._source = _unpacked(self._file, path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._source.close()
        self._file.close()

    def read(self, size: int) -> bytes:
        """The next `size` bytes, fewer only at the end; raises DataError where the file is damaged."""
        content = self._next(size)
        if not self.position and content.startswith(BYTE_ORDER_MARK):
            content = content.removeprefix(BYTE_ORDER_MARK) + self._next(len(BYTE_ORDER_MARK))
        if not content and self._failure:
            raise self._failure
        self.position += len(content)
        self._breaks += content.count(b"\n") if self._packed else 0
        return content

    def check(self) -> None:
        """Raises DataError where a compressed file is damaged further on, which may be why it makes no sense."""
        while self._packed and self.read(1 << 20):
            pass

    def since(self) -> int:
        """Bytes of the file, packed as they are, that were read since this was last asked."""
        told, self._told = self._told, self._file.tell()
        return self._told - told

    def _next(self, size: int) -> bytes:
        """Bytes as they come; what comes before damage is given first."""
        parts: list[bytes] = []
        while size > 0 and not self._failure:
            try:
                part = self._source.read(size)
            except EOFError:
                self._failure = self._damaged("ends early", parts)
            except OSError as error:
                self._failure = (
                    self._damaged(f"is damaged ({error})", parts) if self._packed else _not_read(self.path, error)
                )
            except (zlib.error, _Damage) as error:
                self._failure = self._damaged(f"is damaged ({error})", parts)
            else:
                if not part:
                    break
                parts.append(part)
                size -= len(part)
        return b"".join(parts)

    def _damaged(self, what: str, parts: list[bytes]) -> DataError:
        line = 1 + self._breaks + sum(part.count(b"\n") for part in parts)
        return DataError(f"{self.path}:{line}: the compressed file {what}; copy or download it again")


class _Damage(Exception):
    """What the optional package raises, under a name that needs no import."""


class _Source(Protocol):
    """Bytes as they come; fewer than `size` say nothing about the end."""

    def read(self, size: int, /) -> bytes: ...

    def close(self) -> None: ...


class _Gzip:
    """A .gz file, of any number of members."""

    def __init__(self, file: io.FileIO) -> None:
        self._file = gzip.GzipFile(fileobj=file, mode="rb")

    def read(self, size: int, /) -> bytes:
        return self._file.read1(size)  # `read` would drop what came before the damage

    def close(self) -> None:
        self._file.close()


class _Zstandard:
    """A .zst file, of any number of frames. zstandard's own reader takes a file that ends early for a whole one."""

    def __init__(self, file: io.FileIO, path: Path) -> None:
        try:
            import zstandard
        except ImportError:
            file.close()
            raise DataError(f"{path}: reading .zst needs zstandard; pip install 'chatwright[data]'") from None
        self._file = io.BufferedReader(file, 1 << 16)
        self._zstandard = zstandard
        self._frames = zstandard.ZstdDecompressor(max_window_size=WIDEST_WINDOW)
        self._frame: zstandard.ZstdDecompressionObj | None = None
        self._packed = b""
        self._unpacked = memoryview(b"")

    def read(self, size: int, /) -> bytes:
        while not self._unpacked:
            self._packed = self._packed or self._file.read(PACKED)
            if not self._packed:
                if self._frame:
                    raise EOFError
                return b""
            self._unpack()
        part, self._unpacked = bytes(self._unpacked[:size]), self._unpacked[size:]
        return part

    def _unpack(self) -> None:
        """Unpacks what was read, up to the end of its frame."""
        frame = self._frame or self._frames.decompressobj()
        try:
            self._unpacked = memoryview(frame.decompress(self._packed))
        except self._zstandard.ZstdError as error:
            raise _Damage(error) from None
        self._packed = frame.unused_data if frame.eof else b""
        self._frame = None if frame.eof else frame

    def close(self) -> None:
        self._file.close()


def _unpacked(file: io.FileIO, path: Path) -> _Source:
    """What a file holds, by the last part of its suffix."""
    match path.suffix.lower():
        case ".gz":
            return _Gzip(file)
        case ".zst":
            return _Zstandard(file, path)
        case _:
            return file


def _not_read(path: Path, error: OSError) -> DataError:
    return DataError(f"{path} cannot be read ({error.strerror}); check the path and its permissions")
