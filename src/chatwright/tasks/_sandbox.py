"""Runs code that a model wrote in a process of its own, which locks itself in before the first line of it runs.

Layers, each of which holds alone against much: limits (processor and wall time, memory, no new file descriptor, no file
that grows, no process); an audit hook in the child that refuses all but harmless events; and on Linux, where the kernel
grants it, a filter (seccomp) that lets through only the system calls that computing needs, whoever is asking, root too.

Stopped by all of this: files read, written or deleted, sockets, processes, threads, memory and output without end.
Not stopped: the time and memory that the limits leave to each reply, and holes in Python and the kernel at once. Where
there is no such filter (other systems, other processors than x86-64 and ARM64), root's threads are not stopped either,
nor somebody who knows how to get around Python's audit hooks from within.
"""

import ast
import contextlib
import json
import os
import selectors
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

SECONDS = 5.0  # of wall time, for everything
PROCESSOR_SECONDS = 2
MEMORY = 1 << 29  # bytes of address space
MOST_OUTPUT = 1 << 20  # bytes; a child that says more has said nothing

# What code may import, each with what it imports itself, but only when it is called: all are loaded before the lock.
MODULES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("__future__", "abc", "bisect", "cmath", "collections.abc", "dataclasses", "decimal"), ()),
    **dict.fromkeys(("enum", "fractions", "heapq", "itertools", "json", "math", "numbers", "operator"), ()),
    **dict.fromkeys(("random", "re", "string", "textwrap", "typing"), ()),
    "collections": ("collections.abc", "heapq"),
    "copy": ("weakref",),
    "datetime": ("_strptime", "time"),
    "functools": ("types", "weakref"),
    "statistics": ("heapq",),
}
COMMAND = [sys.executable, "-I", "-S", "-E", "-B", str(Path(__file__).with_name("_child.py"))]

# What computing needs of the kernel, by processor: the number that its filter knows it by, and of each system call: read,
# write, close, fstat, lseek, mmap, mprotect, munmap, brk, rt_sigprocmask, rt_sigreturn, writev, sched_yield, mremap,
# madvise, nanosleep, getpid, exit, gettimeofday, futex, restart_syscall, clock_gettime, clock_getres, clock_nanosleep,
# exit_group, getrandom; on x86-64, time as well.
CALLS: dict[str, tuple[int, tuple[int, ...]]] = {
    "x86_64": (
        0xC000003E,
        (0, 1, 3, 5, 8, 9, 10, 11, 12, 14, 15, 20, 24, 25, 28, 35, 39, 60, 96, 202, 219, 228, 229, 230, 231, 318, 201),
    ),
    "aarch64": (
        0xC00000B7,
        (63, 64, 57, 80, 62, 222, 226, 215, 214, 135, 139, 66, 124, 216, 233, 101, 172, 93, 169, 98, 128, 113, 114, 115, 94,
         278),
    ),
}  # fmt: skip
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06  # of the kernel's small machine (BPF)
ARCHITECTURE, NUMBER = 4, 0  # where a system call's facts have them
ALLOW, REFUSE = 0x7FFF0000, 0x00050001  # the latter gives EPERM


def run(code: str, names: Sequence[str], calls: Sequence[list[Any]], seconds: float = SECONDS) -> list[list[Any]]:
    """For each named function that the code defines, the result of each call, as JSON objects.

    `{"value": v}` is what it returned (of an iterator, the first 50), `{"shown": text}` what it printed where it returned
    nothing, `{"error": name}` what it raised. [] when the process crashed, took too much of anything, or wrote nonsense:
    all of it is the code's word and may be forged, so it must be held against values that the code does not know.
    """
    task = {
        "code": code,
        "names": list(names),
        "calls": [json.dumps(arguments) for arguments in calls],
        "modules": sorted(_imported(code)),
        "limits": {"CPU": PROCESSOR_SECONDS, "AS": MEMORY, "FSIZE": 0, "CORE": 0, "NPROC": 0, "NOFILE": 0},
        "filter": kernel_filter().hex(),
    }
    written = _exchange(json.dumps(task).encode(), time.monotonic() + seconds)
    try:
        results = json.loads(written)
    except (ValueError, RecursionError):
        return []
    shaped = isinstance(results, list) and all(isinstance(one, list) and len(one) == len(calls) for one in results)
    return results if shaped and all(isinstance(call, dict) for one in results for call in one) else []


def kernel_filter() -> bytes:
    """The filter for this processor in the kernel's own form; b"" where it is not known."""
    if not sys.platform.startswith("linux") or sys.maxsize < 1 << 32 or os.uname().machine not in CALLS:
        return b""
    architecture, allowed = CALLS[os.uname().machine]
    count = len(allowed)
    steps = [
        (LOAD, 0, 0, ARCHITECTURE),
        (JUMP_IF_EQUAL, 0, count + 1, architecture),  # a call by another processor's numbers is refused
        (LOAD, 0, 0, NUMBER),
        *((JUMP_IF_EQUAL, count - place, 0, number) for place, number in enumerate(allowed)),
        (RETURN, 0, 0, REFUSE),
        (RETURN, 0, 0, ALLOW),
    ]
    return b"".join(struct.pack("HBBI", *step) for step in steps)


def _imported(code: str) -> Iterator[str]:
    """The modules that may be imported and are named in the code, with those that they come to import themselves."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            named = [alias.name for alias in node.names]
        else:
            named = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for name in named:
            if name in MODULES:
                yield from (name, *MODULES[name])


def _exchange(task: bytes, deadline: float) -> bytes:
    """What a child that is given the task writes, if it ends in time and within MOST_OUTPUT; b"" if it does not."""
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env={},
            start_new_session=True,
        ) as child,
    ):
        try:
            assert child.stdin is not None
            assert child.stdout is not None
            with contextlib.suppress(BrokenPipeError), child.stdin:
                child.stdin.write(task)
            return _read(child.stdout.fileno(), deadline)
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):  # it has ended already
                os.killpg(child.pid, signal.SIGKILL)


def _read(pipe: int, deadline: float) -> bytes:
    """Everything up to the end of a pipe; b"" when that does not come in time, or too much before it."""
    received = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while len(received) <= MOST_OUTPUT and selector.select(max(0.0, deadline - time.monotonic())):
            piece = os.read(pipe, 1 << 16)
            if not piece:
                return bytes(received)
            received += piece
    return b""
