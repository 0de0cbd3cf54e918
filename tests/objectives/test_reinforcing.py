"""The verbs `grpo` and `ppo`: whole runs from a folder to a folder, what they show, and what they refuse in one sentence."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from tuned_runs import base, files, read, tensors, undrawn

from chatwright import commands, console
from chatwright.checkpoint import Checkpoint
from chatwright.commands import _cli
from chatwright.commands import _reinforcing as reinforcing
from chatwright.errors import ConfigError, DataError
from chatwright.evals import plots
from chatwright.generate.chatbot import Chatbot
from chatwright.generate.completion import Completion
from chatwright.generate.judge import RewardModel
from chatwright.text.records import Problem, conversation

BOTH = pytest.mark.parametrize("verb", ["grpo", "ppo"])


def problems(path: Path, count: int = 40) -> Path:
    """Prompts that are answered rightly by any reply in which a word begins with one of eight letters."""
    answer = {"groups": [[*"abceimpr"]], "min_words": 1}
    rows = [{"prompt": f"Say something, {i}!", "grader": "keywords", "answer": answer} for i in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a chatbot and a file of problems."""
    folder = tmp_path_factory.mktemp("reinforced")
    base(folder / "model", template="chatml")
    problems(folder / "problems.jsonl")
    return folder


def given(place: Path, out: Path, **more: Any) -> dict[str, Any]:
    """The settings of a run of a second."""
    fixed: dict[str, Any] = {"model": str(place / "model"), "out": str(out), "steps": 4, "batch_size": 3, "group": 4}
    fixed |= {"max_tokens": 6, "lr": 3e-3, "dtype": "fp32", "device": "cpu", "threads": 1, "eval_every": 2}
    fixed |= {"sample_every": 100, "save_every": 2, "max_problems": 4, "compare": False, "guards.prompts": 3}
    fixed |= {"guards.max_tokens": 8}
    if "task" not in more:
        fixed["data"] = str(place / "problems.jsonl")
    return fixed | {name.replace("lora_", "lora.", 1): value for name, value in more.items()}


def run(verb: str, place: Path, out: Path, **more: Any) -> dict[str, Any]:
    with undrawn():
        return commands.run(verb, given(place, out, **more))


@BOTH
def test_a_whole_run_ends_with_a_model_before_and_after_and_the_page_of_what_was_said(
    verb: str, place: Path, tmp_path: Path
) -> None:
    result = run(verb, place, tmp_path / "run", compare=True, beta=0.05)
    assert result["steps"] == 4
    assert {name: state for name, state in result["proofs"].items() if state == "red"} == {}
    assert result["proofs"]["sanity"] == result["proofs"]["parity"] == "green"
    for when in ("before", "after"):
        (score,) = result[when].values()
        assert score["n"] == 4
        assert score["low"] <= score["accuracy"] <= score["high"]
    (change,) = [one for one in result["changes"] if one["what"] == "problems.jsonl"]
    before, after = (result[when]["problems.jsonl"] for when in ("before", "after"))
    assert change["difference"]["value"] == pytest.approx(after["accuracy"] - before["accuracy"])
    assert change["difference"]["n"] == 4
    told = result["rollouts"]
    assert told["rounds"] >= 4
    assert len(Path(told["file"]).read_text().splitlines()) == told["rounds"]
    assert Path(told["page"]).read_text().startswith("<!doctype html>")
    steps = [row for row in plots.read_metrics(tmp_path / "run" / "metrics.jsonl") if row["split"] == "train"]
    clock = result["clock"]
    assert clock["rollouts"] == pytest.approx(sum(row["data_seconds"] for row in steps), abs=0.02)
    assert clock["rollouts"] + clock["updates"] == pytest.approx(steps[-1]["seconds"], abs=0.02)
    assert [one["step"] for one in result["panel"]] == [0, 2, 4]
    assert all(0 <= one["reward"] <= 1 for one in result["panel"])
    assert result["panel"][0]["kl"] == pytest.approx(0, abs=1e-5)
    page = (tmp_path / "run" / "report" / "index.html").read_text()
    for shown in ("Rollouts", "answering and grading", "Guard rails", "Before and after"):
        assert shown in page
    differs = [
        name
        for name, one in tensors(place / "model").items()
        if not torch.equal(one, tensors(tmp_path / "run/model")[name])
    ]
    assert differs
    assert "".join(Chatbot.load(tmp_path / "run", device="cpu").reply("Hi!")) is not None


@BOTH
def test_an_adapter_is_trained_while_its_base_is_the_start(verb: str, place: Path, tmp_path: Path) -> None:
    result = run(verb, place, tmp_path / "run", lora_rank=4, beta=0.05)
    assert (tmp_path / "run" / "model" / "adapter_model.safetensors").exists()
    assert result["proofs"]["sanity"] == "green"
    assert result["panel"][0]["kl"] == pytest.approx(0, abs=1e-5)
    assert Checkpoint.load(tmp_path / "run", quiet=True).adapter is not None


def test_a_models_own_dropout_is_off_while_it_learns(place: Path, tmp_path: Path) -> None:
    """Else the first update of a round would see other probabilities than those that the answers were given with."""
    base(tmp_path / "model", template="chatml", resid_pdrop=0.5, embd_pdrop=0.5)
    run("ppo", place, tmp_path / "run", model=str(tmp_path / "model"), updates=2, beta=0.05)
    steps = [row for row in plots.read_metrics(tmp_path / "run" / "metrics.jsonl") if row["split"] == "train"]
    assert [row["clipped"] for row in steps[::2]] == [0.0, 0.0]
    assert steps[0]["kl"] == pytest.approx(0, abs=1e-5)


def test_a_task_is_practised_and_its_question_sets_are_held_out(place: Path, tmp_path: Path) -> None:
    with suppress(DataError):  # whether a model that knows nothing is right now and then is luck
        run("grpo", place, tmp_path / "run", task="arithmetic", steps=1)
    told = read(tmp_path / "run" / "data_report.json")
    assert told["name"] == "arithmetic"
    assert told["problems"]["practised"] > 100
    assert told["problems"]["arithmetic"] == 4


def test_a_reward_model_scores_the_answers_beside_the_graders(place: Path, tmp_path: Path) -> None:
    judge = Checkpoint.load(place / "model", quiet=True).with_score(seed=3)
    judge.save(tmp_path / "judge")
    answers = [Completion((1,), text, "stop") for text in ("apple", "xyz", "")]
    some = [Problem(conversation("Hi"), "contains", {"accepted": ["apple"]})] * 3
    scores = RewardModel.load(tmp_path / "judge", "cpu").score(
        [conversation("Hi", text) for text in ("apple", "xyz", "…")]
    )
    both = reinforcing.Rewards(0.5, RewardModel.load(tmp_path / "judge", "cpu"), 2.0)(some, answers)
    assert both.grades == [1.0, 0.0, 0.0]
    expected = [0.5 * grade + 2 * score for grade, score in zip(both.grades, scores, strict=True)]
    assert both.rewards == pytest.approx(expected, abs=1e-5)
    alone = reinforcing.Rewards(0.0, RewardModel.load(tmp_path / "judge", "cpu"), 1.0)(some, answers)
    assert alone.grades == []
    assert alone.rewards == pytest.approx(scores, abs=1e-5)
    (tmp_path / "asked.jsonl").write_text("".join(json.dumps({"prompt": f"Go, {i}!"}) + "\n" for i in range(40)))
    data = {"data": str(tmp_path / "asked.jsonl"), "reward": str(tmp_path / "judge")}
    with pytest.raises(
        DataError, match=r"asked.jsonl:\d+: a prompt without an answer.*--reward FOLDER and --grader-weight 0"
    ):
        run("grpo", place, tmp_path / "refused", **data)
    result = run("grpo", place, tmp_path / "run", **data, grader_weight=0.0, compare=True)
    assert result["before"] == {}
    assert result["steps"] == 4
    steps = [row for row in plots.read_metrics(tmp_path / "run" / "metrics.jsonl") if row["split"] == "train"]
    assert all("accuracy" not in row for row in steps)


def test_a_grader_that_raises_is_named_with_its_problem() -> None:
    wrong = Problem(conversation("What is 3 + 4?"), "number", {"valu": 7})
    rewards = reinforcing.Rewards(1.0, None, 1.0)
    with pytest.raises(
        DataError, match=r"^the grader number of 'What is 3 \+ 4\?' cannot grade: the answer has 'valu'"
    ):
        rewards([wrong], [Completion((1,), "7", "stop")])


def test_a_finished_run_gives_its_result_again(place: Path, tmp_path: Path) -> None:
    first = run("grpo", place, tmp_path / "run")
    before = files(tmp_path / "run" / "model")
    again = run("grpo", place, tmp_path / "run", resume=True)
    assert again["rollouts"] == first["rollouts"]
    assert again["clock"] == first["clock"]
    assert files(tmp_path / "run" / "model") == before


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"task": "arithmetic", "data": "x.jsonl"}, "--task and --data are both given"),
        ({"data": []}, "--task and --data are both missing; give --task arithmetic"),
        ({"seq_len": 64}, "--seq-len is given, but changes nothing"),
        ({"patience": 2}, "--patience is given, but changes nothing"),
        ({"dropout": 0.1}, "--dropout is given, but answers are made and learned from without any"),
        ({"lora_rank": 4, "lora_dropout": 0.1}, "--lora.dropout is given"),
        ({"updates": 2, "accumulate": 2}, "--updates 2 learns from a round in several steps"),
        ({"grader_weight": 0.0}, "nothing grades the answers: --grader-weight is 0"),
        ({"group": 1}, "--group must be .* 2"),
        ({"max_tokens": 250}, r"problems.jsonl:\d+: the prompt has \d+ tokens, and --max-tokens 250 more"),
        ({"task": "keywords"}, "keywords"),
        ({"reward": "MODEL"}, "is a language model, which scores no answers"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_written(
    more: dict[str, Any], says: str, place: Path, tmp_path: Path
) -> None:
    more = {name: str(place / "model") if value == "MODEL" else value for name, value in more.items()}
    with pytest.raises(ConfigError, match=says):
        run("grpo", place, tmp_path / "run", **more)
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_conversations_are_no_problems(place: Path, tmp_path: Path) -> None:
    row = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]}
    (tmp_path / "talks.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(DataError, match=r"talks.jsonl:1: a conversation; reinforcement learning asks problems"):
        run("grpo", place, tmp_path / "run", data=str(tmp_path / "talks.jsonl"))


def test_the_terminal_shows_what_the_rounds_cost_and_what_they_gave(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"--{name.replace('_', '-')}={value}" for name, value in given(place, tmp_path / "run").items()]
    words = [word for word in words if not word.startswith(("--model", "--compare"))]
    with undrawn():
        assert _cli.main(["grpo", str(place / "model"), *words]) == 0
    out = console.clean(capsys.readouterr().out)
    for shown in (
        "Rollouts",
        "answering and grading",
        "rollouts.jsonl",
        "Guard rails",
        "guard rails: ",
        "problems.jsonl",
    ):
        assert shown in out
