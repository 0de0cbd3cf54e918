"""Prepared data on disk: whole or made again, whatever kills the process, fills the disk or turns a bit."""

import fcntl
import gzip
import os
import resource
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

import numpy as np
import pytest
from preparing import child, files, how, in_child, killed_at, lines, pieces_of, prepared, put, quick, row, talks

from chatwright.data import cache, prepare, shards, source
from chatwright.data.split import Shares
from chatwright.data.tokenise import Chunk, Task, tokenise
from chatwright.errors import ConfigError, DataError, DiskFull

SHARES: Shares = (0.6, 0.2, 0.2)
ROWS = 12


@pytest.fixture(autouse=True, scope="module")
def _quick() -> Iterator[None]:
    with quick():
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of several segments, some of whose rows are listed and some truncated."""
    content = talks(ROWS) + "[1]\n" + lines(row("Hi", "x" * 300))
    return put(tmp_path_factory.mktemp("data") / "rows.jsonl", content)


def whole(root: Path) -> dict[str, bytes]:
    """The files of what was prepared, by name."""
    return files(next(root.glob("*/whole")))


@pytest.fixture(scope="module")
def reference(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What an undisturbed preparation writes."""
    root = tmp_path_factory.mktemp("whole")
    with pieces_of(400, alone=1_000):
        prepared(data, how(SHARES), root)
    assert len(whole(root)["segments.jsonl"].splitlines()) >= 3
    return whole(root)


# ---- killed


def killed_everywhere(
    data: Path, place: Path, reference: dict[str, bytes], ways: Callable[[int], Sequence[bool]]
) -> None:
    """Killed at the nth thing that is put on the disk, for every n until there is none, and started again."""
    for number in range(1_000):
        for is_torn in ways(number):
            root = place / f"{number}-{is_torn}"
            ended = in_child(killed_at, number, is_torn, (data, how(SHARES), root, prepare._program()))
            with pieces_of(400, alone=1_000):
                prepared(data, how(SHARES), root)
            assert whole(root) == reference, number
            assert sorted(path.name for path in next(root.iterdir()).iterdir()) == ["lock", "whole"]
            shutil.rmtree(root)
        if ended == 0:
            assert number > 20
            return
        assert ended == -9
    pytest.fail("it was killed every time")


def test_killed_anywhere_and_started_again_it_writes_the_same(
    data: Path, tmp_path: Path, reference: dict[str, bytes]
) -> None:
    """Every second time the last bytes are lost as well, as when the power fails."""
    killed_everywhere(data, tmp_path, reference, lambda number: [number % 2 == 1])


@pytest.mark.long
def test_killed_anywhere_with_the_power_and_without_it_writes_the_same(
    data: Path, tmp_path: Path, reference: dict[str, bytes]
) -> None:
    killed_everywhere(data, tmp_path, reference, lambda _: [False, True])


class Stopped(Exception):
    """Ends a preparation after some pieces."""


def stopped_after(count: int, monkeypatch: pytest.MonkeyPatch) -> list[Task]:
    """The pieces that are made from now on, which after so many fail."""
    made: list[Task] = []

    def making(task: Task) -> Chunk:
        if len(made) == count:
            raise Stopped
        made.append(task)
        return tokenise(task)

    monkeypatch.setattr(prepare, "tokenise", making)
    return made


def test_whole_segments_are_not_made_again(
    data: Path,
    tmp_path: Path,
    reference: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pieces_of(400, alone=1_000):
        all_of_them = stopped_after(1_000, monkeypatch)
        prepared(data, how(SHARES), tmp_path / "undisturbed")
        stopped_after(7, monkeypatch)
        with pytest.raises(Stopped):
            prepared(data, how(SHARES), tmp_path / "cache")
        assert not list(tmp_path.glob("cache/*/whole"))
        rest = stopped_after(1_000, monkeypatch)
        prepared(data, how(SHARES), tmp_path / "cache")
    assert len(rest) == len(all_of_them) - 6  # three segments of two pieces; the seventh was in none yet
    assert "going on with" in capsys.readouterr().err
    assert whole(tmp_path / "cache") == reference


def test_a_segment_is_written_after_some_seconds_whatever_it_holds(
    data: Path, tmp_path: Path, reference: dict[str, bytes]
) -> None:
    """What is slow to make is not lost with the process, and where segments end changes no id."""
    with pieces_of(400, alone=1_000, segment=32, seconds=0.0), pytest.MonkeyPatch.context() as patch:
        stopped_after(3, patch)
        with pytest.raises(Stopped):
            prepared(data, how(SHARES), tmp_path)
    (partial,) = tmp_path.glob("*/partial/*")
    assert [line["facts"]["pieces"] for line in shards.whole_segments(partial)] == [1, 1, 1]
    with pieces_of(400, alone=1_000, segment=32):
        prepared(data, how(SHARES), tmp_path)
    differ = {name for name, content in whole(tmp_path).items() if content != reference[name]}
    assert differ == {shards.SEGMENTS, "manifest.json"}


def test_killed_with_all_records_there_but_not_the_end_it_reads_no_further(data: Path, tmp_path: Path) -> None:
    """The rows behind the last record that is wanted are no concern of who asked for it, before the kill or after."""
    write = shards.Writer.write

    def unless_last(writer: shards.Writer, segment: shards.Segment) -> None:
        if segment.facts["is_last"]:
            raise Stopped
        write(writer, segment)

    for limit in range(1, ROWS + 1):
        cut, undisturbed = tmp_path / f"cut{limit}", tmp_path / f"whole{limit}"
        with pieces_of(400, alone=1_000, segment=1):
            prepared(f"{data}#{limit}", how(SHARES), undisturbed)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(shards.Writer, "write", unless_last)
                with pytest.raises(Stopped):
                    prepared(f"{data}#{limit}", how(SHARES), cut)
            prepared(f"{data}#{limit}", how(SHARES), cut)
        assert whole(cut) == whole(undisturbed), limit


@pytest.mark.parametrize("name", [*shards.ARRAYS, shards.SEGMENTS])
@pytest.mark.parametrize("damage", ["turned", "cut", "gone"])
def test_what_was_damaged_before_it_was_finished_is_made_again(
    data: Path, tmp_path: Path, reference: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, name: str, damage: str
) -> None:
    with pieces_of(400, alone=1_000):
        with pytest.MonkeyPatch.context() as patch:
            stopped_after(7, patch)
            with pytest.raises(Stopped):
                prepared(data, how(SHARES), tmp_path)
        (path,) = tmp_path.glob(f"*/partial/*/{name}")
        damaged(path, damage, 0.6)
        prepared(data, how(SHARES), tmp_path)
    assert whole(tmp_path) == reference


# ---- damaged


def damaged(path: Path, damage: str, where: float = 0.5) -> None:
    """A file with a bit turned, its end cut off, something behind it, or no file."""
    content = bytearray(path.read_bytes())
    match damage:
        case "turned":
            content[int(len(content) * where)] ^= 4
        case "cut":
            del content[int(len(content) * where) :]
        case "grown":
            content += bytes(9)
    path.unlink()
    if damage != "gone":
        path.write_bytes(content)


NAMES = [*shards.ARRAYS, shards.SEGMENTS, prepare.FACTS, prepare.SAMPLES, "manifest.json"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("damage", ["turned", "cut", "grown", "gone"])
def test_damage_is_found_said_and_made_good(
    data: Path, tmp_path: Path, reference: dict[str, bytes], capsys: pytest.CaptureFixture[str], name: str, damage: str
) -> None:
    with pieces_of(400, alone=1_000):
        prepared(data, how(SHARES), tmp_path)
        assert set(whole(tmp_path)) == set(NAMES)
        damaged(next(tmp_path.glob(f"*/whole/{name}")), damage)
        capsys.readouterr()
        prepared(data, how(SHARES), tmp_path)
    said = capsys.readouterr().err.replace("\n", "")
    assert "was changed or damaged after it was written; the data is prepared anew" in said
    assert whole(tmp_path) == reference


# ---- no room, no rights


def limited(size: int, path: Path, one: object, root: Path) -> None:
    """No file may be larger than `size` bytes: it stands in for the full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    with pieces_of(400, alone=1_000):
        prepared(path, one, root)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [0, 50, 600, 3_000, 8_000])
def test_a_full_disk_ends_with_5_and_the_next_start_goes_on(
    data: Path, tmp_path: Path, reference: dict[str, bytes], size: int
) -> None:
    assert max(map(len, reference.values())) > size
    assert in_child(limited, size, data, how(SHARES), tmp_path) == DiskFull.exit_code == 5
    assert not list(tmp_path.glob("*/whole"))
    with pieces_of(400, alone=1_000):
        prepared(data, how(SHARES), tmp_path)
    assert whole(tmp_path) == reference


def test_a_place_that_cannot_be_written_is_refused_with_the_way_to_give_another(data: Path, tmp_path: Path) -> None:
    for root in (put(tmp_path / "file", ""), put(tmp_path / "other", "") / "cache", Path("/proc/nothing")):
        with pytest.raises(ConfigError, match="give a folder for prepared data with --prepared") as refused:
            prepared(data, how(), root)
        assert refused.value.exit_code == 2
        assert "\n" not in str(refused.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_refused(data: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigError, match=r"Permission denied.*--prepared"):
        prepared(data, how(), tmp_path)


# ---- something else in its place


def test_what_is_in_the_way_of_a_folder_is_named(data: Path, tmp_path: Path) -> None:
    prepared(data, how(), tmp_path / "cache")
    (folder,) = (tmp_path / "cache").iterdir()
    third = tmp_path / "third"
    ways = {tmp_path / "file": tmp_path / "file", tmp_path / "other" / "a" / "b": tmp_path / "other"}
    for root, path in {**ways, third: third / folder.name}.items():
        put(path, "")
        with pytest.raises(ConfigError, match=f"^{path} is a file where a folder belongs; remove it, or give"):
            prepared(data, how(), root)
    (folder / "lock").unlink()
    (folder / "lock").mkdir()
    with pytest.raises(ConfigError, match=f"^{folder / 'lock'} is a folder where a file belongs; remove it, or give"):
        prepared(data, how(), tmp_path / "cache")


@pytest.mark.parametrize("name", ["partial", "partial/*", "partial/*/ids.bin", "partial/*/segments.jsonl"])
@pytest.mark.parametrize("link", [True, False])
def test_what_no_preparation_can_have_left_in_its_folder_is_made_again(
    data: Path, tmp_path: Path, reference: dict[str, bytes], name: str, link: bool
) -> None:
    """A file where a folder belongs, or the other way round, or a link to nowhere."""
    with pieces_of(400, alone=1_000):
        with pytest.MonkeyPatch.context() as patch:
            stopped_after(5, patch)
            with pytest.raises(Stopped):
                prepared(data, how(SHARES), tmp_path)
        (path,) = tmp_path.glob(f"*/{name}")
        replaced(path, tmp_path / "nowhere" if link else None)
        prepared(data, how(SHARES), tmp_path)
    assert whole(tmp_path) == reference
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("link", [True, False])
def test_what_is_no_folder_of_prepared_data_is_made_again(
    data: Path, tmp_path: Path, reference: dict[str, bytes], link: bool
) -> None:
    with pieces_of(400, alone=1_000):
        prepared(data, how(SHARES), tmp_path)
        (path,) = tmp_path.glob("*/whole")
        replaced(path, tmp_path / "nowhere" if link else None)
        prepared(data, how(SHARES), tmp_path)
    assert whole(tmp_path) == reference


def replaced(path: Path, link: Path | None) -> None:
    """A file in place of a folder, a folder in place of a file, or a link in place of either."""
    is_folder = path.is_dir()
    if is_folder:
        shutil.rmtree(path)
    else:
        path.unlink()
    if link is not None:
        path.symlink_to(link)
    elif is_folder:
        put(path, "")
    else:
        path.mkdir()


# ---- no home


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The place of this user in the system's temporary folder."""
    monkeypatch.setattr(tempfile, "tempdir", str(put(tmp_path / "tmp" / "other", "").parent))
    return tmp_path / "tmp" / f"chatwright-{os.geteuid()}"


@pytest.mark.parametrize("home", ["/proc/nothing", "a file", ""])
def test_without_a_home_that_can_be_written_data_lie_in_a_private_temporary_folder(
    data: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], home: str
) -> None:
    """Nobody asked for the usual place."""

    def homeless(_: type[Path]) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setenv("XDG_CACHE_HOME", str(data) if home == "a file" else home)
    monkeypatch.setattr(Path, "home", classmethod(homeless))
    first, again = (prepare.prepare(source.open(str(data), "conversations"), how(SHARES)) for _ in range(2))
    said = "".join(capsys.readouterr().err.split())
    assert f"thedataispreparedin{temporary / '.prepared'}" in said
    assert first.report == again.report
    assert stat.S_IMODE(temporary.stat().st_mode) == 0o700
    assert len(list(temporary.glob(".prepared/*/whole"))) == 1


@pytest.mark.parametrize("squatter", ["file", "link", "stranger"])
def test_a_temporary_folder_of_somebody_else_is_not_used(
    data: Path, tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch, squatter: str
) -> None:
    """Everybody may make one of that name, and would read or write what lies there."""
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nothing")
    (tmp_path / "theirs").mkdir()
    if squatter == "file":
        put(temporary, "")
    elif squatter == "link":
        temporary.symlink_to(tmp_path / "theirs")
    else:
        temporary.mkdir()
        uid = os.geteuid()
        monkeypatch.setattr(cache, "temporary", lambda: temporary / ".prepared")
        monkeypatch.setattr(os, "geteuid", lambda: uid + 1)
    with pytest.raises(ConfigError, match=f"{temporary} is .*give a folder for prepared data with --prepared"):
        prepare.prepare(source.open(str(data), "conversations"), how(SHARES))
    assert not list(tmp_path.glob("theirs/*"))


def test_folders_are_private_whatever_they_were_before(data: Path, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        prepared(data, how(SHARES), tmp_path / "cache")
        (folder,) = (tmp_path / "cache").iterdir()
        folder.chmod(0o777)
        shutil.rmtree(folder / "whole")
        prepared(data, how(SHARES), tmp_path / "cache")
    finally:
        os.umask(before)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (folder.parent, folder, folder / "whole")}
    assert set(modes.values()) == {0o700}, modes


# ---- at once


def counted(path: Path, one: object, root: Path) -> None:
    """`prepared`, slowly; ends with the number of pieces that were made."""
    made: list[Task] = []

    def slowly(task: Task) -> Chunk:
        prepare.time.sleep(0.02)
        made.append(task)
        return tokenise(task)

    prepare.tokenise = slowly
    with pieces_of(400, alone=1_000):
        prepared(path, one, root)  # type: ignore[arg-type]
    os._exit(len(made))


def test_of_two_processes_at_once_one_waits_and_finds_it_done(
    data: Path, tmp_path: Path, reference: dict[str, bytes]
) -> None:
    both = [child(counted, data, how(SHARES), tmp_path) for _ in range(2)]
    for process in both:
        process.join(60)
    pieces = sum(line["facts"]["pieces"] for line in shards.whole_segments(next(tmp_path.glob("*/whole"))))
    assert sorted(process.exitcode or 0 for process in both) == [0, pieces]
    assert whole(tmp_path) == reference


def month_old(folder: Path) -> None:
    """As if nobody had used it since."""
    os.utime(folder / "lock", (0, 0))


def test_what_somebody_holds_is_not_deleted_however_old(data: Path, tmp_path: Path) -> None:
    prepared(data, how(SHARES), tmp_path)
    (old,) = tmp_path.iterdir()
    with (old / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        month_old(old)
        cache.sweep(tmp_path)
        assert (old / "whole").exists()
    cache.sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_somebody_begins_to_use_is_not_deleted(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at its age and the deletion."""
    prepared(data, how(SHARES), tmp_path)
    (old,) = tmp_path.iterdir()
    month_old(old)
    flock = fcntl.flock
    monkeypatch.setattr(fcntl, "flock", lambda lock, how: (os.utime(old / "lock"), flock(lock, how)))
    cache.sweep(tmp_path)
    assert (old / "whole").exists()


def test_a_folder_that_is_deleted_while_somebody_waits_for_it_is_made_anew(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lock is then that of no folder."""
    prepared(data, how(SHARES), tmp_path)
    (old,) = tmp_path.iterdir()
    flock, tried = fcntl.flock, []

    def late(lock: TextIO, how: int) -> None:
        if not tried:
            shutil.rmtree(old)
        tried.append(lock)
        flock(lock, how)

    monkeypatch.setattr(fcntl, "flock", late)
    assert len(prepared(data, how(SHARES), tmp_path).examples) == 3
    assert len(tried) == 2


def test_half_deleted_folders_are_deleted_and_found_by_nobody(data: Path, tmp_path: Path) -> None:
    prepared(data, how(SHARES), tmp_path)
    (old,) = tmp_path.iterdir()
    month_old(old)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)  # killed here
        cache.sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [f"{old.name}.gone"]
    prepared(data, how(SHARES), tmp_path)
    assert list(tmp_path.iterdir()) == [old]


def test_a_file_system_without_locks_is_no_obstacle(
    data: Path, tmp_path: Path, reference: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refused)
    with pieces_of(400, alone=1_000):
        prepared(data, how(SHARES), tmp_path)
    assert whole(tmp_path) == reference


# ---- what is written is what is read


def test_a_file_that_breaks_off_is_an_error_and_leaves_nothing_open(tmp_path: Path) -> None:
    """Warnings are errors here: a file that nobody closed would be one."""
    packed = gzip.compress(talks(300).encode())
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(packed[: len(packed) // 2])
    with pieces_of(400, alone=1_000), pytest.raises(DataError, match=f"{path}:[0-9]+: the compressed file ends early"):
        prepared(path, how(), tmp_path / "cache")


def test_ids_of_a_large_vocabulary_take_four_bytes() -> None:
    assert shards.id_type(65_536).itemsize == 2
    assert shards.id_type(65_537).itemsize == 4
    assert int(np.array(151_935).astype(shards.id_type(151_936))) == 151_935


def test_rows_that_are_all_listed_are_a_source_without_examples(tmp_path: Path) -> None:
    path = put(tmp_path / "rows.jsonl", lines(row("Hi"), [1]))
    found = prepared(path, how(SHARES), tmp_path / "cache")
    assert (found.examples, len(found.report.as_dict()["listed"])) == ({}, 2)
    with pytest.raises(DataError, match=r"no row of .* can be used"):
        found.report.judge(skip_bad_rows=True, max_bad_share=1.0, max_truncated_share=1.0)
