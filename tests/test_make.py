"""One command from an export of chats to a bot: it answers, its folder holds nothing that was hidden, and that is shown."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from scripted_model import bigram_folder
from tuned_runs import base

from chatwright import Chatbot, commands
from chatwright.checkpoint.shape import shape_of
from chatwright.commands import _cli, _making
from chatwright.commands import _training as training
from chatwright.commands import make as make_verb

CHAT = "".join(
    f"{day:02}/03/2024, 18:{minute:02} - {who}: {text}\n"
    for day in range(1, 27)
    for minute, who, text in (
        (2, "Lena Brandt", f"Hi Omar, what do you bring on day {day}? Write to lena{day}@example.org"),
        (5, "Omar Diallo", f"Bread and cheese, dear Lena, for {day} people."),
    )
)
SECRETS = ("Lena", "Brandt", "Diallo", "example.org", "@example")


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("chat") / "WhatsApp Chat with Lena.txt"
    path.write_text(CHAT, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return base(tmp_path_factory.mktemp("base"), template="chatml")


def make(chat: Path, model: Path, out: Path, **given: Any) -> dict[str, Any]:
    few = {
        "epochs": 1,
        "seq_len": 128,
        "device": "cpu",
        "me": "Omar Diallo",
        "max_truncated_share": 1,
        "proofs": "warn",
    }
    return commands.run("make", {"data": str(chat), "base": str(model), "out": str(out), **few, **given})


@pytest.fixture(scope="module")
def made(chat: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("bots") / "omar"
    return out, make(chat, model, out)


def test_an_export_becomes_a_bot_that_answers(made: tuple[Path, dict[str, Any]]) -> None:
    out, result = made
    assert isinstance("".join(Chatbot.load(str(out), device="cpu").reply("What do you bring?")), str)
    assert result["next"][0] == f"chatwright chat {out}"
    assert Path(result["check"]).read_text().startswith("<!doctype html>")
    assert (out / "report" / "index.html").exists()
    assert result["steps"] > 1


def test_what_was_hidden_is_listed_and_is_in_nothing_that_could_be_given_away(
    made: tuple[Path, dict[str, Any]],
) -> None:
    out, result = made
    hidden = json.loads((out / _making.REDACTION).read_text())
    assert stat.S_IMODE((out / _making.REDACTION).stat().st_mode) == 0o600
    assert {"Lena", "lena1@example.org"} <= {form for row in hidden["hidden"] for form in row["forms"]}
    (account,) = result["chats"]
    assert (account["rows"], account["used"], account["others"]) == (52, 52, 1)
    assert account["redaction"]["counts"]["email"] == 26
    files = [path for path in out.rglob("*") if path.is_file() and path.name != _making.REDACTION]
    for path in files:  # outside of the model stand the name of the chat's file, and the owner's
        sought = SECRETS if path.is_relative_to(out / "model") else ("Brandt", "example.org")
        assert not [secret for secret in sought if secret.encode() in path.read_bytes()], path


def test_the_report_says_what_was_hidden_and_whether_any_of_it_comes_back(made: tuple[Path, dict[str, Any]]) -> None:
    out, _ = made
    proofs = {row["name"]: row for row in json.loads((out / "proofs.json").read_text())["proofs"]}
    assert (proofs["redaction"]["state"], proofs["memory"]["state"]) == ("green", "green")
    assert "not looked for" in proofs["redaction"]["says"]
    assert proofs["memory"]["figures"]["answers"] > 20
    assert proofs["memory"]["figures"]["secrets"] > 26
    page = (out / "report" / "index.html").read_text()
    assert "came back" in page
    assert "not looked for" in page


def test_the_newest_conversations_are_held_out(made: tuple[Path, dict[str, Any]]) -> None:
    _, result = made
    (account,) = result["chats"]
    assert account["splits"]["train"] + account["splits"]["validation"] + account["splits"]["test"] == 26
    assert account["splits"]["train"] < 26
    stored = json.loads((made[0] / "data_report.json").read_text())
    assert stored["splits"] == account["splits"]


def test_a_secret_that_the_model_says_turns_the_proof_red(tmp_path: Path) -> None:
    parrot = bigram_folder(tmp_path / "parrot", "Wolf Pidge.")
    (tmp_path / "chat.txt").write_text(CHAT.replace("Bread", "Wolf Pidge's bread"), encoding="utf-8")
    (tmp_path / "names.txt").write_text("Wolf Pidge\n", encoding="utf-8")
    given = {"data": str(tmp_path / "chat.txt"), "hide": str(tmp_path / "names.txt"), "me": "Omar Diallo"}
    given |= {"base": str(parrot), "out": str(tmp_path / "bot"), "device": "cpu"}
    settings = make_verb.Settings.model_validate(given)
    nothing = training.Data((), {})
    found = _making.privacy_proofs(settings, parrot, nothing, _making.read(settings))
    assert {one.name: one.state for one in found} == {"redaction": "green", "memory": "red"}


def test_the_others_are_asked_about_in_words_and_a_stranger_is_refused(
    chat: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["make", str(chat), "--base", str(model), "--out", str(tmp_path / "bot"), "--device", "cpu"]
    assert _cli.main([*words, "--me", "Nobody"]) == 2
    assert "Omar Diallo" in capsys.readouterr().err
    assert not (tmp_path / "bot").exists()
    assert _cli.main([*words, "--me", "Omar Diallo", "--epochs", "0.1", "--seq-len", "8"]) == 2
    assert "one other person wrote part of these chats" in capsys.readouterr().err


def test_the_primer_s_chatbot_is_taken_from_where_it_is_kept(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    place = tmp_path / "cache" / "chatwright" / "primer" / "grpo"
    place.mkdir(parents=True)
    (place / "model").symlink_to(model)
    settings = make_verb.Settings.model_validate({"data": "x", "base": "primer", "out": "bot"})
    assert _making.base(settings) == str(place)


@pytest.mark.parametrize(
    ("free", "way"), [(100, {}), (10, {"rank": _making.RANK}), (1, {"rank": _making.RANK, "load_in": "4bit"})]
)
def test_what_learns_fits_into_the_memory(
    free: int, way: dict[str, Any], model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_making, "_free_memory", lambda _: free * shape_of(str(model)).size)
    found = _making._method(make_verb.Settings.model_validate({"data": "x", "base": "b", "out": "o"}), str(model))
    assert {**found.get("lora", {}), **{k: v for k, v in found.items() if k == "load_in"}} == way
