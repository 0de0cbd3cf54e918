"""Archives: an honest zip is read where it lies, and every known trick with one is refused before it costs anything."""

import io
import json
import stat
import struct
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from chatwright.data.files import archives
from chatwright.errors import DataError

CHAT = "[01.02.24, 10:00:00] Ada Example: Hello\n" * 50


@pytest.fixture
def pack(tmp_path: Path) -> Callable[..., Path]:
    """A zip with these entries; a content may be a whole ZipInfo with its bytes."""

    def put(*entries: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
        path = tmp_path / "export.zip"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of names that are there twice
            with zipfile.ZipFile(path, "w", method) as archive:
                for name, content in entries:
                    archive.writestr(name, content)
        return path

    return put


Pack = Callable[..., Path]


def read(path: Path) -> list[bytes]:
    return [member.read() for member in archives.members(path)]


def refused(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(path))
    return str(caught.value)


def changed(path: Path, old: bytes, new: bytes) -> Path:
    """The file with other bytes in it: what no tool would write."""
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))
    return path


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_archive_gives_its_files_in_order_without_folders(pack: Pack, tmp_path: Path, method: int) -> None:
    path = pack(("b/", b""), ("b/_chat.txt", CHAT.encode()), ("a.json", b"{}"), ("./c..txt", b""), method=method)
    found = list(archives.members(path))
    assert [(member.name, member.size) for member in found] == [
        ("b/_chat.txt", len(CHAT)),
        ("a.json", 2),
        ("./c..txt", 0),
    ]
    assert found[0].read() == found[0].read() == CHAT.encode()
    assert found[1].place == f"{path}/a.json"
    with found[0].open() as first, found[1].open() as second:  # two at a time
        assert io.TextIOWrapper(first, encoding="utf-8").readline() == CHAT.splitlines(keepends=True)[0]
        assert json.load(second) == {}
    assert [entry.name for entry in tmp_path.iterdir()] == ["export.zip"]


def test_a_member_stays_readable_as_long_as_it_is_kept(pack: Pack) -> None:
    kept = next(archives.members(pack(("a.txt", b"a"), ("b.txt", b"b"))))
    assert kept.read() == b"a"


def test_a_member_that_is_longer_than_asked_for_is_refused(pack: Pack) -> None:
    (member,) = archives.members(pack(("a.txt", bytes(1000))))
    assert len(member.read(1000)) == 1000
    with pytest.raises(DataError, match=r"export.zip/a.txt: is longer than the 999 bytes"):
        member.read(999)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("/etc/passwd", "is an absolute path"),
        ("C:/windows.ini", "is an absolute path"),
        ("c:evil.txt", "is an absolute path"),
        ("../up.txt", "climbs out"),
        ("a/../../up.txt", "climbs out"),
        ("a/..", "climbs out"),
        ("..\\up.txt", "a backslash or a control character"),
        ("a\\b.txt", "a backslash or a control character"),
        ("\\\\host\\share", "a backslash or a control character"),
        ("a\nb.txt", "a backslash or a control character"),
        ("../", "climbs out"),
    ],
)
def test_a_name_that_leads_out_of_the_archive_refuses_all_of_it(pack: Pack, name: str, why: str) -> None:
    sentence = refused(pack(("good.txt", b"x"), (name, b"x")))
    assert why in sentence
    assert repr(name) in sentence


def test_a_name_that_hides_its_end_behind_a_nul_is_refused(pack: Pack) -> None:
    path = changed(pack(("chat.txtX.exe", b"x")), b"chat.txtX.exe", b"chat.txt\0.exe")
    assert "a backslash or a control character" in refused(path)


def test_a_name_that_is_there_twice_is_refused(pack: Pack) -> None:
    assert "two entries of the archive have the same name" in refused(pack(("a.txt", b"one"), ("a.txt", b"two")))


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_are_refused(pack: Pack, kind: int) -> None:
    entry = zipfile.ZipInfo("chat.txt")
    entry.external_attr = (kind | 0o777) << 16
    assert "it is a link or a device, not a file" in refused(pack((entry, b"/etc/passwd")))


def test_an_encrypted_archive_is_refused_with_the_way_out(pack: Pack) -> None:
    path = pack(("chat.txt", b"x"))
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1  # the flags of the entry in the directory
    path.write_bytes(content)
    assert refused(path) == f"{path}: 'chat.txt' is encrypted; unpack the archive with its password and give the file"


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_packing_that_unpacks_without_a_bound_is_refused(pack: Pack, method: int) -> None:
    assert "packed in a way that no export uses" in refused(pack(("chat.txt", b"x" * 100), method=method))


@pytest.mark.parametrize("content", [b"", b"PK", b"PK\x05\x06", b"no zip at all" * 100, b"PK\x03\x04" + bytes(100)])
def test_what_is_no_zip_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "export.zip"
    path.write_bytes(content)
    assert "is no zip that can be read" in refused(path)
    assert "does not exist" in refused(tmp_path / "other.zip")
    assert "is no zip that can be read" in refused(tmp_path)


def test_a_zip_that_ends_early_or_is_damaged_is_refused(pack: Pack) -> None:
    whole = pack(("chat.txt", CHAT.encode())).read_bytes()
    path = pack(("chat.txt", CHAT.encode()))
    for end in range(1, len(whole), 7):
        path.write_bytes(whole[:end])
        assert "can" in refused(path)
    for place in range(0, len(whole), 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:  # some bytes, such as a date, may say anything
            assert read(path) == [CHAT.encode()]
        except DataError as error:
            assert "\n" not in str(error)  # noqa: PT017


# ---- bombs


def test_an_archive_that_says_it_grows_to_gigabytes_is_refused_unread(pack: Pack) -> None:
    path = pack(("chat.txt", b"x"))
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, content.index(b"PK\x01\x02") + 24, (2 << 30) + 1000)
    path.write_bytes(content)
    with pytest.raises(DataError, match="would grow by more than 2,048 MB, like a zip bomb"):
        archives.members(path)


def test_text_of_any_kind_may_unpack_to_ten_megabytes_but_more_only_at_an_honest_ratio(pack: Pack) -> None:
    (member,) = archives.members(pack(("zeros.txt", bytes(10 << 20))))
    assert len(member.read()) == 10 << 20
    sentence = refused(pack(("picture.jpg", bytes(range(256)) * 3000), ("zeros.txt", bytes((10 << 20) + 1))))
    assert "zeros.txt: unpacks to more than 200 times its size, like a zip bomb" in sentence
    honest = b"".join(
        b'{"user": "Ada Example", "ts": "%d", "text": "number %d"}\n' % (n * n, n) for n in range(250_000)
    )
    (member,) = archives.members(pack(("honest.json", honest)))
    assert len(member.read()) == len(honest) > 12 << 20


def test_what_comes_out_is_counted_and_not_what_the_header_says(pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pack(("a.bin", bytes(25_600)), ("b.bin", bytes(25_600)), method=zipfile.ZIP_STORED)
    monkeypatch.setattr(archives, "MOST_BYTES", 40_000)
    first, second = archives.members(path)
    assert len(first.read()) == len(first.read()) == 25_600  # a second reading of a member is no more
    with pytest.raises(DataError, match="come out of the archive; it is not read"):
        second.read()


def test_entries_that_share_their_bytes_are_counted_each(tmp_path: Path) -> None:
    """Overlapping entries, as in Fifield's bombs: the directory names the same bytes again and again."""
    path = tmp_path / "export.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("000.txt", bytes(1 << 20))
        (entry,) = archive.infolist()
        for number in range(1, 100):
            again = zipfile.ZipInfo(f"{number:03}.txt")
            again.compress_type, again.CRC = entry.compress_type, entry.CRC
            again.file_size, again.compress_size, again.header_offset = (
                entry.file_size,
                entry.compress_size,
                entry.header_offset,
            )
            archive.filelist.append(again)
            archive.NameToInfo[again.filename] = again
    sentence = refused(path)
    assert "cannot be read (File name in directory" in sentence  # the header there has another name
    # all entries by the name that the one header has: then they are entries of the same name
    content = path.read_bytes()
    for number in range(1, 100):
        content = content.replace(b"%03d.txt" % number, b"000.txt")
    path.write_bytes(content)
    assert "the same name" in refused(path)


def test_many_members_together_may_not_be_a_bomb(pack: Pack) -> None:
    entries = [(f"{number}.txt", bytes(1 << 20)) for number in range(12)]
    path = pack(*entries)
    assert path.stat().st_size * 200 < 12 << 20
    assert f"{path}: unpacks to more than 200 times its size" in refused(path)


def test_a_bomb_is_refused_in_bounded_memory(pack: Pack) -> None:
    path = pack(("bomb.json", bytes(64 << 20)))
    code = (
        "import resource, sys; from pathlib import Path; from chatwright.data.files import archives\n"
        "pages = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (pages + (24 << 20),) * 2)\n"
        "(member,) = archives.members(Path(sys.argv[1]))\n"
        "for read in (member.read, lambda: member.open().read(), lambda: member.open().readline()):\n"
        "    try:\n        read()\n    except archives.DataError as error:\n        print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=60)
    assert done.stdout.count("like a zip bomb") == 3, done.stderr
