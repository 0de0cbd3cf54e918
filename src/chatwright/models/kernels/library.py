"""The compiled kernels.c: made once for a machine by the C compiler that is there, kept in the user's cache, loaded by ctypes.

Without a compiler, or with CHATWRIGHT_KERNELS=off, there is none, and PyTorch's own functions do the same, more slowly.
"""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from stat import S_ISVTX, S_IWGRP, S_IWOTH

import torch

SWITCH = "CHATWRIGHT_KERNELS"  # off: PyTorch alone
SOURCE = Path(__file__).with_name("kernels.c")
COMPILERS = ("cc", "gcc", "clang")
FLAGS = ("-std=gnu11", "-O3", "-march=native", "-fPIC", "-shared")
PATIENCE = 60  # seconds a compiler gets; it takes two

Pointer, Whole = ctypes.c_void_p, ctypes.c_int64
ARGUMENTS = {
    "cw_threads": [Pointer],
    "cw_linear": [Pointer] * 3 + [Whole] * 2,
    "cw_attention": [Pointer] * 6 + [ctypes.c_float, Whole],
    "cw_store": [Pointer] * 4,
    "cw_block": [Pointer] * 2,
    "cw_nf4": [Pointer] * 3 + [Whole] * 3,
}


class Unavailable(Exception):
    """Why there are no kernels, in a few words."""


def library() -> ctypes.CDLL | None:
    """The kernels, compiled at the first call; None where they cannot be had."""
    found = _found()
    return found if isinstance(found, ctypes.CDLL) else None


def state() -> str:
    """What `doctor` says of them."""
    found = _found()
    return f"compiled here ({found._name})" if isinstance(found, ctypes.CDLL) else f"PyTorch alone ({found})"


@cache
def _found() -> ctypes.CDLL | str:
    if os.environ.get(SWITCH, "").lower() in ("off", "0", "no", "false"):
        return f"{SWITCH} is off"
    try:
        return _loaded(_compiled())
    except (Unavailable, OSError, subprocess.SubprocessError) as error:
        return str(error) or type(error).__name__


def _compiled() -> Path:
    """The shared library for this source, compiler and processor."""
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None or sys.platform == "win32":
        raise Unavailable("no C compiler; install gcc or clang")
    sources = sorted(SOURCE.parent.glob("*.[ch]"))
    about = [*(one.read_text(encoding="utf-8") for one in sources), compiler, *FLAGS, platform.machine(), _processor()]
    folder = cache_folder()
    path = folder / f"{hashlib.sha256(chr(0).join(about).encode()).hexdigest()[:24]}.so"
    if path.exists():
        return path
    temporary = path.with_suffix(f".{os.getpid()}")
    try:
        made = subprocess.run(
            [compiler, *FLAGS, "-o", str(temporary), str(SOURCE), "-lm"],
            capture_output=True, stdin=subprocess.DEVNULL, timeout=PATIENCE, check=False,
        )  # fmt: skip
        if made.returncode:
            said = made.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {made.returncode}"]
            raise Unavailable(f"{compiler} could not compile them: {said[0]}")
        temporary.chmod(0o700)
        temporary.replace(path)  # whoever compiles at the same time makes the same
    finally:
        temporary.unlink(missing_ok=True)
    return path


def cache_folder() -> Path:
    """Made if need be; Unavailable where somebody else could write into it."""
    given = Path(
        os.environ.get("XDG_CACHE_HOME", "")
    )  # the rule for these folders: one that is not absolute is ignored
    folder = (given if given.is_absolute() else Path.home() / ".cache") / "chatwright" / "kernels"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    check_private(folder)
    return folder


def check_private(path: Path) -> None:
    """Unavailable unless this file or folder is the user's own, and nobody else can write to it or put another in its place."""
    real = path.resolve()
    own = real.stat()
    if own.st_uid != os.getuid() or own.st_mode & (S_IWGRP | S_IWOTH):
        raise Unavailable(f"{path} belongs to somebody else or can be written to by others; make it yours alone")
    for parent in real.parents:
        mode = parent.stat()
        if mode.st_mode & S_IWOTH and not mode.st_mode & S_ISVTX:
            raise Unavailable(f"{parent} can be written to by everybody; take that away")


def _loaded(path: Path) -> ctypes.CDLL:
    """The library, its functions typed, on the threads that PyTorch uses."""
    check_private(path)
    kernels = ctypes.CDLL(str(path))
    for name, arguments in ARGUMENTS.items():
        getattr(kernels, name).argtypes = arguments
    threads = _openmp()
    if threads is not None:
        kernels.cw_threads(threads)
    return kernels


def _openmp() -> int | None:
    """The address of the function that runs work in PyTorch's own threads; None: the kernels run in one.

    Threads of a second OpenMP library would wait, at full speed, while PyTorch's work: it took five times as long.
    """
    nearby = sorted(Path(torch.__file__).parent.glob("lib/lib*omp*"))
    places = [None, *nearby, *sorted(Path(torch.__file__).parent.parent.glob("torch.libs/lib*omp*"))]
    for place in places:
        try:
            # what is not loaded already is none of PyTorch's
            library = ctypes.CDLL(None if place is None else str(place), mode=os.RTLD_NOLOAD | os.RTLD_LAZY)
            return ctypes.cast(library.GOMP_parallel, Pointer).value
        except (OSError, AttributeError):
            continue
    return None


def _processor() -> str:
    """What -march=native goes by, as far as the system tells: homes are shared between machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())
