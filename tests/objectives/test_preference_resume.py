"""Law 9 over preferences: a run that was interrupted ends as the undisturbed one does, bit for bit, and as watchfully."""

import math
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from preferring_runs import pairs, prefer, rows, signalled_after
from tuned_runs import ADAPTER, base

from chatwright.errors import ConfigError
from chatwright.objectives import reference
from chatwright.train.signals import Interrupted

FILE = "reference.safetensors"
# the verb, and what else it is given
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "dpo, the start computed before": ("dpo", {}),
    "dpo, the start computed before, accumulated": ("dpo", {"accumulate": 2, "unlikelihood": 0.5, "nll_weight": 0.1}),
    "dpo, a second model": ("dpo", {"reference": "copy"}),
    "dpo, an adapter that is switched off": ("dpo", {"lora_rank": 2}),
    "dpo, an adapter, the start computed before": ("dpo", {"lora_rank": 2, "reference": "cached"}),
    "dpo, an adapter on 4 bits": ("dpo", {"lora_rank": 2, "load_in": "4bit"}),
    "dpo, in bf16": ("dpo", {"dtype": "bf16"}),
    "dpo, stopped when it is best": ("dpo", {"patience": 2, "eval_every": 2, "lr": 0.1}),
    "simpo": ("simpo", {}),
    "kto": ("kto", {}),
}
Run = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resuming")
    base(folder / "chatbot", template="chatml")
    pairs(folder / "pairs.jsonl")
    return folder


@pytest.fixture
def run(place: Path, tmp_path: Path) -> Run:
    """Ten steps, several epochs, with two looks of the panel on the way."""

    def prefers(name: str, kind: str, **more: Any) -> dict[str, Any]:
        verb, settings = KINDS[kind]
        usual = {"steps": 10, "batch_size": 4, "eval_every": 4, "validation_share": 0.2, "data": place / "pairs.jsonl"}
        whole = {**usual, **settings, **more}
        return prefer(verb, place / "chatbot", whole.pop("data"), tmp_path / name, **whole)

    return prefers


def weights(out: Path) -> bytes:
    adapter = out / "model" / ADAPTER
    return (adapter if adapter.exists() else out / "model" / "model.safetensors").read_bytes()


def measured(out: Path) -> list[list[dict[str, Any]]]:
    return [rows(out, split) for split in ("train", "validation", "panel")]


@pytest.mark.parametrize("kind", KINDS)
def test_interrupted_and_resumed_it_is_the_undisturbed_run_bit_for_bit(kind: str, run: Run, tmp_path: Path) -> None:
    whole = run("whole", kind)
    with signalled_after(5), pytest.raises(Interrupted) as ended:
        run("cut", kind)
    assert ended.value.exit_code == 130
    computed = (tmp_path / "cut" / FILE).stat() if (tmp_path / "cut" / FILE).exists() else None
    cut = run("cut", kind, resume=True)
    assert measured(tmp_path / "cut") == measured(tmp_path / "whole")
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole")
    assert cut["panel"] == whole["panel"]
    assert cut["alarms"] == whole["alarms"]
    if computed is not None:  # the start is not asked a second time
        assert (tmp_path / "cut" / FILE).stat().st_ino == computed.st_ino


def test_interrupted_at_any_step_no_look_is_lost_and_none_is_taken_twice(run: Run, tmp_path: Path) -> None:
    kind = "dpo, the start computed before"
    given = {"steps": 4, "eval_every": 2, "save_every": 3}
    run("whole", kind, **given)
    for at in range(1, 5):
        with signalled_after(at), pytest.raises(Interrupted, match=f"ended at step {at}"):
            run(f"cut-{at}", kind, **given)
        run(f"cut-{at}", kind, resume=True, **given)
        assert measured(tmp_path / f"cut-{at}") == measured(tmp_path / "whole")
        assert weights(tmp_path / f"cut-{at}") == weights(tmp_path / "whole")


def test_from_a_checkpoint_whose_look_was_taken_it_is_not_taken_again(run: Run, tmp_path: Path) -> None:
    """As after a kill: the newest whole checkpoint is some steps back."""
    kind, given = "dpo, the start computed before", {"steps": 4, "eval_every": 2, "save_every": 2, "keep": 5}
    run("whole", kind, **given)
    with signalled_after(3), pytest.raises(Interrupted):
        run("cut", kind, **given)
    shutil.rmtree(tmp_path / "cut" / "checkpoints" / "step-000003")
    run("cut", kind, resume=True, **given)
    assert measured(tmp_path / "cut") == measured(tmp_path / "whole")


@pytest.mark.parametrize(("steps", "said"), [(2, 1), (5, 0)], ids=["before it was said", "after"])
def test_an_alarm_is_said_once_in_a_run_however_often_that_is_resumed(
    steps: int, said: int, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each look is held against the start, which was looked at before the interruption."""
    kind, alarm = "dpo, the start computed before", "warning: chosen answers became less likely"
    given = {"lr": 0.3, "validation_share": 0.45, "test_share": 0.45, "data": pairs(tmp_path / "pairs.jsonl", 60)}
    with signalled_after(steps), pytest.raises(Interrupted):
        run("run", kind, **given)
    assert capsys.readouterr().err.count(alarm) == 1 - said
    resumed = run("run", kind, resume=True, **given)
    assert capsys.readouterr().err.count(alarm) == said
    assert any("chosen answers became less likely" in one for one in resumed["alarms"])


def test_numbers_of_the_start_that_got_lost_are_computed_from_the_start_again(run: Run, tmp_path: Path) -> None:
    """Not from what is trained by now."""
    kind = "dpo, the start computed before"
    run("whole", kind)
    with signalled_after(5), pytest.raises(Interrupted):
        run("cut", kind)
    (tmp_path / "cut" / FILE).unlink()
    run("cut", kind, resume=True)
    assert measured(tmp_path / "cut") == measured(tmp_path / "whole")
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole")


def test_a_finished_run_gives_its_result_again_alarms_included(run: Run, tmp_path: Path) -> None:
    kind, given = "dpo, the start computed before", {"lr": 0.3, "validation_share": 0.45, "test_share": 0.45}
    first = run("run", kind, **given, data=pairs(tmp_path / "pairs.jsonl", 60))
    before = weights(tmp_path / "run")
    second = run("run", kind, **given, data=tmp_path / "pairs.jsonl", resume=True)
    assert first["alarms"]
    for name in ("panel", "alarms", "steps", "loss_before"):
        assert second[name] == first[name], name
    assert second["losses"]["validation"]["metrics"] == first["losses"]["validation"]["metrics"]
    assert math.isnan(second["losses"]["validation"]["perplexity"])  # of a pair there is none, in JSON nor in Python
    assert weights(tmp_path / "run") == before


@pytest.mark.parametrize(
    ("changed", "says"),
    [({"beta": 0.2}, "beta 0.1, not 0.2"), ({"reference": "copy"}, "reference 'auto', not 'copy'")],
    ids=str,
)
def test_a_run_is_not_gone_on_with_under_other_settings(changed: dict[str, Any], says: str, run: Run) -> None:
    with signalled_after(2), pytest.raises(Interrupted):
        run("run", "dpo, the start computed before")
    with pytest.raises(ConfigError, match=says):
        run("run", "dpo, the start computed before", **changed, resume=True)


def test_nor_with_other_pairs_in_a_file_of_the_same_name(run: Run, tmp_path: Path) -> None:
    kind, data = "dpo, the start computed before", pairs(tmp_path / "pairs.jsonl")
    with signalled_after(2), pytest.raises(Interrupted):
        run("run", kind, data=data)
    pairs(data, 25)
    before = (tmp_path / "run" / FILE).read_bytes()
    with pytest.raises(ConfigError, match="data fingerprint"):
        run("run", kind, data=data, resume=True)
    assert (tmp_path / "run" / FILE).read_bytes() == before  # nor is the start asked for them first


def test_while_the_start_is_asked_ctrl_c_leaves_nothing_that_stops_the_next_start(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plain start in the same folder begins anew, and ends as any other does."""
    saved = reference.save

    def interrupting(*given: Any) -> None:
        saved(*given)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(reference, "save", interrupting)
    with pytest.raises(Interrupted):
        run("run", "dpo, the start computed before")
    monkeypatch.undo()
    run("run", "dpo, the start computed before")
    run("whole", "dpo, the start computed before")
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")
