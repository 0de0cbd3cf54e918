"""Laws of the sandbox: what a model's code must not do it cannot do, it ends within seconds, and honest code runs."""

import json
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import psutil
import pytest

from chatwright import registry
from chatwright.tasks import _sandbox

DONE = {"accept": [[[[1], "done"]]]}
python_function = registry.load("tasks", "python_function")

# Each says "done" where it is let through. `random` brings `os` along, which no audit hook sees being imported.
OS = "import random\nos = random._os\n"
SYS = "import collections\nsys = collections._sys\n"
ATTACKS = {
    "a fork": OS + "def f(n):\n    os._exit(0) if os.fork() == 0 else os.wait()\n    return 'done'",
    "a fork that outlives it": OS
    + "def f(n):\n    if os.fork() == 0:\n        os.setsid()\n        while True: pass\n    return 'done'",
    "a new program": OS + "def f(n):\n    os.posix_spawn('/bin/true', ['true'], {})\n    return 'done'",
    "a new program instead": OS + "def f(n):\n    os.execv('/bin/echo', ['echo', '[[{\"value\": \"done\"}]]'])",
    "a shell": OS + "def f(n):\n    return 'done' if os.system('true') == 0 else 'failed'",
    "subprocess": "def f(n):\n    import subprocess\n    subprocess.run(['true'])\n    return 'done'",
    "multiprocessing": "def f(n):\n    import multiprocessing\n    multiprocessing.Process().start()\n    return 'done'",
    "threads": "def f(n):\n    import threading\n    threading.Thread(target=print).start()\n    return 'done'",
    "reading a file": "def f(n):\n    open('/etc/passwd').read()\n    return 'done'",
    "reading a file from below": OS + "def f(n):\n    os.read(os.open('/etc/passwd', 0), 9)\n    return 'done'",
    "reading a file by the loader": SYS
    + "def f(n):\n    (new,) = [l for l in sys.meta_path if l.__name__ == 'PathFinder']\n"
    "    new.find_spec('json').loader.get_data('/etc/passwd')\n    return 'done'",
    "writing a file": "def f(n):\n    open('PLACE/new', 'w').write('x')\n    return 'done'",
    "writing a file from below": OS + "def f(n):\n    os.open('PLACE/new', os.O_CREAT | os.O_RDWR)\n    return 'done'",
    "deleting a file": OS + "def f(n):\n    os.remove('PLACE/old')\n    return 'done'",
    "renaming a file": OS + "def f(n):\n    os.rename('PLACE/old', 'PLACE/new')\n    return 'done'",
    "making a folder": OS + "def f(n):\n    os.mkdir('PLACE/new')\n    return 'done'",
    "listing a folder": OS + "def f(n):\n    os.listdir('PLACE')\n    return 'done'",
    "a socket": "import socket\ndef f(n):\n    socket.socket()\n    return 'done'",
    "a pipe": OS + "def f(n):\n    os.pipe()\n    return 'done'",
    "memory as a file": OS + "def f(n):\n    os.memfd_create('x')\n    return 'done'",
    "ctypes": "import ctypes\ndef f(n):\n    ctypes.CDLL(None).getpid()\n    return 'done'",
    "ctypes that are loaded": SYS + "def f(n):\n    sys.modules['ctypes'].CDLL(None).getpid()\n    return 'done'",
    "killing its parent": OS + "def f(n):\n    os.kill(os.getppid(), 0)\n    return 'done'",
    "a higher limit": SYS
    + "def f(n):\n    r = sys.modules['resource']\n    r.setrlimit(r.RLIMIT_NOFILE, (99, 99))\n    return 'done'",
    "leaving": OS + "os._exit(0)\ndef f(n):\n    return 'done'",
    "leaving with a forged verdict": SYS
    + "sys.__stdout__.write('[[{\"value\": true}]]')\nsys.__stdout__.flush()\ndef f(n):\n    raise SystemExit",
    "other builtins": SYS + "b = sys.modules['builtins']\nb.len = b.isinstance = b.hash = lambda *x: True\n"
    "b.open = b.PermissionError = lambda *x: 'done'\ndef f(n):\n    return sys.modules['io'].open('/etc/passwd')",
    "other json": "import json\njson.dumps = json.loads = lambda *x, **y: 'done'\ndef f(n):\n    return 'done'",
}
ENDLESS = {
    "a loop": "def f(n):\n    while True: pass",
    "a loop at the start": "while True: pass\ndef f(n):\n    return 'done'",
    "a loop that catches everything": "def f(n):\n    while True:\n        try: f(n)\n        except BaseException: pass",
    "sleep": "def f(n):\n    import time\n    time.sleep(60)\n    return 'done'",
    "waiting": SYS + "def f(n):\n    lock = sys.modules['_thread'].allocate_lock()\n    while True: lock.acquire()",
    "memory": "def f(n):\n    kept = []\n    while True: kept.append('x' * 10**6 + str(len(kept)))",
    "memory at once": "def f(n):\n    return len(bytearray(1 << 40))",
    "printing": "def f(n):\n    while True: print('x' * 1000)",
    "printing to the pipe": SYS + "def f(n):\n    while True: sys.__stdout__.write('x' * 1000)",
    "a stack": SYS + "sys.setrecursionlimit(10**9)\ndef f(n):\n    return f(n)",
    "a number": "def f(n):\n    return 9 ** 9 ** 9",
}


def graded(code: str) -> float:
    """1.0 where the code says "done"."""
    return python_function.grade(f"```python\n{code}\n```", DONE)


@pytest.fixture(params=["all layers", "no kernel filter"])
def layers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The sandbox as it is, and as it is where the kernel has no filter."""
    if request.param == "no kernel filter":
        monkeypatch.setattr(_sandbox, "kernel_filter", lambda: b"")
    return request.param


def children() -> list[psutil.Process]:
    """Ours, and those that nobody waits for."""
    mine = psutil.Process().children(recursive=True)
    orphans = [one for one in psutil.process_iter(["cmdline", "ppid"]) if one.info["ppid"] == 1]
    return mine + [one for one in orphans if _sandbox.COMMAND[-1] in (one.info["cmdline"] or ())]


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_refused_and_leaves_nothing_behind(attack: str, layers: str, tmp_path: Path) -> None:
    (tmp_path / "old").write_text("kept")
    assert graded(ATTACKS[attack].replace("PLACE", str(tmp_path))) == 0.0
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("old", "kept")]
    assert children() == []


@pytest.mark.parametrize("code", ENDLESS.values(), ids=ENDLESS)
def test_what_has_no_end_is_ended_within_seconds_in_little_memory(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sandbox, "PROCESSOR_SECONDS", 1)
    monkeypatch.setattr(python_function, "SECONDS", 2.0)
    start = time.monotonic()
    tracemalloc.start()
    try:
        assert graded(code) == 0.0
        assert tracemalloc.get_traced_memory()[1] < 10e6
    finally:
        tracemalloc.stop()
    assert time.monotonic() - start < 4
    assert children() == []


def test_processor_time_memory_and_output_have_limits_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sandbox, "PROCESSOR_SECONDS", 1)
    start = time.monotonic()
    assert _sandbox.run(ENDLESS["a loop"], ["f"], [[1]], seconds=60) == []
    assert time.monotonic() - start < 20
    large = "def f(n):\n    return len(bytearray(n))\ndef g(n):\n    return 'x' * n"
    assert _sandbox.run(large, ["f"], [[_sandbox.MEMORY // 4], [_sandbox.MEMORY]]) == [
        [{"value": _sandbox.MEMORY // 4}, {"error": "MemoryError"}]
    ]
    assert len(_sandbox.run(large, ["g"], [[_sandbox.MOST_OUTPUT // 2]])[0][0]["value"]) == _sandbox.MOST_OUTPUT // 2
    assert _sandbox.run(large, ["g"], [[_sandbox.MOST_OUTPUT]]) == []


def test_code_that_does_nothing_wrong_says_done(layers: str) -> None:
    assert graded("def f(n):\n    return 'done'") == 1.0


KERNEL = """
import json, os, socket, subprocess, sys, threading
from chatwright.tasks._child import _filter
from chatwright.tasks._sandbox import kernel_filter
place = sys.argv[1]
tries = {
    "read": lambda: open("/etc/passwd"), "write": lambda: open(place + "/new", "w"),
    "socket": socket.socket, "pipe": os.pipe, "fork": os.fork, "thread": threading.Thread(target=print).start,
    "program": lambda: subprocess.run(["true"]), "remove": lambda: os.remove(place + "/old"),
    "stat": lambda: os.stat("/"), "fifo": lambda: os.mkfifo(place + "/new"), "kill": lambda: os.kill(os.getppid(), 0),
}
granted, done = _filter(kernel_filter()), []
for name, attempt in tries.items():
    try:
        attempt()
        done.append(name)
    except (OSError, RuntimeError):
        pass
os.write(1, json.dumps([granted, done]).encode())
os._exit(0)
"""


@pytest.mark.skipif(not _sandbox.kernel_filter(), reason="there is no filter for this processor")
def test_the_kernel_alone_refuses_files_sockets_processes_and_threads(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("kept")
    child = subprocess.run([sys.executable, "-c", KERNEL, str(tmp_path)], capture_output=True, timeout=60, check=True)
    granted, done = json.loads(child.stdout)
    if not granted:
        pytest.skip("this kernel grants no filter")
    assert done == []
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_what_no_audit_hook_sees_is_refused_by_the_kernel() -> None:
    """Asking for a file's size raises no event and opens nothing, so it shows whether the filter is there."""
    code = OS + "def f(n):\n    os.stat('/')\n    return 'done'"
    results = _sandbox.run(code, ["f"], [[1]])
    if not _sandbox.kernel_filter():
        pytest.skip("there is no filter for this processor")
    assert results == [[{"error": "PermissionError"}]]


HONEST = """
from __future__ import annotations
import bisect, cmath, collections, collections.abc, copy, dataclasses, datetime, decimal, enum, fractions, functools
import heapq, itertools, json, math, operator, random, re, statistics, string, textwrap, typing

@dataclasses.dataclass
class Point:
    x: int
    y: float = 2.0

class Pair(typing.NamedTuple):
    a: int

class Colour(enum.Enum):
    RED = 1

@functools.lru_cache(maxsize=None)
def fibonacci(n):
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)

@functools.singledispatch
def kind(x):
    return "other"

@kind.register
def _(x: int):
    return "int"

def f(n):
    day = datetime.datetime.strptime("2020-01-02", "%Y-%m-%d")
    return [
        fibonacci(50), Point(1).x, Pair(3).a, Colour.RED.name, kind(n), collections.Counter("hello").most_common(1)[0][0],
        collections.namedtuple("N", "a b")(1, 2).b, statistics.mode([1, 1, 2]), day.strftime("%A"),
        str(decimal.Decimal("1.1") + 1), str(fractions.Fraction(1, 3)), re.findall(r"\\d+", "a1b22"),
        copy.deepcopy({"a": [1]}), json.loads(json.dumps({"a": 1})), heapq.nsmallest(1, [2, 1]),
        functools.reduce(operator.mul, [1, 2, 3]), string.Template("$a").substitute(a=1), math.comb(5, 2),
        0 <= random.random() < 1, bisect.bisect([1, 2], 1), textwrap.fill("a b", 2), cmath.sqrt(-1).imag,
        isinstance([], collections.abc.Iterable), [*itertools.chain([1], [2])], typing.get_type_hints(Point)["x"] is int,
    ]
"""
GIVEN = [
    12586269025, 1, 3, "RED", "int", "l", 2, 1, "Thursday", "2.1", "1/3", ["1", "22"], {"a": [1]}, {"a": 1}, [1], 6, "1",
    10, True, 1, "a\nb", 1.0, True, [1, 2], True,
]  # fmt: skip


def test_honest_code_may_use_every_pure_module_there_is(layers: str) -> None:
    assert _sandbox.run(HONEST, ["f"], [[3]]) == [[{"value": GIVEN}]]


def test_each_call_gets_arguments_of_its_own_and_says_what_it_gave_then() -> None:
    code = "kept = []\ndef f(n):\n    n.append(9)\n    kept.append(n)\n    return kept"
    assert _sandbox.run(code, ["f"], [[[1]], [[1]]]) == [[{"value": [[1, 9]]}, {"value": [[1, 9], [1, 9]]}]]


def test_what_a_call_prints_is_its_own(layers: str) -> None:
    code = "print('at the start')\ndef f(n):\n    print(n)\ndef g(n):\n    return n"
    assert _sandbox.run(code, ["f", "g"], [[1]]) == [[{"shown": "1"}], [{"value": 1}]]


@pytest.mark.parametrize(
    "forged", ["[[{}], 3]", "[[3]]", "[]]", "{}", "[[[[", "[" * 100_000, "[[{}, {}, {}]]", "9" * 5000]
)
def test_a_forged_answer_of_the_wrong_shape_is_no_answer(forged: str) -> None:
    code = OS + SYS + f"sys.__stdout__.write({forged!r})\nsys.__stdout__.flush()\nos._exit(0)\ndef f(n): pass"
    assert python_function.grade(code, DONE) == 0.0


def test_numbers_too_large_for_a_comparison_are_wrong_and_no_error() -> None:
    code = "def f(n):\n    return 10 ** 400\ndef g(n):\n    print('9' * 5000)"
    assert python_function.grade(code, {"accept": [[[[1], 1.5]], [[[1], 3]]]}) == 0.0


def test_a_child_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    """Even where that one is killed and cannot clean up."""
    if not sys.platform.startswith("linux"):
        pytest.skip("only Linux promises it")
    code = (
        "from chatwright.tasks import _sandbox\n_sandbox.PROCESSOR_SECONDS = 60\n"
        f"_sandbox.run({ENDLESS['a loop']!r}, ['f'], [[1]], 60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 30
    while not (started := psutil.Process(parent.pid).children()) and time.monotonic() < deadline:
        time.sleep(0.05)
    while not (started and started[0].cpu_times().user > 0.3) and time.monotonic() < deadline:
        time.sleep(0.05)  # until it is in its loop
    parent.kill()
    parent.wait()
    gone, alive = psutil.wait_procs(started, timeout=10)
    assert (len(gone), alive) == (1, [])
