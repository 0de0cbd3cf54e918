"""A conversation keeps what was said, loses nothing to a mistake or a Ctrl-C, and shows nothing a terminal obeys."""

import io
import json
import os
import pty
import re
import select
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_model import ScriptedModel, bigram_folder, scripted_chatbot

from chatwright import console
from chatwright.chat import editor, slash, terminal
from chatwright.chat.beside import Beside
from chatwright.chat.feedback import Feedback
from chatwright.chat.session import Session
from chatwright.chat.settings import SETTINGS
from chatwright.commands import run as run_verb
from chatwright.commands._sampling import SamplingSettings
from chatwright.errors import ConfigError, DataError
from chatwright.generate.chatbot import Chatbot
from chatwright.generate.sampling import Sampling

CHAIN = "Ok\x1b[31m!"  # red, if a terminal were to obey it


def session(*replies: str, window: int = 512, template: str = "chatml", **settings: object) -> Session:
    return Session(scripted_chatbot(*replies, window=window, template=template), Sampling(**settings))  # type: ignore[arg-type]


def said(chat: Session) -> list[str]:
    return [turn.content for turn in chat.turns]


def line(chat: Session, text: str) -> str:
    """What a typed line tells; an answer is taken whole."""
    outcome = slash.enter(chat, text)
    return outcome.text + "".join(outcome.answer or ())


def prompts(chat: Session) -> list[str]:
    """Every prompt that the model has seen, as text."""
    model = chat.chatbot.checkpoint.model
    assert isinstance(model, ScriptedModel)
    return [chat.chatbot.checkpoint.tokenizer.decode(ids) for ids in model.prompts]


def test_each_answer_sees_the_whole_conversation() -> None:
    chat = session("Hello!", "Madrid.")
    chat.set_system("Be kind.")
    assert "".join(chat.ask("Hi")) == "Hello!"
    assert "".join(chat.ask("And of Spain?")) == "Madrid."
    assert said(chat) == ["Hi", "Hello!", "And of Spain?", "Madrid."]
    places = [prompts(chat)[1].index(words) for words in ("Be kind.", "Hi", "Hello!", "And of Spain?")]
    assert places == sorted(places)
    assert chat.last is not None
    assert chat.last.finish == "stop"


def test_an_answer_that_is_closed_keeps_its_partial_turn_and_the_conversation_goes_on() -> None:
    chat = session("Hello, my friend!", "Good.")
    answer = chat.ask("Hi")
    with closing(answer):
        begun = next(answer) + next(answer) + next(answer)
    assert said(chat) == ["Hi", begun]
    assert chat.last is not None
    assert chat.last.finish == "cancelled"
    assert "".join(chat.ask("How are you?")) == "Good."
    assert begun + "<|im_end|>" in prompts(chat)[1]
    assert not chat.chatbot.engine.busy


def test_a_question_without_words_of_answer_is_not_kept_but_can_be_asked_again() -> None:
    chat = session("", "Yes.")
    assert "".join(chat.ask("Well?")) == ""
    assert said(chat) == []
    assert "not kept" in terminal.remarks(chat, 0)[0]
    assert line(chat, "/regen").endswith("Yes.")
    assert said(chat) == ["Well?", "Yes."]


def test_undo_takes_back_the_newest_exchange_and_only_that() -> None:
    chat = session("A", "B", "C")
    for words in ("1", "2", "3"):
        list(chat.ask(words))
    assert line(chat, "/undo") == "Taken back: 3"
    assert said(chat) == ["1", "A", "2", "B"]
    line(chat, "/undo")
    line(chat, "/undo")
    with pytest.raises(ConfigError, match="no message to answer yet"):
        line(chat, "/undo")


def test_undo_and_then_regen_answers_the_question_before_anew() -> None:
    chat = session("A", "B", "C")
    list(chat.ask("1"))
    list(chat.ask("2"))
    line(chat, "/undo")
    assert line(chat, "/regen").endswith("C")
    assert said(chat) == ["1", "C"]
    assert prompts(chat)[2] == prompts(chat)[0]


def test_regen_keeps_the_former_answer_when_no_words_come() -> None:
    chat = session("A", "")
    list(chat.ask("1"))
    line(chat, "/regen")
    assert said(chat) == ["1", "A"]


def test_regen_draws_with_another_seed_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    chat = session("A", "B", "C", "D", temperature=1.0, seed=7)
    seeds: list[int] = []
    original = Chatbot.reply

    def reply(self: Chatbot, conversation: object, sampling: Sampling) -> Iterator[str]:
        seeds.append(sampling.seed)
        return original(self, conversation, sampling)  # type: ignore[arg-type]

    monkeypatch.setattr(Chatbot, "reply", reply)
    line(chat, "1")
    line(chat, "/regen")
    line(chat, "/regen")
    line(chat, "2")
    assert seeds == [7, 8, 9, 7]


def test_a_conversation_longer_than_the_window_drops_whole_oldest_turns_and_says_so() -> None:
    replies = [f"answer number {i} of many" for i in range(12)]
    chat = session(*replies, window=256, max_tokens=30)
    chat.set_system("Be kind.")
    told = []
    for i in range(12):
        before = chat.hidden
        list(chat.ask(f"question {i}"))
        told += terminal.remarks(chat, before)
    assert told
    assert "the model no longer sees the oldest 2 messages" in told[0]
    assert len(chat.turns) == 24, "they stay in the conversation, to be saved"
    last = prompts(chat)[-1]
    assert last.startswith("<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nquestion")
    assert f"question {chat.hidden // 2 - 1}" not in last
    assert f"question {chat.hidden // 2}" in last
    assert f"the oldest {chat.hidden} no longer in the window" in line(chat, "/stats")


def test_dropping_bit_by_bit_leaves_what_dropping_at_once_leaves() -> None:
    chat = session(*["a" * (5 + 7 * i % 23) for i in range(15)], window=200, max_tokens=30)
    for i in range(15):
        list(chat.ask(f"q{i}"))
        kept, dropped = chat.chatbot.fit(chat._conversation(chat.turns[:-1]), 30)
        assert dropped == chat.hidden
        assert chat.chatbot.checkpoint.render(kept, reply=True).ids == chat.chatbot.checkpoint.model.prompts[-1]  # type: ignore[attr-defined]


def test_a_message_too_long_for_the_window_is_refused_and_nothing_is_lost() -> None:
    chat = session("A", "B", window=100, max_tokens=10)
    list(chat.ask("1"))
    with pytest.raises(ConfigError, match="the model's window is 100"):
        list(chat.ask("x" * 200))
    assert said(chat) == ["1", "A"]
    assert line(chat, "/undo") == "Taken back: 1"


def test_a_lone_surrogate_is_refused_and_nothing_is_lost() -> None:
    chat = session("A")
    with pytest.raises(DataError, match="surrogate"):
        line(chat, "a\udce9b")
    assert line(chat, "ok") == "A"


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    chat = session("Hello!", "B")
    chat.set_system("Be kind.")
    list(chat.ask("Hi"))
    file = tmp_path / "new folder" / "chat.json"
    assert line(chat, f"/save {file}") == f"Saved 2 messages in {file}"
    saved = json.loads(file.read_text(encoding="utf-8"))
    assert [message["role"] for message in saved["messages"]] == ["system", "user", "assistant"]
    other = session("Before.", "Fine.")
    list(other.ask("1"))
    assert line(other, f"/load {file}") == f"Loaded 2 messages from {file}"
    assert (other.system, said(other)) == ("Be kind.", ["Hi", "Hello!"])
    assert other.stats().last is None, "figures of another conversation"
    list(other.ask("How are you?"))
    line(other, f"/save {file}")
    assert len(json.loads(file.read_text(encoding="utf-8"))["messages"]) == 5


def test_save_replaces_no_file_that_is_something_else(tmp_path: Path) -> None:
    chat = session("A")
    with pytest.raises(ConfigError, match="nothing to save yet"):
        line(chat, f"/save {tmp_path / 'x.json'}")
    list(chat.ask("1"))
    letter = tmp_path / "letter.txt"
    letter.write_text("Dear", encoding="utf-8")
    for place in (letter, tmp_path):
        with pytest.raises(ConfigError, match="is no saved conversation"):
            line(chat, f"/save {place}")
    with pytest.raises(ConfigError, match="cannot be written"):
        line(chat, f"/save {letter}/chat.json")
    assert letter.read_text(encoding="utf-8") == "Dear"


@pytest.mark.parametrize(
    ("contents", "sentence"),
    [
        (None, "cannot be read"),
        ("{", "is not valid JSON"),
        ("[" * 100_000, "is not valid JSON"),
        (b"\xff\xfe\x00", "is not valid JSON"),
        ("[1]", "holds no conversation"),
        ('{"turns": []}', "the row has no 'messages'"),
        ('{"messages": []}', "has no messages"),
        ('{"messages": [{"role": "assistant", "content": "Hi"}]}', "an answer needs a user turn before it"),
        ('{"messages": [{"role": "robot", "content": "Hi"}]}', "the role is 'robot'"),
        ('{"messages": [{"role": "user", "content": 3}]}', "'content' is a number, 3; it must be text"),
        ('{"messages": [{"role": "user", "content": "\\ud800"}]}', "surrogate"),
        ('{"messages": [{"role": "system", "content": "Be kind."}]}', "nobody says anything in it"),
        (
            '{"messages": [{"role":"user","content":"1"},{"role":"assistant","content":"A"},'
            '{"role":"tool","content":"t"}]}',
            "no place",
        ),
    ],
)
def test_a_file_that_holds_no_conversation_is_one_sentence_and_changes_nothing(
    tmp_path: Path, contents: str | bytes | None, sentence: str
) -> None:
    chat = session("A", template="plain")
    list(chat.ask("1"))
    file = tmp_path / "chat.json"
    if contents is not None:
        file.write_bytes(contents if isinstance(contents, bytes) else contents.encode())
    with pytest.raises(DataError, match=sentence) as raised:
        line(chat, f"/load {file}")
    assert str(raised.value).startswith(str(file))
    assert "\n" not in str(raised.value)
    assert said(chat) == ["1", "A"]


def test_a_loaded_conversation_that_waits_for_an_answer_gets_it_by_regen(tmp_path: Path) -> None:
    file = tmp_path / "chat.json"
    file.write_text('{"messages": [{"role": "user", "content": "Well?"}]}', encoding="utf-8")
    chat = session("Yes.")
    assert "/regen asks for it" in line(chat, f"/load {file}")
    line(chat, "/regen")
    assert said(chat) == ["Well?", "Yes."]


def test_reset_forgets_the_turns_and_keeps_system_text_and_settings() -> None:
    chat = session("A", "B")
    line(chat, "/system Be kind.")
    line(chat, "/set temperature 0.5")
    list(chat.ask("1"))
    line(chat, "/clear")
    assert (said(chat), chat.system, chat.sampling.temperature) == ([], "Be kind.", 0.5)
    assert line(chat, "/stats").splitlines() == ["window    0 of 512 tokens used (0%)", "messages  0"]


def test_the_system_text_is_shown_set_removed_and_refused_where_the_template_has_no_place() -> None:
    chat = session()
    assert line(chat, "/system") == "There is no system text."
    line(chat, "/system Be kind.\nBe brief.")
    assert line(chat, "/system") == "System text: Be kind.\nBe brief."
    line(chat, "/system -")
    assert chat.system == ""
    with pytest.raises(ConfigError, match="window"):
        line(chat, "/system " + "x" * 600)
    assert chat.system == ""


def test_settings_are_checked_by_the_rules_of_sampling() -> None:
    chat = session()
    assert line(chat, "/set top-k 40") == "top_k = 40"
    assert line(chat, "/set stop The end.") == "stop = 'The end.'"
    assert line(chat, "/set stop") == "stop = none"
    assert [one.partition(" = ")[0] for one in line(chat, "/set").splitlines()] == [*SETTINGS]
    assert not {"logit_bias", "logprobs", "index"} & {*SETTINGS}, "those are for programs"
    for wrong, sentence in (
        ("temprature 1", "did you mean 'temperature'?"),
        ("temperature warm", "temperature must be a number, got 'warm'"),
        ("temperature nan", "temperature is nan"),
        ("max_tokens 1.5", "max_tokens must be a whole number, got '1.5'"),
        ("top_p 0", "top_p is 0.0; it must be above 0"),
    ):
        with pytest.raises(ConfigError) as raised:
            line(chat, f"/set {wrong}")
        assert sentence in str(raised.value)
    assert chat.sampling == Sampling(top_k=40)


def test_the_flags_have_the_defaults_and_limits_of_sampling() -> None:
    assert SamplingSettings().sampling() == Sampling()
    assert SamplingSettings(stop=("a", "b"), seed=3).sampling() == Sampling(stop=("a", "b"), seed=3)


def test_a_huge_seed_is_a_seed() -> None:
    chat = session("A", temperature=1.0, seed=10**40)
    assert line(chat, "1") == "A"


@pytest.mark.parametrize("word", ["exit", "quit", "/exit", "/quit", "  exit ", "/exit "])
def test_leaving_has_many_words(word: str) -> None:
    assert slash.enter(session(), word).leave


def test_an_empty_line_does_nothing_and_a_space_sends_a_slash() -> None:
    chat = session("A")
    assert slash.enter(chat, "  \n ") == slash.Outcome()
    assert line(chat, " /etc/passwd is a file?") == "A"
    assert chat.turns[0].content == " /etc/passwd is a file?"


def test_an_unknown_command_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"there is no command '/rgen', did you mean '/regen'\?"):
        line(session(), "/rgen")
    with pytest.raises(ConfigError, match="/undo takes no argument, got 'all'"):
        line(session(), "/undo all")
    with pytest.raises(ConfigError, match="/save needs a file"):
        line(session(), "/save")


def test_help_lists_every_command() -> None:
    shown = line(session(), "/help")
    assert all(f"/{name}" in shown for name in slash.COMMANDS)


def test_stats_tell_window_speed_and_why_the_answer_ended() -> None:
    chat = session("Hello!", max_tokens=3)
    list(chat.ask("Hi"))
    used = len(chat.chatbot.checkpoint.render(chat._conversation(chat.turns)).ids)
    first, second, third = line(chat, "/stats").splitlines()
    assert first == f"window    {used} of 512 tokens used ({used / 512:.0%})"
    assert second == "messages  2"
    assert third.startswith("answer    3 tokens in ")
    assert third.endswith("it was cut at max_tokens")


def test_a_full_window_ends_the_answer_and_is_said() -> None:
    chat = session("x" * 500, window=100, max_tokens=400)
    list(chat.ask("Hi"))
    assert terminal.remarks(chat, 0) == ["the answer was cut where the window of 100 tokens is full"]


FRAGMENTS = (
    "\x1b",
    "[",
    "]",
    "3",
    "1m",
    ";",
    "\\",
    "\x07",
    "P",
    "(",
    "\x1b[",
    "\x1b]",
    "\x9b",
    "\r",
    "\n",
    " ",
    "a",
    "é",
    "\u202e",
)


@settings(max_examples=400)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=12))
def test_escape_sequences_cut_in_pieces_do_not_get_through(pieces: list[str]) -> None:
    text = "".join(pieces)
    stream = console.CleanStream()
    shown = "".join([*(stream.push(piece) for piece in pieces), stream.flush()])
    assert shown == console.clean(text)
    assert not set(shown) & set("\x1b\x9b\x07\r\u202e")
    assert "".join(terminal.spoken(pieces)) == console.clean(text).strip()


def test_an_answer_is_written_without_white_space_at_its_ends() -> None:
    stream = io.StringIO()
    terminal.write([" ", " a", " ", "\n", "b \x1b", "[1", "mc", "\n", "\n"], stream)
    assert stream.getvalue() == "a \nb c\n"


# The command, as a program


def chatwright(*words: str, given: bytes | None = b"", cwd: Path) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "FORCE_COLOR": "1", "XDG_STATE_HOME": str(cwd)}
    command = [sys.executable, "-m", "chatwright", *words]
    return subprocess.run(command, input=given, capture_output=True, cwd=cwd, env=environment, timeout=60, check=False)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bigram_folder(tmp_path_factory.mktemp("chat") / "model", CHAIN)


def test_one_answer_is_all_there_is_on_stdout(model: Path, tmp_path: Path) -> None:
    done = chatwright("chat", str(model), "-p", "Hi", given=None, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, b"Ok!\n")
    assert list(tmp_path.iterdir()) == [], "no history is kept of it"


def test_a_pipe_is_one_message_and_a_base_model_is_said_on_stderr(model: Path, tmp_path: Path) -> None:
    base = bigram_folder(tmp_path / "base", "Ok!", template=None)
    done = chatwright("chat", str(base), given="Is it ü?\n/undo\n".encode(), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, b"Ok!\n")
    assert done.stderr.count(b"has no chat template") == 1


def test_json_is_one_object_with_the_reply_and_its_figures(model: Path) -> None:
    result = run_verb("chat", {"model": str(model), "prompt": "Hi"})
    assert (result["reply"], result["finish"], result["tokens"]) == (CHAIN, "stop", len(CHAIN))
    assert result["context"]["limit"] == 256
    cut = run_verb("chat", {"model": str(model), "prompt": "Hi", "max_tokens": 2})
    assert (cut["reply"], cut["finish"]) == ("Ok", "length")


def test_what_cannot_be_answered_ends_with_two_and_one_sentence(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from chatwright.commands import _cli

    for words, stdin, sentence in (
        ((str(tmp_path / "nowhere"), "-p", "Hi"), b"", "does not exist; a model is a folder"),
        ((str(model),), b" \n", "standard input is empty"),
        ((str(model),), b"\xff", "standard input is no UTF-8 text (byte 0)"),
        ((str(model), "-p", ""), b"", "--prompt is empty"),
        ((str(model), "-p", "x" * 500), b"", "the model's window is 256"),
        ((str(model), "-p", "Hi", "--temperature", "-1"), b"", "--temperature must be greater than or equal to 0"),
    ):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        assert _cli.main(["chat", *words]) == 2
        captured = capsys.readouterr()
        assert captured.out.strip() == ""
        assert sentence in captured.err
        assert captured.err.count("\n") == 1


# Other words, a second model, files for people


def test_edit_answers_other_words_in_the_place_of_the_newest_question() -> None:
    chat = session("A", "B", "C")
    list(chat.ask("1"))
    list(chat.ask("2"))
    assert line(chat, "/edit two") == "C"
    assert said(chat) == ["1", "A", "two", "C"]
    assert "2" not in prompts(chat)[2]
    ask = slash.enter(chat, "/edit").ask
    assert ask is not None
    assert ask.text == "two", "ready to be changed"
    assert ask.then(" ").text == "Nothing is changed."
    assert line(chat, "/undo") == "Taken back: two"


def test_edit_keeps_the_former_exchange_when_no_words_come_or_the_words_are_refused() -> None:
    chat = session("A", "", "B", window=100, max_tokens=10)
    list(chat.ask("1"))
    line(chat, "/edit one")
    assert said(chat) == ["1", "A"]
    with pytest.raises(ConfigError, match="the model's window is 100"):
        line(chat, "/edit " + "x" * 200)
    assert line(chat, "/regen").endswith("B")
    assert said(chat) == ["1", "B"], "asked again is what stands there"


def test_edit_needs_a_message() -> None:
    for typed in ("/edit", "/edit hello"):
        with pytest.raises(ConfigError, match="no message to edit yet"):
            line(session(), typed)


def test_a_second_model_answers_the_same_with_the_same_seed_and_leaves_no_trace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chat = session("A", "B", "C", temperature=1.0, seed=5)
    other = scripted_chatbot("x", "y", "z")
    chat.beside = Beside("other", other)
    seeds: list[int] = []
    original = Chatbot.reply

    def reply(self: Chatbot, conversation: object, sampling: Sampling) -> Iterator[str]:
        seeds.append(sampling.seed)
        return original(self, conversation, sampling)  # type: ignore[arg-type]

    monkeypatch.setattr(Chatbot, "reply", reply)
    assert ["".join((line(chat, typed), *chat.second()))[-1] for typed in ("1", "2", "/regen")] == ["x", "y", "z"]
    assert seeds == [5, 5, 5, 5, 6, 6]
    assert said(chat) == ["1", "A", "2", "C"]
    model: Any = other.checkpoint.model
    assert [other.checkpoint.tokenizer.decode(ids) for ids in model.prompts] == prompts(chat), "they saw the same"


def test_compare_reads_a_model_and_ends(model: Path) -> None:
    chat = session("A")
    assert line(chat, "/compare").startswith("One model answers")
    assert "answers beside" in line(chat, f"/compare {model}")
    line(chat, "Hi")
    assert "".join(chat.second()) == CHAIN
    assert chat.beside is not None
    assert chat.beside.last is not None
    assert chat.beside.seconds > 0
    with pytest.raises(ConfigError, match="does not exist"):
        line(chat, "/compare /nowhere")
    assert chat.beside is not None, "the one that was there stays"
    line(chat, "/compare -")
    assert chat.beside is None


def test_another_model_goes_on_with_the_conversation(model: Path) -> None:
    chat = session("A")
    list(chat.ask("1"))
    assert line(chat, "/model") == f"{chat.name} answers."
    line(chat, f"/model {model}")
    assert line(chat, "2") == CHAIN
    assert said(chat) == ["1", "A", "2", CHAIN]
    assert (chat.name, chat.opening.model) == (str(model), str(model)), "corrections are of this one now"
    with pytest.raises(ConfigError, match="does not exist"):
        line(chat, "/model /nowhere")
    assert chat.name == str(model)


def test_an_export_is_read_by_people_and_replaces_nothing(tmp_path: Path) -> None:
    chat = session("Hello\x1b[31m!\n\n```python\nx = 1\n```", "B")
    chat.name = "runs/mine"
    with pytest.raises(ConfigError, match="nothing to save yet"):
        line(chat, f"/export {tmp_path / 'a.md'}")
    chat.set_system("Be kind.")
    list(chat.ask("Hi"))
    assert line(chat, f"/export {tmp_path / 'a.md'}") == f"Wrote 2 messages to {tmp_path / 'a.md'}"
    assert (tmp_path / "a.md").read_text(encoding="utf-8") == (
        "# A conversation with runs/mine\n\n**System**\n\nBe kind.\n\n**You**\n\nHi\n\n**runs/mine**\n\n"
        "Hello!\n\n```python\nx = 1\n```\n"
    )
    line(chat, f"/export {tmp_path / 'a.txt'}")
    assert "You: Hi\n\nruns/mine: Hello!" in (tmp_path / "a.txt").read_text(encoding="utf-8")
    line(chat, f"/export {tmp_path / 'a.json'}")
    assert "Loaded 2 messages" in line(session(), f"/load {tmp_path / 'a.json'}")
    for wrong, sentence in (("a.md", "exists"), ("a.pdf", "ends in '.pdf'"), ("chat", "ends in 'nothing'")):
        with pytest.raises(ConfigError, match=sentence):
            line(chat, f"/export {tmp_path / wrong}")


# The line editor, by prompt_toolkit's own pipe


@contextmanager
def typed(keys: str) -> Iterator[None]:
    """What prompt_toolkit reads in this block."""
    from prompt_toolkit.application import create_app_session
    from prompt_toolkit.input import create_pipe_input
    from prompt_toolkit.output import DummyOutput

    with create_pipe_input() as pipe, create_app_session(input=pipe, output=DummyOutput()):
        pipe.send_text(keys)
        yield


def test_several_lines_end_with_one_that_says_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    chat = session("A")
    ask = slash.enter(chat, "/multi").ask
    assert ask is not None
    with typed("one\r\rthree /end\r/end\rnext\r"):
        reader = editor.Editor(chat)
        text = reader.ask(ask)
        assert text == "one\n\nthree /end"
        assert reader.read() == "next", "Enter sends again"
    list(ask.then(text).answer or ())
    assert said(chat)[0] == "one\n\nthree /end"


def test_a_text_to_be_changed_stands_there_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    chat = Session(scripted_chatbot("Rome."), Sampling(), feedback=Feedback(tmp_path))
    list(chat.ask("Of Spain?"))
    ask = slash.enter(chat, "/fix").ask
    assert ask is not None
    with typed("\x7f, no: Madrid.\r"):  # one backspace
        ask.then(editor.Editor(chat).ask(ask))
    assert said(chat) == ["Of Spain?", "Rome, no: Madrid."]


def test_the_meter_tells_who_answers_how_full_the_window_is_and_what_was_set() -> None:
    chat = session("A")
    chat.name = "runs/mine"
    assert editor.meter(chat) == "runs/mine · 0 of 512 tokens (0%) · temperature 0"
    list(chat.ask("Hi"))
    line(chat, "/set top_k 40")
    chat.beside = Beside("runs/other", scripted_chatbot())
    used = chat.stats().used
    assert editor.meter(chat) == (
        f"runs/mine · {used} of 512 tokens ({used / 512:.0%}) · temperature 0 · top_k 40 · beside runs/other"
    )


# Markdown


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


PIECES = ("# He", "llo\n\n- **one\x1b]0;title\x07**\n- [two](http", "s://a.example)\n\n```py\nx = 1\n```\n")


def drawn(monkeypatch: pytest.MonkeyPatch, pieces: Iterable[str], **environment: str) -> str:
    for name, value in {"TERM": "xterm", "COLUMNS": "40", "LINES": "8", **environment}.items():
        monkeypatch.setenv(name, value)
    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    terminal.write(pieces, screen, as_markdown=True)
    return screen.getvalue()


def test_markdown_is_drawn_of_cleaned_text(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = drawn(monkeypatch, PIECES)
    final = console.clean(shown.rpartition("\x1b[2K")[2])
    assert " • one" in final
    assert "two (https://a.example)" in final, "a link shows where it leads"
    assert "x = 1" in final
    assert "**" not in final
    assert "\x1b]" not in shown, "neither a title nor a hidden link"


def test_no_color_draws_markdown_without_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    colours = re.compile(r"\x1b\[(?:\d+;)*(?:3\d|4\d|9\d)[;m]")
    assert colours.search(drawn(monkeypatch, PIECES))
    assert not colours.search(drawn(monkeypatch, PIECES, NO_COLOR="1"))


def test_an_answer_longer_than_the_screen_is_there_in_full_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = drawn(monkeypatch, [f"line {i}\n\n" for i in range(60)])
    final = console.clean(shown.rpartition("\x1b[2K")[2])
    assert [one for one in final.split("\n") if one.strip()] == [f"line {i}".ljust(40) for i in range(60)]


def test_an_answer_that_is_stopped_leaves_what_came(monkeypatch: pytest.MonkeyPatch) -> None:
    def pieces() -> Iterator[str]:
        yield "**half"
        yield "way**"
        raise KeyboardInterrupt

    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    with pytest.raises(KeyboardInterrupt):
        terminal.write(pieces(), screen, as_markdown=True)
    assert "halfway" in console.clean(screen.getvalue())


def test_what_is_no_terminal_gets_the_text_as_it_is() -> None:
    stream = io.StringIO()
    terminal.write(PIECES, stream, as_markdown=True)
    assert stream.getvalue().startswith("# Hello\n\n- **one**")


def test_markdown_is_switched_on_and_off() -> None:
    chat = session()
    assert line(chat, "/markdown on") == "Answers are shown as Markdown."
    assert line(chat, "/markdown") == "Answers are shown as Markdown."
    assert line(chat, "/markdown off") == "Answers are shown as they come."
    with pytest.raises(ConfigError, match="on or off, got 'maybe'"):
        line(chat, "/markdown maybe")


# The terminal, by a pseudo-terminal

CHILD = """
from pathlib import Path
from scripted_model import scripted_chatbot
from chatwright.chat import terminal
from chatwright.chat.session import Session
from chatwright.generate.sampling import Sampling
chat = Session(scripted_chatbot("Hello!", "tick " * 60, "Good.", pause=0.03), Sampling(), name="scripted")
terminal.converse(chat)
print("turns", [turn.content[:9] for turn in chat.turns])
"""


READY = "\x1b[?2004h"  # bracketed paste on: what the prompt begins with


class Terminal:
    """A child on a pseudo-terminal of 100 x 30."""

    def __init__(self, tmp_path: Path) -> None:
        child = tmp_path / "child.py"
        child.write_text(CHILD, encoding="utf-8")
        self.pid, self.screen = pty.fork()
        if self.pid == 0:
            path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
            os.environ.update(PYTHONPATH=path, XDG_STATE_HOME=str(tmp_path), OMP_NUM_THREADS="1", TERM="xterm")
            os.execv(sys.executable, [sys.executable, str(child)])
        self.seen = ""
        self.code: int | None = None

    def type(self, keys: str) -> None:
        os.write(self.screen, keys.encode())

    def wait(self, words: str, seconds: float = 60) -> str:
        """Everything shown from the last wait up to these words."""
        end = time.monotonic() + seconds
        while words not in self.seen:
            ready, _, _ = select.select([self.screen], [], [], max(0.0, end - time.monotonic()))
            try:
                new = os.read(self.screen, 4096) if ready else b""
            except OSError:  # the child has gone
                new = b""
            if not new:
                pytest.fail(f"{words!r} was not shown, but {self.seen[-2000:]!r}")
            self.seen += new.decode("utf-8", "replace")
        before, _, self.seen = self.seen.partition(words)
        return before

    def leave(self) -> int:
        _, status = os.waitpid(self.pid, 0)
        os.close(self.screen)
        self.code = os.waitstatus_to_exitcode(status)
        return self.code

    def close(self) -> None:
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)
            self.leave()


@pytest.fixture
def screen(tmp_path: Path) -> Iterator[Terminal]:
    child = Terminal(tmp_path)
    yield child
    child.close()


def test_a_person_talks_stops_an_answer_and_leaves_by_ctrl_d(screen: Terminal, tmp_path: Path) -> None:
    screen.wait(READY)
    screen.type("Hi\r")
    screen.wait("Hello!")
    screen.wait(READY)
    screen.type("\x1b[200~count\rthe ticks\x1b[201~\r")  # a paste of two lines
    screen.wait("tick tick ")
    screen.type("\x03")
    screen.wait("(stopped)")
    screen.wait(READY)
    screen.type("/regn\r")
    screen.wait("did you mean '/regen'?")
    screen.wait(READY)
    screen.type("one\x1b\rmore\r")
    screen.wait("Good.")
    screen.wait(READY)
    screen.type("\x04")
    screen.wait("turns ['Hi', 'Hello!', 'count\\nthe', 'tick tick")
    screen.wait("'one\\nmore', 'Good.']")
    assert screen.leave() == 0
    history = tmp_path / "chatwright" / "chat_history"
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
    assert "+the ticks" in history.read_text(encoding="utf-8")


def test_the_second_ctrl_c_at_the_prompt_leaves_with_zero(screen: Terminal) -> None:
    screen.wait(READY)
    screen.type("half a line\x03")
    screen.wait("Ctrl-C again")
    screen.wait(READY)
    screen.type("\x03")
    screen.wait("turns []")
    assert screen.leave() == 0


def test_a_history_that_others_could_read_is_closed_to_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    path = editor.history_path()
    path.parent.mkdir()
    path.write_text("", encoding="utf-8")
    path.chmod(0o644)
    history = editor._history()
    history.append_string("a\udce9b")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert editor.history_path() == tmp_path / ".local" / "state" / "chatwright" / "chat_history"
