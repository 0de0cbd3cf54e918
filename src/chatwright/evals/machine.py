"""On what a figure was measured: processor, cores, memory and versions. No names of hosts or people."""

import os
import platform
from pathlib import Path


def machine() -> dict[str, str]:
    """What the report prints beside its times."""
    import torch

    accelerator = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    accelerator = accelerator or ("Apple GPU" if torch.backends.mps.is_available() else "none")
    return {
        "processor": _processor(),
        "cores": f"{len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()}",
        "memory": _memory(),
        "accelerator": accelerator,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": str(torch.get_num_threads()),
    }


def _processor() -> str:
    """Linux tells the model only here; `platform.processor` is empty there."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _memory() -> str:
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB"
    except (ValueError, OSError, AttributeError):  # Windows and some BSDs do not say
        return "unknown"
