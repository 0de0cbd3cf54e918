"""Check and truncation: what a model would learn is counted, cut and shown as training does it, and never silently."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from byte_tokenizer import ByteTokenizer
from hypothesis import given
from hypothesis import strategies as st

from chatwright import commands
from chatwright.commands._cli import main
from chatwright.data import check, source
from chatwright.data.check import CheckReport, analyse
from chatwright.data.lessons import Text
from chatwright.data.options import ReadOptions
from chatwright.data.quality.look import Asked
from chatwright.data.quality.tally import Summary
from chatwright.data.settings import DataSettings
from chatwright.data.truncate import Fit, fit, fit_document, fit_record
from chatwright.errors import DataError
from chatwright.text import template as templates
from chatwright.text.records import Conversation, Document, Message, Preference, conversation
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

    def truncate(*given: Any) -> tuple[Any, Fit]:
        found = fit(*given)
        return found.conversation, found.fit

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


# ---- the report


def looked(
    path: Path, seq_len: int | None = None, tokenizer: Tokenizer = BYTES, template: str = "chatml"
) -> CheckReport:
    """The report in tokens, or, without a window, in words."""
    text = None if seq_len is None else Text(tokenizer, templates.load(template))
    return analyse(source.open(str(path)), Asked(text, seq_len or 0))


def test_counts_are_those_of_the_rendering_that_training_uses(tmp_path: Path) -> None:
    path = tmp_path / "chats.jsonl"
    path.write_text(rows(["Hi", "Hello!"], ["Hi", "Hello!"], ["Why?", "Because.", "Oh", "Yes."], ["Alone"]) + "oops\n")
    examples = [CHATML.render(talk, BYTES) for talk in (conversation("Hi", "Hello!"), conversation("Why?", "Because."))]
    report = looked(path, len(examples[1].ids))
    assert (report.read, report.kept, report.rows("duplicate")) == (5, 3, 1)
    assert report.kinds == {"Conversation": 3}
    assert report.learned.total == 2 * sum(examples[0].mask) + sum(examples[1].mask)
    assert report.lengths.most == len(CHATML.render(conversation("Why?", "Because.", "Oh", "Yes."), BYTES).ids)
    assert report.truncated == {Fit.TURNS_DROPPED: 1}
    assert [row.line for row in report.bad] == [4, 5]
    with pytest.raises(DataError, match="2 of 5 rows"):
        report.judge()
    with pytest.raises(DataError, match="--max-bad-share"):
        report.judge(skip_bad_rows=True)
    with pytest.raises(DataError, match=r"1 of 4 conversations \(25\.0%\) do not fit .* --max-truncated-share 0\.26"):
        report.judge(skip_bad_rows=True, max_bad_share=0.4)
    report.judge(skip_bad_rows=True, max_bad_share=0.4, max_truncated_share=0.26)
    found = json.loads(json.dumps(report.as_dict()))
    assert found["bad"][1].startswith(f"{path}:5: ")
    assert found["listed"][0] == {
        "file": str(path),
        "line": 4,
        "reason": str(Fit.NOTHING_LEARNED),
        "kind": "bad",
        "rows": 1,
    }
    assert found["truncated_rows"] == [{"file": str(path), "line": 3, "reason": str(Fit.TURNS_DROPPED)}]


def test_an_answer_that_lost_its_end_is_counted_and_placed(tmp_path: Path) -> None:
    path = tmp_path / "chats.jsonl"
    path.write_text(rows(["Hi", "Hello!"], ["Hi", "x" * 200]))
    report = looked(path, 60)
    assert report.truncated == {Fit.ANSWER_CUT: 1}
    assert report.cut == (f"{path}:2",)


def test_without_a_tokenizer_words_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "chats.jsonl"
    path.write_text(rows(["one two", "three four five"], ["six"]))
    report = looked(path)
    assert (report.unit, report.lengths.total, report.learned.total) == ("words", 5, 3)
    assert [row.line for row in report.bad] == [2]


def test_prompts_that_two_files_share_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(rows(["One?", "a"], ["Two?", "b"]))
    (tmp_path / "b.jsonl").write_text(rows([" two? ", "c"], ["Three?", "d"]))
    report = looked(tmp_path)
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


Verb = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def verb(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Verb:
    """`run` in this process, which is quicker."""
    monkeypatch.setenv("COLUMNS", "200")

    def run_here(*words: str) -> subprocess.CompletedProcess[str]:
        code = main(["check", *words])
        return subprocess.CompletedProcess(words, code, *capsys.readouterr())

    return run_here


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


def test_bad_rows_are_listed_by_file_and_line_and_end_with_2(tmp_path: Path, verb: Verb) -> None:
    path = tmp_path / "chats.jsonl"
    path.write_text(rows(*[["Hi", "Hello!"]] * 199) + "oops\n")
    done = verb(str(path), "--rows", "0")
    assert done.returncode == 2
    assert f"{path}:200: is not JSON" in done.stdout
    assert done.stderr.count(f"{path}:200") == 1
    assert verb(str(path), "--rows", "0", "--skip-bad-rows").returncode == 0
    asked = verb(str(path), "--json")
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
    assert result["against"] == {"the primer's problems": 0, "primer#5": 0}
    assert capsys.readouterr().out == ""
    mapped = run(str(path), "--columns", "{instruction: question}", "--rows", "1")
    assert mapped.returncode == 0, mapped.stderr
    assert "user: Why?" in mapped.stdout
    assert "⟦Because.⟧" in mapped.stdout


def test_real_instructions_with_gpt2_s_own_vocabulary(test_data: Path) -> None:
    gpt2 = Tokenizer.from_gpt2_files(test_data / "gpt2-encoder.json", test_data / "gpt2-vocab.bpe")
    report = looked(test_data / "instructions.json", 1024, gpt2, "plain")
    report.judge()
    assert (report.kept, report.truncated, report.bad) == (1100, {}, ())
    assert report.learned.total > 10_000


def test_the_window_is_the_one_that_training_has(tmp_path: Path) -> None:
    path = tmp_path / "chats.jsonl"
    path.write_text(rows(["Hi", "Hello!"]))
    needed = len(CHATML.render(conversation("Hi", "Hello!"), BYTES).ids) - 1  # the line end after the end of turn
    assert looked(path, needed - 1).truncated == {}  # seq_len predictions of one id more
    assert looked(path, needed - 2).truncated == {Fit.ANSWER_CUT: 1}


# ---- leaving rows out


@pytest.fixture
def messy(tmp_path: Path) -> Path:
    """A file with something for most filters: 30 good rows, and 6 others."""
    talks = [[f"What is number {k}?", f"It is the number {k}, and {k * k} is its square."] for k in range(30)]
    others = [talks[3], ["Alone"], ["Go on", "I like it. " * 9], ["What is the capital of France?", "Paris."]]
    path = tmp_path / "chats.jsonl"
    path.write_text(rows(*talks, *others, ["Hi", "Hello!\nUser: you?"]) + "oops\n")
    return path


def test_what_each_filter_would_leave_out_is_counted_and_shown_with_what_to_do(messy: Path, verb: Verb) -> None:
    done = verb(str(messy), "--rows", "0", "--skip-bad-rows", "--max-bad-share", "0.1")
    assert done.returncode == 0, done.stderr
    shown = [line.split()[:3] for line in done.stdout.splitlines()]
    for name in ("contaminated", "duplicate", "no_answer", "repetitive", "speaks_for_user"):
        assert ["*", name, "1"] in shown, done.stdout
    assert ["other_format", "0", "text"] in shown
    assert f"{messy}:31: says exactly what {messy}:4 says" in done.stdout
    assert "read      36: 34 used, 2 bad" in done.stdout
    assert "--fix clean.jsonl" in done.stdout.partition("what to do")[2]


def test_the_clean_version_is_written_with_a_list_of_the_rest_and_passes_where_the_data_did_not(
    messy: Path, verb: Verb
) -> None:
    out = messy.with_name("clean.jsonl")
    assert verb(str(messy), "--json").returncode == 2
    done = verb(str(messy), "--json", "--fix", str(out))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["fix"] == {
        "kept": 30,
        "dropped": 6,
        "out": str(out),
        "list": str(messy.with_name("clean.dropped.jsonl")),
    }
    dropped = [json.loads(line) for line in messy.with_name("clean.dropped.jsonl").read_text().splitlines()]
    reasons = {one["line"]: one["filter"] for one in dropped}
    assert reasons == {
        31: "duplicate", 32: "no_answer", 33: "repetitive", 34: "contaminated", 35: "speaks_for_user", 36: "bad_row",
    }  # fmt: skip
    assert dropped[1]["records"] == [{"messages": [{"role": "user", "content": "Alone"}]}]
    again = json.loads(verb(str(out), "--json").stdout)
    assert (again["read"], again["kept"], again["bad"]) == (30, 30, [])
    assert {name: one["rows"] for name, one in again["filters"].items() if one["chosen"] and one["rows"]} == {}
    second = verb(str(messy), "--fix", str(out))
    assert second.returncode == 2
    assert f"--fix: {out} exists; give another name, or replace it with --overwrite" in second.stderr
    assert verb(str(messy), "--fix", str(out), "--overwrite", "--filters", "none").returncode == 0
    assert len(out.read_text().splitlines()) == 34  # what cannot be used is never written


def test_the_clean_version_is_judged_in_place_of_the_data(tmp_path: Path, tokenizer: str) -> None:
    path, out = tmp_path / "data" / "chats.jsonl", tmp_path / "clean.jsonl"
    path.parent.mkdir()
    path.write_text(rows(["Hi", "Hello!"], ["Hi", " ".join(map(str, range(60)))]))
    words: dict[str, Any] = {
        "data": str(path),
        "tokenizer": tokenizer,
        "seq_len": 60,
        "fix": str(out),
        "overwrite": True,
    }
    with pytest.raises(DataError, match="1 of 2 conversations"):
        commands.run("check", words)
    assert commands.run("check", words | {"filters": ["too_long"]})["fix"]["kept"] == 1
    with pytest.raises(DataError, match="no row is left after the filters"):
        commands.run("check", words | {"filters": ["too_long"], "seq_len": 5})
    for inside in (path, path.parent / "other.jsonl"):
        with pytest.raises(DataError.__mro__[1], match="is part of the data that is checked"):
            commands.run("check", words | {"data": str(path.parent), "fix": str(inside)})


def test_truncated_rows_above_the_limit_end_with_2(tmp_path: Path, tokenizer: str, verb: Verb) -> None:
    path = tmp_path / "chats.jsonl"
    path.write_text(rows(*[["Hi", f"Hello number {k}!"] for k in range(50)], ["Hi", "x" * 200]))
    words = (str(path), "--rows", "0", "--tokenizer", tokenizer, "--seq-len", "60")
    done = verb(*words)
    assert done.returncode == 2
    assert f"{path}:51: the first answer does not fit" in done.stderr
    assert "1 of 51 conversations (2.0%) do not fit the window whole, more than the 1.0% that may be" in done.stderr
    assert "raise --seq-len, or accept it with --max-truncated-share 0.02" in done.stderr
    assert verb(*words, "--max-truncated-share", "0.02").returncode == 0


def test_the_page_is_written_where_it_is_wanted(messy: Path, tokenizer: str) -> None:
    page = messy.with_name("page.html")
    words: dict[str, Any] = {"data": str(messy), "tokenizer": tokenizer, "html": str(page), "skip_bad_rows": True}
    assert commands.run("check", words | {"max_bad_share": 0.1})["html"] == str(page)
    assert "speaks_for_user" in page.read_text()


# ---- settings of data


def test_the_settings_of_data_have_two_spellings_and_reach_the_reader(tmp_path: Path, verb: Verb) -> None:
    path, names = tmp_path / "qa.csv", tmp_path / "names.txt"
    path.write_text("question,output\nWhy?,Because.\n")
    names.write_text("\ufeff# friends\nAda\n\n Bob \n", encoding="utf-8")
    done = verb(str(path), "--data.format", "alpaca", "--data.columns", "{instruction: question}", "--hide", str(names))
    assert done.returncode == 0, done.stderr
    assert "read as alpaca (instruction from 'question', output)" in done.stdout
    given: dict[str, Any] = {"languages": ["en,de", "fr"], "tree": "3", "me": "Ada", "hide": str(names), "gap_hours": 2}
    options = DataSettings(**(given | {"redact": {"off": True, "ner": "some/model"}})).read_options()
    assert (options.languages, options.threads, options.format) == (("en", "de", "fr"), "3", None)
    assert (options.chats.me, options.chats.gap_hours, options.chats.hide) == ("Ada", 2, ("Ada", "Bob"))
    assert (options.chats.redact, options.chats.ner) == (False, "some/model")
    assert DataSettings().read_options() == ReadOptions()


def test_a_wrong_setting_of_data_is_one_sentence(tmp_path: Path, verb: Verb) -> None:
    path = tmp_path / "chats.jsonl"
    path.write_text(rows(["Hi", "Hello!"]))
    wrong = verb(str(path), "--tree", "some")
    assert wrong.returncode == 2
    assert "--tree: must be best, all or a whole number from 1 up, got 'some'" in wrong.stderr
    hidden = verb(str(path), "--hide", str(tmp_path / "none.txt"))
    assert hidden.returncode == 2
    assert "--hide: " in hidden.stderr
    assert "cannot be read: No such file or directory; give a text file with one name a line" in hidden.stderr
