"""The report says what was measured, is safe to open whatever a model wrote, and needs nothing but itself."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from chatwright import console
from chatwright.evals import compare, guards, plots, prompts, proofs, report, tables
from chatwright.evals.benchmark import Row, Score
from chatwright.evals.loss import LossReport
from chatwright.evals.machine import machine
from chatwright.evals.results import as_json, samples_text
from chatwright.generate.completion import Completion
from chatwright.generate.sampling import Sampling
from chatwright.text.records import Message, Problem, conversation

HOSTILE = '</pre><script>alert(1)</script><img src=x onerror="alert(2)"> {{ 7 * 7 }} \x1b[2J\x1b]0;owned\x07'
ROWS = [
    {"step": step, "split": split, "loss": 8 / step, "token_accuracy": 1 - 1 / step}
    for step in range(1, 41)
    for split in ("train", "validation")
    if split == "train" or step % 10 == 0
]


def evaluation(name: str, texts: Sequence[str], right: int, examination: compare.Examination) -> compare.Evaluation:
    said = [Completion((1, 2), text, "stop" if right else "length") for text in texts]
    ask = Problem(conversation("Q?"), "contains", {"accepted": ["a"]})
    score = Score("never_asked", tuple(Row(ask, said[0], float(i < right)) for i in range(20)))
    return compare.Evaluation(name, examination.fingerprint, tuple((one,) for one in said), {score.name: score}, 1.5)


def whole(reply: str = "Paris.", metrics: Sequence[Mapping[str, Any]] = (), name: str = "sft") -> report.Report:
    """A report with every part."""
    asked = tuple(prompts.prompt([Message("user", text)]) for text in (reply, "What is 1 < 2?"))
    examination = compare.Examination(asked, Sampling(max_tokens=7))
    base = evaluation("base", ["", "the the"], 0, examination)
    sft = evaluation(name, [reply, "Yes."], 19, examination)
    loss = LossReport(1.25, math.exp(1.25), math.nan, 0.5, 1234)
    return report.Report(
        title=f"From nothing {reply}",
        stages=(
            report.Stage("base", base, {"train": loss, "test": loss}, metrics, {"lr": 0.003}, 65),
            report.Stage(name, sft, {"train": loss}, metrics[:5], {"lr": 0.001, "template": reply}, 2.25),
        ),
        examination=examination,
        changes=compare.changes(base, sft),
        proofs=[proofs.Proof("stop", "red", f"It is red. {reply}"), proofs.Proof("mask", "not run", "Nothing.")],
        machine={"processor": reply},
        next_commands=("chatwright chat runs/q/sft", reply),
        summary=f"A summary. {reply}",
        sheets=[report.Sheet(f"Wins {reply}", ("model", "wins"), ((reply, "75 %"),), f"Judge: {reply}.")],
    )


class Elements(HTMLParser):
    """What a browser would find in the page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.handlers: list[str] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action")]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        if tag not in ("meta", "img", "source", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data + " "


def test_a_hostile_reply_cannot_run_or_break_out() -> None:
    page = Elements(report.html(whole(HOSTILE, name=HOSTILE)))
    assert "script" not in page.tags
    assert page.handlers == []
    assert page.open == []
    assert '</pre><script>alert(1)</script><img src=x onerror="alert(2)"> {{ 7 * 7 }}' in page.text
    assert "\x1b" not in page.text + samples_text(whole(HOSTILE))


def test_every_part_of_the_report_is_on_the_page() -> None:
    text = " ".join(Elements(report.html(whole())).text.split())
    for part in (
        "From nothing Paris.",
        "never asked n = 20 0 % 0–16.1 % 95 % 76.4–99.1 %",
        "stop: red It is red.",
        "mask: not run",
        "user What is 1 < 2?",
        "stopped by itself",
        "ran into the token limit",
        "train 1.25 3.49 – 50 % 1,234",
        "never asked base → sft +95.0 points",
        "base 1 min 5 s, sft 2.2 s",
        "greedy, at most 7 tokens a reply",
        "processor Paris.",
        "chatwright chat runs/q/sft",
        "lr 0.003 0.001",
        "repeated 4-grams n = 22 – –",
        "runs on n = 22 100 % 85.1–100 % 0 % 0–14.9 %",
        "Wins Paris. model wins Paris. 75 % Judge: Paris..",
    ):
        assert part in text


def test_a_report_of_almost_nothing_is_still_a_page(tmp_path: Path) -> None:
    single = report.Report("Alone", (report.Stage("base"),))
    page = report.write(tmp_path / "a" / "report", single)
    assert "Alone" in page.read_text(encoding="utf-8")
    assert sorted(file.name for file in page.parent.iterdir()) == ["index.html", "report.json", "samples.txt"]
    assert tables.headline(single) == []


def test_a_stage_that_was_not_evaluated_leaves_its_cells_empty() -> None:
    full = whole()
    part = report.Report("Part", (report.Stage("base"), full.stages[1]), full.examination)
    assert all(line.cells[0] == tables.Cell() for line in tables.headline(part))
    assert report.html(part)


def test_the_folder_holds_page_json_samples_and_plots_and_the_page_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    page = report.write(tmp_path / "report", whole(metrics=ROWS))
    names = sorted(file.name for file in page.parent.iterdir())
    pictures = ["accuracy.pdf", "accuracy.png", "loss.pdf", "loss.png"]
    assert names == sorted([*pictures, "index.html", "report.json", "samples.txt"])
    assert (page.parent / "loss.pdf").read_bytes().startswith(b"%PDF")
    found = Elements(page.read_text(encoding="utf-8"))
    assert len(found.links) == 4
    assert all(link.startswith("data:image/png;base64,") for link in found.links)
    assert "link" not in found.tags
    assert "default-src 'none'" in page.read_text(encoding="utf-8")


def test_the_curves_of_guard_rails_are_on_the_page_and_in_the_folder_where_there_are_readings(tmp_path: Path) -> None:
    seen = guards.Reading(10, 0.9, 2.0, -0.5, -9.0, 1.0, 9.0, 12.0, 1.0, 0.0, 0.0, 64)
    page = report.write(tmp_path / "report", whole(metrics=[*ROWS, guards.as_row(seen)]))
    names = {file.name for file in page.parent.iterdir()}
    assert {"preferences.pdf", "preferences.png", "loss.png"} <= names
    found = Elements(page.read_text(encoding="utf-8"))
    assert len(found.links) == 6
    assert "Guard rails" in found.text


def test_no_figure_of_a_sheet_is_cut_or_broken_in_a_narrow_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "70")
    seen = guards.Reading(10, 0.913, 2.0, -0.5, -19.0, 11.0, 19.0, 12.0, 0.913, 0.013, 0.013, 64)
    names = f"{'runs/a/long/road/' * 3}sft against {'runs/' * 9}base"
    wins = report.Sheet("Wins", ("", "wins", "95 %"), ((names, "61.2 %", "51.2–71.2 %"),))
    report.show(report.Report("x", (report.Stage("a"),), sheets=[guards.sheet([seen]), wins]))
    shown = capsys.readouterr().out
    assert "…" not in shown
    assert max(map(len, shown.split("On held-out")[0].splitlines())) <= 80
    assert [len(re.findall(text, shown)) for text in ("91.3 %", "1.3 %", "-19.0", "51.2–71.2 %")] == [2, 4, 1, 1]
    assert "accuracy" in shown


def test_a_sheet_has_a_cell_for_every_column() -> None:
    with pytest.raises(AssertionError):
        report.Sheet("x", ("a", "b"), (("1",),))


def test_the_json_holds_the_figures_and_null_where_there_is_none() -> None:
    found = json.loads(json.dumps(as_json(whole()), allow_nan=False))
    base, sft = found["stages"]
    assert base["losses"]["train"]["bits_per_byte"] is None
    assert sft["evaluation"]["scores"]["never_asked"]["accuracy"] == 0.95
    assert len(sft["evaluation"]["scores"]["never_asked"]["rows"]) == 20
    assert sft["evaluation"]["health"]["stop_rate"] == 1
    assert found["sampling"]["max_tokens"] == 7
    assert [proof["state"] for proof in found["proofs"]] == ["red", "not run"]
    (sheet,) = found["sheets"]
    assert (sheet["columns"], sheet["rows"]) == (["model", "wins"], [["Paris.", "75 %"]])


def test_the_samples_are_plain_text_side_by_side() -> None:
    assert samples_text(whole()).split("\n\n")[-1].strip() == (
        "user: What is 1 < 2?\n--- base (ran into the token limit)\nthe the\n--- sft (stopped by itself)\nYes."
    )


def test_the_terminal_shows_the_table_without_a_models_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    report.show(whole(HOSTILE, name=HOSTILE))
    shown = capsys.readouterr().out
    assert "never asked" in shown
    assert "76.4–99.1 %" in shown
    assert "stop: red." in shown
    assert "75 %" in shown
    assert "\x1b]" not in shown
    assert "\x1b[2J" not in shown


def test_figures_are_written_the_same_everywhere() -> None:
    assert [tables.percent(share) for share in (0, 0.954, 1, math.nan)] == ["0 %", "95.4 %", "100 %", "–"]
    assert tables.interval(0.9, 0.955) == "90–95.5 %"
    assert [tables.number(value) for value in (1.23456, math.inf, None)] == ["1.235", "–", "–"]
    assert [tables.signed(-0.04, "share"), tables.signed(3, "words")] == ["−4.0", "+3.0"]
    assert [tables.duration(seconds) for seconds in (8.24, 250, 7500)] == ["8.2 s", "4 min 10 s", "2 h 5 min"]


def test_a_share_just_under_one_is_not_rounded_up_to_it() -> None:
    assert tables.percent(0.9996) == "99.9 %"
    assert tables.percent(0.0004) == "0.1 %"


# ---- plots


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [{"step": 1, "split": "train", "loss": math.nan, "token_accuracy": math.nan}],
        [{"step": 1, "split": "train", "loss": 2.0}],
        [{"step": step, "split": "train", "loss": math.inf if step == 3 else 1.0 / step} for step in range(1, 80)],
        [{"step": 5, "split": "validation", "loss": 2.0, "token_accuracy": 1.0}],
    ],
)
@pytest.mark.filterwarnings("error")
def test_curves_are_drawn_whatever_was_recorded(rows: list[dict[str, Any]]) -> None:
    assert plots.render({"base": rows}, plots.ACCURACY, "png").startswith(b"\x89PNG")


def test_no_stage_at_all_is_an_empty_figure() -> None:
    assert plots.render({}, plots.LOSS, "pdf").startswith(b"%PDF")


@pytest.mark.filterwarnings("error")
def test_a_stage_may_have_any_name() -> None:
    for name in ("runs/$x_{$\x1b[2J\n", "模型" + "a" * 300):
        assert plots.render({name: ROWS}, plots.LOSS, "png").startswith(b"\x89PNG")


@pytest.mark.parametrize("kind", ["pdf", "png"])
def test_equal_curves_give_equal_bytes_whatever_the_clock_says(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = plots.render({"base": ROWS}, plots.LOSS, kind)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    assert plots.render({"base": ROWS}, plots.LOSS, kind) == first
    assert not re.search(rb"CreationDate|ModDate|Matplotlib v", first)


def test_metrics_are_read_past_a_torn_line_and_the_later_of_two_runs_counts(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    lines = [{"step": 2, "split": "train", "loss": 9}, {"step": 1, "split": "train", "loss": 3}]
    lines += [{"step": 2, "split": "train", "loss": 2}, {"step": 2, "split": "validation", "loss": math.nan}]
    path.write_text("\n".join(json.dumps(line) for line in lines) + '\n{"step": 3, "sp', encoding="utf-8")
    found = plots.read_metrics(path)
    assert [(row["step"], row["split"]) for row in found] == [(1, "train"), (2, "train"), (2, "validation")]
    assert found[1]["loss"] == 2
    assert plots.read_metrics(tmp_path / "absent.jsonl") == []


def test_the_machine_is_described_without_names_of_hosts() -> None:
    import platform

    assert platform.node() not in " ".join(machine().values())
    assert machine()["torch"]


def test_the_console_is_untouched_by_markup_in_a_proof(capsys: pytest.CaptureFixture[str]) -> None:
    console.out()
    report.show(report.Report("x", (report.Stage("a"),), proofs=[proofs.Proof("mask", "green", "[red]rows[/red] [/]")]))
    assert "[red]rows[/red] [/]" in capsys.readouterr().out
