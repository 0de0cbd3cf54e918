"""The commands on files that are not ours: a play to pretrain on, instructions to learn from, GPT-2's vocabulary."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from chatwright import commands
from chatwright.data import source
from chatwright.data.split import Splits, split
from chatwright.text import template as templates
from chatwright.text.records import Conversation, Document
from chatwright.text.tokenizer import Tokenizer

SHARES = (0.9, 0.05, 0.05)
THREE = {"train", "validation", "test"}
Sft = Callable[[str], tuple[Path, dict[str, Any]]]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("real")


@pytest.fixture(scope="module")
def gpt2(test_data: Path) -> Tokenizer:
    return Tokenizer.from_gpt2_files(test_data / "gpt2-encoder.json", test_data / "gpt2-vocab.bpe")


@pytest.fixture(scope="module")
def foreign(folder: Path, gpt2: Tokenizer) -> Path:
    """A GPT-2 of 32 channels with GPT-2's 50,257 tokens, saved by transformers."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=1, n_head=2, n_positions=512))
    model.save_pretrained(folder / "foreign")
    gpt2.save(folder / "foreign")
    return folder / "foreign"


@pytest.fixture(scope="module")
def sft(folder: Path, foreign: Path, test_data: Path) -> Sft:
    """Three steps on the instructions under a template, run once each: the run's folder and its result."""
    ready: dict[str, tuple[Path, dict[str, Any]]] = {}

    def run(template: str) -> tuple[Path, dict[str, Any]]:
        if template not in ready:
            given = {"model": str(foreign), "data": str(test_data / "instructions.json"), "template": template}
            small = {"steps": 3, "eval_every": 3, "save_every": 3, "batch_size": 8, "seq_len": 256}
            measured = {"eval_batches": 1000, "from_scratch": True, "compare": template == "plain", "device": "cpu"}
            out = folder / template
            result = commands.run("sft", {**given, **small, **measured, "out": str(out)})
            ready[template] = out, result
        return ready[template]

    return run


def parts(data: Path) -> Splits:
    return split(source.read(str(data)).records, SHARES)


def report(out: Path) -> Any:
    return json.loads((out / "report" / "report.json").read_text())


def test_a_vocabulary_and_a_model_are_learned_from_a_play(folder: Path, test_data: Path) -> None:
    play = str(test_data / "shakespeare.txt")
    learned = commands.run("tokenizer", {"data": [play], "vocab_size": 512, "out": str(folder / "tokenizer")})
    assert (learned["vocab_size"], learned["bytes"]) == (512, Path(play).stat().st_size)
    shape = {"model_type": "gpt2", "n_layer": 1, "n_embd": 32, "n_head": 2, "n_positions": 128}
    (folder / "small.json").write_text(json.dumps(shape))
    given = {"data": play, "model": str(folder / "small.json"), "tokenizer": str(folder / "tokenizer")}
    small = {"steps": 5, "eval_every": 5, "save_every": 5, "batch_size": 8, "seq_len": 128, "eval_batches": 4}
    out = folder / "base"
    result = commands.run("pretrain", {**given, **small, "device": "cpu", "out": str(out)})
    assert result["steps"] == 5
    assert set(result["losses"]) == set(report(out)["stages"][0]["losses"]) == THREE
    assert all(one["loss"] < result["loss_before"] and one["token_accuracy"] > 0 for one in result["losses"].values())
    continued = commands.run("generate", {"model": str(out), "text": "First Citizen:", "max_tokens": 8})
    assert continued["completions"][0]["tokens"] == 8


@pytest.mark.parametrize("template", ["plain", "alpaca"])
def test_instructions_are_learned_with_gpt2_s_own_vocabulary(sft: Sft, template: str) -> None:
    out, result = sft(template)
    assert result["steps"] == 3
    states = {"mask": "green", "stop": "green", "parity": "green", "sanity": "green"}
    assert states.items() <= result["proofs"].items()
    assert set(result["proofs"].values()) == {"green"}
    for losses in (result["losses"], report(out)["stages"][-1]["losses"]):
        assert set(losses) == THREE
        assert all(0 < one["loss"] < 11 and 0 <= one["token_accuracy"] <= 1 for one in losses.values())
    config = json.loads((out / "model" / "config.json").read_text())
    assert (config["vocab_size"], config["model_type"]) == (50257, "gpt2")


@pytest.mark.parametrize("template", ["plain", "alpaca"])
def test_the_three_losses_are_of_the_records_that_split_says(
    sft: Sft, gpt2: Tokenizer, test_data: Path, template: str
) -> None:
    out, result = sft(template)
    cut = parts(test_data / "instructions.json")
    layout = templates.load(template)
    for name, records in {"train": cut.train, "validation": cut.validation, "test": cut.test}.items():
        asked = [one for one in records if isinstance(one, Conversation)]
        assert result["losses"][name]["tokens"] == sum(sum(layout.render(one, gpt2).mask) for one in asked)
    made = json.loads((out / "model" / "training_metadata.json").read_text())
    assert made["num_samples"] == len(cut.train)


def test_start_and_result_are_asked_the_same(sft: Sft) -> None:
    out, _ = sft("plain")
    start, after = report(out)["stages"]
    assert (start["name"], after["name"]) == ("start", "sft")
    assert start["evaluation"]["fingerprint"] == after["evaluation"]["fingerprint"]
    assert "capital of France" in (out / "report" / "samples.txt").read_text()


def test_check_counts_the_instructions_as_training_splits_and_renders_them(
    sft: Sft, gpt2: Tokenizer, test_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = test_data / "instructions.json"
    cut = parts(data)
    found = commands.run("check", {"data": str(data), "model": str(sft("alpaca")[0]), "seq_len": 256})
    assert (found["read"], found["kept"], found["bad"], found["truncated"]) == (1100, 1100, [], {})
    assert found["splits"] == {"train": len(cut.train), "validation": len(cut.validation), "test": len(cut.test)}
    losses = sft("alpaca")[1]["losses"]
    assert found["learned"]["total"] == sum(one["tokens"] for one in losses.values())


def test_check_counts_a_play_as_one_document_cut_into_three(gpt2: Tokenizer, foreign: Path, test_data: Path) -> None:
    play = test_data / "shakespeare.txt"
    found = commands.run("check", {"data": str(play), "model": str(foreign)})
    assert (found["read"], found["kinds"], found["bad"]) == (1, {"Document": 1}, [])
    cut = parts(play)
    assert found["splits"] == {"train": len(cut.train), "validation": len(cut.validation), "test": len(cut.test)}
    text = "".join(one.text for one in source.read(str(play)).records if isinstance(one, Document))
    assert found["lengths"]["total"] == len(gpt2.encode(text)) + 1  # and <|endoftext|>
