"""The members of a zip, read where they lie: chat programs give their exports as one. Nothing is ever unpacked to disk.

An archive is somebody else's file: names that lead out of it, links, encrypted entries and bombs are refused, and what
is counted is the bytes that really come out, because a header can say anything and entries can share their bytes.
"""

import io
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from chatwright.errors import DataError

MOST_BYTES = 2 << 30  # that are read of one archive, or that it says to grow by
MOST_RATIO = 200  # of unpacked to packed; deflate reaches 1,032, text 3 to 20
FREE_BYTES = 10 << 20  # below which no ratio is suspicious
MOST_OF_A_MEMBER = 1 << 30

_CHUNK = 1 << 16

_DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, ValueError, OverflowError)


@dataclass(frozen=True)
class Member:
    """One file of an archive. `size` is in bytes, as the header says it; `name` has "/" between its folders."""

    name: str
    size: int
    place: str  # archive and name, for messages: `chat.zip/_chat.txt`
    _info: zipfile.ZipInfo = field(repr=False)
    _archive: "_Archive" = field(repr=False)

    def open(self) -> io.BufferedReader:
        """The content as a stream of bytes. Reading raises DataError for damage and when too much comes out."""
        return io.BufferedReader(_Counted(self), _CHUNK)

    def read(self, limit: int = MOST_OF_A_MEMBER) -> bytes:
        """The whole content; raises DataError where it is more than `limit` bytes."""
        content = io.BytesIO()
        with self.open() as stream:
            while chunk := stream.read1(_CHUNK):
                if content.write(chunk) and content.tell() > limit:
                    raise DataError(f"{self.place}: is longer than the {limit:,} bytes that are read of such a file")
        return content.getvalue()


def members(path: Path) -> Iterator[Member]:
    """The files of a zip in its order, folders left out.

    Raises DataError at once for a broken archive and for one that holds anything suspicious. The members stay readable
    as long as they are kept.
    """
    try:
        file = zipfile.ZipFile(path)
        archive = _Archive(file, str(path), path.stat().st_size)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; check the path") from None
    except (NotImplementedError, *_DAMAGE) as error:
        raise DataError(
            f"{path}: is no zip that can be read ({_first_line(error)}); export or download it again"
        ) from None
    infos = file.infolist()
    for info in infos:
        _check(info, archive)
    if len({info.filename for info in infos}) < len(infos):
        raise DataError(f"{path}: two entries of the archive have the same name; export it again")
    # pictures and films count as what they are: an archive of 3 GB may hold 3 GB
    if sum(info.file_size for info in infos) > archive.size + MOST_BYTES:
        raise DataError(
            f"{path}: the archive would grow by more than {_megabytes(MOST_BYTES)}, like a zip bomb; it is not read"
        )
    files = [info for info in infos if not info.is_dir()]
    return iter([Member(info.filename, info.file_size, f"{path}/{info.filename}", info, archive) for info in files])


class _Archive:
    """An open zip and the bytes that have come out of it."""

    def __init__(self, file: zipfile.ZipFile, name: str, size: int) -> None:
        self.file, self.name, self.size = file, name, size
        self._read: dict[str, int] = {}
        self._total = 0

    def count(self, member: Member, position: int) -> None:
        """Notes that a member has been read up to a position; raises DataError where that is too much."""
        before = self._read.get(member.name, 0)
        if position <= before:  # a second reading of it
            return
        self._read[member.name] = position
        self._total += position - before
        if self._total > MOST_BYTES:
            raise DataError(f"{self.name}: more than {_megabytes(MOST_BYTES)} come out of the archive; it is not read")
        _check_ratio(self.name, self._total, self.size)


class _Counted(io.RawIOBase):
    """The bytes of a member as they come out, counted; damage is a DataError."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._position = 0
        # no more comes out of it than its header says: zipfile ends it there
        _check_ratio(member.place, member.size, member._info.compress_size)
        try:
            self._stream = member._archive.file.open(member._info)
        except (NotImplementedError, RuntimeError, *_DAMAGE) as error:
            raise self._damaged(error) from None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview[int]") -> int:  # type: ignore[override]
        try:
            content = self._stream.read(min(len(buffer), _CHUNK))  # a reader that asks for all gets it piece by piece
        except (NotImplementedError, *_DAMAGE) as error:
            raise self._damaged(error) from None
        self._position += len(content)
        self._member._archive.count(self._member, self._position)
        buffer[: len(content)] = content
        return len(content)

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
        super().close()

    def _damaged(self, error: Exception) -> DataError:
        return DataError(f"{self._member.place}: cannot be read ({_first_line(error)}); export or download it again")


def _check(info: zipfile.ZipInfo, archive: _Archive) -> None:
    """Raises DataError for an entry that no honest export holds."""
    name = info.orig_filename  # zipfile cuts `filename` at a NUL
    reason = ""
    if not name or re.search(r"[\x00-\x1f\\]", name):
        reason = "its name holds a backslash or a control character"
    elif name.startswith("/") or re.match(r"[A-Za-z]:", name):
        reason = "its name is an absolute path"
    elif ".." in name.split("/"):
        reason = "its name climbs out of the archive with '..'"
    elif stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        reason = "it is a link or a device, not a file"
    elif info.flag_bits & 0x2041:  # encrypted, strongly encrypted, or with a hidden directory
        raise DataError(
            f"{archive.name}: {name!r} is encrypted; unpack the archive with its password and give the file"
        )
    elif info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        # zipfile unpacks the others without a bound: 4 KB of bzip2 can become gigabytes
        reason = "it is packed in a way that no export uses"
    if reason:
        raise DataError(f"{archive.name}: the entry {name!r} is refused, {reason}; export the archive again")


def _check_ratio(place: str, unpacked: int, packed: int) -> None:
    if unpacked > max(FREE_BYTES, MOST_RATIO * packed):
        raise DataError(f"{place}: unpacks to more than {MOST_RATIO} times its size, like a zip bomb; it is not read")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _megabytes(count: int) -> str:
    return f"{count >> 20:,} MB"
