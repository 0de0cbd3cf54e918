"""What a narrow terminal shows: lines end between words, columns stay columns, Tab completes, typing ahead spoils nothing."""

from itertools import pairwise
from pathlib import Path

import pytest
import test_chat
from hypothesis import given
from hypothesis import strategies as st
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from scripted_model import scripted_chatbot
from test_chat import READY, Terminal
from test_chat_feedback import opened, run_folder
from tuned_runs import undrawn

from chatwright.chat import completing, editor, learning, rehearsal, slash, wrapping
from chatwright.chat.session import Session
from chatwright.generate.sampling import Sampling

WORDS = st.lists(
    st.sampled_from(["a", "bc", "word", "longer", " ", "  ", "\n", "-", "x" * 30, "日本", "🎉"]), max_size=40
)
WIDE = set("日本🎉")


def cut(text: str, places: list[int]) -> list[str]:
    edges = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[here:there] for here, there in pairwise(edges)]


def cells(text: str) -> int:
    return sum(2 if sign in WIDE else 1 for sign in text)


@given(WORDS, st.lists(st.integers(0, 200), max_size=8), st.integers(8, 25))
def test_lines_end_between_words_wherever_the_pieces_are_cut(words: list[str], places: list[int], width: int) -> None:
    text = "".join(words)
    shown = "".join(wrapping.wrapped(cut(text, places), lambda: width))
    assert shown == "".join(wrapping.wrapped([text], lambda: width))
    assert shown.split() == text.split(), "no word is cut, and no letter lost"
    for line in shown.split("\n"):
        widest = max(map(cells, line.split()), default=0)
        if widest <= width and not set(line) & WIDE:
            assert cells(line.strip()) <= width


def test_code_keeps_its_indentation_and_a_wide_screen_changes_nothing() -> None:
    code = "def f():\n    if x:\n        return  1\n\n\nend  "
    assert "".join(wrapping.wrapped(list(code), lambda: 80)) == code


def test_the_help_is_two_columns_on_any_screen() -> None:
    text = slash.enter(Session(scripted_chatbot(), Sampling()), "/help").text
    rows = text.split("\n")
    column = len(wrapping.HANGING.match(rows[0]).group())  # type: ignore[union-attr]
    assert all(row[column - 2 : column] == "  " and row[column] != " " for row in rows)
    for width in (40, 60, 100):
        lines = wrapping.folded(text, width).split("\n")
        assert all(len(line) <= width for line in lines)
        assert all(line[:column].strip() == "" for line in lines if not line.startswith(("/", "Enter", "Tab", "Ctrl")))
        assert " ".join(wrapping.folded(text, width).split()) == " ".join(text.split())


@pytest.mark.parametrize("width", [30, 40, 50, 70, 200])
def test_the_meter_has_room_on_any_screen_and_always_tells_how_full_the_window_is(width: int) -> None:
    chat = Session(scripted_chatbot(), Sampling(top_k=40), name="runs/quickstart/some/where/deep")
    line = editor.fitted(editor.parts(chat), width)
    assert len(line) < width
    assert "0 of 512 tokens (0%)" in line
    assert line.partition(editor.SEPARATOR)[0].endswith("p")
    if width > 100:
        assert line == editor.meter(chat)


def completed(text: str) -> set[str]:
    found = completing.completer().get_completions(Document(text), CompleteEvent())
    return {text[: len(text) + one.start_position] + one.text for one in found}


def test_tab_completes_commands_settings_and_files(tmp_path: Path) -> None:
    (tmp_path / "chat.json").write_text("{}")
    (tmp_path / "run").mkdir()
    assert completed("/re") == {"/regen", "/reset"}
    assert completed("/set temp") == {"/set temperature"}
    assert completed("/markdown o") == {"/markdown on", "/markdown off"}
    assert completed(f"/load {tmp_path}/ch") == {f"/load {tmp_path}/chat.json"}
    assert completed(f"/model {tmp_path}/") == {f"/model {tmp_path}/run"}
    assert completed("Who are you?") == completed("/help me") == set()


def test_what_is_typed_while_an_answer_comes_waits_for_the_prompt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(test_chat, "CHILD", test_chat.CHILD.replace('"Hello!"', '"tick " * 8'))
    screen = Terminal(tmp_path)
    try:
        screen.wait(READY)
        screen.type("Hi\r")
        screen.wait("tick tick")
        screen.type("AHEAD")
        assert "AHEAD" not in screen.wait(READY)
        screen.wait("AHEAD")
    finally:
        screen.close()


def test_training_says_of_each_kind_of_correction_whether_it_is_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "RATE", 3e-2)
    monkeypatch.setattr(rehearsal, "OTHERS", 1)
    chat = opened(run_folder(tmp_path / "bot"))
    list(chat.ask("Name?"))
    chat.fix("Robin.")
    list(chat.ask("Age?"))
    chat.prefer("Two.")
    with undrawn():
        told = learning.train(chat, 2)
    assert [line.split()[-1] for line in told.splitlines() if line.startswith("  asked")] == ["Name?", "Age?"]
    assert told.endswith("2 of 2 are not your answers yet; /train 4 learns longer.")


def test_only_an_answer_that_was_given_whole_is_said_to_come_again() -> None:
    chat = Session(scripted_chatbot("Hello, my friend!", "Hello, my friend!", "Hello, my friend!"), Sampling())
    answer = chat.ask("Hi")
    next(answer)
    answer.close()
    stopped = slash.enter(chat, "/regen")
    assert stopped.text == ""
    list(stopped.answer or ())
    assert "the same answer again" in slash.enter(chat, "/regen").text
