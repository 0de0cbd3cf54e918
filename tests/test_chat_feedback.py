"""What is corrected while talking is data that the training verbs read, and /train makes the model say it."""

import json
import signal
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scripted_model import bigram_folder, scripted_chatbot
from tuned_runs import base, undrawn

from chatwright import commands
from chatwright.chat import learning, rehearsal, slash
from chatwright.chat.feedback import Feedback
from chatwright.chat.opening import Opening
from chatwright.chat.session import Session
from chatwright.checkpoint import Checkpoint
from chatwright.data import source
from chatwright.errors import ConfigError, DataError
from chatwright.generate.sampling import Sampling
from chatwright.objectives.sft import Sft
from chatwright.text.records import Conversation, Preference
from chatwright.train.signals import Interrupted


@pytest.fixture
def kept(tmp_path: Path) -> Feedback:
    return Feedback(tmp_path / "run")


def session(kept: Feedback, *replies: str, window: int = 512, **settings: Any) -> Session:
    return Session(scripted_chatbot(*replies, window=window), Sampling(**settings), feedback=kept)


def line(chat: Session, text: str) -> str:
    """What a typed line tells; an answer is taken whole."""
    outcome = slash.enter(chat, text)
    return outcome.text + "".join(outcome.answer or ())


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def records(path: Path, kind: str) -> list[Any]:
    """What a verb that learns from this kind makes of the file."""
    read = source.read(str(path), kind=kind)
    return list(read.records)


# Kept


def test_what_was_fixed_is_a_conversation_of_which_only_the_fixed_answer_is_learned(kept: Feedback) -> None:
    chat = session(kept, "Hello!", "Madrid, I think.")
    line(chat, "/system Be kind.")
    list(chat.ask("Hi"))
    list(chat.ask("Spain's capital?"))
    assert str(kept.fixes) in line(chat, "/fix Madrid, señor.")
    (talk,) = records(kept.fixes, "conversations")
    assert isinstance(talk, Conversation)
    said = [(message.role, message.content, message.learned) for message in talk.messages]
    assert said == [
        ("system", "Be kind.", False),
        ("user", "Hi", False),
        ("assistant", "Hello!", False),
        ("user", "Spain's capital?", False),
        ("assistant", "Madrid, señor.", True),
    ]


def test_the_conversation_goes_on_with_the_fixed_answer(kept: Feedback) -> None:
    chat = session(kept, "Rome.", "Yes.")
    list(chat.ask("Spain's capital?"))
    chat.fix(" Madrid. ")
    list(chat.ask("Sure?"))
    model: Any = chat.chatbot.checkpoint.model
    prompt = chat.chatbot.checkpoint.tokenizer.decode(model.prompts[-1])
    assert "Madrid.<|im_end|>" in prompt
    assert "Rome" not in prompt
    line(chat, "/undo")
    assert [turn.content for turn in chat.turns] == ["Spain's capital?", "Madrid."]
    assert len(rows(kept.fixes)) == 1, "what was corrected stays corrected"


def test_a_better_answer_is_a_preference_over_the_models_own(kept: Feedback) -> None:
    chat = session(kept, "Rome.")
    list(chat.ask("Spain's capital?"))
    chat.fix("Madrid.")
    line(chat, "/better It is Madrid.")
    (pair,) = records(kept.preferences, "preferences")
    assert isinstance(pair, Preference)
    assert [one.messages[-1].content for one in (pair.chosen, pair.rejected)] == ["It is Madrid.", "Rome."]
    assert pair.chosen.messages[:-1] == pair.rejected.messages[:-1]
    assert chat.answer == "Madrid.", "the conversation stays as it was"


def test_an_answer_that_was_cut_teaches_nobody_that_it_stops_there(kept: Feedback) -> None:
    chat = session(kept, "Rome, and Rome, and Rome.", max_tokens=8)
    list(chat.ask("Spain's capital?"))
    chat.prefer("Madrid.")
    (pair,) = records(kept.preferences, "preferences")
    assert pair.chosen.messages[-1].ended
    assert not pair.rejected.messages[-1].ended


def test_correcting_the_same_answer_again_replaces_its_row_and_no_other(kept: Feedback) -> None:
    chat = session(kept, "A", "B", "C")
    for question in ("1", "2"):
        list(chat.ask(question))
        chat.fix(f"{question} fixed")
    chat.fix("2 fixed better")
    chat.prefer("x")
    chat.prefer("y")
    assert [row["messages"][-1]["content"] for row in rows(kept.fixes)] == ["1 fixed", "2 fixed better"]
    assert [row["chosen"][-1]["content"] for row in rows(kept.preferences)] == ["y"]


def test_a_row_holds_what_the_model_saw_and_not_what_had_left_the_window(kept: Feedback) -> None:
    chat = session(kept, *[f"answer number {i} of many" for i in range(12)], window=256, max_tokens=30)
    for i in range(12):
        list(chat.ask(f"question {i}"))
    chat.fix("mended")
    (row,) = rows(kept.fixes)
    assert row["messages"][0]["content"] == f"question {chat.hidden // 2}"
    (talk,) = records(kept.fixes, "conversations")
    assert len(chat.chatbot.checkpoint.render(talk).ids) <= 256


def test_only_the_owner_may_read_what_is_kept(kept: Feedback) -> None:
    chat = session(kept, "A")
    list(chat.ask("1"))
    chat.fix("B")
    chat.prefer("C")
    files = list(kept.folder.iterdir())
    assert sorted(file.name for file in files) == ["feedback-preferences.jsonl", "feedback-sft.jsonl"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_a_file_without_a_last_line_end_is_gone_on_with_on_a_new_line(kept: Feedback) -> None:
    kept.folder.mkdir()
    kept.fixes.write_text('{"messages": [{"role": "user", "content": "0"}, {"role": "assistant", "content": "Z"}]}')
    chat = session(kept, "A")
    list(chat.ask("1"))
    chat.fix("B")
    assert [row["messages"][-1]["content"] for row in rows(kept.fixes)] == ["Z", "B"]


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("/fix A", "that is the answer as it is"),
        ("/better A", "that is the answer as it is"),
        ("/fix " + "\ud800", "surrogate"),
    ],
)
def test_a_correction_that_is_none_changes_nothing(kept: Feedback, typed: str, sentence: str) -> None:
    chat = session(kept, "A")
    list(chat.ask("1"))
    with pytest.raises((ConfigError, DataError), match=sentence):
        line(chat, typed)
    assert chat.answer == "A"
    assert not kept.folder.exists() or not list(kept.folder.iterdir())


def test_without_an_answer_there_is_nothing_to_correct(kept: Feedback) -> None:
    chat = session(kept, "")
    for command in ("/fix", "/better", "/fix B", "/better B"):
        with pytest.raises(ConfigError, match="no message to answer yet"):
            line(chat, command)
    list(chat.ask("1"))
    with pytest.raises(ConfigError, match="has no answer yet"):
        line(chat, "/fix B")


def test_where_nothing_can_be_written_the_answer_stays(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    chat = session(Feedback(tmp_path / "file" / "run"), "A")
    list(chat.ask("1"))
    with pytest.raises(ConfigError, match=r"cannot be written .*; give --feedback FOLDER"):
        line(chat, "/fix B")
    assert chat.answer == "A"


def test_corrections_lie_in_the_run_they_are_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "runs" / "mine"
    for folder in (run / "model", run / "checkpoints" / "step-000010", tmp_path / "plain"):
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
    (run / "config.yaml").write_text("verb: sft\n")
    for name in ("runs/mine", "runs/mine/model", "runs/mine/checkpoints/step-000010"):
        assert Feedback.of(name).folder == Path("runs/mine")
    monkeypatch.chdir(run)
    assert Feedback.of(".").folder == run
    assert Feedback.of("model").folder == run
    monkeypatch.chdir(tmp_path)
    assert Feedback.of("plain").folder == Path("runs/feedback/plain")
    assert Feedback.of("someone/small@v2").folder == Path("runs/feedback/someone--small")
    assert session(Feedback(tmp_path / "else")).feedback.folder == tmp_path / "else"


# Learned


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Runs of seconds: a model of two layers that knows nothing learns at a higher rate, and its report has no plots."""
    monkeypatch.setattr(learning, "RATE", 3e-2)
    monkeypatch.setattr(rehearsal, "OTHERS", 1)
    with undrawn():
        yield


def run(verb: str, settings: dict[str, Any]) -> dict[str, Any]:
    return commands.run(verb, {**settings, "threads": 1, "dtype": "fp32"})


def opened(model: Path, **settings: Any) -> Session:
    opening = Opening(str(model), device="cpu", run=run)
    return Session(opening.load(str(model)), Sampling(max_tokens=12), name=str(model), opening=opening, **settings)


def run_folder(place: Path) -> Path:
    """A random chatbot as if some run had made it."""
    base(place / "model", template="plain")
    (place / "config.yaml").write_text("verb: sft\n")
    return place


def test_training_makes_the_model_say_what_was_fixed_on_the_weights_that_are_there(tmp_path: Path, small: None) -> None:
    chat = opened(run_folder(tmp_path / "bot"))
    model = chat.chatbot.checkpoint.model
    before = "".join(chat.ask("Your name?"))
    chat.fix("Robin.")
    turns = chat.turns
    told = line(chat, "/train 60")
    assert chat.chatbot.checkpoint.model is model
    assert chat.turns == turns
    assert chat.adapters.active == "bot-feedback-1"
    assert "/adapter none goes back" in told
    assert "now     Robin." in told
    chat.reset()
    assert "".join(chat.ask("Your name?")).strip() == "Robin."
    line(chat, "/adapter none")
    chat.reset()
    assert "".join(chat.ask("Your name?")) == before
    again = Checkpoint.load(tmp_path / "bot-feedback-1", quiet=True)
    assert again.adapter is not None
    assert again.folder == tmp_path / "bot" / "model", "it lies on the model as it was"


def test_the_next_training_begins_anew_with_all_corrections(tmp_path: Path, small: None) -> None:
    chat = opened(run_folder(tmp_path / "bot"))
    for question, answer in (("Name?", "Robin."), ("Age?", "Two.")):
        list(chat.ask(question))
        chat.fix(answer)
        line(chat, "/train 2")
        chat.reset()
    second = Checkpoint.load(tmp_path / "bot-feedback-2", quiet=True)
    assert second.folder == tmp_path / "bot" / "model"
    described = json.loads((tmp_path / "bot-feedback-2" / "model" / "training_metadata.json").read_text())
    assert described["num_samples"] == 2
    assert "/adapter NAME goes back" in line(chat, "/train 2")


def test_fixes_are_learned_before_preferences_and_the_former_model_can_be_had_back(tmp_path: Path, small: None) -> None:
    chat = opened(run_folder(tmp_path / "bot"))
    before = "".join(chat.ask("Your name?"))
    chat.fix("Robin.")
    list(chat.ask("Your age?"))
    chat.prefer("Two.")
    told = line(chat, "/train 3").splitlines()
    assert told[0] == f"1 row by sft: {tmp_path / 'bot-feedback-1'}"
    assert told[1] == f"1 row by dpo: {tmp_path / 'bot-feedback-2'}"
    assert "beside" not in told[2]
    assert chat.adapters.active == "bot-feedback-2"
    assert (tmp_path / "bot-feedback-2" / "base" / "model.safetensors").exists()
    assert f"/model {tmp_path / 'bot'} goes back" in told[2]
    said = [turn.content for turn in chat.turns]
    line(chat, f"/model {tmp_path / 'bot'}")
    assert [turn.content for turn in chat.turns] == said
    chat.reset()
    assert "".join(chat.ask("Your name?")) == before


def test_a_run_that_is_an_adapter_is_learned_from_too(tmp_path: Path, small: None) -> None:
    first = opened(run_folder(tmp_path / "bot"))
    list(first.ask("Name?"))
    first.fix("Robin.")
    line(first, "/train 2")
    chat = opened(tmp_path / "bot-feedback-1")
    list(chat.ask("Name?"))
    chat.fix("Kim.")
    told = line(chat, "/train 60")
    assert "bot-feedback-2" in told, "not bot-feedback-1-feedback-1"
    assert "now     Kim." in told
    chat.reset()
    assert "".join(chat.ask("Name?")).strip() == "Kim."


def test_a_base_model_learns_under_the_template_that_it_was_talked_to_in(tmp_path: Path, small: None) -> None:
    base(tmp_path / "bot")
    opening = Opening(str(tmp_path / "bot"), device="cpu", template="alpaca", run=run)
    bot = opening.load(opening.model, opening.template)
    chat = Session(bot, Sampling(max_tokens=12), opening=opening, feedback=Feedback(tmp_path / "kept"))
    list(chat.ask("Name?"))
    chat.fix("Robin.")
    line(chat, "/train 2")
    assert chat.chatbot.checkpoint.template.name == "alpaca"


def test_its_own_answers_are_learned_beside_the_corrections(tmp_path: Path, small: None) -> None:
    """A model that says "Ok!" to all is taught one other answer; what is rehearsed is what it said before."""
    bigram_folder(tmp_path / "bot", "Ok!")
    chat = opened(tmp_path / "bot", feedback=Feedback(tmp_path / "kept"))
    assert "".join(chat.ask("Hello!")) == "Ok!"
    chat.fix("Good day!")
    list(chat.ask("Name?"))
    chat.prefer("Robin.")
    rehearsal.prepare(chat, chat.feedback)
    own = records(chat.feedback.kept, "conversations")
    assert {talk.messages[-1].content for talk in own} == {"Ok!"}
    assert "Hello!" not in {talk.first_user for talk in own}, "that one is to change"
    assert len(own) == len(rehearsal.EVERYDAY) - 1 + rehearsal.OTHERS
    pairs = records(chat.feedback.contrasts, "preferences")
    assert {pair.rejected.messages[-1].content for pair in pairs} == {"Good day!", "Robin."}
    assert {pair.chosen.messages[-1].content for pair in pairs} == {"Ok!", "Good day!"}


def test_without_corrections_nothing_is_trained(tmp_path: Path, kept: Feedback) -> None:
    chat = session(kept, "A")
    with pytest.raises(ConfigError, match="nothing to learn yet"):
        line(chat, "/train")
    with pytest.raises(ConfigError, match="takes a number of steps, got 'now'"):
        line(chat, "/train now")


def test_a_row_that_was_broken_by_hand_is_named(kept: Feedback) -> None:
    chat = session(kept, "A")
    list(chat.ask("1"))
    chat.fix("B")
    kept.fixes.write_text(kept.fixes.read_text() + '{"messages": \n')
    with pytest.raises(DataError, match=r"feedback-sft.jsonl:2 is no row of feedback"):
        line(chat, "/train")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_while_training_loses_nothing_and_a_termination_ends_the_program(
    tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    chat = opened(run_folder(tmp_path / "bot"))
    before = "".join(chat.ask("Name?"))
    chat.fix("Robin.")
    turns, loss = chat.turns, Sft.loss
    calls: list[int] = []

    def watched(self: Sft, model: Any, batch: Any) -> Any:
        calls.append(1)
        if len(calls) == 12:
            signal.raise_signal(number)
        return loss(self, model, batch)

    monkeypatch.setattr(Sft, "loss", watched)
    if number == signal.SIGTERM:
        with pytest.raises(Interrupted):
            line(chat, "/train 40")
        return
    assert line(chat, "/train 40").startswith("Stopped; the conversation and what was corrected are as they were.")
    assert chat.turns == turns
    assert len(rows(chat.feedback.fixes)) == 1
    chat.reset()
    assert "".join(chat.ask("Name?")) == before, "the former model answers"
