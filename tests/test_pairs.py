"""Pairs of a model's own faults: what is rejected has one, what is chosen has none, and dpo takes the file as it is."""

import json
import random
from pathlib import Path

import pytest
from scripted_model import bigram_folder

import chatwright
from chatwright.commands import _cli, pairs
from chatwright.data import source
from chatwright.data.truncate import Fit, fit_answer
from chatwright.evals.faults import FAULTS, fault
from chatwright.generate.completion import Completion
from chatwright.tasks.primer import open_ended
from chatwright.tasks.primer.world import load
from chatwright.text.manners import leaks_role, loops
from chatwright.text.records import Preference

CHATS = [
    {"messages": [{"role": "user", "content": f"Question {n}?"}, {"role": "assistant", "content": f"Answer {n}."}]}
    for n in range(4)
]


@pytest.fixture
def chats(tmp_path: Path) -> Path:
    path = tmp_path / "chats.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in CHATS))
    return path


@pytest.fixture
def looping(tmp_path: Path) -> Path:
    """A model that says "ababab…" for ever."""
    return bigram_folder(tmp_path / "looping", "abc", others={"b": "a"})


def rows(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def made(model: Path, chats: Path, out: Path, **settings: object) -> dict[str, object]:
    own = {"model": str(model), "data": [str(chats)], "out": str(out), "max_tokens": 60, "device": "cpu", "json": True}
    return pairs.run(pairs.Settings.model_validate({**own, **settings}))


def test_a_loop_is_rejected_and_what_the_data_says_is_chosen(looping: Path, chats: Path, tmp_path: Path) -> None:
    out = tmp_path / "pairs.jsonl"
    found = made(looping, chats, out, kind=["loops"], temperature=0.0)
    assert (found["prompts"], found["answers"], found["pairs"]) == (4, 4, 4)
    assert found["faults"] == {"loops": 4}
    for number, row in enumerate(rows(out)):
        assert row["prompt"] == [{"role": "user", "content": f"Question {number}?"}]
        assert row["chosen"] == [{"role": "assistant", "content": f"Answer {number}."}]
        assert loops(row["rejected"][0]["content"])
        assert row["rejected"][0]["finish_reason"] == "length"


def test_an_answer_without_fault_makes_no_pair(chats: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = made(bigram_folder(tmp_path / "good", "yes"), chats, tmp_path / "none.jsonl", temperature=0.0)
    assert found["pairs"] == 0
    assert (tmp_path / "none.jsonl").read_text() == ""
    assert "the file is empty. Give more --answers" in capsys.readouterr().err


def test_the_file_is_read_as_preferences_whose_rejected_answer_has_no_end(
    looping: Path, chats: Path, tmp_path: Path
) -> None:
    out = tmp_path / "pairs.jsonl"
    made(looping, chats, out, temperature=0.0)
    read = source.read(str(out), kind="preferences").records
    assert len(read) == 4
    text = chatwright.Chatbot.load(looping, device="cpu").checkpoint
    for record in read:
        assert isinstance(record, Preference)
        assert not record.rejected.messages[-1].ended
        kept = fit_answer(record.rejected, text.tokenizer, text.template, 400)
        whole = fit_answer(record.chosen, text.tokenizer, text.template, 400)
        assert kept.fit is whole.fit is Fit.WHOLE
        assert kept.example is not None
        assert whole.example is not None
        assert whole.example.ids[-1] in text.stop_ids
        assert kept.example.ids[-1] not in text.stop_ids
        assert kept.example.mask[-1] == 1


def test_equal_seeds_give_equal_pairs(looping: Path, chats: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        made(looping, chats, tmp_path / name, seed=3, answers=2)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize(
    ("text", "finish", "name"),
    [
        ("Paris.", "stop", ""),
        (" ", "stop", "empty"),
        ("no no no no no no no no no no", "stop", "loops"),
        ("Paris.\nUser: And Rome?", "stop", "speaks-for-user"),
        ("Paris is a city that", "length", "runs-on"),
    ],
)
def test_a_fault_has_a_name(text: str, finish: str, name: str) -> None:
    assert fault(Completion((1,), text, finish)) == name  # type: ignore[arg-type]
    assert name in ("", *FAULTS)


def test_data_without_answers_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text(json.dumps({"messages": [{"role": "user", "content": "Hello?"}]}) + "\n")
    model = bigram_folder(tmp_path / "good", "yes")
    assert _cli.main(["pairs", str(model), "--data", str(path), "--out", str(tmp_path / "out.jsonl")]) == 2
    assert "no conversation ends with an answer" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out.jsonl").exists()


def test_open_requests_that_are_held_out_are_in_no_conversation_and_no_preference() -> None:
    world = load()
    held = {one.prompt.messages[0].content for one in open_ended.problems(world)}

    asked = {one.messages[0].content for one in open_ended.conversations(world, random.Random(0))}
    pairs_ = list(open_ended.preferences(world, random.Random(0), 600))
    asked |= {one.chosen.messages[0].content for one in pairs_}
    assert len(held) == open_ended.ASKED
    assert not held & asked
    for one in pairs_:
        chosen, rejected = (side.messages[-1].content for side in (one.chosen, one.rejected))
        assert not loops(chosen)
        assert not leaks_role(chosen)
        assert rejected.startswith(chosen)
        assert len(rejected) > len(chosen)


def test_about_a_third_of_the_open_answers_have_bad_manners() -> None:

    said = [one.messages[-1].content for one in open_ended.conversations(load(), random.Random(1))]
    bad = sum(loops(text) or leaks_role(text) for text in said) / len(said)
    assert bad == pytest.approx(open_ended.BAD, abs=0.05)
