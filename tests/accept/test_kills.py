"""Twenty kills at random moments of `chatwright sft` end in the very bytes of the undisturbed run."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from chatwright import commands
from chatwright.models import gpt2

pytestmark = pytest.mark.accept

KILLS = 20
STEPS = 400
TINY = {"n_layer": 1, "n_embd": 32, "n_head": 2, "n_positions": 128}


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model with random weights and a vocabulary of the primer's."""
    import torch

    from chatwright.checkpoint import Checkpoint
    from chatwright.text import template
    from chatwright.text.tokenizer import Tokenizer

    folder = tmp_path_factory.mktemp("start")
    given = {"data": ["primer:conversations#300"], "vocab_size": 512, "out": str(folder / "tokenizer")}
    commands.run("tokenizer", given)
    tokenizer = Tokenizer.load(folder / "tokenizer")
    torch.manual_seed(0)
    model = gpt2.MODEL.build({**TINY, "vocab_size": tokenizer.vocab_size})
    Checkpoint(model, tokenizer, template.load("chatml")).save(folder / "model")
    return folder / "model"


def command(start: Path, out: Path, *more: str) -> list[str]:
    """What a user types; random weights are meant, dropout is the config's 0.1."""
    given = {"data": "primer:conversations#400", "steps": STEPS, "batch-size": 2, "seq-len": 128, "lr": 1e-3}
    given |= {
        "threads": 1,
        "save-every": 5,
        "eval-every": 50,
        "eval-batches": 2,
        "sample-every": 100,
        "template": "chatml",
    }
    words = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    switches = ["--from-scratch", "--no-compare", "--proofs", "warn", "--max-truncated-share", "1"]
    return [sys.executable, "-m", "chatwright", "sft", str(start), *words, *switches, "--out", str(out), *more]


def test_twenty_kills_at_random_moments_end_in_the_same_bytes(start: Path, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    subprocess.run(command(start, whole), check=True, capture_output=True)
    chance = random.Random(time.time_ns())
    seed = chance.randrange(2**32)
    chance.seed(seed)
    print(f"kills drawn from seed {seed}")
    killed = 0
    while killed < KILLS:
        words = command(start, cut, "--resume")
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seen, began = size(cut / "metrics.jsonl"), time.monotonic()
        if killed % 5:  # one of five dies wherever it is: in an import, in reading data, in the sanity check
            while process.poll() is None and size(cut / "metrics.jsonl") <= seen and time.monotonic() - began < 60:
                time.sleep(0.002)
            time.sleep(chance.uniform(0, 0.25))
        else:
            time.sleep(chance.uniform(0, 6))
        process.kill()
        process.wait()
        assert process.returncode in (-signal.SIGKILL, 0), process.returncode
        killed += 1
    subprocess.run(command(start, cut, "--resume"), check=True, capture_output=True)
    for name in ("model.safetensors", "config.json", "tokenizer.json", "generation_config.json"):
        assert (cut / "model" / name).read_bytes() == (whole / "model" / name).read_bytes(), name


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_command_line_saves_on_a_signal_and_ends_with_its_code(
    number: signal.Signals, code: int, start: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    process = subprocess.Popen(command(start, out), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and size(out / "metrics.jsonl") == 0:
        time.sleep(0.01)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == code
    assert "--resume goes on from there" in said.replace("\n", " ")
    assert list((out / "checkpoints").glob("step-*"))


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
