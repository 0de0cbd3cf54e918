"""Adapters on disk: peft reads ours, we read peft's, several share a base, and a broken one is refused in one sentence."""

import json
import math
import os
import shutil
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import tiny_tokenizer
from torch import Tensor
from tuned_runs import (
    ADAPTER,
    CONFIG,
    NEW,
    assert_equal,
    base,
    conversations,
    differs,
    files,
    logits_of,
    model_of,
    ours,
    peft_model,
    read,
    sft,
    tensors,
    transformers_model,
)

from chatwright import commands, registry
from chatwright.chat import slash
from chatwright.chat.session import Session
from chatwright.checkpoint import Checkpoint, load_text
from chatwright.checkpoint import model as checkpoint_model
from chatwright.commands import _cli
from chatwright.errors import ChatwrightError, ConfigError, RedProof
from chatwright.evals import proofs, reexport
from chatwright.export import hf
from chatwright.generate.chatbot import Chatbot
from chatwright.generate.sampling import Sampling
from chatwright.models import lora
from chatwright.models.inference import prepare
from chatwright.text import template as templates

pytestmark = [
    # transformers warns of itself when peft asks it whether it recomputes activations
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    # peft sees by itself that GPT-2's matrices lie transposed, and says so
    pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False:UserWarning"),
]

FAMILIES = ("gpt2", "llama")
TARGETS = {"gpt2": ["attn.c_attn", "c_fc"], "llama": ["q_proj", "v_proj", "mlp.down_proj"]}
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "rslora": {"lora_rslora": True, "lora_alpha": 3.5},
    "dora": {"lora_dora": True},
    "targets": {},
}
Bases = Callable[..., Path]
Runs = Callable[..., Path]
Damage = Callable[[Path], object]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapters")
    conversations(folder / "data.jsonl")
    return folder


@pytest.fixture(scope="module")
def bases(place: Path) -> Bases:
    """A base in a folder, each made once."""

    def made(family: str = "gpt2", **changes: Any) -> Path:
        folder = place / named("base", family, changes)
        return folder if folder.exists() else base(folder, family, **changes)

    return made


@pytest.fixture(scope="module")
def runs(place: Path, bases: Bases) -> Runs:
    """A run of `sft` with an adapter by its settings, each made once; `start` is what its base is made with."""

    def made(family: str = "gpt2", variant: str = "plain", start: Mapping[str, Any] | None = None, **more: Any) -> Path:
        out = place / named("run", family, {"variant": variant, **(start or {}), **more}) / "out"
        settings = {"lora_rank": 4, **VARIANTS[variant], **more}
        if variant == "targets":
            settings["lora_targets"] = TARGETS[family]
        return out if out.exists() else sft(bases(family, **(start or {})), place / "data.jsonl", out, **settings)

    return made


def named(kind: str, family: str, settings: Mapping[str, Any]) -> str:
    return "-".join([kind, family, *(f"{name}={value}" for name, value in settings.items())])


def exported(model: Path, out: Path, **more: Any) -> Path:
    result = commands.run("export", {"model": str(model), "out": str(out), **more})
    assert result["proofs"] == {"export": "green"}
    return out


# A run, as peft and transformers see it


@pytest.mark.parametrize(
    ("family", "variant"), [*((family, variant) for family in FAMILIES for variant in VARIANTS), ("gpt_neox", "dora")]
)
def test_peft_reads_a_run_and_merges_it_into_what_export_writes(
    family: str, variant: str, runs: Runs, bases: Bases, tmp_path: Path
) -> None:
    run = runs(family, variant)
    judge = peft_model(run / "model")
    found = ours(run)
    assert_equal(found, logits_of(judge))
    assert differs(found, ours(bases(family)))
    config = judge.peft_config["default"]
    assert (config.use_rslora, config.use_dora) == (variant == "rslora", variant == "dora")
    merged = exported(run, tmp_path / "merged")
    judge = judge.merge_and_unload()
    weights, state = tensors(merged), judge.state_dict()
    assert weights.keys() == state.keys() - {"lm_head.weight"}
    for name, weight in weights.items():
        assert_equal(weight, state[name], 1e-6)
    again = transformers_model(merged)
    assert_tied(again)
    assert_equal(logits_of(again), logits_of(judge))
    assert_equal(logits_of(again), found)


def assert_tied(judge: Any) -> None:
    assert judge.config.tie_word_embeddings
    assert judge.get_output_embeddings().weight is judge.get_input_embeddings().weight


def test_a_run_in_4_bits_is_exported_into_the_base_in_full(runs: Runs, bases: Bases, tmp_path: Path) -> None:
    run = runs(load_in="4bit")
    merged, own, adapter = tensors(exported(run, tmp_path / "m")), tensors(bases()), tensors(run / "model")
    assert merged.keys() == own.keys()
    for name, weight in own.items():
        path = f"base_model.model.{name.removesuffix('.weight')}"
        if f"{path}.lora_A.weight" in adapter:
            change = 2.0 * adapter[f"{path}.lora_B.weight"] @ adapter[f"{path}.lora_A.weight"]
            assert change.abs().max() > 1e-3
            assert_equal(merged[name], weight + change.t(), 1e-6)
        else:
            assert torch.equal(merged[name], weight)
    assert_equal(ours(run), logits_of(peft_model(run / "model")))


# New chat tokens

GROWN: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("gpt2", {}),
    "llama": ("llama", {}),
    "gpt2 with a head of its own": ("gpt2", {"tied": False}),
    "llama with a head of its own": ("llama", {"tied": False}),
    "gpt_neox with a head of its own": ("gpt_neox", {"tied": False}),
    "gpt2 with rows to spare": ("gpt2", {"vocab_size": 300}),
}


@pytest.mark.parametrize("case", GROWN)
def test_rows_of_new_chat_tokens_are_trained_and_saved_where_peft_finds_them(
    case: str, runs: Runs, bases: Bases, tmp_path: Path
) -> None:
    from peft import AutoPeftModelForCausalLM

    family, start = GROWN[case]
    run = runs(family, start=start, template="chatml")
    assert_grown(bases(family, **start), run / "base")
    config = read(run / "model" / CONFIG)
    assert config["base_model_name_or_path"] == str((run / "base").resolve())
    kind = registry.load("models", family).MODEL
    heads = [kind.HEAD] if start.get("tied") is False else []
    tables = [kind.EMBEDDING, *heads]
    modules = [kind.EMBEDDING.split(".")[-2], *["lm_head" for _ in heads]]  # transformers calls every head so
    assert config["trainable_token_indices"] == dict.fromkeys(modules, NEW)
    judge = peft_model(run / "model")
    found = ours(run)
    assert_equal(found, logits_of(judge))
    assert_equal(found, logits_of(AutoPeftModelForCausalLM.from_pretrained(run / "model")))
    merged = tensors(exported(run, tmp_path / "merged"))
    former = tensors(run / "base")
    for name in tables:
        changed = (merged[name] - former[name]).abs().amax(dim=1)
        assert changed.nonzero().flatten().tolist() == NEW
        assert float(changed[NEW].min()) > 1e-3
    assert (kind.HEAD in merged) is bool(heads)
    again = transformers_model(tmp_path / "merged")
    if not heads:
        assert_tied(again)
    assert_equal(logits_of(again), found)
    assert_equal(logits_of(judge.merge_and_unload()), found)


def assert_grown(former: Path, grown: Path) -> None:
    """The same base with rows for two more tokens, which start as the mean of the others, and no template of its own."""
    before, after = tensors(former), tensors(grown)
    assert before.keys() == after.keys()
    for name, weight in after.items():
        if name.endswith(
            ("wte.weight", "embed_tokens.weight", "lm_head.weight", "embed_in.weight", "embed_out.weight")
        ):
            assert len(weight) == max(292, len(before[name]))
            assert torch.equal(weight[:290], before[name][:290])
            assert_equal(weight[NEW], before[name][:290].mean(dim=0).expand(2, -1), 1e-6)
        else:
            assert torch.equal(weight, before[name])
    assert not (grown / "chat_template.jinja").exists()


def test_chat_tokens_that_a_base_has_but_never_learned_are_trained_without_a_copy_of_it(
    place: Path, tmp_path: Path
) -> None:
    knows = tiny_tokenizer().with_special(["<|im_start|>", "<|im_end|>"])
    Checkpoint(model_of("gpt2", vocab_size=292), knows, templates.load("plain"), own_template=False).save(
        tmp_path / "b"
    )
    run = sft(tmp_path / "b", place / "data.jsonl", tmp_path / "run", lora_rank=4, template="chatml")
    assert not (run / "base").exists()
    config = read(run / "model" / CONFIG)
    assert config["base_model_name_or_path"] == str(tmp_path / "b")
    assert config["trainable_token_indices"] == {"wte": NEW}
    assert_equal(ours(run), logits_of(peft_model(run / "model")))


def test_a_base_with_the_masks_of_old_files_takes_an_adapter(place: Path, tmp_path: Path) -> None:
    """Those of one number have no first row."""
    weights = tensors(base(tmp_path / "base"))
    masks = {f"transformer.h.{layer}.attn.masked_bias": torch.tensor(-1e4) for layer in (0, 1)}
    save_file(weights | masks, tmp_path / "base" / "model.safetensors", metadata={"format": "pt"})
    run = sft(tmp_path / "base", place / "data.jsonl", tmp_path / "run", lora_rank=2, steps=1)
    assert torch.isfinite(ours(run)).all()


def test_a_run_that_was_moved_finds_its_base_beside_it(runs: Runs, tmp_path: Path) -> None:
    run = runs(template="chatml")
    for inside in ("", "model", "checkpoints/step-000003"):
        moved = tmp_path / "elsewhere"
        shutil.copytree(run, moved)
        config = read(moved / "model" / CONFIG)
        for folder in (moved / "model", moved / "checkpoints" / "step-000003"):
            (folder / CONFIG).write_text(json.dumps({**config, "base_model_name_or_path": "/gone/base"}))
        assert torch.equal(ours(moved / inside), ours(run))
        shutil.rmtree(moved)


def test_a_folder_called_base_that_is_not_the_named_one_is_not_taken_for_it(
    runs: Runs, bases: Bases, tmp_path: Path
) -> None:
    base(tmp_path / "base", seed=5)
    base(tmp_path / "lora" / "base", seed=6)
    made_by_peft(bases(), tmp_path / "lora" / "mine")
    shutil.copytree(runs(), tmp_path / "run")
    assert torch.equal(ours(tmp_path / "run"), ours(runs()))
    assert_equal(ours(tmp_path / "lora" / "mine"), logits_of(peft_model(tmp_path / "lora" / "mine")))


# peft's own adapters


def made_by_peft(start: Path, folder: Path, kind: str = "LoraConfig", **config: Any) -> Any:
    """An adapter of theirs that is not at its start any more, saved in a folder; returns their model."""
    import peft

    given = {"r": 4, "lora_alpha": 8} if kind == "LoraConfig" else {}
    settings = vars(peft)[kind](**{**given, "task_type": "CAUSAL_LM", **config})
    model = peft.get_peft_model(transformers_model(start), settings).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(torch.empty_like(weight).normal_(0, 0.2, generator=generator))
    model.save_pretrained(str(folder))
    return model


THEIRS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "defaults": ("gpt2", {}, {}),
    "all-linear": ("gpt2", {}, {"target_modules": "all-linear"}),
    "a pattern": ("gpt2", {}, {"target_modules": r".*\.h\.1\.(attn\.c_proj|mlp\.c_fc)"}),
    "one layer": ("llama", {}, {"target_modules": ["q_proj", "up_proj"], "layers_to_transform": [1]}),
    "dora": ("llama", {}, {"target_modules": "all-linear", "use_dora": True}),
    "rslora": ("gpt2", {}, {"target_modules": "all-linear", "use_rslora": True}),
    "rows": ("gpt2", {}, {"trainable_token_indices": [1, 290, 7]}),
    "rows by name": ("llama", {}, {"trainable_token_indices": {"embed_tokens": [290, 291]}}),
    "rows of one head": ("llama", {"tied": False}, {"trainable_token_indices": {"lm_head": [3, 291]}}),
    "rows of a head with another name": (
        "gpt_neox",
        {"tied": False},
        {"target_modules": "all-linear", "trainable_token_indices": {"lm_head": [3], "embed_in": [3, 291]}},
    ),
    "rows of both": ("gpt2", {"tied": False}, {"trainable_token_indices": {"wte": [5], "lm_head": [3, 291]}}),
}


@pytest.mark.parametrize("case", THEIRS)
def test_an_adapter_of_peft_gives_its_logits_here_and_goes_back_as_it_came(
    case: str, bases: Bases, tmp_path: Path
) -> None:
    family, start, config = THEIRS[case]
    start = bases(family, template="chatml", **start)
    judge = made_by_peft(start, tmp_path / "theirs", **config)
    found = Checkpoint.load(tmp_path / "theirs")
    assert found.template.name == "chatml"  # the base's
    assert load_text(tmp_path / "theirs")[1].name == "chatml"
    logits = ours(found)
    assert_equal(logits, logits_of(judge))
    assert differs(logits, ours(start))
    found.save(tmp_path / "ours")
    assert_equal(logits_of(peft_model(tmp_path / "ours")), logits)
    before, after = tensors(tmp_path / "theirs"), tensors(tmp_path / "ours")
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], weight) for name, weight in before.items())
    assert_equal(ours(found.merged()), logits)


def test_what_the_base_says_of_generating_holds_for_an_adapter_without_such_a_file(
    bases: Bases, tmp_path: Path
) -> None:
    shutil.copytree(bases(template="chatml"), tmp_path / "base")
    settings = read(tmp_path / "base" / "generation_config.json")
    (tmp_path / "base" / "generation_config.json").write_text(json.dumps({**settings, "repetition_penalty": 1.5}))
    made_by_peft(tmp_path / "base", tmp_path / "mine")
    merged = exported(tmp_path / "mine", tmp_path / "merged")
    assert read(merged / "generation_config.json")["repetition_penalty"] == 1.5


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"bias": "all"}, "bias is 'all'"),
        ({"modules_to_save": ["wte"]}, "modules_to_save is ['wte']"),
        ({"rank_pattern": {"c_attn": 2}}, "rank_pattern is"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights is 'pissa'"),
        ({"alora_invocation_tokens": [5, 6]}, "alora_invocation_tokens is [5, 6]"),
        ({"kind": "IA3Config"}, "peft_type is 'IA3'"),
        ({"target_modules": ["c_attn", "wte"]}, "'transformer.wte' is no linear layer"),
        # without the embedding's, the head's rows would no longer be tied
        ({"trainable_token_indices": {"lm_head": [5, 6]}}, "does not have, or not of its own"),
    ],
)
def test_what_peft_can_do_and_we_cannot_is_refused_by_name(
    config: dict[str, Any], says: str, bases: Bases, tmp_path: Path
) -> None:
    made_by_peft(bases(), tmp_path / "a", **config)
    assert says in refusal(tmp_path / "a")


def test_an_adapter_with_a_whole_embedding_beside_it_is_refused(bases: Bases, tmp_path: Path) -> None:
    """peft saves one where tokens were added before training."""
    made_by_peft(bases(), tmp_path / "a").save_pretrained(str(tmp_path / "a"), save_embedding_layers=True)
    assert "holds all of 'lm_head.weight'" in refusal(tmp_path / "a")


@pytest.mark.parametrize(
    "name",
    [
        "alpha_pattern",
        "lora_bias",
        "layer_replication",
        "megatron_config",
        "use_qalora",
        "use_bdlora",
        "kasa_config",
        "monteclora_config",
        "arrow_config",
        "target_parameters",
    ],
)
def test_so_are_the_features_that_need_more_than_a_tiny_model(name: str, runs: Runs, tmp_path: Path) -> None:
    shutil.copytree(runs() / "model", tmp_path / "a")
    change(**{name: {"some": 1}})(tmp_path / "a")
    assert f"{name} is {{'some': 1}}" in refusal(tmp_path / "a")


# Several adapters on one base


def line(session: Session, text: str) -> str:
    """What a typed line tells; an answer is taken whole."""
    outcome = slash.enter(session, text)
    return outcome.text + "".join(outcome.answer or ())


def reply(session: Session) -> str:
    """To a question that was not asked before."""
    session.reset()
    return line(session, "What is 3 and 3?")


def session_of(place: Path, **options: Any) -> Session:
    chatbot = Chatbot.load(place, device="cpu", **options)
    return Session(chatbot, Sampling(temperature=0, max_tokens=16), "", str(place))


def now(session: Session) -> Tensor:
    return ours(session.chatbot.checkpoint)


def alone(place: Path) -> Tensor:
    """What a chat with this model alone would say."""
    return now(session_of(place))


@pytest.fixture(scope="module")
def several(runs: Runs, bases: Bases, place: Path) -> dict[str, Path]:
    """Adapters on equal bases, by the name that a chat gives them: with trained rows, and one without."""
    found = {}
    for seed in (0, 1):
        link = place / f"seed{seed}"
        link.symlink_to(runs(template="chatml", seed=seed))
        found[link.name] = link
    grown = found["seed0"] / "base"
    found["rowless"] = place / "rowless"
    found["rowless"].symlink_to(
        sft(grown, place / "data.jsonl", place / "rowless-run", template="plain", lora_rank=2, lora_dora=True)
    )
    return found


@pytest.mark.parametrize("load_in", [None, "4bit"])
def test_an_adapter_that_was_switched_to_answers_as_if_it_alone_were_loaded(
    load_in: Any, several: dict[str, Path]
) -> None:
    each = {name: session_of(folder, load_in=load_in) for name, folder in several.items()}
    logits, replies = ({name: how(one) for name, one in each.items()} for how in (now, reply))
    assert len(set(replies.values())) == 3
    session = session_of(several["seed0"], load_in=load_in)
    assert reply(session) == replies["seed0"]
    without = Checkpoint.load(several["seed0"] / "base", template="chatml", load_in=load_in)
    prepare(without.model)
    base = Session(Chatbot(without, device="cpu"), session.sampling)
    base_logits, base_reply = now(base), reply(base)
    for name in ("rowless", "none", "seed0", "seed1", "none", "rowless", "seed1", "seed1", "rowless", "seed0", "none"):
        known = name in session.adapters.names
        told = line(session, f"/adapter {name if known else several[name]}")
        assert told == ("The base alone answers." if name == "none" else f"The adapter {name} answers.")
        if name == "none":
            assert torch.equal(now(session), base_logits)
            assert reply(session) == base_reply
        else:
            assert torch.equal(now(session), logits[name])
            assert reply(session) == replies[name]
            assert session.chatbot.engine.stop_ids == each[name].chatbot.engine.stop_ids
    assert line(session, "/adapter") == "* none\n  seed0\n  rowless\n  seed1"


def test_the_chat_verb_reads_more_adapters_and_answers_through_its_own(several: dict[str, Path]) -> None:
    asked = {"prompt": "What is 3 and 3?", "temperature": 0, "max_tokens": 16, "device": "cpu"}
    for name, other in (("seed0", "seed1"), ("seed1", "rowless")):
        alone = reply(session_of(several[name]))
        given = {"model": str(several[name]), "adapters": [str(several[other])], **asked}
        assert commands.run("chat", given)["reply"] == alone.strip()


def test_two_adapters_may_lie_in_folders_of_the_same_name(runs: Runs, bases: Bases) -> None:
    first, second = runs(), runs("gpt2", "dora")
    session = session_of(bases())
    for told, run in (
        ("out", first),
        (second, second),
        ("out", f"{first}/"),
        ("out", first / "model"),
        (second, second),
    ):
        assert line(session, f"/adapter {run}") == f"The adapter {told} answers."
        assert torch.equal(now(session), alone(first if told == "out" else second))
    assert session.adapters.names == ["none", "out", str(second)]


def test_a_whole_base_takes_adapters_too(runs: Runs, bases: Bases) -> None:
    session = session_of(bases())
    before = now(session)
    assert line(session, f"/adapter {runs()}") == "The adapter out answers."
    assert torch.equal(now(session), alone(runs()))
    line(session, "/adapter none")
    assert torch.equal(now(session), before)


def refused_adapters(runs: Runs, bases: Bases, folder: Path) -> Iterator[tuple[Path | str, str]]:
    """Folders that are no adapter for the base of `runs(template="chatml")`, each with a part of the sentence."""
    grown = {"start": {"seed": 8}, "template": "chatml"}
    yield runs(**grown), "was trained on another"
    yield runs("gpt2", start={"n_embd": 20}, template="chatml"), "was trained on another"
    yield runs("llama", template="chatml"), "was trained on another"
    yield bases(), "is a whole model"
    yield "./seed-7", "does not exist"
    yield "nowhere/at/all", "does not exist"
    good = runs(template="chatml", seed=1) / "model"
    for name, damage in {"cut": cut, "lacking": without("lora_B"), "deeper": extra("h.9"), "wider": widened}.items():
        shutil.copytree(good, folder / name)
        damage(folder / name)
        yield folder / name, "" if name == "cut" else "for another base"
    for name, start in {"theirs": {"seed": 8}, "their-shape": {"n_embd": 20}}.items():
        made_by_peft(bases(template="chatml", **start), folder / name)
        yield folder / name, "another"


def test_an_adapter_that_does_not_fit_is_refused_and_nothing_changes(
    several: dict[str, Path], runs: Runs, bases: Bases, tmp_path: Path
) -> None:
    for first in ("seed0", "none"):
        session = session_of(several["seed0"])
        if first == "none":
            line(session, "/adapter none")
        before, names, answer = now(session), session.adapters.names, reply(session)
        for wrong, says in refused_adapters(runs, bases, tmp_path / first):
            with pytest.raises(ConfigError) as refused:
                line(session, f"/adapter {wrong}")
            assert says in str(refused.value)
            assert "\n" not in str(refused.value)
            assert session.adapters.names == names
            assert session.adapters.active == first
            assert torch.equal(now(session), before)
            session.reset()
            assert reply(session) == answer
        line(session, f"/adapter {several['seed1']}")
        assert torch.equal(now(session), alone(several["seed1"]))


@pytest.mark.parametrize(
    ("template", "says"),
    [
        (templates.load("chatml").to_jinja(tiny_tokenizer()), "lacks '<|im_start|>' of its template chatml"),
        ("{{ messages[0].content }}", "template"),
        ("{% if %}", "template"),
    ],
)
def test_an_adapter_whose_template_cannot_be_spoken_is_refused_and_nothing_changes(
    template: str, says: str, runs: Runs, tmp_path: Path
) -> None:
    shutil.copytree(runs("gpt2", "dora") / "model", tmp_path / "wrong")
    (tmp_path / "wrong" / "chat_template.jinja").write_text(template)
    session = session_of(runs())
    before, answer = now(session), reply(session)
    with pytest.raises(ConfigError, match=says):
        line(session, f"/adapter {tmp_path / 'wrong'}")
    assert (session.adapters.names, session.adapters.active) == (["none", "out"], "out")
    assert lora.names(session.chatbot.checkpoint.model) == ["default"]
    assert torch.equal(now(session), before)
    assert reply(session) == answer


def test_a_switch_to_what_cannot_end_an_answer_leaves_the_former_adapter(runs: Runs) -> None:
    chatbot = Chatbot.load(runs(), device="cpu")
    former, engine, before = chatbot.checkpoint, chatbot.engine, ours(chatbot.checkpoint)
    endless = replace(former.with_adapter(runs("gpt2", "dora")), template=templates.load("chatml"))
    with pytest.raises(ConfigError, match="needs the special token"):
        chatbot.switch(endless)
    assert chatbot.checkpoint is former
    assert chatbot.engine is engine
    assert torch.equal(ours(former), before)


COMMIT = "0123456789abcdef0123456789abcdef01234567"


def cache(folder: Path, start: Path, revision: str = "main") -> Path:
    """The cache of the hub's client as it is once it has fetched the base `someone/base`."""
    repo = folder / "models--someone--base"
    shutil.copytree(start, repo / "snapshots" / COMMIT)
    (repo / "refs").mkdir()
    (repo / "refs" / revision).write_text(COMMIT)
    return folder


@pytest.mark.parametrize("revision", [None, "dev"])
def test_an_adapter_without_a_fingerprint_is_held_against_its_base_in_the_cache_of_the_hub(
    revision: str | None,
    bases: Bases,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    made_by_peft(bases(), tmp_path / "theirs")
    change(base_model_name_or_path="someone/base", revision=revision)(tmp_path / "theirs")
    monkeypatch.setattr("chatwright.hub.download", asks_nobody)
    session = session_of(bases())
    before = now(session)
    for name, start in {"same": bases(), "other": bases(seed=8), "none": None, "half": bases(seed=9)}.items():
        place = tmp_path / name
        if start is not None:
            cache(place, start, revision or "main")
        if name == "half":
            next(place.rglob("model.safetensors")).unlink()
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(place))
        session = session_of(bases())
        capsys.readouterr()
        if name == "other":
            with pytest.raises(ConfigError, match="was trained on another someone/base"):
                line(session, f"/adapter {tmp_path / 'theirs'}")
            assert torch.equal(now(session), before)
            continue
        line(session, f"/adapter {tmp_path / 'theirs'}")
        assert differs(now(session), before)
        said = capsys.readouterr().err
        if name == "same":
            assert said == ""
        else:
            assert "warning" in said
            assert "was made for someone/base" in said
            assert str(bases()) in said


def asks_nobody(name: str) -> Path:
    raise AssertionError(f"the hub is asked for {name}")


# Bad folders


def refusal(folder: Path) -> str:
    """The one sentence with which a folder is refused, within the two seconds that it may take."""
    began = time.perf_counter()
    with pytest.raises(ChatwrightError) as caught:
        Checkpoint.load(folder, quiet=True)
    assert time.perf_counter() - began < 2
    assert isinstance(caught.value, ConfigError)
    assert caught.value.exit_code == 2
    says = str(caught.value)
    assert "\n" not in says
    assert len(says) < 600
    return says


def change(**changes: object) -> Damage:
    return lambda folder: (folder / CONFIG).write_text(json.dumps({**read(folder / CONFIG), **changes}))


def without_key(name: str) -> Damage:
    def damage(folder: Path) -> None:
        config = read(folder / CONFIG)
        del config[name]
        (folder / CONFIG).write_text(json.dumps(config))

    return damage


def weights(alter: Callable[[dict[str, Tensor]], object]) -> Damage:
    def damage(folder: Path) -> None:
        found = load_file(folder / ADAPTER)
        alter(found)
        save_file({name: tensor.contiguous() for name, tensor in found.items()}, folder / ADAPTER)

    return damage


def first(found: Mapping[str, Tensor], part: str) -> str:
    return next(name for name in found if part in name)


def without(part: str) -> Damage:
    return weights(lambda found: found.pop(first(found, part)))


def extra(part: str) -> Damage:
    """A tensor more: of another layer, or of another kind."""

    def add(found: dict[str, Tensor]) -> None:
        name = first(found, "h.0.attn.c_attn.lora_A")
        twin = name.replace("h.0", part) if part.startswith("h.") else name.replace("lora_A", part)
        found[twin] = found[name].clone()

    return weights(add)


def reshaped(part: str, *shape: int, dtype: torch.dtype = torch.float32) -> Damage:
    return weights(lambda found: found.update({first(found, part): torch.zeros(shape, dtype=dtype)}))


def hollow(folder: Path) -> None:
    """Nothing but one number for every layer, of an unknown kind, and a rank that no tensor has."""
    change(r=10_000)(folder)
    found = {name.partition(".lora_")[0]: torch.zeros(1) for name in load_file(folder / ADAPTER) if ".lora_" in name}
    save_file({f"{path}.lora_x": tensor.clone() for path, tensor in found.items()}, folder / ADAPTER)


def in_tokenizer_config(template: str) -> Damage:
    """Where older tools keep it."""

    def damage(folder: Path) -> None:
        (folder / "chat_template.jinja").unlink()
        path = folder / "tokenizer_config.json"
        path.write_text(json.dumps({**read(path), "chat_template": template}))

    return damage


widened = reshaped("h.1.mlp.c_fc.lora_B", 65, 4)


def cut(folder: Path) -> None:
    (folder / ADAPTER).write_bytes((folder / ADAPTER).read_bytes()[:-9])


def link(name: str) -> Damage:
    def damage(folder: Path) -> None:
        (folder.parent / "outside").write_bytes((folder / name).read_bytes())
        (folder / name).unlink()
        (folder / name).symlink_to(folder.parent / "outside")

    return damage


def put(name: str, contents: str) -> Damage:
    return lambda folder: (folder / name).write_text(contents)


def rows(listed: object) -> Damage:
    return change(trainable_token_indices=listed)


@pytest.fixture
def adapter(runs: Runs, tmp_path: Path) -> Path:
    """A copy of a good one, with trained rows."""
    shutil.copytree(runs(template="chatml") / "model", tmp_path / "adapter")
    return tmp_path / "adapter"


def test_the_good_adapter_loads(adapter: Path, runs: Runs) -> None:
    assert torch.equal(ours(adapter), ours(runs(template="chatml")))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda folder: (folder / ADAPTER).unlink(), f"{ADAPTER} is missing"),
        (cut, "is cut short"),
        (put(ADAPTER, ""), "is cut short"),
        (without("lora_A"), "lacks"),
        (without("lora_B"), "lacks"),
        (without("token_adapter"), "lacks rows that trainable_token_indices"),
        (weights(lambda found: found.clear()), "target_modules"),
        (extra("h.9"), "h.9"),
        (extra("lora_C"), "lora_C"),
        (weights(lambda found: found.update({"h.0.lora_A.weight": torch.zeros(4, 16)})), "no adapter in PEFT's layout"),
        (extra("bias"), "bias"),
        (extra("lora_embedding_A"), "lora_embedding_A"),
        (extra("lora_magnitude_vector"), "lora_magnitude_vector.weight', which has no place there"),
        (hollow, "lora_x"),
        (lambda folder: os.truncate(folder / CONFIG, 65 * 2**20), "has 65 MB"),
        (put("chat_template.jinja", " " * 2**21), "a chat template has less than 1,048,576"),
        (in_tokenizer_config(" " * 2**21), "a chat template has less than 1,048,576"),
        (widened, "(65, 4)"),
        (reshaped("lora_A", 4, 16, 1), "(4, 16, 1)"),
        (reshaped("lora_A", 0), "(0,)"),
        (reshaped("lora_A", 4, 16, dtype=torch.int8), "the type I8"),
        (reshaped("token_adapter", 2, 17), "(2, 17)"),
        (reshaped("token_adapter", 3, 16), "(3, 16)"),
        (reshaped("token_adapter", 2, 16, dtype=torch.int64), "the type I64"),
        (without_key("base_model_name_or_path"), "names no base_model_name_or_path"),
        (change(base_model_name_or_path=None), "names no base_model_name_or_path"),
        (change(base_model_name_or_path=7), "names no base_model_name_or_path"),
        (change(base_model_name_or_path="/nowhere/at/all"), "needs its base model: /nowhere/at/all does not exist"),
        (change(base_model_name_or_path="x" * 5000), "needs its base model"),
        (change(base_model_name_or_path="a\0b"), "names no base_model_name_or_path"),
        (change(base_model_name_or_path="two\nlines"), "names no base_model_name_or_path"),
        (change(base_model_name_or_path="."), "needs its base model"),
        (change(revision=7), "revision"),
        (put(CONFIG, "{"), "is not valid JSON"),
        (put(CONFIG, "[" * 100_000), "is not valid JSON"),
        (put(CONFIG, "[]"), "not a JSON object"),
        (put(CONFIG, "{}"), "peft_type"),
        (change(r=10**9), "the rank r is 1000000000"),
        (change(r=-4), "the rank r is -4"),
        (change(r=0), "the rank r is 0"),
        (change(r="8"), "the rank r is '8'"),
        (change(r=True), "the rank r is True"),
        (change(r=8), "rank"),
        (without_key("r"), "rank"),  # PEFT's default is 8
        (change(r=10_000), "rank"),
        (change(lora_alpha=math.nan), "lora_alpha is nan"),
        (change(lora_alpha=math.inf), "lora_alpha is inf"),
        (change(lora_alpha=None), "lora_alpha is None"),
        (change(lora_dropout=1), "lora_dropout is 1"),
        (change(lora_dropout=math.nan), "lora_dropout is nan"),
        (change(use_dora=1), "use_dora is 1"),
        (change(use_dora=True), "lacks"),
        (change(use_rslora="yes"), "use_rslora is 'yes'"),
        (rows({"wte": [290, 292]}), "292"),
        (rows({"wte": [-1, 291]}), "-1"),
        (rows({"wte": [290, 290]}), "each once"),
        (rows({"wte": [290, 291.0]}), "291.0"),
        (rows({"wte": 290}), "290"),
        (rows({"wte": [290]}), "the shape (2, 16)"),
        (rows({"wpe": [290, 291]}), "None"),
        (rows("many"), "many"),
        (rows({"wte": list(range(100_000))}), "the shape (2, 16)"),
        (rows(None), "None"),
        (put("training_metadata.json", "["), "training_metadata.json is not valid JSON"),
        (put("training_metadata.json", '{"base_fingerprint": "0"}'), "was trained on another"),
        (link(ADAPTER), "is a link out of its folder"),
        (link(CONFIG), "is a link out of its folder"),
        (link("tokenizer.json"), "is a link out of its folder"),
        (put("tokenizer.json", "{}"), "tokenizer.json"),
    ],
)  # fmt: skip
def test_a_broken_adapter_is_refused_in_one_sentence(damage: Damage, says: str, adapter: Path) -> None:
    damage(adapter)
    assert says in refusal(adapter)


def test_a_base_that_was_trained_on_since_is_not_taken_for_the_one_it_was(
    adapter: Path, bases: Bases, tmp_path: Path
) -> None:
    base(tmp_path / "base", template="chatml", seed=9)
    change(base_model_name_or_path=str(tmp_path / "base"))(adapter)
    assert "the weights in" in refusal(adapter)


def test_an_adapter_whose_base_is_an_adapter_is_refused(adapter: Path, runs: Runs) -> None:
    change(base_model_name_or_path=str(runs()))(adapter)
    assert "config.json is missing" in refusal(adapter)


def test_the_command_line_ends_with_2_and_the_sentence(
    adapter: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    cut(adapter)
    assert _cli.main(["export", str(adapter), "--out", str(tmp_path / "out")]) == 2
    written = capsys.readouterr().err.strip()
    assert written.startswith("error: ")
    assert "cut short" in written
    assert not (tmp_path / "out").exists()


MEMORY = """
import resource, sys, time
from chatwright.checkpoint import Checkpoint
from chatwright.errors import ConfigError

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

good, *bad = sys.argv[1:]
Checkpoint.load(good, quiet=True)
before = peak()
for folder in bad:
    began = time.perf_counter()
    try:
        Checkpoint.load(folder, quiet=True)
    except ConfigError:
        assert time.perf_counter() - began < 2, folder
        assert peak() - before < 200, (folder, peak() - before)
    else:
        raise AssertionError(folder)
"""


def test_the_worst_take_no_memory(tmp_path: Path) -> None:
    """A rank that would take 1.4 GB on this base, rows for a million tokens, and a header that lies."""
    base(tmp_path / "base", n_embd=256, n_layer=8, n_head=4)
    made_by_peft(tmp_path / "base", tmp_path / "good", target_modules="all-linear", trainable_token_indices=[7])
    bad = {
        "rank": change(r=10_000),
        "hollow": hollow,
        "rows": rows(list(range(10**6))),
        "one row": rows([10**12]),
        "header": put(ADAPTER, "\xff" * 64),
        "huge": lambda folder: (folder / ADAPTER).write_bytes(lie()),
    }
    for name, damage in bad.items():
        shutil.copytree(tmp_path / "good", tmp_path / name)
        damage(tmp_path / name)
    folders = [str(tmp_path / name) for name in ("good", *bad)]
    subprocess.run([sys.executable, "-c", MEMORY, *folders], check=True, timeout=60, env={**os.environ})


def lie() -> bytes:
    """A safetensors file that says it holds 4 TB."""
    name = "base_model.model.transformer.h.0.attn.c_attn.lora_A.weight"
    header = json.dumps({name: {"dtype": "F32", "shape": [2**20, 2**20], "data_offsets": [0, 2**42]}}).encode()
    return len(header).to_bytes(8, "little") + header


# Fewer bits, and export


@pytest.mark.parametrize("load_in", ["bf16", "8bit", "4bit"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_in_fewer_bits_answers(load_in: Any, family: str, runs: Runs) -> None:
    exact, near = session_of(runs(family)), session_of(runs(family), load_in=load_in)
    difference = float((now(exact) - now(near)).norm() / now(exact).norm())
    assert 0 < difference < {"bf16": 0.05, "8bit": 0.05, "4bit": 0.4}[load_in]
    assert reply(near)
    stats = near.stats()
    assert stats.last is not None
    assert stats.last.ids


def test_the_adapter_alone_is_exported_and_names_its_base(runs: Runs, tmp_path: Path) -> None:
    run = runs(template="chatml")
    out = exported(run, tmp_path / "adapter", to="adapter")
    assert not (out / "config.json").exists()
    assert files(out)[ADAPTER] == files(run / "model")[ADAPTER]
    assert_equal(logits_of(peft_model(out)), ours(run))
    half = exported(run, tmp_path / "half", to="adapter", save_dtype="bf16")
    assert {one.dtype for one in tensors(half).values()} == {torch.bfloat16}
    assert_equal(logits_of(peft_model(half)), ours(half))


@pytest.mark.parametrize(("dtype", "torch_dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_an_export_in_half_precision_is_one_and_its_proof_is_green(
    dtype: str, torch_dtype: torch.dtype, runs: Runs, tmp_path: Path
) -> None:
    out = exported(runs(), tmp_path / "out", save_dtype=dtype)
    assert {one.dtype for one in tensors(out).values()} == {torch_dtype}
    assert transformers_model(out).dtype == torch_dtype


def test_what_cannot_be_exported_is_refused_before_anything_is_written(
    bases: Bases, runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for words, says in (
        ([str(bases()), "--to", "adapter", "--out", str(tmp_path / "a")], "has no adapter"),
        ([str(runs()), "--out", str(tmp_path / "full")], "is there already"),
        ([str(runs()), "--out", str(tmp_path / "file")], "is a file; give a folder"),
        (["no-such-model", "--out", str(tmp_path / "file" / "x")], "file is a file; give a folder"),
        ([str(tmp_path / "none"), "--out", str(tmp_path / "full")], "is not empty; give a new folder"),
        ([str(runs()), "--out", str(tmp_path / "a"), "--to", "pickle"], "pickle"),
        ([str(runs()), "--out", str(tmp_path / "a"), "--save-dtype", "fp8"], "fp8"),
    ):
        assert _cli.main(["export", *words]) == 2
        assert says in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "a").exists()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "full", "notes.txt"]


def test_the_proof_is_red_when_a_weight_was_written_wrong(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = hf.write

    def damaged(checkpoint: Checkpoint, out: Path, metadata: Mapping[str, Any] | None) -> None:
        write(checkpoint, out, metadata)
        found = load_file(out / "model.safetensors")
        found["transformer.h.1.mlp.c_fc.weight"] = found["transformer.h.1.mlp.c_fc.weight"].roll(1, dims=0)
        save_file(found, out / "model.safetensors", metadata={"format": "pt"})

    monkeypatch.setattr(hf, "write", damaged)
    with pytest.raises(RedProof, match="where the original was certain"):
        exported(runs(), tmp_path / "out")
    warned = commands.run("export", {"model": str(runs()), "out": str(tmp_path / "warned"), "proofs": "warn"})
    assert warned["proofs"] == {"export": "red"}
    for out in ("out", "warned"):
        assert [one.state for one in proofs.load(tmp_path / out) if one.name == "export"] == ["red"]


def test_an_export_keeps_what_its_run_wrote_down(runs: Runs, bases: Bases, tmp_path: Path) -> None:
    """With a card, the licence of the base, the run's proofs beside its own, and still a folder that others read."""
    run, licence = runs(), bases() / "LICENSE"
    licence.write_text("Do as you like.")
    try:
        out = exported(run, tmp_path / "merged")
    finally:
        licence.unlink()
    was, now_known = read(run / "model" / "training_metadata.json"), read(out / "training_metadata.json")
    assert was.pop("base_fingerprint")
    assert now_known == was
    assert [one.name for one in proofs.load(out)] == [*(one.name for one in proofs.load(run)), "export"]
    assert (out / "LICENSE").read_text() == "Do as you like."
    card = (out / "README.md").read_text()
    assert "library_name: transformers" in card
    assert "| export | 🟢 green |" in card
    assert_equal(logits_of(transformers_model(out)), ours(run))
    adapter = exported(run, tmp_path / "adapter", to="adapter")
    assert read(adapter / "training_metadata.json") == read(run / "model" / "training_metadata.json")
    assert "library_name: peft" in (adapter / "README.md").read_text()
    (run / "model" / "README.md").write_text("# My own words")
    assert (exported(run, tmp_path / "own") / "README.md").read_text() == "# My own words"


def test_an_export_that_is_stopped_is_left_as_one_that_is_not_proven(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(reexport, "proof", stopped)
    with pytest.raises(KeyboardInterrupt):
        exported(runs(), tmp_path / "out")
    assert proofs.any_red(proofs.load(tmp_path / "out"))


def test_a_red_export_stays_red_when_it_is_exported_again(runs: Runs, tmp_path: Path) -> None:
    out = exported(runs(), tmp_path / "out")
    proofs.write(out, [proofs.Proof("export", "red", "Another token.")])
    again = exported(out, tmp_path / "again")
    assert [one.state for one in proofs.load(again)] == ["red", "green"]


def test_an_export_holds_two_models_at_most(runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, make = runs(), checkpoint_model._skeleton
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    counts = []

    def counted(*given: Any) -> Any:
        alive.add(made := make(*given))
        counts.append(len(alive))
        return made

    monkeypatch.setattr(checkpoint_model, "_skeleton", counted)
    for to in ("hf", "adapter"):
        exported(run, tmp_path / to, to=to)
    assert counts == [1, 1, 2] * 2


def test_a_model_whose_own_template_is_refused_is_exported_under_another(
    bases: Bases, runs: Runs, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    shutil.copytree(bases(template="chatml"), model)
    (model / "chat_template.jinja").write_text("{% for")
    with pytest.raises(ConfigError, match="template"):
        exported(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    out = exported(model, tmp_path / "out", template="chatml")
    assert Checkpoint.load(out).template.name == "chatml"
    with pytest.raises(ConfigError, match=r"the template chatml needs tokens .* --to hf writes the whole model"):
        exported(foreign(runs(), bases(), tmp_path / "foreign"), tmp_path / "adapter", to="adapter", template="chatml")
    assert not (tmp_path / "adapter").exists()


def foreign(run: Path, base: Path, folder: Path) -> Path:
    """The adapter of a run as another program leaves it, on a base without chat tokens."""
    state = {name: one for name, one in tensors(run / "model").items() if "lora_" in name}
    folder.mkdir()
    save_file(state, folder / ADAPTER)
    told = read(run / "model" / CONFIG) | {"base_model_name_or_path": str(base), "trainable_token_indices": None}
    (folder / CONFIG).write_text(json.dumps(told))
    return folder
