"""Every file in recipes/ is one that `chatwright sft --config` takes: it parses, and trains for two steps."""

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_models import tiny_checkpoint

from chatwright import commands, config
from chatwright.commands.sft import Settings
from chatwright.data.spec import parse

FOLDER = Path(__file__).parent.parent / "recipes"
OTHERS = ("instruction-tuning", "lora-pythia-410m", "oasst-gpt2-medium", "qlora-gpt2-xl")
RECIPES = sorted(FOLDER.glob("*.yaml"))
# the road's recipes: conversations (None: all of them), steps, epochs
ULTRACHAT = {
    "ultrachat-100": (100, 20, 1.0),
    "ultrachat-1000": (1_000, None, 1.0),
    "ultrachat-5000": (5_000, None, 3.0),
    "ultrachat-20000": (20_000, None, 5.0),
    "ultrachat-full": (None, None, 3.0),
}


def settings(recipe: Path) -> Settings:
    return config.resolve(Settings, recipe, flags={"out": "runs/x"}, verb="sft")


def conversation(number: int) -> dict[str, Any]:
    """A row as UltraChat and OpenAssistant have them."""
    asked = f"What comes after {number}?"
    turns = [(asked, f"{number + 1} does."), ("And after that?", f"{number + 2}.")]
    pairs = [({"role": "user", "content": ask}, {"role": "assistant", "content": say}) for ask, say in turns]
    said = [message for pair in pairs for message in pair]
    return {"prompt": asked, "prompt_id": str(number), "messages": said}


def instruction(number: int) -> dict[str, Any]:
    """A row as Alpaca has them, with the three columns once more in one text."""
    row = {"instruction": "Add one.", "input": str(number), "output": str(number + 1)}
    return {**row, "text": " ".join(row.values())}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base") / "model"
    tiny_checkpoint(n_positions=256, n_layer=1).save(folder)
    return folder


def test_the_roads_recipes_are_there() -> None:
    assert {one.stem for one in RECIPES} == {*ULTRACHAT, *OTHERS}


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_says_what_it_is_for_what_it_costs_and_how_it_is_run(recipe: Path) -> None:
    lines = recipe.read_text().splitlines()
    header = " ".join(lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))])
    assert f"chatwright sft --config recipes/{recipe.name} --out runs/" in header
    assert "What to expect:" in header
    assert "Cost:" in header
    assert lines.count("verb: sft") == 1


@pytest.mark.parametrize("name", ULTRACHAT)
def test_the_ultrachat_recipes_have_the_sizes_of_their_names(name: str) -> None:
    one = settings(FOLDER / f"{name}.yaml")
    (data,) = map(parse, one.data)
    limit, steps, epochs = ULTRACHAT[name]
    assert (data.place, data.name, data.split) == ("hub", "HuggingFaceH4/ultrachat_200k", "train_sft")
    assert (one.model, data.limit, one.steps, one.epochs) == ("gpt2", limit, steps, epochs)
    assert one.seq_len <= 1024  # GPT-2's window


def test_instruction_tuning_has_the_book_projects_settings() -> None:
    one = settings(FOLDER / "instruction-tuning.yaml")
    assert (one.lr, one.optim.weight_decay, one.accumulate, one.epochs, one.template) == (3e-4, 0.01, 4, 10.0, "alpaca")
    assert one.optim.warmup > 0


def test_openassistant_is_read_in_a_form_that_there_is_a_format_for() -> None:
    one = settings(FOLDER / "oasst-gpt2-medium.yaml")
    (data,) = map(parse, one.data)
    assert (one.model, data.place, data.name) == ("gpt2-medium", "hub", "OpenAssistant/oasst1")
    assert (one.read_options().threads, one.read_options().languages) == ("best", ("en",))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_runs_for_two_steps(recipe: Path, model: Path, tmp_path: Path) -> None:
    row = instruction if settings(recipe).template == "alpaca" else conversation
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row(number)) + "\n" for number in range(40)))
    # everything else is the recipe's own: what stands in for the hub, and what makes it small
    smaller = {"model": str(model), "data": str(data), "steps": 2, "seq_len": 256, "from_scratch": True}
    result = commands.run("sft", {**smaller, "device": "cpu", "out": str(tmp_path / "run")}, config_file=recipe)
    assert result["steps"] == 2
    assert set(result["losses"]) == {"train", "validation", "test"}
    assert set(result["proofs"].values()) == {"green"}
    assert (tmp_path / "run" / "report" / "index.html").exists()
