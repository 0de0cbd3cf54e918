"""A damaged checkpoint is named and the one before is used; the last whole one is never given up."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_runs import rows, steps, train, weights

from chatwright import disk
from chatwright.checkpoint import find, newest_checkpoint
from chatwright.errors import NoCheckpoint
from chatwright.train.run_folder import RunFolder

FILES = (
    "model.safetensors",
    "config.json",
    "tokenizer.json",
    "resume/optimizer.safetensors",
    "resume/state.json",
    "manifest.json",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without its result, with checkpoints of the steps 2 and 4."""
    out = tmp_path_factory.mktemp("runs") / "run"
    train(out, steps=4, save_every=2)
    shutil.rmtree(out / "model")
    (out / "result.json").unlink()
    return out


@pytest.fixture
def torn(run: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    shutil.copytree(run, tmp_path / "run")
    return tmp_path / "run"


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_bit(path: Path) -> None:
    contents = bytearray(path.read_bytes())
    at = random.Random(path.name).randrange(len(contents) * 8)
    contents[at // 8] ^= 1 << at % 8
    path.write_bytes(contents)


def delete(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def cut_the_last_byte(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def make_a_folder_of_it(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES = (halve, flip_a_bit, delete, empty, cut_the_last_byte, make_a_folder_of_it)


def test_the_files_are_all_of_them(run: Path) -> None:
    present = {
        str(p.relative_to(run / "checkpoints/step-000004")) for p in (run / "checkpoints/step-000004").rglob("*.*")
    }
    assert set(FILES) <= present


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", FILES)
def test_any_damage_to_any_file_is_named_and_the_checkpoint_before_is_used(
    file: str, damage: Callable[[Path], None], torn: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(torn / "checkpoints" / "step-000004" / file)
    assert newest_checkpoint(torn).name == "step-000002"
    # a manifest with a flipped bit may accuse a file that it misspells; the checkpoint is named all the same
    named = f"step-000004/{'' if file == disk.MANIFEST else file}"
    assert named in capsys.readouterr().err.replace("\n", "")
    assert steps(torn) == [2, 4]


def test_every_flipped_bit_of_a_manifest_is_seen(torn: Path) -> None:
    manifest = torn / "checkpoints" / "step-000004" / "manifest.json"
    sound = manifest.read_bytes()
    for at in random.Random(0).sample(range(len(sound) * 8), 300):
        contents = bytearray(sound)
        contents[at // 8] ^= 1 << at % 8
        manifest.write_bytes(contents)
        with pytest.raises(NoCheckpoint):
            disk.verify(manifest.parent)


@pytest.mark.parametrize("file", [name for name in FILES if name.startswith(("model", "resume"))])
def test_a_file_from_another_step_is_seen(file: str, torn: Path) -> None:
    shutil.copyfile(torn / "checkpoints/step-000002" / file, torn / "checkpoints/step-000004" / file)
    assert newest_checkpoint(torn).name == "step-000002"


def test_a_file_that_does_not_belong_is_seen(torn: Path) -> None:
    (torn / "checkpoints/step-000004/model-00002.safetensors").write_bytes(b"")
    with pytest.raises(NoCheckpoint, match=r"model-00002\.safetensors does not belong"):
        disk.verify(torn / "checkpoints/step-000004")


def test_when_none_is_whole_the_run_ends_with_4_and_nothing_is_deleted(torn: Path) -> None:
    for step in (2, 4):
        halve(torn / f"checkpoints/step-{step:06d}/model.safetensors")
    before = sorted(torn.rglob("*"))
    with pytest.raises(NoCheckpoint, match="none of the 2 checkpoints") as refused:
        train(torn, steps=4, save_every=2, resume=True)
    assert refused.value.exit_code == 4
    assert sorted(torn.rglob("*")) == before


def test_a_folder_without_any_checkpoint_is_no_model_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(NoCheckpoint, match="holds no checkpoint yet"):
        find(tmp_path)


def test_resuming_from_the_checkpoint_before_ends_as_the_undisturbed_run(torn: Path, tmp_path: Path) -> None:
    train(tmp_path / "whole", steps=4, save_every=2)
    flip_a_bit(torn / "checkpoints/step-000004/resume/optimizer.safetensors")
    train(torn, steps=4, save_every=2, resume=True)
    assert weights(torn) == weights(tmp_path / "whole")
    assert rows(torn) == rows(tmp_path / "whole")
    assert newest_checkpoint(torn).name == "step-000004"  # written anew


def test_a_step_of_seven_digits_is_newer_than_one_of_six(tmp_path: Path) -> None:
    for step in (999_999, 1_000_000):
        save(RunFolder(tmp_path), step)
    assert newest_checkpoint(tmp_path).name == "step-1000000"


def test_a_damaged_checkpoint_of_a_later_step_pushes_out_no_whole_one(tmp_path: Path) -> None:
    """Resumed from step 10, because 20 was damaged: the new 15 is worth more than both."""
    for step in (10, 20):
        save(RunFolder(tmp_path), step)
    halve(tmp_path / "checkpoints/step-000020/model.safetensors")
    again = RunFolder(tmp_path)
    again.prune(1, set(), saved=save(again, 15))
    assert newest_checkpoint(tmp_path).name == "step-000015"


def test_protected_steps_stay(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    for step in range(1, 7):
        run.prune(2, {2}, saved=save(run, step))
    assert steps(tmp_path) == [2, 5, 6]


ACTS = st.lists(st.sampled_from(["save", "save", "kill", "corrupt newest", "corrupt any"]), max_size=12)


@settings(max_examples=40, deadline=None)
@given(acts=ACTS, keep=st.integers(1, 3), chance=st.randoms(use_true_random=False))
def test_whatever_is_saved_killed_and_corrupted_the_newest_whole_one_is_kept(
    acts: list[str], keep: int, chance: random.Random, tmp_path_factory: pytest.TempPathFactory
) -> None:
    out = tmp_path_factory.mktemp("sequence")
    run, step, whole = RunFolder(out), 0, set[int]()
    for act in acts:
        if act == "save":
            step += chance.choice((1, 2))
            folder = save(run, step)
            whole.add(step)
            run.prune(keep, set(), saved=folder)
            assert step in steps(out)
            assert len(whole & set(steps(out))) >= min(keep, len(whole))
            whole &= set(steps(out))
        elif act == "kill":  # a new process takes over, from the newest whole one
            run, step = RunFolder(out), max(whole, default=0)
        elif steps(out):
            victim = steps(out)[-1] if act == "corrupt newest" else chance.choice(steps(out))
            halve(out / "checkpoints" / f"step-{victim:06d}" / "model.safetensors")
            whole.discard(victim)
            run, step = RunFolder(out), max(whole, default=0)  # what damages files is a crash
        if whole:
            assert newest_checkpoint(out).name == f"step-{max(whole):06d}"


def save(run: RunFolder, step: int) -> Path:
    """A checkpoint as far as the keeping of them is concerned."""
    folder = run.checkpoints / f"step-{step:06d}"
    with disk.new_folder(folder, manifest=True) as temporary:
        (temporary / "model.safetensors").write_text(f"weights of step {step}")
    return folder
