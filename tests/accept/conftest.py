"""The quickstart of three seeds, run once for all acceptance tests."""

import json
import subprocess
import sys
from typing import Any

import pytest

SEEDS = (0, 1, 2)


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What `chatwright quickstart --json` printed for each seed."""
    found = []
    for seed in SEEDS:
        out = tmp_path_factory.mktemp("quickstart") / str(seed)
        command = [sys.executable, "-m", "chatwright", "quickstart", "--out", str(out), "--seed", str(seed), "--json"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        print(done.stdout)  # shown when a test fails
        assert done.returncode == 0, done.stdout
        found.append(json.loads(done.stdout))
    return found
