"""Models and data by hub id, from a hub on loopback: fetched, found in the cache offline, refused in a sentence."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hub_server import Hub, serve
from tiny_models import tiny_checkpoint

from chatwright.hub import is_repo_id

CHAT = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]


def talks(count: int) -> list[dict[str, Any]]:
    return [{"messages": [{"role": "user", "content": f"Number {i}?"}, CHAT[1]]} for i in range(count)]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    from datasets import Dataset

    root = tmp_path_factory.mktemp("hub")
    folders = {name: root / name for name in ("models/someone/tiny-gpt2", "models/gpt2", "models/someone/pickled")}
    for folder in folders.values():
        tiny_checkpoint("plain").save(folder)
    (folders["models/someone/pickled"] / "model.safetensors").unlink()
    (folders["models/someone/pickled"] / "pytorch_model.bin").write_bytes(b"PK")
    chats = root / "datasets/someone/chats"
    (chats / "data").mkdir(parents=True)
    for split, count in (("train_sft", 30), ("test_sft", 6)):
        Dataset.from_list(talks(count)).to_parquet(chats / "data" / f"{split}-00000-of-00001.parquet")
    lines = root / "datasets/someone/lines"
    lines.mkdir(parents=True)
    (lines / "train.jsonl").write_text("".join(json.dumps({"text": f"Line {i}."}) + "\n" for i in range(9)))
    folders |= {"datasets/someone/chats": chats, "datasets/someone/lines": lines}
    with serve(Hub(folders, gated=("models/someone/gated", "datasets/someone/gated"))) as running:
        yield running


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def run(hub: Hub, cache: Path, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """A fresh program, because the hub's client reads its environment when it is imported."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "CHATWRIGHT_"))}
    own = {"HF_ENDPOINT": hub.address, "HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "1", "HF_HUB_DOWNLOAD_TIMEOUT": "3"}
    quiet = dict.fromkeys(
        ("HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_PROGRESS_BARS", "NO_COLOR", "OMP_NUM_THREADS"), "1"
    )
    return subprocess.run(
        [sys.executable, *arguments],
        env={**kept, **own, **quiet, **environment},
        cwd=cache,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


LOAD = """
import sys
from chatwright.checkpoint import Checkpoint
from chatwright.errors import ConfigError
for name in sys.argv[1:]:
    try:
        print(name, Checkpoint.load(name, quiet=True).model.to_hf()["transformer.wte.weight"].sum().item())
    except ConfigError as error:
        print(name, "|", str(error).replace(chr(10), "<LINE>"))
"""


def loaded(hub: Hub, cache: Path, *names: str, **environment: str) -> dict[str, str]:
    """What becomes of each name: the sum of its embeddings, or the sentence with which it is refused."""
    done = run(hub, cache, "-c", LOAD, *names, **environment)
    assert done.returncode == 0, done.stderr
    assert "<LINE>" not in done.stdout
    return dict(line.split(" ", 1) for line in done.stdout.splitlines())


def test_models_are_fetched_once_and_without_pickles_and_used_offline(hub: Hub, cache: Path) -> None:
    names = ["tiny-gpt2", "nothing", "gated", "pickled"]
    said = loaded(hub, cache, *[f"someone/{name}" for name in names], "gpt2", "a--b/c")
    assert float(said["someone/tiny-gpt2"]) == float(said["gpt2"])
    assert "no model on the hub; check the spelling" in said["someone/nothing"]
    assert "is gated: accept its licence" in said["someone/gated"]
    assert "model.safetensors is missing" in said["someone/pickled"]
    assert "cannot be a model's name" in said["a--b/c"]
    assert any(one.startswith("GET /someone/tiny-gpt2/resolve/") for one in hub.asked)
    assert not any(one.endswith("pytorch_model.bin") for one in hub.asked)
    asked = len(hub.asked)
    offline = loaded(hub, cache, "someone/tiny-gpt2", "someone/never-seen", HF_HUB_OFFLINE="1")
    assert offline["someone/tiny-gpt2"] == said["someone/tiny-gpt2"]
    assert "the hub could not be asked" in offline["someone/never-seen"]
    assert len(hub.asked) == asked
    # a machine without a network has it too
    words = ["generate", "someone/tiny-gpt2", "Hi", "--max-tokens", "5"]
    away = run(hub, cache, "-m", "chatwright", *words, HF_ENDPOINT="http://127.0.0.1:9")
    assert away.returncode == 0, away.stderr
    assert len(away.stdout) > 1


def test_data_of_the_hub_are_read_by_split_and_number(hub: Hub, cache: Path) -> None:
    script = """
import json, sys
from chatwright.data.source import read
from chatwright.errors import DataError
for spec in sys.argv[1:]:
    try:
        found = read(spec, kind="conversations")
        print(json.dumps([spec, len(found), type(found.records[0]).__name__, str(found.records[0].source)]))
    except DataError as error:
        print(json.dumps([spec, str(error)]))
"""
    names = ["", ":test_sft", ":train_sft#7", "#5@0.5", ":validation"]
    others = ["someone/lines", "someone/nothing", "someone/gated"]
    done = run(hub, cache, "-c", script, *[f"someone/chats{name}" for name in names], *others)
    assert done.returncode == 0, done.stderr
    found = {row[0]: row[1:] for row in map(json.loads, done.stdout.splitlines())}
    assert found["someone/chats"] == [30, "Conversation", "someone/chats:train_sft:1"]
    assert found["someone/chats:test_sft"] == [6, "Conversation", "someone/chats:test_sft:1"]
    assert found["someone/chats:train_sft#7"] == [7, "Conversation", "someone/chats:train_sft:1"]
    assert found["someone/chats#5@0.5"][0] == 5
    assert found["someone/chats:validation"] == ["someone/chats has no split 'validation'; it has test_sft, train_sft"]
    assert found["someone/lines"] == [9, "Document", "someone/lines:train:1"]
    assert "no dataset on the hub" in found["someone/nothing"][0]
    assert "someone/gated is gated" in found["someone/gated"][0]
    offline = run(hub, cache, "-c", script, "someone/chats", "someone/chats#5", HF_HUB_OFFLINE="1")
    assert [json.loads(line)[1] for line in offline.stdout.splitlines()] == [30, 5], offline.stdout + offline.stderr


def test_check_reads_a_dataset_of_the_hub(hub: Hub, cache: Path) -> None:
    done = run(hub, cache, "-m", "chatwright", "check", "someone/chats:test_sft#3", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["kept"] == 3


@pytest.mark.parametrize(
    ("name", "can_be"),
    [("gpt2", True), ("someone/tiny-gpt2", True), ("a/b/c", False), ("./gpt2", False), ("/x", False), ("a b", False)],
)
def test_what_can_be_a_hub_id(name: str, can_be: bool) -> None:
    assert is_repo_id(name) is can_be
