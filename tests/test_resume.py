"""Law 9: a run that was interrupted, by whatever and whenever, ends as the undisturbed one does, bit for bit."""

import multiprocessing
import os
import random
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from small_runs import Probe, in_a_process, job, policy, resumed, rows, steps, train, weights
from torch.optim.optimizer import register_optimizer_step_post_hook

from chatwright.errors import ConfigError
from chatwright.train import stage
from chatwright.train.signals import Interrupted, Signals

KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "with dropout": {"dropout": 0.1},
    "with accumulation": {"accumulate": 2},
    "with rehearsal": {"rehearse": 0.4},
    "with early stopping": {"patience": 2, "eval_every": 2, "lr": 0.3},
    "over several epochs": {"batch_size": 6, "steps": 12},  # 18 conversations: an epoch is a few steps
    "in bf16": {"dtype": "bf16", "dropout": 0.1},
}


def signalling(at: int, number: int = signal.SIGINT) -> Any:
    """Sends a signal to this process from within the loss of that number."""
    return lambda call, loss: os.kill(os.getpid(), number) if call == at else None


def assert_same(disturbed: Path, undisturbed: Path) -> None:
    assert rows(disturbed) == rows(undisturbed)
    assert weights(disturbed) == weights(undisturbed)


@pytest.mark.parametrize("kind", KINDS)
def test_five_steps_then_resume_then_five_are_ten_bit_for_bit(kind: str, tmp_path: Path) -> None:
    given = {"eval_every": 3, **KINDS[kind]}
    train(tmp_path / "whole", **given)
    losses = 7 + 5 * given.get("accumulate", 1)  # five before the first step, two of a validation on the way
    with pytest.raises(Interrupted):
        train(tmp_path / "cut", watch=signalling(losses), **given)
    assert 0 < steps(tmp_path / "cut")[-1] < 10
    train(tmp_path / "cut", resume=True, **given)
    assert_same(tmp_path / "cut", tmp_path / "whole")


def test_a_signal_in_any_loss_of_the_run_is_followed_by_the_same_rows_and_weights(tmp_path: Path) -> None:
    """Every forward pass: the start loss, the sanity check, each half of a step, each validation, the last losses."""
    given: dict[str, Any] = {
        "steps": 4,
        "accumulate": 2,
        "eval_every": 2,
        "dropout": 0.1,
        "patience": 2,
        "save_every": 3,
    }
    whole = job(tmp_path / "whole", **given)
    stage.run(whole)
    assert isinstance(whole.objective, Probe)
    for at in whole.objective.calls:
        out = tmp_path / f"cut-{at}"
        with pytest.raises(Interrupted) as ended:
            train(out, watch=signalling(at, signal.SIGTERM), **given)
        assert ended.value.exit_code == 143
        train(out, resume=True, **given)
        assert_same(out, tmp_path / "whole")
        shutil.rmtree(out)


def test_a_signal_in_the_optimizers_step_loses_no_row_and_no_validation(tmp_path: Path) -> None:
    given: dict[str, Any] = {"steps": 4, "eval_every": 2, "patience": 3, "save_every": 3}
    train(tmp_path / "whole", **given)
    for at in range(1, 5):
        done: list[int] = []

        def stepped(*_: Any, at: int = at, done: list[int] = done) -> None:
            done.append(len(done) + 1)
            if done[-1] == at:
                os.kill(os.getpid(), signal.SIGINT)

        hook = register_optimizer_step_post_hook(stepped)
        try:
            with pytest.raises(Interrupted, match=f"ended at step {at}"):
                train(tmp_path / f"cut-{at}", **given)
        finally:
            hook.remove()
        train(tmp_path / f"cut-{at}", resume=True, **given)
        assert_same(tmp_path / f"cut-{at}", tmp_path / "whole")


def test_the_first_signal_waits_for_the_step_and_the_second_does_not() -> None:
    with Signals() as signals:
        signals.patient = True
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.received == signal.SIGTERM
        with pytest.raises(Interrupted) as ended:
            os.kill(os.getpid(), signal.SIGTERM)
    assert ended.value.exit_code == 143


def test_before_the_first_step_a_signal_ends_at_once_and_leaves_the_handlers_as_they_were() -> None:
    former = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted) as ended, Signals():
        os.kill(os.getpid(), signal.SIGINT)
    assert ended.value.exit_code == 130
    assert signal.getsignal(signal.SIGINT) is former


def test_a_run_in_another_thread_trains_without_signals(tmp_path: Path) -> None:
    thread = threading.Thread(target=train, args=(tmp_path / "run",), kwargs={"steps": 2})
    thread.start()
    thread.join()
    assert weights(tmp_path / "run")


def test_resuming_a_finished_run_gives_its_result_without_training(tmp_path: Path) -> None:
    first = train(tmp_path / "run")
    before = weights(tmp_path / "run")

    def no_loss(call: int, loss: Any) -> None:
        raise AssertionError("it computes again")

    second = train(tmp_path / "run", resume=True, watch=no_loss)
    assert second.as_dict() == {**first.as_dict(), "seconds": round(first.seconds, 2)}
    assert second.proofs == first.proofs
    assert weights(tmp_path / "run") == before
    second.policy.save(tmp_path / "again")
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == before


def test_a_finished_run_is_not_taken_for_one_with_other_settings(tmp_path: Path) -> None:
    train(tmp_path / "run", steps=2)
    with pytest.raises(ConfigError, match=r"steps 2, not 3; resume with the settings it had"):
        train(tmp_path / "run", steps=3, resume=True)


@pytest.mark.parametrize(("name", "value"), [("lr", 2e-3), ("seed", 1), ("batch_size", 4), ("accumulate", 2)])
def test_a_changed_setting_is_refused_by_name(name: str, value: Any, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train(tmp_path / "run", watch=signalling(7))
    with pytest.raises(ConfigError, match=name):
        train(tmp_path / "run", **{name: value}, resume=True)
    train(tmp_path / "run", save_every=1, keep=5, resume=True)  # these change nothing that is learned


def test_changed_data_are_refused_though_the_file_has_its_old_name(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train(tmp_path / "run", watch=signalling(7))
    changed = resumed(job(tmp_path / "run"))
    changed.data_report = {"name": "small", "fingerprint": "1"}
    with pytest.raises(ConfigError, match="data fingerprint '0', not '1'"):
        stage.run(changed)


def test_resume_without_a_run_starts_one_and_counts_no_row_twice(tmp_path: Path) -> None:
    train(tmp_path / "whole", steps=3)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.jsonl").write_text('{"step": 1, "split": "train", "loss": 9.0}\n{"step": 2, "spl')
    train(tmp_path / "run", steps=3, resume=True)
    assert_same(tmp_path / "run", tmp_path / "whole")


def test_what_a_killed_process_left_half_made_is_cleared_and_what_it_moved_aside_is_put_back(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(Interrupted):
        train(out, watch=signalling(9), save_every=2)
    newest = steps(out)[-1]
    (out / "checkpoints" / ".step-000099.123.tmp" / "resume").mkdir(parents=True)
    (out / ".model.123.tmp").mkdir()
    (out / ".metrics.jsonl.123.tmp").write_text("half")
    name = f"step-{newest:06d}"
    (out / "checkpoints" / name).rename(out / "checkpoints" / f".{name}.123.old")
    (out / ".gitignore").write_text("*")
    train(out, resume=True, save_every=2)
    train(tmp_path / "whole", save_every=2)
    assert_same(out, tmp_path / "whole")
    hidden = {path.name for path in (*out.glob(".*"), *(out / "checkpoints").glob(".*"))}
    assert hidden == {".lock", ".gitignore"}


def test_killed_at_random_moments_it_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    """SIGKILL, in real processes. They are forked from a server that has imported torch already."""
    given = {"steps": 120, "save_every": 2, "eval_every": 40, "dropout": 0.1}
    train(tmp_path / "whole", **given)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["chatwright.train.stage"])
    chance, killed, metrics = random.Random(2), 0, tmp_path / "cut" / "metrics.jsonl"
    while killed < 3:
        process = context.Process(target=in_a_process, args=(tmp_path / "cut", {**given, "resume": True}))
        process.start()
        seen = _size(metrics)
        while process.is_alive() and _size(metrics) <= seen:
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.15))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL, "it was over before it was killed"
        killed += 1
    train(tmp_path / "cut", resume=True, **given)
    assert_same(tmp_path / "cut", tmp_path / "whole")


def test_the_start_model_is_the_same_for_the_same_seed() -> None:
    """What all of the above rests on."""
    first, second = (policy(seed=3).model.to_hf() for _ in range(2))
    assert all(bool((first[name] == second[name]).all()) for name in first)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
