"""Other processes: results in order, errors as they are, an end without leftovers however it comes, bounded memory."""

import importlib
import json
import operator
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from preparing import files, how, lines, pieces_of, prepared, put, quick, row, talks

from chatwright.data import prepare
from chatwright.data.workers import AHEAD, Result, Task, Workers
from chatwright.errors import ChatwrightError

psutil = pytest.importorskip("psutil", reason="the optional extra `dev` is not installed")


@pytest.fixture(autouse=True)
def _quick_and_alone() -> Iterator[None]:
    """No process of ours is left behind."""
    own = {process.pid for process in psutil.Process().children()}
    with quick():
        yield
    assert [process for process in psutil.Process().children() if process.pid not in own] == []


# ---- in order


def test_results_come_in_the_order_of_the_tasks_whoever_is_first() -> None:
    """The first task takes longest."""
    with Workers(time.sleep, 2) as pool:
        assert list(pool.results([0.2, 0.0, 0.0])) == [None] * 3
    numbers = list(range(-30, 30))
    with Workers(operator.neg, 3) as pool:
        assert list(pool.results(numbers)) == [-number for number in numbers]
        assert list(pool.results(numbers[:5])) == [-number for number in numbers[:5]]
        assert list(pool.results([])) == []


def test_no_more_tasks_are_begun_than_can_be_held() -> None:
    """What is asked for is what bounds the memory: a task is a megabyte of rows."""
    begun = 0

    def tasks() -> Iterator[int]:
        nonlocal begun
        for number in range(50):
            begun += 1
            yield number

    with Workers(operator.neg, 2) as pool:
        for done, _ in enumerate(pool.results(tasks()), start=1):
            assert begun - done <= 2 * AHEAD
            time.sleep(0.005 if done < 5 else 0)


def test_large_tasks_and_results_come_whole() -> None:
    """More than a pipe holds, both ways at once."""
    large = [bytes([number]) * 3_000_000 for number in range(6)]
    with Workers(bytes, 2) as pool:
        assert list(pool.results(large)) == large


# ---- errors


def test_an_error_in_another_process_is_raised_as_it_is() -> None:
    with Workers(int, 2) as pool, pytest.raises(ValueError, match="invalid literal for int"):
        list(pool.results(["1", "x", "3"]))
    with Workers(int, 1) as pool, pytest.raises(ZeroDivisionError):
        list(map(operator.truediv, pool.results(["1", "2"]), [1, 0]))


ODD = """
class Odd(Exception):
    def __init__(self, *, why):
        super().__init__(f"odd, because {why}")

class Locked(Exception):
    def __init__(self):
        super().__init__("it holds what cannot be sent")
        self.held = memoryview(b"x")

def fail(kind):
    raise Odd(why="it is") if kind == "odd" else Locked()
"""


@pytest.mark.parametrize(
    ("kind", "sentence"), [("odd", "Odd: odd, because it is"), ("locked", "Locked: it holds what cannot be sent")]
)
def test_an_error_that_cannot_be_sent_is_told_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, sentence: str
) -> None:
    """Not as a process that has ended, nor as an error of the one who unpacks it."""
    put(tmp_path / f"odd_{kind}.py", ODD)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    fail = importlib.import_module(f"odd_{kind}").fail
    with Workers(fail, 1) as pool, pytest.raises(ChatwrightError) as told:
        list(pool.results([kind]))
    assert str(told.value) == sentence


def test_a_result_that_cannot_be_sent_is_told_and_the_process_goes_on() -> None:
    with Workers(memoryview, 1) as pool:
        for _ in range(2):
            with pytest.raises(TypeError, match=r"cannot pickle .*memoryview"):
                list(pool.results([b"x"]))


def test_a_process_that_dies_is_one_sentence_and_exit_code_1() -> None:
    for function, argument, code in ((os._exit, 3, "3"), (signal.raise_signal, int(signal.SIGKILL), "-9")):
        with Workers(function, 2) as pool, pytest.raises(ChatwrightError) as ended:
            list(pool.results([argument] * 5))
        assert ended.value.exit_code == 1
        assert f"has ended (code {code})" in str(ended.value)
        assert "--workers 1" in str(ended.value)
        assert "\n" not in str(ended.value)


def test_what_a_dead_process_leaves_is_not_taken_for_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path / "rows.jsonl", talks(90))
    with pieces_of(300, alone=1_000):
        prepared(path, how(), tmp_path / "whole")

    class Dying(Workers[Task, Result]):
        """One of them is killed when the first results are there."""

        def results(self, tasks: Iterable[Task]) -> Iterator[Result]:
            for number, result in enumerate(super().results(tasks)):
                yield result
                if number == 8:
                    self._processes[0].kill()

    with pytest.MonkeyPatch.context() as patch, pieces_of(300, alone=2):
        patch.setattr(prepare, "Workers", Dying)
        with pytest.raises(ChatwrightError, match="a process that prepares data has ended"):
            prepared(path, how(), tmp_path / "cache", workers=2)
        assert not list(tmp_path.glob("cache/*/whole"))
    with pieces_of(300, alone=1_000):
        prepared(path, how(), tmp_path / "cache")
    assert files(tmp_path / "cache") == files(tmp_path / "whole")


def test_the_folder_that_somebody_is_in_lends_no_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("json", "queue", "numpy", "chatwright"):
        put(tmp_path / f"{name}.py", "raise SystemExit('the wrong module')")
    monkeypatch.chdir(tmp_path)
    with Workers(operator.neg, 1) as pool:
        assert list(pool.results([1])) == [-1]


# ---- Ctrl-C

AT_ONCE = """
import operator, os, signal, sys, time
from chatwright.data.workers import Workers
with Workers(operator.neg, 2):
    time.sleep(float(sys.argv[1]))
    os.killpg(0, signal.SIGINT)
    time.sleep(10)
"""


@pytest.mark.parametrize("delay", ["0.0", "0.03", "0.06"])
def test_ctrl_c_while_they_begin_is_heard_by_the_one_who_asks_alone(delay: str) -> None:
    command = [sys.executable, "-c", AT_ONCE, delay]
    done = subprocess.run(command, capture_output=True, text=True, start_new_session=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGINT
    assert done.stderr.count("Traceback") == 1


def test_when_the_one_who_asks_is_killed_they_end() -> None:
    process = subprocess.Popen([sys.executable, "-c", AT_ONCE, "30"])
    while len(others := psutil.Process(process.pid).children()) < 2:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert psutil.wait_procs(others, 10)[1] == []


# ---- memory

# Rows of some kilobytes, of which a column that nobody reads is the most: what is held is measured, not the speed.
MEASURED = """
import json, resource, sys
from pathlib import Path
from preparing import how, prepared
place, workers = Path(sys.argv[1]), int(sys.argv[2])
one = how(seq_len=1024)
one.text.opened()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = prepared(place / "rows.jsonl", one, place / "cache", workers=workers)
after = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
print(json.dumps([found.report.account.used, (after[0] - before) / 1024, (after[1] - before) / 1024]))
"""


def grown(place: Path, size: int, unread: int) -> tuple[int, float, float]:
    """Rows of `size` MB that were used, and by how many MB the process that asks grew, and the largest of the others."""
    block = lines(
        *(
            row(f"What is {n}?", "The answer is a number. " * 20, "Is it?", "It is. " * 9, unread="x" * unread)
            for n in range(500)
        )
    )
    with (place / "rows.jsonl").open("w") as file:
        while file.tell() < size * 1e6:
            file.write(block)
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", MEASURED, str(place), "2"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    (place / "rows.jsonl").unlink()
    used, own, others = json.loads(done.stdout.splitlines()[-1])
    return used, own, others


@pytest.mark.skipif(sys.platform == "darwin", reason="memory is measured in other units there")
def test_what_is_held_is_bounded(tmp_path: Path) -> None:
    used, own, others = grown(tmp_path, 60, unread=7_000)
    assert used > 6_000
    assert own < 45  # MB: the file itself is larger
    assert others < 45


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "darwin", reason="memory is measured in other units there")
def test_what_is_held_does_not_grow_with_the_data(tmp_path: Path) -> None:
    sizes = [grown(tmp_path, size, unread=0) for size in (100, 300)]
    assert sizes[1][0] > 2.9 * sizes[0][0]
    for _, own, others in sizes:
        assert own < 250
        assert others < 200
    assert sizes[1][1] < sizes[0][1] + 50
