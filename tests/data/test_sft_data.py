"""What became of every row stands in a run's data_report.json; too many lost rows end it before a step, with exit code 2."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from preparing import lines, pieces_of, put, quick, row
from tiny_models import tiny_tokenizer
from tuned_runs import base, given, read, undrawn

from chatwright import commands
from chatwright.data.truncate import Fit
from chatwright.errors import DataError
from chatwright.text import template as templates

psutil = pytest.importorskip("psutil", reason="the optional extra `dev` is not installed")


@pytest.fixture(autouse=True)
def _quick() -> Iterator[None]:
    with quick():
        yield


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return base(tmp_path_factory.mktemp("model"), template="chatml")


def short(count: int) -> list[dict[str, Any]]:
    return [row(f"What is {n}?", f"It is {n}.") for n in range(count)]


LONG = row("Hi", "word " * 100, "And?", "So.")
UNANSWERED = row("Hi")
NO_OBJECT = [1]


def sft(model: Path, data: str | list[str], out: Path, **more: Any) -> dict[str, Any]:
    """A short run of the verb, and its data_report.json."""
    settings = given(model, Path(), out / "run", prepared=str(out / "cache"), **more) | {"data": data}
    with undrawn():
        commands.run("sft", settings)
    return read(out / "run" / "data_report.json")


def test_a_run_s_report_lists_every_row_that_was_dropped_cut_or_teaches_nothing(model: Path, tmp_path: Path) -> None:
    mine = put(tmp_path / "mine.jsonl", lines(*short(30), NO_OBJECT, LONG, *short(10), UNANSWERED))
    other = put(tmp_path / "other.jsonl", lines(*short(20)))
    allowed = {"skip_bad_rows": True, "max_bad_share": 0.2, "max_truncated_share": 0.2}
    report = sft(model, [f"{mine}@0.7", f"{other}#15@0.3"], tmp_path, **allowed)
    first, second = report["sources"]
    assert [(one["file"], one["line"], one["kind"], one["rows"]) for one in first["listed"]] == [
        (str(mine), 31, "bad", 1),
        (str(mine), 43, "bad", 1),
    ]
    assert [one["reason"] for one in first["listed"]] == ["is [1]; a row must be an object, {...}", Fit.NOTHING_LEARNED]
    assert [(one["file"], one["line"]) for one in first["truncated"]] == [(str(mine), 32)]
    assert [one["reason"] for one in first["truncated"]] == [Fit.ANSWER_CUT]
    for one, read_rows in ((first, 43), (second, 15)):
        assert one["read"] == read_rows == one["used"] + sum(row["rows"] for row in one["listed"])
        assert sum(one["splits"].values()) == one["used"]
    sums = {name: first[name] + second[name] for name in ("read", "used", "dropped", "filtered", "records")}
    assert {name: report[name] for name in sums} == sums
    assert (first["weight"], second["weight"]) == (0.7, 0.3)


@pytest.mark.parametrize(
    ("rows", "settings", "sentence"),
    [
        ([*short(30), NO_OBJECT], {}, "--skip-bad-rows"),
        ([*short(30), UNANSWERED], {}, "--skip-bad-rows"),
        ([*short(98), NO_OBJECT], {"skip_bad_rows": True}, "--max-bad-share"),
        ([*short(98), UNANSWERED], {"skip_bad_rows": True}, "--max-bad-share"),
        ([*short(98), LONG], {}, "--max-truncated-share 0.02"),
        ([*short(38), NO_OBJECT, UNANSWERED], {"skip_bad_rows": True, "max_bad_share": 0.049}, "--max-bad-share"),
        ([*short(38), LONG, LONG], {"max_truncated_share": 0.049}, "--max-truncated-share 0.06"),
        ([NO_OBJECT, UNANSWERED], {"skip_bad_rows": True, "max_bad_share": 1.0}, "no row of .* can be used"),
    ],
)
def test_too_many_lost_rows_end_the_run_with_2_and_the_name_of_the_setting(
    model: Path, tmp_path: Path, rows: list[Any], settings: dict[str, Any], sentence: str
) -> None:
    data = put(tmp_path / "rows.jsonl", lines(*rows))
    with pytest.raises(DataError, match=sentence) as refused:
        sft(model, str(data), tmp_path, **settings)
    assert refused.value.exit_code == 2
    assert f"{data}:" in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_what_is_within_the_limits_is_trained_on_and_one_percent_is_within_them(model: Path, tmp_path: Path) -> None:
    data = put(tmp_path / "rows.jsonl", lines(*short(97), LONG, UNANSWERED, *short(1)))
    report = sft(model, str(data), tmp_path, skip_bad_rows=True, validation_share=0.0, test_share=0.0)
    assert (report["read"], report["used"], report["dropped"], len(report["truncated"])) == (100, 99, 1, 1)
    assert report["splits"] == {"train": 99}


# ---- the time


def test_a_run_whose_template_tells_the_time_tells_one_time_and_goes_on_with_it(model: Path, tmp_path: Path) -> None:
    """To the microsecond: no two times that anything is opened are the same."""
    dated = "{{ strftime_now('%H:%M:%S.%f') }}" + templates.load("chatml").to_jinja(tiny_tokenizer())
    data = put(tmp_path / "rows.jsonl", lines(*short(30)))
    settings = {"template": str(put(tmp_path / "chat.jinja", dated)), "seq_len": 200}
    first = sft(model, str(data), tmp_path, **settings)
    shown = {one["name"]: one["state"] for one in read(tmp_path / "run" / "proofs.json")["proofs"]}
    assert shown["parity"] == "green"
    before = (tmp_path / "run" / "model" / "model.safetensors").read_bytes()
    (tmp_path / "run" / "result.json").unlink()  # it was killed before its end
    assert sft(model, str(data), tmp_path, resume=True, **settings) == first
    assert (tmp_path / "run" / "model" / "model.safetensors").read_bytes() == before
    assert len(list(tmp_path.glob("cache/*"))) == 1
    second = sft(model, str(data), tmp_path / "second", **settings)
    assert second["fingerprint"] != first["fingerprint"]


# ---- Ctrl-C

# The program as it is, in pieces that are small enough for a short file to take some time.
SLOWLY = """
import time
from chatwright import commands
from chatwright.data import prepare
from chatwright.data.files import json_lines
json_lines.BYTES, prepare.ALONE, prepare.PIECES = 300, 2, 2
write = prepare._Segments._write
prepare._Segments._write = lambda *given, **named: (time.sleep(0.1), write(*given, **named))[1]
commands.main()
"""


def test_ctrl_c_ends_with_130_and_the_next_start_goes_on(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The signal goes to all processes, as from a terminal."""
    data = put(tmp_path / "rows.jsonl", lines(*short(200)))
    words = ["sft", str(model), "--data", str(data), "--out", str(tmp_path / "run"), "--workers", "2"]
    words += ["--prepared", str(tmp_path / "cache"), "--seq-len", "128", "--from-scratch"]
    command = [sys.executable, "-c", SLOWLY, *words]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stderr is not None
    end = time.monotonic() + 60
    others: list[Any] = []
    while len(others) < 2 or not any(path.stat().st_size for path in tmp_path.glob("cache/*/partial/*/segments.jsonl")):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.02)
        others = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait(30) == 130
    assert "Traceback" not in said
    assert psutil.wait_procs(others, 5)[1] == []
    assert not list(tmp_path.glob("cache/*/whole"))
    capsys.readouterr()
    with pieces_of(300, alone=2):
        report = sft(model, str(data), tmp_path)
    assert f"going on with {data}" in capsys.readouterr().err
    assert (report["read"], report["used"]) == (200, 200)
