"""A model that is pushed to a hub on loopback is there whole, with a card, and loads from there; what must not go stays."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hub_server import TOKEN, Fault, Hub, Program, commit, run, serve, start
from safetensors.torch import save_file
from tiny_models import tiny_checkpoint

from chatwright import commands
from chatwright.checkpoint import Checkpoint
from chatwright.evals import proofs
from chatwright.evals.proofs import Proof
from chatwright.models.lora import LoraConfig
from chatwright.train import card
from chatwright.train.card import Card

Push = Callable[..., list[Any]]
PUSH = """
import json, os, sys
from chatwright.commands import run
from chatwright.errors import ChatwrightError
from chatwright.hub import token_of
for line in sys.stdin:
    settings = json.loads(line)
    os.chdir(settings.pop("home"))
    try:
        with token_of(settings.pop("token")):
            print(json.dumps(run("push", settings)), flush=True)
    except ChatwrightError as error:
        print(json.dumps({"error": str(error), "code": error.exit_code}), flush=True)
"""
ANSWER = """
import json, sys
from chatwright import Chatbot, Sampling
for name in sys.argv[1:]:
    bot = Chatbot.load(name)
    print(json.dumps([bot.replies(["hi"], Sampling(max_tokens=12))[0].text, bot.checkpoint.template.name]))
"""
SENT = {
    "README.md",
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "training_metadata.json",
}
METADATA = {
    "base_model": "openai-community/gpt2",
    "stage": "sft",
    "dataset": "HuggingFaceH4/ultrachat_200k:train_sft#5000",
    "num_samples": 5000,
    "learning_rate": 5e-5,
    "validation_loss": 1.234567,
}
PROOFS = (Proof("mask", "green", "Half of it is learned."), Proof("stop", "warning", "It | stops <b>late</b>."))


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Hub, Program]]:
    with serve(Hub({})) as hub:
        started = start(hub, tmp_path_factory.mktemp("home"), "-c", PUSH)
        yield hub, started
        started.communicate(timeout=10)


@pytest.fixture
def hub(program: tuple[Hub, Program], tmp_path: Path) -> Hub:
    """An empty one."""
    hub, _ = program
    hub.folders, hub.faults, hub.objects, hub.private, hub.requests = {}, {}, {}, set(), []
    hub.new = tmp_path / "served"
    return hub


@pytest.fixture
def pushed(program: tuple[Hub, Program], tmp_path: Path) -> Push:
    """What each push gives, or the sentence that refuses it."""
    _, started = program

    def push(*settings: dict[str, Any]) -> list[Any]:
        assert started.stdin is not None
        assert started.stdout is not None
        for one in settings:
            started.stdin.write(json.dumps({"home": str(tmp_path), "token": TOKEN, **one}) + "\n")
        started.stdin.flush()
        found = [json.loads(started.stdout.readline()) for _ in settings]
        assert all("\n" not in one.get("error", "") for one in found)
        return found

    return push


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A run folder as training leaves it, with everything beside the model that is nobody's business."""
    folder = tmp_path / "runs/mine"
    metadata = Card("mine", folder / "model", METADATA)
    tiny_checkpoint("chatml").save(folder / "model", metadata=METADATA, card=card.text(metadata))
    (folder / ".lock").write_text("1\n")
    proofs.write(folder, PROOFS)
    (folder / "report").mkdir()
    (folder / "report/report.json").write_text(json.dumps({"stages": [stage("start", 0.25), stage("sft", 0.75)]}))
    step = folder / "checkpoints/step-000010"
    shutil.copytree(folder / "model", step)
    (step / "resume").mkdir()
    (step / "resume/optimizer.safetensors").write_bytes(b"moments")
    (step / "manifest.json").write_text("{}")
    (step / "optimizer.pt").write_bytes(b"moments")
    return folder


def stage(name: str, share: float) -> dict[str, Any]:
    score = {"n": 40, "correct": 40 * share, "accuracy": share, "low": share - 0.1, "high": share + 0.1}
    health = {"n": 50, "stop_rate": share, "loop_rate": 0.0, "leak_rate": 0.0}
    return {"name": name, "evaluation": {"scores": {"never_asked": score}, "health": health}}


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")} - {".gitattributes"}


def test_a_pushed_run_is_there_whole_and_answers_as_it_does_here(
    hub: Hub, made: Path, tmp_path: Path, pushed: Push
) -> None:
    trained_adapter(hub, tmp_path)
    dry, real, lora = pushed(
        {"model": "runs/mine", "repo": "someone/mine", "dry_run": True},
        {"model": "runs/mine", "repo": "someone/mine", "message": "First"},
        {"model": "runs/lora", "repo": "someone/lora"},
    )
    served = hub.folders["models/someone/mine"]
    assert set(dry["files"]) == SENT == names(served)
    assert "url" not in dry
    assert real["url"] == f"{hub.address}/someone/mine"
    assert real["commit"] == commit(served)
    assert {key: real[key] for key in ("files", "proofs", "left_out")} == {
        "files": {name: (served / name).stat().st_size for name in sorted(SENT)},
        "proofs": {"mask": "green", "stop": "warning"},
        "left_out": [],
    }
    commits = [one for one in hub.requests if one.path == "/api/models/someone/mine/commit/main"]
    assert len(commits) == 1, "whoever loads it sees all of it or nothing"
    assert json.loads(commits[0].body.splitlines()[0])["value"]["summary"] == "First"
    assert {one.authorization for one in hub.requests if not one.path.startswith("/objects/")} == {f"Bearer {TOKEN}"}
    read_card((served / "README.md").read_text())
    assert {"adapter_config.json", "adapter_model.safetensors"} <= lora["files"].keys()
    assert "config.json" not in lora["files"]
    assert "base_model: someone/base\n" in (hub.folders["models/someone/lora"] / "README.md").read_text()
    (tmp_path / "empty").mkdir()
    pairs = ["someone/mine", str(made), "someone/lora", str(tmp_path / "runs/lora"), "someone/base"]
    answers = run(hub, tmp_path / "empty", "-c", ANSWER, *pairs)
    there, here, lora_there, lora_here, base = map(json.loads, answers.stdout.splitlines())
    assert there == here, answers.stderr
    assert lora_there == lora_here != base
    assert here[1] == "chatml"


def test_nothing_private_goes_out_with_a_model(hub: Hub, made: Path, pushed: Push) -> None:
    """Neither files that only look like a model's, nor where on this machine it was made."""
    private = ["credentials.json", "my_config.json", "prompts.jinja", "trainer_state.json", "vocab.secret"]
    for name in private:
        (made / "model" / name).write_text('{"key": "secret"}')
    (made / "model/LICENSE").write_text("Do as you like.")
    known = {"base_model": "/home/me/gpt2", "dataset": "../../my/chats.jsonl", "more": {"from": ["~/x", "a/b"]}}
    (made / "model/training_metadata.json").write_text(json.dumps({**known, "seed": 1}))
    (done,) = pushed({"model": "runs/mine", "repo": "someone/mine"})
    served = hub.folders["models/someone/mine"]
    assert done["left_out"] == private
    assert names(served) == {*SENT, "LICENSE"}
    told = {"base_model": "gpt2", "dataset": "chats.jsonl", "more": {"from": ["x", "a/b"]}, "seed": 1}
    assert json.loads((served / "training_metadata.json").read_text()) == told
    assert not [path for path in served.iterdir() if b"/home" in path.read_bytes() or b"../.." in path.read_bytes()]


def test_an_export_is_pushed_with_the_card_of_its_run_and_a_red_one_is_not(
    hub: Hub, made: Path, tmp_path: Path, pushed: Push
) -> None:
    (made / "model/NOTICE").write_text("By me.")
    commands.run("export", {"model": str(made), "out": str(tmp_path / "exports/model")})
    (done,) = pushed({"model": "exports/model", "repo": "someone/mine"})
    served = hub.folders["models/someone/mine"]
    assert names(served) == {*SENT, "NOTICE"}
    assert done["left_out"] == ["proofs.json", "report/"]
    assert done["proofs"] == {"mask": "green", "stop": "warning", "export": "not run"}
    read_card((served / "README.md").read_text())
    proofs.write(made, [Proof("mask", "red", "Nothing is learned.")])
    for out in ("red", "red-again"):  # from the run, then from the export
        model = made if out == "red" else tmp_path / "red"
        commands.run("export", {"model": str(model), "out": str(tmp_path / out)})
    tried = ["red", "red-again", "runs/mine/checkpoints/step-000010", "runs/mine/model"]
    for refused in pushed(*({"model": name, "repo": "someone/new"} for name in tried)):
        assert "the proof 'mask' of" in refused["error"]
        assert refused["code"] == 6
    assert "models/someone/new" not in hub.folders


def trained_adapter(hub: Hub, tmp_path: Path) -> None:
    """runs/lora, an adapter on a base that is on the hub."""
    base = tmp_path / "served/someone/base"
    tiny_checkpoint("chatml", seed=3).save(base)
    hub.folders["models/someone/base"] = base
    adapted = Checkpoint.load(base).with_lora(LoraConfig(2, 16), str(base), dtype=torch.float32, seed=0)
    with torch.no_grad():
        for name, parameter in adapted.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(generator=torch.Generator().manual_seed(1))
    adapted.save(tmp_path / "runs/lora/model")
    config = tmp_path / "runs/lora/model/adapter_config.json"
    config.write_text(config.read_text().replace(str(base), "someone/base"))


def read_card(text: str) -> None:
    """The card says all that is known of METADATA, PROOFS and the report."""
    front = yaml.safe_load(text.split("---\n")[1])
    assert front == {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "base_model": "openai-community/gpt2",
        "datasets": ["HuggingFaceH4/ultrachat_200k"],
        "tags": ["chatwright", "sft"],
    }
    for line in (
        "# mine",
        'generate = pipeline("text-generation", model="someone/mine")',
        "$ chatwright chat someone/mine",
        "|  | n | start | sft |",
        "| never asked | 40 | 25 % (15–35 %) | 75 % (65–85 %) |",
        "| stops by itself | 50 | 25 % | 75 % |",
        "| mask | 🟢 green | Half of it is learned. |",
        "| stop | 🟡 warning | It \\| stops &lt;b>late&lt;/b>. |",
        "| learning rate | 5e-05 |",
        "| validation loss | 1.23457 |",
    ):
        assert line in text.splitlines(), line
    assert card.is_ours(text)


def test_only_the_model_goes_and_a_former_one_makes_room(hub: Hub, made: Path, tmp_path: Path, pushed: Push) -> None:
    """Shards or an adapter that stayed behind would be read in place of the weights that were pushed."""
    there = tmp_path / "served/someone/old"
    there.mkdir(parents=True)
    stale = ["model-00001-of-00001.safetensors", "model.safetensors.index.json", "adapter_config.json"]
    for name in [*stale, "notes.md", "logo.png"]:
        (there / name).write_text("{}")
    hub.folders["models/someone/old"] = there
    own = made / "checkpoints/step-000010/README.md"
    own.write_text("# My own words\n")
    model = {"model": "runs/mine/checkpoints/step-000010", "repo": "someone/old"}
    branch, done = pushed({**model, "revision": "dev"}, model)
    assert branch["url"] == f"{hub.address}/someone/old/tree/dev"
    for result, folder in ((branch, hub.folders["models/someone/old@dev"]), (done, there)):
        assert result["removed"] == sorted(stale)
        assert result["left_out"] == ["manifest.json", "optimizer.pt", "resume/"]
        assert names(folder) == {*SENT, "notes.md", "logo.png"}
        assert (folder / "README.md").read_text() == own.read_text()


def test_what_should_not_be_pushed_is_not(hub: Hub, made: Path, tmp_path: Path, pushed: Push) -> None:
    red = Proof("parity", "red", "The chatbot feeds another id.")
    shutil.copytree(made, tmp_path / "runs/red")
    proofs.write(tmp_path / "runs/red", [red])
    shutil.copytree(made, tmp_path / "runs/linked")
    (tmp_path / "runs/linked/model/vocab.json").symlink_to(tmp_path / "runs/mine/.lock")
    shutil.copytree(made, tmp_path / "runs/empty")
    (tmp_path / "runs/empty/model/model.safetensors").unlink()
    adapter(tmp_path / "runs/lora", "runs/mine")
    refusals = {
        "runs/red": "the proof 'parity' of runs/red is red: The chatbot feeds another id. Nothing is uploaded",
        "runs/linked": "vocab.json is a link out of its folder",
        "runs/empty": "runs/empty/model has no weights in safetensors files",
        "runs/lora": "is an adapter on runs/mine, a base that only this machine has; fold it in first: chatwright export",
        "runs/none": "hub",
    }
    tried = [{"model": name, "repo": "someone/new"} for name in refusals]
    odd = [{"model": "runs/mine", "repo": name} for name in ("mine", "a/b/c", "a/b@main")]
    *found, one, two, three = pushed(*tried, *odd)
    for (name, part), refused in zip(refusals.items(), found, strict=True):
        assert part in refused["error"], name
        assert refused["code"] == (6 if name == "runs/red" else 2)
    assert all("is no repository; give owner/name" in refused["error"] for refused in (one, two, three))
    assert not [one for one in hub.requests if one.method != "GET"]
    (warned,) = pushed({"model": "runs/red", "repo": "someone/new", "proofs": "warn"})
    assert warned["proofs"] == {"parity": "red"}
    assert "| parity | 🔴 red |" in (hub.folders["models/someone/new"] / "README.md").read_text()


def adapter(folder: Path, base: str) -> None:
    (folder / "model").mkdir(parents=True)
    place = "base_model.model.transformer.h.0.attn.c_attn"
    pair = {f"{place}.lora_A.weight": torch.zeros(2, 16), f"{place}.lora_B.weight": torch.zeros(48, 2)}
    save_file(pair, folder / "model/adapter_model.safetensors")
    config = {"peft_type": "LORA", "base_model_name_or_path": base, "r": 2, "target_modules": ["c_attn"]}
    (folder / "model/adapter_config.json").write_text(json.dumps(config))


def test_the_hubs_refusals_are_told_and_change_nothing(hub: Hub, made: Path, tmp_path: Path, pushed: Push) -> None:
    model = {"model": "runs/mine", "repo": "someone/there"}
    there = tmp_path / "served/someone/there"
    there.mkdir(parents=True)
    (there / "config.json").write_text("{}")
    hub.folders["models/someone/there"] = there
    hub.faults["someone/there"] = [Fault(times=2), Fault(status=500)]  # it fails when the commit is sent
    before = commit(there)
    broken, public, foreign, wrong = pushed(
        model,
        {**model, "private": True},
        {"model": "runs/mine", "repo": "other/mine"},
        {**model, "token": "hf_wrong"},
    )
    assert broken["error"] == "the hub failed (someone/there: 500 Internal Server Error); try again later"
    assert "is there already, for everybody to see" in public["error"]
    assert "other/mine is not open to your token" in foreign["error"]
    assert "the hub does not accept the token" in wrong["error"]
    (nobody,) = pushed({**model, "token": None})
    assert nobody["error"].startswith("pushing needs a token of the hub; make one with the right to write at")
    assert commit(there) == before
    (private,) = pushed({**model, "repo": "someone/secret", "private": True})
    assert private["url"].endswith("someone/secret")
    assert "models/someone/secret" in hub.private


def test_the_command_shows_what_goes_and_where_it_is(hub: Hub, made: Path, tmp_path: Path) -> None:
    words = ["-m", "chatwright", "push", "runs/mine", "someone/mine", "--token", TOKEN]
    done = run(hub, tmp_path, *words)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert {line.split()[1] for line in lines[:-2]} == SENT
    assert re.fullmatch(r"8 files, 0.\d MB, go to someone/mine", lines[-2])
    assert lines[-1] == f"{hub.address}/someone/mine"
    assert done.stderr == ""


def test_a_card_finds_the_base_through_the_runs_between(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    for name, base in (("base", "EleutherAI/pythia-160m@step1000"), ("sft", "runs/base"), ("dpo", "runs/sft")):
        (runs / name / "model").mkdir(parents=True)
        (runs / name / "model/training_metadata.json").write_text(json.dumps({"base_model": base}))
    assert card.base_of({"base_model": "runs/dpo"}, runs / "x/model") == "EleutherAI/pythia-160m"
    assert card.base_of({"base_model": ""}, runs / "x/model") == ""
    assert card.base_of({"base_model": "a path/of somebody's"}, runs / "x/model") == ""
    assert card.datasets_of({"dataset": "chats.jsonl"}, tmp_path) == []
    assert card.datasets_of({"dataset": "primer"}, tmp_path) == []


def test_a_card_says_what_is_known_and_nothing_else(tmp_path: Path) -> None:
    bare = card.text(Card("new", tmp_path, {}, chat=False))
    assert yaml.safe_load(bare.split("---\n")[1]) == {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["chatwright"],
    }
    assert [line for line in bare.splitlines() if line.startswith("#")] == ["# new", "## How to load it"]
    assert 'chatwright generate path/to/this/folder "Once upon a time"' in bare
    lora = card.text(Card("lora", tmp_path, {"base_model": "gpt2", "license": "mit"}, adapter=True))
    front = yaml.safe_load(lora.split("---\n")[1])
    assert front["library_name"] == "peft"
    assert front["base_model"] == "gpt2"
    assert front["license"] == "mit"
    assert "lora" in front["tags"]
    assert "AutoPeftModelForCausalLM" in lora
    path = card.text(Card("x", tmp_path, {"base_model": str(tmp_path / "secret/base")}))
    assert str(tmp_path) not in path
