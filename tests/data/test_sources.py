"""Sources by name: what cannot be read twice is refused, what others see names nobody, limits and weights mean what they say."""

import json
import os
import sys
import threading
from pathlib import Path

import pytest
from small_runs import policy

from chatwright import commands
from chatwright.data import source
from chatwright.data.rows import BadRow
from chatwright.data.spec import parse
from chatwright.data.split import SplitRule
from chatwright.errors import ConfigError, DataError
from chatwright.text.records import Conversation, Source, conversation

CHAT = "".join(
    f"{day:02}/03/2024, 18:0{minute} - {who}: {text} {day}\n"
    for day in range(1, 21)
    for minute, who, text in ((2, "Lena Brandt", "Are you there, Omar?"), (5, "Omar Diallo", "Yes, Lena, day"))
)


def rows(path: Path, count: int, word: str = "tea") -> Path:
    lines = (
        {"messages": [{"role": "user", "content": f"{word} {i}?"}, {"role": "assistant", "content": f"Yes, {i}."}]}
        for i in range(count)
    )
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    found: list[BaseException] = []

    def opens() -> None:
        try:
            source.open(str(tmp_path / "pipe.jsonl"))
        except DataError as error:
            found.append(error)

    thread = threading.Thread(target=opens, daemon=True)
    thread.start()
    thread.join(10)
    assert "neither a file nor a folder" in str(found[0])


def test_a_name_that_is_no_text_is_one_sentence(tmp_path: Path) -> None:
    name = os.fsdecode(b"m\xff.jsonl")
    with pytest.raises(DataError, match="not UTF-8; rename the file"):
        parse(name)
    rows(tmp_path / "good.jsonl", 3).rename(tmp_path / name)
    with pytest.raises(DataError, match="not UTF-8; rename the file"):
        source.open(str(tmp_path))


@pytest.mark.parametrize("weight", ["0", "-1", "inf", "nan", "1e308", "much"])
def test_a_weight_is_a_number_that_can_be_added_up(weight: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the weight after '@' must be a number above 0"):
        parse(f"{rows(tmp_path / 'a.jsonl', 2)}@{weight}")


def test_the_weight_and_the_spelling_of_a_path_prepare_nothing_anew(tmp_path: Path) -> None:
    path = rows(tmp_path / "a.jsonl", 3)
    assert source.open(f"{path}@0.2").key == source.open(f"{path}@0.3").key
    assert source.open(f"{path}#2").key != source.open(str(path)).key
    assert source.open(str(path), "documents").key != source.open(str(path), "conversations").key


def test_a_record_that_its_source_holds_out_is_never_trained_on() -> None:
    held = Conversation(conversation("Hi", "Hello").messages, Source("chat.txt", 3, "", "test"))
    for shares in ((0.9, 0.05, 0.05), (1.0, 0.0, 0.0), (0.5, 0.5, 0.0)):
        assert [one.split for one in SplitRule(shares).place(held)] == ["test"]


def test_the_newest_part_of_a_chat_is_as_large_as_the_shares_and_its_notes_name_nobody(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy().save(tmp_path / "start")
    (tmp_path / "WhatsApp Chat with Lena.txt").write_text(CHAT, encoding="utf-8")
    given = {"model": str(tmp_path / "start"), "data": str(tmp_path / "WhatsApp Chat with Lena.txt"), "steps": 1}
    given |= {"me": "Omar Diallo", "from_scratch": True, "compare": False, "device": "cpu", "max_truncated_share": 1}
    shares = {"validation_share": 0.2, "test_share": 0.2}
    commands.run("sft", {**given, **shares, "out": str(tmp_path / "some")})
    report = json.loads((tmp_path / "some" / "data_report.json").read_text())
    assert report["splits"] == {"train": 12, "validation": 4, "test": 4}
    assert "Omar" not in " ".join(report["notes"])
    assert "'Omar Diallo' are learned" in capsys.readouterr().err
    assert report["public_name"] == "own chats (whatsapp)"
    for path in (tmp_path / "some" / "model").iterdir():
        assert not [name for name in (b"Lena", b"Omar", b"Diallo") if name in path.read_bytes()], path
    commands.run("sft", {**given, "validation_share": 0, "test_share": 0, "out": str(tmp_path / "all")})
    assert json.loads((tmp_path / "all" / "data_report.json").read_text())["splits"] == {"train": 20}


def test_max_samples_counts_over_all_sources(tmp_path: Path) -> None:
    policy().save(tmp_path / "start")
    first, second, third = (str(rows(tmp_path / f"{name}.jsonl", 6, name)) for name in ("a", "b", "c"))
    given = {"model": str(tmp_path / "start"), "data": [first, second, third], "max_samples": 9, "steps": 1}
    fixed = {"from_scratch": True, "compare": False, "device": "cpu", "out": str(tmp_path / "run")}
    commands.run("sft", {**given, **fixed})
    report = json.loads((tmp_path / "run" / "data_report.json").read_text())
    assert [one["records"] for one in report["sources"]] == [6, 3]
    assert report["read"] == 9


def test_a_run_is_not_resumed_on_other_documents_to_rehearse(tmp_path: Path) -> None:
    policy().save(tmp_path / "start")
    (tmp_path / "d.txt").write_text("\n\n".join(f"The number {i} is here." for i in range(30)))
    given = {"model": str(tmp_path / "start"), "data": str(rows(tmp_path / "a.jsonl", 20)), "steps": 2, "rehearse": 0.3}
    given |= {"rehearse_data": str(tmp_path / "d.txt"), "from_scratch": True, "compare": False, "device": "cpu"}
    commands.run("sft", {**given, "out": str(tmp_path / "run")})
    (tmp_path / "run" / "result.json").unlink()
    (tmp_path / "d.txt").write_text("Something else stands here now. " * 20)
    with pytest.raises(ConfigError, match="data fingerprint"):
        commands.run("sft", {**given, "out": str(tmp_path / "run"), "resume": True})


def test_what_is_published_of_a_local_file_is_its_name_without_its_folders(tmp_path: Path) -> None:
    stream = source.open(f"{rows(tmp_path / 'a.jsonl', 3)}#2")
    assert stream.public_name == "a.jsonl"
    assert source.open("primer:conversations#2").public_name == "primer:conversations#2"
    assert sum(not isinstance(found, BadRow) for found in stream) == 2


def test_without_the_libraries_that_find_numbers_no_chat_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "phonenumbers", None)
    (tmp_path / "chat.txt").write_text(CHAT, encoding="utf-8")
    with pytest.raises(DataError, match=r"pip install 'chatwright\[data\]'"):
        list(source.open(str(tmp_path / "chat.txt")))
