"""Models and data by hub id, from a hub on loopback: in every verb, with a token, found in the cache offline."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hub_server import TOKEN, Hub, run, serve
from tiny_models import tiny_checkpoint

from chatwright.checkpoint.files import stay_inside
from chatwright.errors import DataError

CHAT = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]


def talks(count: int) -> list[dict[str, Any]]:
    return [{"messages": [{"role": "user", "content": f"Number {i}?"}, CHAT[1]]} for i in range(count)]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    from datasets import Dataset

    root = tmp_path_factory.mktemp("hub")
    names = (
        "someone/tiny-gpt2",
        "someone/tiny-gpt2@other",
        "gpt2",
        "someone/pickled",
        "someone/private",
        "someone/gated",
    )
    folders = {f"models/{name}": root / "models" / name for name in names}
    for name, folder in folders.items():
        tiny_checkpoint("plain", seed=int(name.endswith("@other"))).save(folder)
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
    gated = ("models/someone/gated", "datasets/someone/gated")
    with serve(Hub(folders, gated=gated, private=("models/someone/private",))) as running:
        yield running


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


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


def loaded(hub: Hub, cache: Path, *names: str) -> dict[str, str]:
    """What becomes of each name: the sum of its embeddings, or the sentence with which it is refused."""
    done = run(hub, cache, "-c", LOAD, *names)
    assert done.returncode == 0, done.stderr
    assert "<LINE>" not in done.stdout
    return dict(line.split(" ", 1) for line in done.stdout.splitlines())


def test_models_are_loaded_by_id_and_revision_without_pickles(hub: Hub, cache: Path) -> None:
    tiny_checkpoint("plain", seed=5).save(cache / "gpt2@local")  # a local path wins, also one with an @
    names = ["tiny-gpt2", "tiny-gpt2@other", "nothing", "gated", "pickled"]
    said = loaded(hub, cache, *[f"someone/{name}" for name in names], "gpt2", "gpt2@local", "a--b/c")
    assert len({float(said[name]) for name in ("gpt2", "gpt2@local", "someone/tiny-gpt2@other")}) == 3
    assert float(said["someone/tiny-gpt2"]) == float(said["gpt2"])
    assert "no model on the hub; check the spelling" in said["someone/nothing"]
    assert "is gated: accept its licence" in said["someone/gated"]
    assert "model.safetensors is missing" in said["someone/pickled"]
    assert "cannot be a model's name" in said["a--b/c"]
    assert not any(one.endswith("pytorch_model.bin") for one in hub.asked)


def test_a_repository_of_pickles_names_the_way_to_read_it(hub: Hub, tmp_path: Path) -> None:
    done = run(hub, tmp_path, "-m", "chatwright", "generate", "someone/pickled", "hi")
    assert done.returncode == 2
    way = "hf download someone/pickled --local-dir DIR, then chatwright convert DIR --out NEW"
    assert way in " ".join(done.stderr.split())


def test_chat_fetches_a_model_and_needs_no_hub_the_next_time(hub: Hub, tmp_path: Path) -> None:
    words = ["-m", "chatwright", "chat", "someone/tiny-gpt2", "-p", "hi", "--max-tokens", "5", "--seed", "1"]
    first = run(hub, tmp_path, *words)
    assert first.returncode == 0, first.stderr
    asked = len(hub.asked)
    offline = run(hub, tmp_path, *words, HF_HUB_OFFLINE="1")
    assert offline.returncode == 0, offline.stderr
    assert offline.stdout == first.stdout
    assert len(hub.asked) == asked


def test_a_token_reaches_the_hub_and_no_file(hub: Hub, tmp_path: Path) -> None:
    words = ["pretrain", "lines.jsonl", "--model", "someone/private", "--steps", "1", "--seq-len", "16"]
    (tmp_path / "lines.jsonl").write_text("".join(json.dumps({"text": f"Line {i}."}) + "\n" for i in range(9)))
    done = run(hub, tmp_path, "-m", "chatwright", *words, "--out", "run", "--token", TOKEN)
    assert (tmp_path / "run/model/config.json").is_file(), done.stderr
    assert f"Bearer {TOKEN}" in {one.authorization for one in hub.requests}
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 20
    assert [path for path in written if TOKEN.encode() in path.read_bytes()] == []
    assert TOKEN not in done.stdout + done.stderr


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


def test_links_of_the_cache_lead_to_blobs_of_the_repository_or_of_all_and_nowhere_else(tmp_path: Path) -> None:
    """Blobs that came by xet are links themselves, into the folder of blobs that all repositories share."""
    snapshot = tmp_path / "models--a--b/snapshots" / ("0" * 40)
    own, shared, outside = tmp_path / "models--a--b/blobs/own", tmp_path / "blobs/ab/shared", tmp_path / "outside"
    for path in (snapshot / "x", own, shared, outside):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (own.parent / "link").symlink_to("../../blobs/ab/shared")
    (snapshot / "config.json").symlink_to("../../blobs/own")
    (snapshot / "model.safetensors").symlink_to("../../blobs/link")
    stay_inside(snapshot)
    (snapshot / "vocab.json").symlink_to("../../../outside")
    with pytest.raises(DataError, match="link out of its folder"):
        stay_inside(snapshot)
