"""Two thousand steps with their validations, samples and checkpoints keep nothing in memory."""

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_runs import job

from chatwright.train import stage

pytestmark = pytest.mark.long

STEPS, EVERY, WARM_UP = 2000, 50, 500
MOST = 1.0  # MB in 100 steps


def resident() -> float:
    """Memory of this process in MB, swapped pages included."""
    lines = Path("/proc/self/status").read_text().splitlines()
    kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.endswith("kB")}
    return (kilobytes["RssAnon"] + kilobytes["VmSwap"]) / 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
def test_memory_files_and_threads_stay_flat(tmp_path: Path) -> None:
    seen: list[tuple[int, float, int, int]] = []

    def watch(call: int, loss: Any) -> None:
        if call % EVERY == 0:
            seen.append((call, resident(), len(os.listdir("/proc/self/fd")), threading.active_count()))

    one = job(tmp_path / "run", steps=STEPS, eval_every=EVERY, save_every=EVERY, sample_every=EVERY, watch=watch)
    one.live_prompt = "What is 3 and 3?"
    stage.run(one)
    calls, memory, files, threads = (np.array(column, dtype=float) for column in zip(*seen, strict=True))
    settled = calls > WARM_UP
    slope = np.polyfit(calls[settled], memory[settled], 1)[0] * 100
    assert slope < MOST, f"{slope:.2f} MB in 100 steps"
    assert np.ptp(files[settled]) == 0
    assert np.ptp(threads[settled]) == 0
