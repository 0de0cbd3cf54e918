"""Shows what this machine has: versions, processor, memory, devices, what is installed, what is fast.

What the owner of a run, or a bug report, needs to know. Measures one matrix product per precision, about a second.
"""

import os
import platform
import re
import shutil
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import Field

from chatwright import config, console
from chatwright.errors import RedProof

POSITIONAL: tuple[str, ...] = ()
EXAMPLES = (
    "chatwright doctor",
    "chatwright doctor --json > machine.json",
    "chatwright doctor --resume runs/quickstart/sft",
)

FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")  # what makes a processor fast at our work
SIZE = 1024  # of the square matrices that are multiplied
GIB = 2**30


class Settings(config.Settings):
    """What else to find out."""

    resume: str | None = Field(default=None, description="a model: prove that its training resumes bit for bit here")
    device: str = Field(default="auto", description="of the resume proof: auto, cpu, cuda or mps")


def run(settings: Settings) -> dict[str, Any]:
    """Sections of facts: {"machine": {"processor": …}, "packages": {"torch": "2.13.0"}, …}."""
    report = {
        "machine": _machine(),
        "room": room(),
        "threads": _threads(),
        "devices": _devices(),
        "speed": _speed(),
        "packages": _packages(),
        "extras": _extras(),
    }
    if not settings.json:
        _show(report)
    if settings.resume is None:
        return report
    from chatwright.commands import _selftest

    proof = _selftest.resume_proof(settings.resume, settings.device)
    reached = {**report, "proofs": {proof.name: {"state": proof.state, "says": proof.says, **proof.figures}}}
    if proof.state == "red":
        raise RedProof(f"the proof 'resume' is red: {proof.says}", reached)
    if not settings.json:
        console.out().print(f"{proof.name}: {proof.state}. {proof.says}", markup=False)
    return reached


def _show(report: dict[str, dict[str, Any]]) -> None:
    """The report as lines: a heading, then a name and a value each."""
    out = console.out()
    for heading, facts in report.items():
        out.print(heading, style="bold")
        for name, value in facts.items():
            text = ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)
            text = {"True": "yes", "False": "no", "None": "unknown"}.get(text, text)
            out.print(f"  {name.replace('_', ' '):<24} {text}", markup=False)


def _machine() -> dict[str, Any]:
    """System, Python and processor."""
    text = _read("/proc/cpuinfo")
    flags = set(_first(r"^(?:flags|Features)\s*:(.*)$", text).split())
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "chatwright": metadata.version("chatwright"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _first(r"^model name\s*:(.*)$", text) or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "usable_cores": usable,
        "features": [feature for feature in FEATURES if feature in flags],
    }


def room() -> dict[str, Any]:
    """Memory (also the limit of a container) and disk, in GiB."""
    text = _read("/proc/meminfo")
    limit = _read("/sys/fs/cgroup/memory.max").strip()
    facts: dict[str, Any] = {
        "memory_gib": _gib_of(text, "MemTotal"),
        "memory_free_gib": _gib_of(text, "MemAvailable"),
        "memory_limit_gib": round(int(limit) / GIB, 1) if limit.isdigit() else None,
    }
    for name, folder in (("here", Path.cwd()), ("temporary", Path(os.environ.get("TMPDIR", "/tmp")))):
        if folder.is_dir():
            facts[f"disk_free_{name}_gib"] = round(shutil.disk_usage(folder).free / GIB, 1)
    return facts


def _threads() -> dict[str, Any]:
    """What torch will use, and the variable that says so."""
    import torch

    return {"torch": torch.get_num_threads(), "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS")}


def _devices() -> dict[str, Any]:
    """The devices that `--device` accepts here; a graphics card with its memory and whether it has bf16."""
    import torch

    devices: dict[str, Any] = {"cpu": "yes"}
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        card = torch.cuda.get_device_properties(index)
        has = "bf16" if card.major >= 8 else "fp16, no bf16"  # bf16 came with compute capability 8.0
        devices[f"cuda:{index}"] = f"{card.name}, {card.total_memory / GIB:.0f} GiB, {has}"
    devices["cuda"] = torch.cuda.is_available()
    devices["mps"] = torch.backends.mps.is_available()
    return devices


def _speed() -> dict[str, Any]:
    """GFLOP/s of one matrix product on the CPU in fp32 and bf16, which of them a run should compute in, and what answers."""
    import torch

    from chatwright.models.kernels import library

    speeds = {name: _gflops(dtype) for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16))}
    facts: dict[str, Any] = {f"{name}_gflops": speed for name, speed in speeds.items()}
    return {**facts, "fastest_dtype": max(speeds, key=lambda name: speeds[name]), "kernels": library.state()}


def _gflops(dtype: Any) -> float:
    """The best of a few products of two SIZE x SIZE matrices, within half a second."""
    import torch

    left = torch.ones(SIZE, SIZE, dtype=dtype)
    left @ left  # the first one chooses the kernel
    best, end = float("inf"), time.monotonic() + 0.4
    while time.monotonic() < end:
        start = time.perf_counter()
        left @ left
        best = min(best, time.perf_counter() - start)
    return round(2 * SIZE**3 / best / 1e9, 1) if best < float("inf") else 0.0


def _packages() -> dict[str, Any]:
    """The version of everything that the package needs, from its own metadata."""
    return {name: _version(name) for name, extra in _requirements() if not extra}


def _extras() -> dict[str, Any]:
    """For each extra, `yes` or what is missing and how to get it."""
    missing: dict[str, list[str]] = {}
    for name, extra in _requirements():
        if extra:
            missing.setdefault(extra, []).extend([] if _version(name) else [name])
    return {
        extra: f'without {", ".join(names)}: pip install "chatwright[{extra}]"' if names else "yes"
        for extra, names in missing.items()
    }


def _requirements() -> list[tuple[str, str]]:
    """(package, extra) for each requirement; the extra is empty for the core."""
    found = []
    for line in metadata.requires("chatwright") or []:
        name = re.split(r"[^\w.-]", line, maxsplit=1)[0]
        found.append((name, _first(r"extra\s*==\s*['\"]([\w-]+)['\"]", line)))
    return found


def _version(package: str) -> str | None:
    """The installed version, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _read(path: str) -> str:
    """A file of the system, empty where the system has none such."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _first(rule: str, text: str) -> str:
    """The first group of the first match, stripped; empty where there is none."""
    match = re.search(rule, text, re.MULTILINE)
    return match.group(1).strip() if match else ""


def _gib_of(meminfo: str, name: str) -> float | None:
    """A line of /proc/meminfo in GiB."""
    kilobytes = _first(rf"^{name}:\s*(\d+) kB", meminfo)
    return round(int(kilobytes) * 1024 / GIB, 1) if kilobytes else None
