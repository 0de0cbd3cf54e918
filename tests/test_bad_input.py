"""Bad input, verb by verb: one sentence on stderr, the right exit code, and nothing half-written in --out."""

import io
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import tiny_checkpoint, tiny_tokenizer

from chatwright.commands import _cli

Write = Callable[[Path], object]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model, its vocabulary and some good rows; read only."""
    folder = tmp_path_factory.mktemp("whole")
    tiny_checkpoint("plain", n_positions=128).save(folder / "model")
    tiny_tokenizer().save(folder / "tokenizer")
    (folder / "good.jsonl").write_text("".join(line(row(str(n), "Yes.")) for n in range(30)))
    return folder


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Runs a command line that has to fail with a code, and gives what it says after `error:`."""

    def run(*words: str | Path, code: int = 2) -> str:
        monkeypatch.setattr(sys, "stdin", io.StringIO(""))
        found = _cli.main([str(word) for word in words])
        out, err = capsys.readouterr()
        assert found == code, err
        assert words[0] == "check" or not out  # its report is its result, bad rows or not
        assert "Traceback" not in err
        assert "CHATWRIGHT_TRACEBACK" not in err  # the ending of a failure that nobody foresaw
        before, mark, says = err.rpartition("error: ")
        assert mark, err
        assert "error: " not in before
        assert says.strip()
        assert len(says) < 1500
        return says

    return run


def row(question: str, answer: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def line(value: object) -> str:
    return json.dumps(value) + "\n"


GOOD = line(row("Hi", "Hello."))
FLIPPED = {"messages": [{"role": "assistant", "content": "Hello."}, {"role": "user", "content": "Hi"}]}
LONG = line({"messages": [{"role": "user", "content": "x" * 10_000_000}, {"role": "assistant", "content": ""}]})

# what stands in the file, and what is said of it, by file and line
BAD_DATA = {
    "empty": ("d.jsonl", "", ":1: the file is empty"),
    "blank": ("d.jsonl", "\n \n", ":1: the file is empty"),
    "broken JSON": ("d.jsonl", GOOD + "{'messages': 3}\n", ":2: is not JSON"),
    "broken array": ("d.json", "[" + GOOD.strip() + ",\n{]", ":2: is not JSON"),
    "wrong encoding": ("d.jsonl", GOOD.encode() + '{"text": "café"}\n'.encode("latin-1"), ":2: byte 0xe9 at column 14"),
    "UTF-16": ("d.jsonl", GOOD.encode("utf-16"), ":1: byte 0xff at column 1 begins UTF-16"),
    "not an object": ("d.jsonl", GOOD + "[1, 2]\n", ":2: is [1, 2]; a row must be an object"),
    "unknown shape": ("d.jsonl", line({"a": 1, "b": 2}), "no format fits the first row"),
    "wrong type": ("d.jsonl", GOOD + line({"messages": "Hi"}), ":2: 'messages' is text"),
    "assistant first": ("d.jsonl", GOOD + line(FLIPPED), ":2: message 1 (assistant)"),
    "empty answer": ("d.jsonl", GOOD + line(row("Hi", " ")), ":2: message 2 (assistant)"),
    "lone surrogate": ("d.jsonl", GOOD + r'{"messages": [{"role": "user", "content": "\ud800"}]}', ":2: message 1"),
    "NUL": ("d.jsonl", GOOD + line(row("Hi", "a\0b")), ":2: the text holds a NUL character"),
    "ten megabytes": ("d.jsonl", GOOD + LONG, ":2: message 2 (assistant)"),
    "deep": ("d.jsonl", GOOD + "[" * 100_000 + "\n", ":2: is nested too deeply"),
    "CSV": ("d.csv", "instruction,output\nWhy?\n", ":2: has 1 cells; the header has 2"),
    "unknown suffix": ("d.docx", "Hi", "'.docx' is not known"),
    "Parquet": ("d.parquet", "PAR1 and nothing else", ":1: is not Parquet"),
}


def training(verb: str, data: Path, whole: Path, out: Path) -> list[str | Path]:
    """The words of a verb that reads data."""
    small = ["--steps", "1", "--seq-len", "32", "--device", "cpu"]
    return {
        "pretrain": ["pretrain", data, "--model", whole / "model", "--out", out, *small],
        "sft": ["sft", whole / "model", "--data", data, "--from-scratch", "--out", out, *small],
        "eval": ["eval", whole / "model", "--data", data, "--out", out],
        "check": ["check", data, "--model", whole / "model"],
        "tokenizer": ["tokenizer", data, "--vocab-size", "300", "--out", out],
    }[verb]


READERS = ["pretrain", "sft", "eval", "check", "tokenizer"]


@pytest.mark.parametrize("kind", BAD_DATA)
@pytest.mark.parametrize("verb", READERS)
def test_bad_data_is_named_by_file_and_line(
    verb: str, kind: str, whole: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    name, content, says = BAD_DATA[kind]
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    found = refused(*training(verb, tmp_path / name, whole, tmp_path / "out"))
    assert says in found
    assert name in found
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("verb", READERS)
def test_a_misspelt_path_names_the_nearest(verb: str, whole: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    assert "did you mean" in refused(*training(verb, whole / "god.jsonl", whole, tmp_path / "out"))
    assert "there is no folder" in refused(*training(verb, whole / "no" / "good.jsonl", whole, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("verb", ["pretrain", "sft"])
def test_rows_that_teach_nothing_are_an_error_too(
    verb: str, whole: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    data = tmp_path / "d.jsonl"
    wrong = {
        "sft": (row("x" * 300, "Yes."), ":2: the prompt alone fills the window"),
        "pretrain": (row("a", "b"), "sft"),
    }
    value, says = wrong[verb]
    data.write_text(GOOD + line(value))
    assert says in refused(*training(verb, data, whole, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_an_answer_of_ten_megabytes_is_cut_and_said(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "long.jsonl"
    data.write_text(GOOD + line(row("Say it.", "word " * 2_000_000)))
    words = ["check", str(data), "--model", str(whole / "model"), "--rows", "0"]
    assert _cli.main([*words, "--max-truncated-share", "1"]) == 0
    assert "end of turn lost in" in capsys.readouterr().out
    assert _cli.main(words) == 2


# Models


def rewrite(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def narrow(folder: Path) -> None:
    """Weights of another shape than config.json says."""
    tensors = load_file(folder / "model.safetensors")
    save_file({**tensors, "transformer.wpe.weight": torch.zeros(128, 8)}, folder / "model.safetensors")


BAD_MODELS: dict[str, tuple[Write, str]] = {
    "no model": (lambda f: [one.unlink() for one in f.iterdir()], "holds no model"),
    "not JSON": (lambda f: (f / "config.json").write_text("{"), "config.json is not valid JSON"),
    "another family": (lambda f: rewrite(f, model_type="mamba"), "the model_type is 'mamba'"),
    "sizes that make no sense": (lambda f: rewrite(f, n_head=5), "not divisible by n_head 5"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "model.safetensors is missing"),
    "torn weights": (lambda f: (f / "model.safetensors").write_bytes(b"\0" * 99), "is not a safetensors file"),
    "weights of another shape": (narrow, "has the shape (128, 8)"),
    "no vocabulary": (lambda f: (f / "tokenizer.json").unlink(), "tokenizer.json"),
    "a vocabulary too large": (
        lambda f: tiny_tokenizer().with_special([f"<|{n}|>" for n in range(20)]).save(f),
        "the two do not belong together",
    ),
}


def asking(verb: str, model: str | Path, whole: Path, out: Path) -> list[str | Path]:
    """The words of a verb that reads a model."""
    return {
        "pretrain": ["pretrain", whole / "good.jsonl", "--model", model, "--out", out],
        "sft": ["sft", model, "--data", whole / "good.jsonl", "--out", out],
        "eval": ["eval", model, "--data", whole / "good.jsonl", "--out", out],
        "compare": ["compare", model, whole / "model", "--out", out],
        "check": ["check", whole / "good.jsonl", "--model", model],
        "generate": ["generate", model, "Once"],
        "chat": ["chat", model, "-p", "Hi"],
    }[verb]


ASKERS = ["pretrain", "sft", "eval", "compare", "check", "generate", "chat"]


# check reads a model's text, not its weights
BAD_ASKED = [(v, k) for v in ASKERS for k in BAD_MODELS if v != "check" or k in ("no model", "no vocabulary")]


@pytest.mark.parametrize(("verb", "kind"), BAD_ASKED)
def test_a_folder_that_is_no_usable_model_is_refused(
    verb: str, kind: str, whole: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    damage, says = BAD_MODELS[kind]
    shutil.copytree(whole / "model", tmp_path / "model")
    damage(tmp_path / "model")
    assert says in refused(*asking(verb, tmp_path / "model", whole, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("verb", ASKERS)
def test_a_misspelt_model_is_refused(verb: str, whole: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    assert "does not exist" in refused(*asking(verb, whole / "modle" / "x", whole, tmp_path / "out"))
    assert "is a file" in refused(*asking(verb, whole / "good.jsonl", whole, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["pretrain", "DATA", "--model", "tniy", "--tokenizer", "TOKENIZER"], "'tniy' is no size"),
        (["pretrain", "DATA", "--model", "tiny"], "give --tokenizer DIR"),
        (["pretrain", "DATA", "--model", "tiny", "--tokenizer", "NOWHERE"], "tokenizer.json"),
        (["pretrain", "DATA", "--model", "NOWHERE/config.json", "--tokenizer", "TOKENIZER"], "config.json is missing"),
        (["pretrain", "DATA", "--model", "MODEL", "--seq-len", "129"], "this model has 128 positions"),
        (["pretrain", "DATA", "--model", "MODEL", "--seq-len", "1"], "--seq-len must be"),
        (["pretrain", "DATA", "--model", "MODEL", "--steps", "0"], "--steps must be"),
        (["sft", "MODEL", "--data", "DATA", "--batch-size", "-1"], "--batch-size must be"),
        (["sft", "MODEL", "--data", "DATA", "--lr", "nan"], "--lr must be a finite number"),
        (["sft", "MODEL", "--data", "DATA", "--lr", "0"], "--lr must be"),
        (["sft", "MODEL", "--data", "DATA", "--epochs", "inf"], "--epochs must be a finite number"),
        (["sft", "MODEL", "--data", "DATA", "--test-share", "0.7"], "--test-share must be"),
        (["sft", "MODEL", "--data", "DATA", "--device", "gpu"], "gpu"),
        (["sft", "MODEL", "--data", "DATA", "--template", "chatlm"], "chatlm"),
        (["sft", "MODEL", "--data", "DATA", "--format", "mesages"], "did you mean 'messages'"),
        (["sft", "MODEL", "--data", "DATA", "--rehearse-data", "NOWHERE", "--rehearse", "0.5"], "does not exist"),
        (["sft", "MODEL", "--data", "DATA", "--config", "NOWHERE.yaml"], "NOWHERE.yaml"),
        (["tokenizer", "DATA", "--vocab-size", "256"], "--vocab-size must be"),
        (["tokenizer", "DATA", "--vocab-size", "258"], "256 bytes and 3 special tokens come first"),
        (["eval", "MODEL", "--task", "primre"], "did you mean 'primer'"),
        (["eval", "MODEL", "--data", "DATA", "--seq-len", "4096"], "128"),
        (["compare", "MODEL"], "--models"),
        (["compare", "MODEL", "MODEL"], "given twice"),
        (["compare", "MODEL", "MODEL/../model", "--prompts", "NOWHERE.txt"], "NOWHERE.txt"),
    ],
)
def test_settings_that_make_no_sense_are_refused_before_anything_is_written(
    words: list[str], says: str, whole: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    places = {"DATA": "good.jsonl", "TOKENIZER": "tokenizer", "MODEL": "model"}
    named = words
    for name, place in places.items():
        named = [word.replace(name, str(whole / place)) for word in named]
    named = [word.replace("NOWHERE", str(tmp_path / "NOWHERE")) for word in named]
    assert says in refused(*named, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("verb", ["pretrain", "sft", "eval", "compare", "tokenizer"])
def test_an_out_that_is_a_file_is_refused_and_left_alone(
    verb: str, whole: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    out = tmp_path / "out"
    out.write_text("mine")
    shutil.copytree(whole / "model", tmp_path / "other")
    (tmp_path / "d.txt").write_text("Once upon a time. " * 40)
    data = tmp_path / "d.txt" if verb == "pretrain" else whole / "good.jsonl"
    words = asking(verb, tmp_path / "other", whole, out) if verb == "compare" else training(verb, data, whole, out)
    assert f"--out {out} is a file; give a folder" in refused(*words)
    assert out.read_text() == "mine"
