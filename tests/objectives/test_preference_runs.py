"""Whole runs of the verbs over preferences: what they learn, write and prove, and what they say when it goes wrong."""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from preferring_runs import VERBS, pair, pairs, prefer, rows, written
from tuned_runs import base

from chatwright import registry
from chatwright.checkpoint import Checkpoint
from chatwright.commands import _preferring
from chatwright.evals import guards

PROOFS = {"mask", "stop", "parity", "sanity", "guard rails"}
START = {"dpo": math.log(2), "ipo": 25.0, "kto": 0.5}
# of a row of the panel: what is measured over pairs, and over the policy's own answers
OVER_PAIRS, OWN = ("accuracy", "margin", "chosen", "rejected"), ("kl", "words", "tokens", "stop_rate", "loop_rate")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("preferring")
    base(folder / "chatbot", template="chatml")
    pairs(folder / "few.jsonl")
    pairs(folder / "many.jsonl", 80)
    return folder


def strictly(path: Path) -> Any:
    """JSON as others read it: there is no NaN in it."""

    def refused(name: str) -> None:
        raise AssertionError(f"{path} holds {name}")

    return json.loads(path.read_text(), parse_constant=refused)


# ---- what a run leaves


@pytest.mark.parametrize("verb", VERBS)
def test_a_run_leaves_a_model_with_its_proofs_and_what_the_panel_saw(verb: str, place: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    reached = prefer(verb, place / "chatbot", place / "few.jsonl", out, steps=4, eval_every=2, validation_share=0.2)
    assert set(reached["proofs"]) == PROOFS
    assert {state for name, state in reached["proofs"].items() if name != "guard rails"} == {"green"}
    for name in ("config.yaml", "run.log", "metrics.jsonl", "report/index.html", "reference.safetensors"):
        assert (out / name).exists(), name
    assert Checkpoint.load(out / "model", quiet=True).template.name == "chatml"
    stages = [strictly(out / name) for name in ("result.json", "proofs.json", "data_report.json", "report/report.json")]
    assert stages[0]["losses"]["validation"]["unit"] == ("answer" if verb == "kto" else "pair")
    assert strictly(out / "model" / "training_metadata.json")["stage"] == verb
    panel = rows(out, "panel")
    assert [row["step"] for row in panel] == [0, 2, 4]
    assert [row["step"] for row in reached["panel"]] == [0, 2, 4]
    for row in panel:
        assert [name for name in (*OVER_PAIRS, *OWN) if row[name] is None] == []
        assert (row["n"], row["pairs"]) == (4, reached["losses"]["validation"]["count"])
    assert panel[0]["kl"] == pytest.approx(0, abs=1e-4)
    assert reached["loss_before"] == pytest.approx(START.get(verb, reached["loss_before"]), rel=1e-5)
    assert all(math.isfinite(value["loss"]) for value in reached["losses"].values())


@pytest.mark.parametrize("verb", VERBS)
def test_it_learns_which_answer_is_better(verb: str, place: Path, tmp_path: Path) -> None:
    more = {"steps": 30, "batch_size": 8, "validation_share": 0.2, "lr": 3e-3, "guards_prompts": 0}
    reached = prefer(verb, place / "chatbot", place / "many.jsonl", tmp_path / "run", eval_every=30, **more)
    before, after = (reached["panel"][number] for number in (0, -1))
    assert after["accuracy"] > (0.55 if verb == "kto" else 0.95)  # kto holds each answer against z by itself
    assert after["margin"] > before["margin"] + 0.01
    assert reached["losses"]["test"]["loss"] < reached["loss_before"]


# what a verb offers beside what all share, at values that are nobody's default
OFFERED: dict[str, dict[str, Any]] = {
    "dpo": {"beta": 0.5, "label_smoothing": 0.3, "length_normalised": True, "nll_weight": 1.5, "unlikelihood": 2.5},
    "ipo": {"beta": 0.5, "nll_weight": 1.5, "unlikelihood": 2.5},
    "simpo": {"beta": 0.5, "gamma": 0.25, "nll_weight": 1.5, "unlikelihood": 2.5},
    "orpo": {"beta": 0.5, "unlikelihood": 2.5},
    "kto": {"beta": 0.5, "good_weight": 3.0, "bad_weight": 2.0},
}


@pytest.mark.parametrize("verb", VERBS)
def test_every_setting_of_the_loss_reaches_it_and_its_default_is_the_loss_s_own(
    verb: str, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen where the verb hands over how its objective is made, before anything is read."""
    made: list[Any] = []

    def learn(name: str, settings: Any, make: Any) -> dict[str, Any]:
        made.append(make(settings, None))
        return {}

    monkeypatch.setattr(_preferring, "learn", learn)
    prefer(verb, place / "chatbot", place / "few.jsonl", tmp_path, **OFFERED[verb], seed=3, batch_size=5, seq_len=77)
    prefer(verb, place / "chatbot", place / "few.jsonl", tmp_path)
    given, usual = map(asdict, made)
    assert given == {**given, **OFFERED[verb], "seed": 3, "batch_size": 5, "seq_len": 77}
    default = asdict(type(made[0])())
    assert {name: usual[name] for name in OFFERED[verb]} == {name: default[name] for name in OFFERED[verb]}
    # nothing of the loss is left that nobody can set; orpo learns the chosen answer anyway
    others = {"seed", "batch_size", "seq_len", "reference"} | ({"nll_weight"} if verb == "orpo" else set())
    assert set(default) - others == set(OFFERED[verb])


# ---- what is held out


def test_without_anything_held_out_the_start_is_measured_on_what_the_run_comes_to(place: Path, tmp_path: Path) -> None:
    """Of the other pairs nobody has asked the start model: they are no part of the loss, which would not be a number."""
    more = {"validation_share": 0.0, "test_share": 0.0}
    reached = prefer("dpo", place / "chatbot", place / "few.jsonl", tmp_path / "run", **more)
    assert reached["loss_before"] == pytest.approx(math.log(2), rel=1e-5)
    assert reached["losses"]["train"]["count"] == 3 * 2
    assert math.isfinite(reached["losses"]["train"]["loss"])
    assert reached["proofs"]["sanity"] == "green"
    assert [(row["n"], row["pairs"]) for row in reached["panel"]] == [(0, 0), (0, 0)]


def test_held_out_prompts_that_fill_the_window_are_left_out_of_the_panel_and_counted(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A quarter of the window is kept for an answer. Nothing is wrong with such a pair: it is learned from."""
    rows_ = [{"prompt": f"{n} " + "x" * 200, "chosen": "ab", "rejected": "b"} for n in range(12)]
    long = written(tmp_path / "long.jsonl", [*rows_, *(pair(n) for n in range(12))])
    more = {"seq_len": 256, "validation_share": 0.4, "guards_prompts": 32, "guards_max_tokens": 128}
    reached = prefer("dpo", place / "chatbot", long, tmp_path / "run", **more)
    said = capsys.readouterr().err
    left_out, held = (int(word) for word in said.split(" held-out prompts fill the window")[0].split()[-3::2])
    assert 0 < left_out < held
    assert [row["n"] for row in reached["panel"]] == [held - left_out] * 2
    assert said.count("fill the window") == 1


# ---- alarms


def test_a_reckless_rate_raises_the_alarm_in_words(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Chosen answers fall with the rejected ones while loss and accuracy look well: the run ends fine, and says so."""
    more = {"steps": 12, "batch_size": 8, "validation_share": 0.4, "lr": 0.3, "eval_every": 4, "guards_prompts": 24}
    reached = prefer("dpo", place / "chatbot", place / "many.jsonl", tmp_path / "run", **more)
    assert reached["panel"][-1]["accuracy"] > 0.5
    words = [alarm for alarm in reached["alarms"] if "chosen answers became less likely" in alarm]
    assert words
    assert words[0].startswith("step 4: chosen answers became less likely (-")
    assert words[0].endswith(" nats): lower --lr, raise --beta or --nll-weight")
    assert reached["proofs"]["guard rails"] == "warning"
    said = capsys.readouterr().err
    assert said.count("warning: chosen answers became less likely") == 1  # though it is so at every look
    assert "chosen answers became less likely" in (tmp_path / "run" / "run.log").read_text()
    proof = next(one for one in strictly(tmp_path / "run" / "proofs.json")["proofs"] if one["name"] == "guard rails")
    assert "chosen answers became less likely" in proof["says"]
    assert "chosen answers became less likely" in (tmp_path / "run" / "report" / "index.html").read_text()


@pytest.mark.parametrize("verb", [*VERBS, "grpo", "ppo"])
def test_alarms_name_only_settings_that_the_verb_has(verb: str) -> None:
    objective = vars(registry.load("objectives", verb))[verb.title()]
    assert set(objective.remedies) <= set(guards.REMEDIES)
    assert set(objective.remedies) <= set(registry.load("commands", verb).Settings.model_fields)


def test_an_alarm_of_orpo_does_not_advise_what_orpo_does_not_have(place: Path, tmp_path: Path) -> None:
    """Nor a higher --beta, which drives it on."""
    more = {"steps": 12, "batch_size": 8, "validation_share": 0.4, "lr": 0.3, "eval_every": 4, "guards_prompts": 24}
    alarms = prefer("orpo", place / "chatbot", place / "many.jsonl", tmp_path / "run", **more)["alarms"]
    assert any(alarm.endswith("nats an answer): lower --lr") for alarm in alarms)
    assert [alarm for alarm in alarms if "--beta" in alarm or "--nll-weight" in alarm] == []


def test_a_gentle_rate_raises_none(place: Path, tmp_path: Path) -> None:
    more = {"steps": 12, "batch_size": 8, "validation_share": 0.4, "lr": 1e-4, "eval_every": 4, "guards_prompts": 24}
    reached = prefer("dpo", place / "chatbot", place / "many.jsonl", tmp_path / "run", **more)
    assert reached["alarms"] == []
    assert reached["proofs"]["guard rails"] == "green"


def test_every_look_is_shown_in_a_line(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prefer("dpo", place / "chatbot", place / "few.jsonl", tmp_path / "run", validation_share=0.2)
    shown = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: step ")]
    assert shown[0].startswith("note: step 0: accuracy 0.50, margin 0.00, chosen 0.00, rejected 0.00, KL 0.00, ")
    assert shown[1].startswith("note: step 3: accuracy ")


# ---- compared


def test_before_and_after_are_asked_the_same(place: Path, tmp_path: Path) -> None:
    reached = prefer("dpo", place / "chatbot", place / "few.jsonl", tmp_path / "run", compare=True)
    assert reached["proofs"]["before/after"] in ("green", "warning")
    stages = strictly(tmp_path / "run" / "report" / "report.json")["stages"]
    assert [stage["name"] for stage in stages] == ["start", "dpo"]


def test_quick_is_a_hundred_pairs_and_twenty_steps(place: Path, tmp_path: Path) -> None:
    data = pairs(tmp_path / "data.jsonl", 130)
    reached = prefer("dpo", place / "chatbot", data, tmp_path / "run", quick=True, steps=None, guards_prompts=0)
    assert reached["steps"] == 20
    assert strictly(tmp_path / "run" / "data_report.json")["records"] == 100
