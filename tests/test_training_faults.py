"""What goes wrong while training: each ends with its own exit code, one sentence, and nothing half-written."""

import json
import math
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from small_runs import SHAPE, conversations, in_a_process, job, policy, steps, tokenizer, train, weights

from chatwright import commands
from chatwright.checkpoint import newest_checkpoint
from chatwright.errors import ConfigError, DataError, DiskFull, NotFinite
from chatwright.objectives.protocol import Loss
from chatwright.train import stage
from chatwright.train.run_folder import RunFolder
from chatwright.train.signals import Interrupted

BEFORE_TRAINING = 5  # losses: two batches of the start model, and three of the sanity check


def bad_loss(at: int, value: float) -> Any:
    """The loss of that number becomes `value`."""
    return lambda call, loss: Loss(loss.total * value, loss.weight, loss.metrics) if call == at else None


def bad_gradient(at: int) -> Any:
    """The loss of that number is a fine number whose gradient is not: the derivative of sqrt at 0 is infinite."""

    def watch(call: int, loss: Loss) -> Loss | None:
        nothing = torch.sqrt(loss.total - loss.total) if call == at else None
        return None if nothing is None else Loss(loss.total + nothing, loss.weight, loss.metrics)

    return watch


# Not finite


@pytest.mark.parametrize("watch", [bad_loss(9, math.nan), bad_loss(9, math.inf), bad_gradient(9)])
def test_a_step_that_is_no_number_ends_with_3_before_the_weights_change(watch: Any, tmp_path: Path) -> None:
    one = job(tmp_path / "run", watch=watch, save_every=1, eval_every=10, keep=1)
    with pytest.raises(NotFinite, match="at step 4") as ended:
        stage.run(one)
    assert ended.value.exit_code == 3
    assert steps(tmp_path / "run") == [3]
    saved = newest_checkpoint(tmp_path / "run")
    now = one.policy.model.to_hf()
    for name, weight in load_file(saved / "model.safetensors").items():
        assert torch.equal(weight, now[name]), name
    train(tmp_path / "run", save_every=1, eval_every=10, keep=1, resume=True)


def test_an_infinite_weight_in_the_start_model_is_seen_before_anything_is_saved(tmp_path: Path) -> None:
    one = job(tmp_path / "run")
    with torch.no_grad():
        one.policy.model.output_weight[5, 5] = float("inf")  # type: ignore[attr-defined]
    with pytest.raises(NotFinite, match="the start model's loss is nan before any step"):
        stage.run(one)
    assert steps(tmp_path / "run") == []


def test_a_rate_that_blows_the_weights_up_leaves_the_last_healthy_checkpoint(tmp_path: Path) -> None:
    """A run that saves its NaNs rotates the healthy checkpoints out."""
    one = job(tmp_path / "run", lr=1e38, steps=10, save_every=1, keep=1)
    with pytest.raises(NotFinite):
        stage.run(one)
    for step in steps(tmp_path / "run"):
        stored = load_file(tmp_path / "run" / "checkpoints" / f"step-{step:06d}" / "model.safetensors")
        assert all(bool(weight.isfinite().all()) for weight in stored.values())


def test_metrics_are_json_even_where_a_figure_is_no_number(tmp_path: Path) -> None:
    RunFolder(tmp_path).measure({"step": 1, "grad_norm": float("inf"), "loss": 2.0})
    assert json.loads((tmp_path / "metrics.jsonl").read_text(), parse_constant=pytest.fail) == {
        "step": 1,
        "grad_norm": None,
        "loss": 2.0,
    }


# No room


def limited(out: Path, given: dict[str, Any], size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    in_a_process(out, given)


def test_a_disk_that_fills_ends_with_5_and_the_earlier_checkpoint_stands(tmp_path: Path) -> None:
    """A limit on the size of a file stands in for the full disk: the optimizer's is the first that is too large."""
    train(tmp_path / "whole", steps=6, save_every=2, eval_every=10)
    out, given = tmp_path / "run", {"steps": 6, "save_every": 2, "eval_every": 10}

    def interrupt(call: int, loss: Any) -> None:
        if call == BEFORE_TRAINING + 4:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted, match="ended at step 3"):
        train(out, watch=interrupt, **given)
    before = {p: p.read_bytes() for p in (out / "checkpoints").rglob("*") if p.is_file()}
    size = (newest_checkpoint(out) / "resume" / "optimizer.safetensors").stat().st_size - 1000
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["chatwright.train.stage"])
    process = context.Process(target=limited, args=(out, {**given, "resume": True}, size))
    process.start()
    process.join(60)
    assert process.exitcode == 5
    assert {p: p.read_bytes() for p in (out / "checkpoints").rglob("*") if p.is_file()} == before
    assert not [p for p in out.rglob("*") if p.name.endswith((".tmp", ".old"))]
    train(out, resume=True, **given)
    assert weights(out) == weights(tmp_path / "whole")


@pytest.fixture
def small_disk(tmp_path: Path) -> Any:
    """A file system of 400 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "none", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_run_that_cannot_fit_is_refused_before_its_first_step(small_disk: Path) -> None:
    with pytest.raises(DiskFull, match="needs about") as refused:
        train(small_disk / "run", keep=50, save_every=1, steps=100)
    assert refused.value.exit_code == 5
    assert not (small_disk / "run" / "checkpoints").exists()


def test_a_disk_that_others_fill_leaves_the_last_checkpoint(small_disk: Path) -> None:
    def fill(call: int, loss: Any) -> None:
        if call == BEFORE_TRAINING + 4:
            left = shutil.disk_usage(small_disk).free
            (small_disk / "other").write_bytes(b"x" * (left - 20_000))

    with pytest.raises(DiskFull):
        train(small_disk / "run", watch=fill, save_every=2, keep=1, eval_every=10)
    assert newest_checkpoint(small_disk / "run").name == "step-000002"
    assert not [p for p in (small_disk / "run").rglob("*") if p.name.endswith(".tmp")]


def test_the_estimate_counts_what_is_there_already(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.checkpoints.mkdir()
    free = shutil.disk_usage(tmp_path).free
    run.check_room(free // 2)
    with pytest.raises(DiskFull, match="give a smaller --keep or another --out"):
        run.check_room(2 * free + 10**9)


# The folder


def test_a_second_run_in_the_same_folder_is_refused_and_a_dead_one_does_not_block(tmp_path: Path) -> None:
    program = (
        "import sys, time\nfrom chatwright.train.run_folder import RunFolder\n"
        f"with RunFolder({str(tmp_path / 'run')!r}).locked(resume=False):\n"
        "    print('held', flush=True)\n    time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(ConfigError, match=f"in use by process {holder.pid}") as refused:
            train(tmp_path / "run")
        assert refused.value.exit_code == 2
    finally:
        holder.kill()
        holder.communicate()
    train(tmp_path / "run", steps=1)


def test_out_that_is_a_file_or_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConfigError, match="is a file; give a folder"):
        train(tmp_path / "file")
    with pytest.raises(ConfigError, match="cannot be made"):
        train(tmp_path / "file" / "below")
    assert (tmp_path / "file").read_text() == "mine"


def test_out_with_a_run_needs_resume_or_another_name(tmp_path: Path) -> None:
    train(tmp_path / "run", steps=1)
    before = weights(tmp_path / "run")
    with pytest.raises(ConfigError, match="already holds a run; give --resume to go on with it, or another --out"):
        train(tmp_path / "run", steps=1)
    assert weights(tmp_path / "run") == before


def test_a_result_whose_folders_were_deleted_is_no_result(tmp_path: Path) -> None:
    train(tmp_path / "run", steps=1)
    shutil.rmtree(tmp_path / "run" / "model")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    train(tmp_path / "run", steps=2)
    assert json.loads((tmp_path / "run" / "result.json").read_text())["steps"] == 2


# Settings and data


NEVER_ZERO = ("batch_size", "lr", "steps", "epochs", "accumulate", "keep", "save_every")
TOO_SMALL = [("seq_len", 1), ("lr", -1), ("seed", -1)]
TOO_LARGE = [("dropout", 1), ("validation_share", 0.9), ("seed", 2**40), ("rehearse", 1.0)]


@pytest.mark.parametrize(("name", "value"), [*((name, 0) for name in NEVER_ZERO), *TOO_SMALL, *TOO_LARGE])
def test_sizes_that_make_no_sense_are_wrong_settings(name: str, value: float, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"--{name.replace('_', '-')} ") as refused:
        commands.run("sft", {"model": "m", "data": "d", "out": str(tmp_path / "run"), name: value})
    assert refused.value.exit_code == 2
    assert not (tmp_path / "run").exists()


def test_an_empty_training_split_is_said(tmp_path: Path) -> None:
    one = job(tmp_path / "run")
    one.data = {}
    with pytest.raises(DataError, match="the training split is empty"):
        stage.run(one)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A start model, a vocabulary and data as files, as a user has them."""
    folder = tmp_path_factory.mktemp("files")
    policy().save(folder / "start")
    tokenizer().save(folder / "tokenizer")
    (folder / "config.json").write_text(json.dumps({"model_type": "gpt2", **SHAPE}))
    lines = [[{"role": m.role, "content": m.content} for m in one.messages] for one in conversations(40)]
    (folder / "chats.jsonl").write_text("".join(json.dumps({"messages": line}) + "\n" for line in lines))
    (folder / "text.txt").write_text("\n\n".join(f"The number {i} follows {i - 1}." for i in range(60)))
    return folder


def test_a_vocabulary_that_does_not_fit_the_weights_is_refused(files: Path, tmp_path: Path) -> None:
    shutil.copytree(files / "start", tmp_path / "start")
    tokenizer().with_special(["<|more|>"]).save(tmp_path / "start")
    with pytest.raises(DataError, match="do not belong together"):
        commands.run(
            "sft", {"model": str(tmp_path / "start"), "data": str(files / "chats.jsonl"), "out": str(tmp_path / "r")}
        )


def test_a_vocabulary_that_is_not_the_base_models_is_refused(files: Path, tmp_path: Path) -> None:
    tokenizer().with_special(["<|more|>"]).save(tmp_path / "other")
    given = {"model": str(files / "start"), "tokenizer": str(tmp_path / "other"), "data": str(files / "text.txt")}
    with pytest.raises(ConfigError, match="is not the vocabulary of"):
        commands.run("pretrain", {**given, "out": str(tmp_path / "r")})


def test_a_saved_config_repeats_the_run_byte_for_byte(files: Path, tmp_path: Path) -> None:
    """Though --seq-len was never given, and its default is longer than this model's window."""
    given = {
        "model": str(files / "config.json"),
        "tokenizer": str(files / "tokenizer"),
        "data": str(files / "text.txt"),
    }
    fixed = {"steps": 3, "batch_size": 2, "dropout": 0.1, "seed": 5, "threads": 1, "proofs": "warn"}
    commands.run("pretrain", {**given, **fixed, "out": str(tmp_path / "first")})
    commands.run("pretrain", {"out": str(tmp_path / "second")}, tmp_path / "first" / "config.yaml")
    assert weights(tmp_path / "first") == weights(tmp_path / "second")


def test_a_resumed_verb_of_a_finished_run_is_quick_and_says_the_same(files: Path, tmp_path: Path) -> None:
    given = {"model": str(files / "start"), "data": str(files / "chats.jsonl"), "template": "chatml", "threads": 1}
    given |= {"steps": 3, "compare": False, "proofs": "warn", "out": str(tmp_path / "run")}
    first = commands.run("sft", given)
    began = time.perf_counter()
    second = commands.run("sft", {**given, "resume": True})
    assert {**second, "seconds": 0} == {**first, "seconds": 0}
    assert time.perf_counter() - began < 20
