"""`chatwright web` from its first line to Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import torch
from scripted_model import bigram_folder

from chatwright import commands
from chatwright.checkpoint import Checkpoint
from chatwright.errors import ConfigError
from chatwright.models.kernels.library import SWITCH
from chatwright.models.lora import LoraConfig

WAIT = 60


@contextmanager
def running(*words: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """The verb in a process of its own, and the line that it prints when it is ready."""
    command = [sys.executable, "-m", "chatwright", "web", *words, "--port", "0", "--json", "--device", "cpu"]
    # what is measured here is not speed: no kernel need be compiled for it
    environment = {**os.environ, "OMP_NUM_THREADS": "1", SWITCH: "off"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate(timeout=WAIT)
        yield process, json.loads(line)
    finally:
        process.kill()
        process.communicate()


def asked(web: httpx2.Client, model: str) -> str:
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "temperature": 0}
    return str(web.post("/v1/chat/completions", json=body).json()["choices"][0]["message"]["content"])


def test_several_models_and_an_adapter_are_shown_and_ctrl_c_ends_it_with_130(tmp_path: Path) -> None:
    run = tmp_path / "run"
    model = bigram_folder(run / "model", "Hey")
    base = bigram_folder(tmp_path / "base", "abc", template=None)
    torch.manual_seed(0)
    tuned = Checkpoint.load(model, quiet=True).with_lora(
        LoraConfig(r=2, lora_alpha=4), str(model), dtype=torch.float32, seed=0
    )
    tuned.save(tmp_path / "pirate")
    (run / "config.yaml").write_text("verb: sft\n", encoding="utf-8")
    words = (f"new={run}", f"old={base}", "--adapters", f"pirate={tmp_path / 'pirate'}")
    with running(*words) as (process, ready):
        assert ready["models"] == ["new", "old", "new:pirate"]
        assert ready["address"].startswith("http://127.0.0.1:")
        with httpx2.Client(base_url=ready["address"], timeout=WAIT) as web:
            assert b"<title>chatwright</title>" in web.get("/").content
            info = web.get("/web/info").json()
            assert [one["name"] for one in info["models"]] == ready["models"]
            assert [one["chat"] for one in info["models"]] == [True, False, True]
            assert asked(web, "new") == "Hey"
            assert asked(web, "old") == "abc"
            assert asked(web, "new:pirate") == "Hey"  # an adapter that has learned nothing changes nothing
            number = web.post("/web/arena", json={"messages": [{"role": "user", "content": "Hi"}]}).json()["round"]
            for side in ("left", "right"):
                web.post("/web/side", json={"round": number, "side": side}).read()
            web.post("/web/vote", json={"round": number, "vote": "bad"})
        assert (run / "votes-ties.jsonl").exists()  # in the run of the first model
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=WAIT)
        assert process.returncode == 130
        assert "Traceback" not in err
        assert json.loads(out)["exit_code"] == 130


def test_a_page_that_everybody_could_use_is_refused(tmp_path: Path) -> None:
    model = str(bigram_folder(tmp_path / "model", "Hey"))
    with pytest.raises(ConfigError, match="no API key") as error:
        commands.run("web", {"models": [model], "host": "0.0.0.0", "port": 0})
    assert "\n" not in str(error.value)
    assert ConfigError.exit_code == 2


def test_a_place_where_no_vote_can_be_kept_is_said_before_anybody_votes(tmp_path: Path) -> None:
    model = str(bigram_folder(tmp_path / "model", "Hey"))
    with pytest.raises(ConfigError, match="--votes"):
        commands.run("web", {"models": [model], "port": 0, "votes": str(tmp_path)})


def test_two_models_of_one_name_are_told_apart_by_whoever_starts_it(tmp_path: Path) -> None:
    model = str(bigram_folder(tmp_path / "model", "Hey"))
    with pytest.raises(ConfigError, match="two models are called"):
        commands.run("web", {"models": [model, model], "port": 0, "votes": str(tmp_path / "votes.jsonl")})
