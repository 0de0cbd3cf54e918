"""`chatwright generate` gives the raw continuation of a text, alone on stdout."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from scripted_model import bigram_folder

from chatwright.commands import _cli
from chatwright.commands import run as run_verb
from chatwright.models.gpt2 import MODEL

CHAIN = "Once\x1b]0;t"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bigram_folder(tmp_path_factory.mktemp("generate") / "model", CHAIN, template=None)


def piped(words: list[str], given: bytes, cwd: Path) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "chatwright", "generate", *words]
    return subprocess.run(command, input=given, capture_output=True, cwd=cwd, env=environment, timeout=60, check=False)


def test_the_continuation_alone_is_on_stdout(model: Path, tmp_path: Path) -> None:
    done = piped([str(model)], b"O\n", tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"nce\n", b""), "the escape sequence is not shown"


@pytest.mark.parametrize("words", [["O"], ["-"], []])
def test_the_text_comes_from_the_words_or_from_standard_input(
    model: Path, words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"O\n")))
    assert _cli.main(["generate", str(model), *words, "--max-tokens", "3", "--echo"]) == 0
    assert capsys.readouterr().out == "Once\n"


def test_it_ends_at_the_end_of_text_and_says_so_in_json(model: Path) -> None:
    result = run_verb("generate", {"model": str(model), "text": "On"})
    assert result["completions"] == [{"text": CHAIN[2:], "finish": "stop", "tokens": len(CHAIN) - 2}]
    assert (result["prompt"], result["prompt_tokens"]) == ("On", 2)
    cut = run_verb("generate", {"model": str(model), "text": "On", "stop": ["e"]})
    assert cut["completions"] == [{"text": "c", "finish": "string", "tokens": 2}]


def test_several_continuations_are_those_of_the_seeds_one_by_one(tmp_path: Path) -> None:
    folder = random_model(tmp_path)
    asked = {"model": str(folder), "text": "ab", "temperature": 1.0, "max_tokens": 12}
    together = run_verb("generate", {**asked, "n": 3, "seed": 5})["completions"]
    alone = [run_verb("generate", {**asked, "seed": seed})["completions"][0] for seed in (5, 6, 7)]
    assert together == alone
    assert len({one["text"] for one in together}) == 3


def test_several_continuations_are_shown_apart(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _cli.main(["generate", str(model), "O", "--n", "2", "--max-tokens", "3"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "--- 1 of 2 (length)\nnce\n\n--- 2 of 2 (length)\nnce\n"
    assert "all continuations are the same" in captured.err


def test_a_models_own_template_is_not_needed(model: Path, tmp_path: Path) -> None:
    folder = bigram_folder(tmp_path / "model", "Ok", template="chatml")
    (folder / "chat_template.jinja").write_text("{{ messages }} of another maker", encoding="utf-8")
    assert run_verb("generate", {"model": str(folder), "text": "O", "max_tokens": 1})["completions"][0]["text"] == "k"


def test_what_cannot_be_continued_ends_with_two_and_one_sentence(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for words, sentence in (
        ([str(tmp_path), "x"], "holds no model"),
        ([str(model), ""], "the text to continue is empty"),
        ([str(model), "x" * 300], "the prompt has 300 tokens, but the model's window is 256"),
        ([str(model), "x", "--top-p", "0"], "--top-p must be greater than 0"),
        ([str(model), "x", "y"], "'y' is one word too many"),
    ):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
        assert _cli.main(["generate", *words]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert sentence in captured.err
        assert captured.err.count("\n") == 1
    assert _cli.main(["generate", str(tmp_path), "x", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["exit_code"] == 2


def random_model(tmp_path: Path) -> Path:
    """A real GPT-2 with random weights."""
    import torch
    from byte_tokenizer import ByteTokenizer

    from chatwright.checkpoint import Checkpoint
    from chatwright.text import template

    torch.manual_seed(0)
    tokenizer = ByteTokenizer()
    shape = {"vocab_size": tokenizer.vocab_size, "n_positions": 64, "n_embd": 16, "n_layer": 2, "n_head": 2}
    Checkpoint(MODEL.build(shape), tokenizer, template.load("plain"), own_template=False).save(tmp_path / "random")  # type: ignore[arg-type]
    return tmp_path / "random"
