"""Check and truncation: what a model would learn is counted, cut and shown as training does it, and never silently."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest
from byte_tokenizer import ByteTokenizer
from hypothesis import given
from hypothesis import strategies as st

from chatwright import commands
from chatwright.data import check
from chatwright.data.check import Summary, analyse, analyse_words, screen
from chatwright.data.files import BadRow
from chatwright.data.source import gather, judge
from chatwright.data.truncate import Fit, fit, fit_document, fit_record, truncate
from chatwright.errors import DataError
from chatwright.text import template as templates
from chatwright.text.records import Conversation, Document, Message, Preference, Problem, Source, conversation
from chatwright.text.tokenizer import Tokenizer

BYTES = cast(Tokenizer, ByteTokenizer())
CHATML = templates.load("chatml")
THREE = conversation("one", "first answer", "two", "second answer", "three", "third answer")


def rows(*turns: list[str]) -> str:
    roles = ("user", "assistant")
    return "".join(
        json.dumps({"messages": [{"role": roles[i % 2], "content": turn} for i, turn in enumerate(one)]}) + "\n"
        for one in turns
    )


# ---- truncation


@pytest.mark.parametrize("name", ["plain", "chatml", "alpaca"])
@given(st.lists(st.text("ab \n", min_size=1).filter(str.strip), min_size=2, max_size=8), st.integers(2, 200))
def test_what_is_kept_is_a_prefix_and_ends_with_its_end_of_turn_or_says_that_it_does_not(
    name: str, turns: list[str], seq_len: int
) -> None:
    template = templates.load(name)
    talk = conversation(*turns)
    whole = template.render(talk, BYTES)
    fitted = fit(talk, BYTES, template, seq_len)
    assert fitted.tokens == len(whole.ids)
    if fitted.example is None:
        assert fitted.fit is Fit.UNLEARNABLE
        assert not any(whole.mask[:seq_len])
        return
    assert len(fitted.example.ids) <= seq_len
    assert fitted.example.ids == whole.ids[: len(fitted.example.ids)]
    assert any(fitted.example.mask)
    learned = [number for number, is_learned in zip(fitted.example.ids, fitted.example.mask, strict=True) if is_learned]
    ends_itself = learned[-1] == template.stop_ids(BYTES)[0]
    assert ends_itself == (fitted.fit is not Fit.ANSWER_CUT)
    assert fitted.conversation is not None
    assert len(fitted.conversation) + fitted.dropped == len(talk)
    assert (fitted.fit is Fit.WHOLE) == (fitted.conversation == talk and fitted.fit is not Fit.ANSWER_CUT)
    if fitted.fit is Fit.TURNS_DROPPED:
        assert fitted.conversation.messages[-1].role == "assistant"
    if fitted.fit is Fit.TURNS_DROPPED and fitted.dropped > 1:
        longer = template.render(talk[: len(fitted.conversation) + 2], BYTES)
        assert max(i for i, is_learned in enumerate(longer.mask) if is_learned) >= seq_len


def test_turns_go_from_the_end_one_exchange_at_a_time() -> None:
    sizes = [len(CHATML.render(THREE[:k], BYTES).ids) for k in (2, 4, 6)]
    assert truncate(THREE, BYTES, CHATML, sizes[2]) == (THREE, Fit.WHOLE)
    assert truncate(THREE, BYTES, CHATML, sizes[1]) == (THREE[:4], Fit.TURNS_DROPPED)
    assert truncate(THREE, BYTES, CHATML, sizes[1] - 2) == (THREE[:2], Fit.TURNS_DROPPED)
    assert truncate(THREE, BYTES, CHATML, sizes[0] - 2) == (THREE[:2], Fit.ANSWER_CUT)
    prompt = len(CHATML.render(THREE[:1], BYTES, reply=True).ids)
    assert truncate(THREE, BYTES, CHATML, prompt) == (None, Fit.UNLEARNABLE)


def test_the_line_end_after_the_last_turn_costs_no_answer() -> None:
    talk = conversation("Hi", "Hello!")
    size = len(CHATML.render(talk, BYTES).ids)
    assert fit(talk, BYTES, CHATML, size - 1).fit is Fit.WHOLE  # only the line end after <|im_end|> is missing
    assert fit(talk, BYTES, CHATML, size - 2).fit is Fit.ANSWER_CUT


def test_a_conversation_without_a_learned_turn_teaches_nothing() -> None:
    unlearned = Conversation((Message("user", "Hi"), Message("assistant", "Hello!", learn=False)))
    for talk in (conversation("Hi"), unlearned):
        assert fit(talk, BYTES, CHATML, 100).fit is Fit.NOTHING_LEARNED


def test_documents_are_learned_whole_and_both_answers_of_a_preference() -> None:
    assert sum(fit_document(Document("x" * 500), BYTES).example.mask) == 501  # type: ignore[union-attr]
    pair = Preference(conversation("Hi", "Hello!"), conversation("Hi", "Go away."))
    assert [one.fit for one in fit_record(pair, BYTES, CHATML, 100)] == [Fit.WHOLE, Fit.WHOLE]


# ---- screening


def test_a_row_with_nothing_to_learn_is_named_by_file_and_line_and_is_never_dropped_silently() -> None:
    good = Conversation(conversation("Hi", "Hello!").messages, Source("a.jsonl", 1))
    silent = Conversation(conversation("Hi").messages, Source("a.jsonl", 2))
    long = Conversation(conversation("x" * 100, "y").messages, Source("a.jsonl", 3))
    tool = (Message("user", "Hi"), Message("assistant", "a"), Message("tool", "b"), Message("assistant", "c"))
    placeless = Conversation(tool, Source("a.jsonl", 4))
    problem = Problem(conversation("Why?"), "contains", {}, Source("a.jsonl", 5))
    plain = templates.load("plain")
    records = (good, silent, long, placeless, problem)
    found = list(screen(records, lambda record: fit_record(record, BYTES, plain, 60)))
    assert [isinstance(one, BadRow) for one in found] == [False, True, True, True, False]
    bad = [str(one) for one in found if isinstance(one, BadRow)]
    assert bad[0].startswith("a.jsonl:2: no token is learned")
    assert bad[1].startswith("a.jsonl:3: the prompt alone fills the window")
    assert bad[2].startswith("a.jsonl:4: message 3 has the role tool")
    assert bad[2].count("a.jsonl:4") == 1


# ---- the report


def test_counts_are_those_of_the_rendering_that_training_uses(tmp_path: Path) -> None:
    path = tmp_path / "chats.jsonl"
    path.write_text(rows(["Hi", "Hello!"], ["Hi", "Hello!"], ["Why?", "Because.", "Oh", "Yes."], ["Alone"]) + "oops\n")
    examples = [CHATML.render(talk, BYTES) for talk in (conversation("Hi", "Hello!"), conversation("Why?", "Because."))]
    report = analyse(gather(str(path)), CHATML, BYTES, len(examples[1].ids))
    assert (report.read, report.kept, report.repeated) == (5, 3, 1)
    assert report.kinds == {"Conversation": 3}
    assert report.learned.total == 2 * sum(examples[0].mask) + sum(examples[1].mask)
    assert report.lengths.most == len(CHATML.render(conversation("Why?", "Because.", "Oh", "Yes."), BYTES).ids)
    assert report.truncated == {Fit.TURNS_DROPPED: 1}
    assert [row.line for row in report.bad] == [5, 4]
    with pytest.raises(DataError, match="2 of 5 rows"):
        report.judge()
    with pytest.raises(DataError, match="--max-bad-share"):
        report.judge(skip_bad_rows=True)
    report.judge(skip_bad_rows=True, max_bad_share=0.4)
    assert json.loads(json.dumps(report.as_dict()))["bad"][0].startswith(f"{path}:5: ")


def test_an_answer_that_lost_its_end_is_counted_and_placed(tmp_path: Path) -> None:
    path = tmp_path / "chats.jsonl"
    path.write_text(rows(["Hi", "Hello!"], ["Hi", "x" * 200]))
    report = analyse(gather(str(path)), CHATML, BYTES, 60)
    assert report.truncated == {Fit.ANSWER_CUT: 1}
    assert report.cut == (f"{path}:2",)


def test_without_a_tokenizer_words_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "chats.jsonl"
    path.write_text(rows(["one two", "three four five"], ["six"]))
    report = analyse_words(gather(str(path)))
    assert (report.unit, report.lengths.total, report.learned.total) == ("words", 5, 3)
    assert [row.line for row in report.bad] == [2]


def test_prompts_that_two_files_share_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(rows(["One?", "a"], ["Two?", "b"]))
    (tmp_path / "b.jsonl").write_text(rows([" two? ", "c"], ["Three?", "d"]))
    report = analyse_words(gather(str(tmp_path)))
    assert list(report.overlaps.values()) == [1]


def test_a_summary_is_of_the_counts_in_order() -> None:
    assert Summary.of(range(101)) == Summary(total=5050, median=50, most=100, at_95_percent=95)
    assert Summary.of([]) == Summary(0, 0, 0, 0)
    assert check.conversations(Document("x")) == ()


# ---- the verb


def run(*words: str, colour: bool = False) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "200"} | ({"FORCE_COLOR": "1", "TERM": "xterm-256color"} if colour else {})
    if not colour:
        environment.pop("FORCE_COLOR", None)
    program = "import sys; from chatwright.commands import main; sys.argv[0] = 'chatwright'; main()"
    return subprocess.run(
        [sys.executable, "-c", program, "check", *words], capture_output=True, text=True, timeout=60, env=environment
    )


@pytest.fixture
def tokenizer(tmp_path: Path) -> str:
    ByteTokenizer().save(tmp_path / "tokenizer")
    return str(tmp_path / "tokenizer")


def test_the_verb_shows_what_is_learned_with_and_without_colour(tmp_path: Path, tokenizer: str) -> None:
    path = tmp_path / "chats.jsonl"
    path.write_text(rows(["Say é [bold] \x1b[31m", "Hello ☃!"]))
    words = (str(path), "--tokenizer", tokenizer, "--template", "chatml")
    plain = run(*words)
    assert plain.returncode == 0, plain.stderr
    assert "<|im_start|>user↵" in plain.stdout
    assert "Say é [bold] " in plain.stdout
    assert "⟦Hello ☃!<|im_end|>⟧" in plain.stdout
    assert "\x1b" not in plain.stdout
    assert "⟦ Hello ☃!<|endoftext|>⟧" in run(str(path), "--tokenizer", tokenizer).stdout
    coloured = run(*words, colour=True)
    assert "⟦" not in coloured.stdout
    learned = coloured.stdout.partition("assistant")[2] or coloured.stdout
    assert "42m" in learned or "102m" in learned
    assert "\x1b[31m" not in coloured.stdout


def test_bad_rows_are_listed_by_file_and_line_and_end_with_2(tmp_path: Path) -> None:
    path = tmp_path / "chats.jsonl"
    path.write_text(rows(*[["Hi", "Hello!"]] * 199) + "oops\n")
    done = run(str(path), "--rows", "0")
    assert done.returncode == 2
    assert f"{path}:200: is not JSON" in done.stdout
    assert done.stderr.count(f"{path}:200") == 1
    assert run(str(path), "--rows", "0", "--skip-bad-rows").returncode == 0
    asked = run(str(path), "--json")
    assert asked.returncode == 2
    found = json.loads(asked.stdout)
    assert (found["read"], found["kept"], found["exit_code"]) == (200, 199, 2)
    assert found["bad"][0].startswith(f"{path}:200: ")


def test_the_same_from_python_gives_the_report(
    tmp_path: Path, tokenizer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "qa.csv"
    path.write_text("question,output\nWhy?,Because.\nHow?,So.\nWho?,Me.\n")
    settings: dict[str, Any] = {"data": str(path), "tokenizer": tokenizer, "columns": {"instruction": "question"}}
    result = commands.run("check", settings | {"against": "primer#5"})
    assert (result["kept"], result["format"], result["unit"]) == (3, "alpaca", "tokens")
    assert result["splits"] == {"train": 1, "validation": 1, "test": 1}
    assert result["against"] == {"primer#5": 0}
    assert capsys.readouterr().out == ""
    mapped = run(str(path), "--columns", "{instruction: question}", "--rows", "1")
    assert mapped.returncode == 0, mapped.stderr
    assert "user: Why?" in mapped.stdout
    assert "⟦Because.⟧" in mapped.stdout


def test_real_instructions_with_gpt2_s_own_vocabulary(test_data: Path) -> None:
    gpt2 = Tokenizer.from_gpt2_files(test_data / "gpt2-encoder.json", test_data / "gpt2-vocab.bpe")
    dataset = gather(str(test_data / "instructions.json"))
    report = analyse(dataset, templates.load("plain"), gpt2, 1024)
    judge(dataset.report)
    report.judge()
    assert (report.kept, report.truncated, report.bad) == (1100, {}, ())
    assert report.learned.total > 10_000
