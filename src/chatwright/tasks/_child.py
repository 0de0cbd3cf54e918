"""The program of the process that `_sandbox.py` starts: it locks itself in, then runs somebody's code.

In comes one JSON object on stdin, out goes the list of results on stdout. It knows arguments and no expected values, so
code that forges what is written here gains nothing. Started by its path, it imports nothing of the package, and as
little as it can of anything: every import is time for every reply.
"""

from __future__ import annotations

import builtins
import ctypes
import io
import itertools
import json
import os
import resource
import sys
from collections.abc import Iterator

TYPE_CHECKING = False  # typing itself takes long to import
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

MOST_ITEMS = 50  # of an iterator
DIE_WITH_PARENT, SET_FILTER, NO_NEW_PRIVILEGES = 1, 22, 38  # of prctl
KILL, PROGRAM = 9, 2
# Events that change nothing outside of this process. All others are refused, those of later versions included.
HARMLESS = frozenset(
    ("array.__new__", "builtins.id", "code.__new__", "compile", "exec", "function.__new__", "object.__delattr__",
     "object.__getattr__", "object.__setattr__", "sys._getframe", "sys._getframemodulename", "sys.excepthook",
     "sys.unraisablehook")
)  # fmt: skip


def main() -> None:
    """Reads the task, shuts every door, runs the code, and writes what its functions gave."""
    task = json.load(sys.stdin.buffer)
    out, sys.stdout = sys.stdout.buffer, io.StringIO()
    for name in task["modules"]:
        __import__(name)
    module = sys.modules["reply"] = type(sys)("reply")  # where data classes look for the names in their annotations
    scope = vars(module)
    scope["__builtins__"] = _builtins(task["modules"])
    _limit(task["limits"])
    _filter(bytes.fromhex(task["filter"]))
    sys.addaudithook(_refusing(HARMLESS))
    exec(compile(task["code"], "reply", "exec"), scope)
    results = [[_call(scope[name], call) for call in task["calls"]] for name in task["names"] if name in scope]
    out.write(_listed(map(_listed, results)).encode())
    out.flush()


def _call(function: Callable[..., Any], arguments: str) -> str:
    """What one call gives, as JSON; its arguments are made anew, so that no call spoils those of the next."""
    sys.stdout = shown = io.StringIO()
    try:
        value = function(*json.loads(arguments))
        if isinstance(value, Iterator):
            value = list(itertools.islice(value, MOST_ITEMS))
        if value is None and shown.getvalue().strip():
            return json.dumps({"shown": shown.getvalue().strip()})
        return json.dumps({"value": value})
    except Exception as error:  # a value that is no JSON included
        return json.dumps({"error": type(error).__name__})


def _listed(texts: Iterable[str]) -> str:
    return f"[{', '.join(texts)}]"


def _builtins(modules: list[str]) -> dict[str, Any]:
    """Python's own names, with an import that knows these modules only, whatever is loaded already."""
    known = {name.partition(".")[0] for name in modules}

    def guarded(name: str, *others: Any) -> Any:
        if str.partition(name, ".")[0] not in known:
            raise ImportError(f"{name} may not be imported here")
        return __import__(name, *others)

    return {**vars(builtins), "__import__": guarded}


def _limit(limits: Mapping[str, int]) -> None:
    """Lowers what this process may take; where a system knows a limit not, the others hold."""
    for name, most in limits.items():
        try:
            resource.setrlimit(vars(resource)[f"RLIMIT_{name}"], (most, most))
        except (KeyError, OSError, ValueError):
            continue


def _filter(steps: bytes) -> bool:
    """Asks Linux to kill this process with its parent, and for the filter of system calls; whether that is granted."""
    if not sys.platform.startswith("linux"):
        return False

    class Program(ctypes.Structure):
        """The kernel's `struct sock_fprog`."""

        _fields_ = (("count", ctypes.c_ushort), ("steps", ctypes.c_char_p))

    control = ctypes.CDLL(None).prctl
    control.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
    control(DIE_WITH_PARENT, KILL, 0, 0, 0)
    program = Program(len(steps) // 8, steps)
    control(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    return bool(steps) and control(SET_FILTER, PROGRAM, ctypes.addressof(program), 0, 0) == 0


def _refusing(harmless: frozenset[str]) -> Callable[[str, tuple[Any, ...]], None]:
    def refuse(event: str, _: tuple[Any, ...]) -> None:
        if event not in harmless:
            raise PermissionError(f"{event} is not allowed here")

    return refuse


if __name__ == "__main__":
    try:
        main()
    finally:
        os._exit(0)  # nothing that the code has left behind runs any more
