"""The command line: flags come from Settings, wrong usage ends with 2 and one sentence, --json prints one object."""

import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import chatwright
from chatwright import commands, console
from chatwright.commands import _cli

VERB = '''"""Tells what it was given.

It exists for this test.
"""

import errno
import math
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from chatwright import config, console
from chatwright.errors import ConfigError, DiskFull, NoCheckpoint, NotFinite, RedProof

POSITIONAL = ("model", "others")
EXAMPLES = ("chatwright tell gpt2 --lora.rank 8",)


class Lora(config.Group):
    rank: int = Field(default=0, ge=0, description="the rank of the adapter")
    merge: bool = Field(default=False, description="merge it at the end")


class Settings(config.Settings):
    model: str = Field(description="the model")
    others: list[str] = Field(default=[], description="more models")
    seq_len: int | None = Field(default=None, description="tokens in a row")
    dtype: Literal["auto", "bf16"] = Field(default="auto", description="the precision")
    stop: tuple[str, ...] = Field(default=(), description="where to stop")
    prompt: str = Field(default="", description="a prompt", json_schema_extra={"short": "-p"})
    shuffle: bool = Field(default=True, description="shuffle the rows")
    lora: Lora = Lora()


def run(settings: Settings) -> dict[str, Any]:
    raised = {
        "config": ConfigError("it is wrong"), "nan": NotFinite("not a number"), "none": NoCheckpoint("none left"),
        "full": OSError(errno.ENOSPC, "No space left on device", "runs/x"), "quota": OSError(errno.EDQUOT, "Quota"),
        "proof": RedProof("stop is red", {"loss": 1.0}), "bug": KeyError("loss"), "interrupt": KeyboardInterrupt(),
        "denied": PermissionError(errno.EACCES, "Permission denied", "runs/x"), "disk": DiskFull("it is full"),
    }  # fmt: skip
    if settings.model in raised:
        raise raised[settings.model]
    print("a library prints")
    if not settings.json:
        console.out().print(f"{settings.model} {settings.lora.rank}")
    return {**settings.model_dump(), "loss": math.nan, "rates": [math.inf, 1.0], "out": Path("runs/x")}
'''


@pytest.fixture(autouse=True)
def verb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A verb `tell` beside the real ones, for one test."""
    (tmp_path / "verbs").mkdir()
    (tmp_path / "verbs" / "tell.py").write_text(VERB, encoding="utf-8")
    monkeypatch.setattr(commands, "__path__", [*commands.__path__, str(tmp_path / "verbs")])
    monkeypatch.delitem(sys.modules, "chatwright.commands.tell", raising=False)
    for name in [name for name in os.environ if name.startswith("CHATWRIGHT_")]:
        monkeypatch.delenv(name)
    yield
    sys.modules.pop("chatwright.commands.tell", None)


def told(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    """What `tell` says that it was given."""
    assert _cli.main(["tell", "--json", *words]) == 0
    result = json.loads(capsys.readouterr().out)
    assert isinstance(result, dict)
    return result


def refused(capsys: pytest.CaptureFixture[str], *words: str, code: int = 2) -> str:
    """The one line on stderr that a refused command line ends with."""
    assert _cli.main(words) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1, captured.err
    return captured.err.strip()


def test_flags_are_the_settings(capsys: pytest.CaptureFixture[str]) -> None:
    result = told(capsys, "gpt2", "a", "b", "--seq-len", "7", "--lora.rank", "8", "--stop", "x", "y", "--stop", "z")
    assert result["model"] == "gpt2"
    assert result["others"] == ["a", "b"]
    assert result["seq_len"] == 7
    assert result["lora"] == {"rank": 8, "merge": False}
    assert result["stop"] == ["x", "y", "z"]


def test_switches_have_a_no(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, "m")["shuffle"] is True
    assert told(capsys, "m", "--no-shuffle")["shuffle"] is False
    assert told(capsys, "m", "--lora.merge")["lora"] == {"rank": 0, "merge": True}
    assert told(capsys, "m", "--lora.no-merge")["lora"] == {"rank": 0, "merge": False}


def test_underscores_equal_signs_and_short_names_work(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, "m", "--seq_len", "7")["seq_len"] == 7
    assert told(capsys, "m", "--seq_len=7")["seq_len"] == 7
    assert told(capsys, "--model", "m", "-p", "a_b --c")["prompt"] == "a_b --c"
    assert told(capsys, "--", "--m")["model"] == "--m"


def test_a_config_file_gives_what_the_words_do_not(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("verb: tell\nmodel: yaml\nseq_len: 3\nlora.rank: 4\n", encoding="utf-8")
    result = told(capsys, "--config", str(file), "--seq-len", "5")
    assert (result["model"], result["seq_len"], result["lora"]) == ("yaml", 5, {"rank": 4, "merge": False})
    file.write_text("model: m\nseqlen: 3\n", encoding="utf-8")
    assert "recipe.yaml:2: unknown setting 'seqlen', did you mean 'seq_len'?" in refused(
        capsys, "tell", "--config", str(file)
    )


def test_json_is_one_object_on_stdout_without_nan(capsys: pytest.CaptureFixture[str]) -> None:
    assert _cli.main(["tell", "m", "--json"]) == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert (result["loss"], result["rates"], result["out"]) == (None, [None, 1.0], "runs/x")
    assert "a library prints" in captured.err
    assert _cli.main(["tell", "m"]) == 0
    assert capsys.readouterr().out == "a library prints\nm 0\n"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["tel"], "error: 'tel' is no verb of chatwright, did you mean 'tell'?"),
        (["tell", "m", "--seqlen", "3"], "error: --seqlen is no option of this verb, did you mean --seq-len?; see"),
        (["tell", "m", "--seq-len", "x"], "error: --seq-len must be a whole number, got 'x'"),
        (["tell", "m", "--lora.rank", "-1"], "error: --lora.rank must be greater than or equal to 0, got '-1'"),
        (["tell", "m", "--dtype", "bf61"], "error: --dtype must be 'auto' or 'bf16', got 'bf61'; did you mean 'bf16'?"),
        (["tell", "m", "--seq-len"], "error: parameter --seq-len requires an argument; see chatwright tell --help"),
        (["tell", "m", "--seq-len", "1", "--seq-len", "2"], "error: parameter --seq-len specified multiple times; see"),
        (["doctor", "x"], "error: 'x' is one word too many"),
        (["tell"], "error: 'model' is not given; give --model"),
        (["tell", "m", "--config", "nowhere.yaml"], "error: nowhere.yaml: there is no such file"),
        (["tell", "config"], "error: it is wrong"),
    ],
)
def test_wrong_usage_ends_with_two_and_one_sentence(
    capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    assert refused(capsys, *words).startswith(sentence)


def test_a_misspelt_variable_is_refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHATWRIGHT_LORA__RNK", "3")
    assert "did you mean CHATWRIGHT_LORA__RANK?" in refused(capsys, "tell", "m")


def test_another_verbs_variable_is_ignored(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHATWRIGHT_LORA__RANK", "3")
    assert _cli.main(["doctor", "--json"]) == 0


@pytest.mark.parametrize(
    ("model", "code", "sentence"),
    [
        ("nan", 3, "error: not a number"),
        ("none", 4, "error: none left"),
        ("disk", 5, "error: it is full"),
        ("full", 5, "error: the disk (or its quota) is full while writing 'runs/x'; free some space"),
        ("quota", 5, "error: the disk (or its quota) is full; free some space"),
        ("proof", 6, "error: stop is red"),
        ("denied", 1, "error: runs/x: Permission denied"),
        ("bug", 1, "error: KeyError: 'loss' (CHATWRIGHT_TRACEBACK=1 shows where)"),
    ],
)
def test_every_failure_has_its_exit_code_and_one_sentence(
    capsys: pytest.CaptureFixture[str], model: str, code: int, sentence: str
) -> None:
    assert refused(capsys, "tell", model, code=code).startswith(sentence)


def test_a_failure_with_json_is_an_object_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert _cli.main(["tell", "proof", "--json"]) == 6
    assert json.loads(capsys.readouterr().out) == {"loss": 1.0, "error": "stop is red", "exit_code": 6}


def test_the_stack_is_shown_on_request(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHATWRIGHT_TRACEBACK", "1")
    assert _cli.main(["tell", "bug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_an_interrupt_ends_with_130(capsys: pytest.CaptureFixture[str]) -> None:
    assert _cli.main(["tell", "interrupt"]) == 130


def test_help_shows_every_setting_its_default_and_the_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert _cli.main(["tell", "--help"]) == 0
    text = capsys.readouterr().out
    for part in ("tell MODEL OTHERS", "--seq-len", "--no-shuffle", "--lora.rank", "(default: 0)", "-p", "auto|bf16"):
        assert part in text
    assert "chatwright tell gpt2 --lora.rank 8" in text
    assert _cli.main(["--help"]) == 0
    assert "Tells what it was given." in capsys.readouterr().out


def test_help_is_quick_because_it_imports_no_torch() -> None:
    script = (
        "import sys; from chatwright.commands import _cli; _cli.main(['--help']);"
        "sys.exit(any(name in sys.modules for name in ('torch', 'numpy', 'datasets', 'matplotlib', 'transformers')))"
    )
    start = time.monotonic()
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, check=False).returncode == 0
    assert time.monotonic() - start < 5, "0.3 s on an idle machine"


def test_every_real_verb_has_flags_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    from chatwright import registry

    for name in registry.names("commands"):
        assert _cli.main([name.replace("_", "-"), "--help"]) == 0, capsys.readouterr().err
        assert f"chatwright {name.replace('_', '-')}" in capsys.readouterr().out
        module = registry.load("commands", name)
        settings = module.Settings.model_fields
        assert set(module.POSITIONAL) <= set(settings)
        undescribed = [dotted for dotted, field in chatwright.config.names(module.Settings) if not field.description]
        assert not undescribed, f"{name}: no description for {undescribed}"


def test_a_reader_that_leaves_early_is_no_error() -> None:
    command = f"{sys.executable} -m chatwright --help | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_version() -> None:
    command = [sys.executable, "-m", "chatwright", "--version"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "chatwright 0.1.0\n"


def test_doctor_knows_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert _cli.main(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["packages"]["torch"].startswith("2.")
    assert report["machine"]["usable_cores"] >= 1
    assert report["speed"]["fp32_gflops"] > 0
    assert _cli.main(["doctor"]) == 0
    assert "fastest dtype" in capsys.readouterr().out


def test_every_public_name_can_be_imported_and_every_verb_called() -> None:
    from chatwright import registry

    names = chatwright.__all__
    assert names == sorted(set(names))
    folders = {file.name for file in Path(chatwright.__file__ or "").parent.iterdir() if file.is_dir()}
    assert {name for name in registry.names("commands") if name not in folders} - {"tell"} <= set(names)
    for name in names:
        assert callable(getattr(chatwright, name)), name
    assert set(names) <= set(dir(chatwright))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = chatwright.nothing


def test_a_verb_is_a_function_with_the_same_settings(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("model: yaml\nseq_len: 3\n", encoding="utf-8")
    result = chatwright.run("tell", {"model": "gpt2", "lora": {"rank": 8}}, tmp_path / "recipe.yaml")
    assert (result["model"], result["seq_len"], result["lora"]["rank"]) == ("gpt2", 3, 8)
    assert capsys.readouterr().out == "a library prints\n"
    with pytest.raises(chatwright.ConfigError, match="did you mean 'seq_len'"):
        chatwright.run("tell", {"model": "m", "seqlen": 3})
    assert "machine" in chatwright.doctor()


def test_printed_text_cannot_drive_the_terminal() -> None:
    hostile = "a\x1b[31mb\x1b]0;title\x07c\x1b(0d\te\r\nf\x07\x9b2Jg\x08\x00\u202eh\x1b"
    assert console.clean(hostile) == "abcd\te\nfgh"
    assert console.clean("Größe, 猫, 🐈\u200d⬛") == "Größe, 猫, 🐈\u200d⬛"


def test_progress_off_a_terminal_is_a_plain_line(capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress("base", 3) as bar:
        for step in (1, 2, 3):
            bar.update(step, loss=2.3, tokens_per_second=15012.4)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "base: step 3/3, loss 2.3, 15,012 tokens/s, 0:00\n"


def test_notes_go_to_stderr_and_brackets_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    console.note("[bold]x[/bold] \x1b[31my")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "note: [bold]x[/bold] y\n")


def test_the_disk_codes_are_the_systems() -> None:
    assert {errno.ENOSPC, errno.EDQUOT} == _cli.FULL
