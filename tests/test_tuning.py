"""Fine-tuning with adapters: only they learn, a run can be interrupted, begun from another run, stretched, and repeated."""

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import rows
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook
from tuned_runs import (
    ADAPTER,
    CONFIG,
    NEW,
    WINDOW,
    assert_equal,
    base,
    conversations,
    differs,
    files,
    given,
    ours,
    peft_model,
    read,
    sft,
    tensors,
    transformers_model,
    undrawn,
)

from chatwright import commands, config, disk
from chatwright.checkpoint import Checkpoint, checkpoints
from chatwright.commands import _cli, _tuning
from chatwright.commands import sft as verb
from chatwright.errors import ConfigError
from chatwright.models.device import dtype_of
from chatwright.objectives.sft import Sft
from chatwright.text.records import conversation
from chatwright.train import stage
from chatwright.train.signals import Interrupted
from chatwright.train.trainer import Trainer

# transformers warns of itself when peft asks it whether it recomputes activations
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

FAMILIES = ("gpt2", "llama")
Bases = Callable[..., Path]
Tune = Callable[..., Path]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tuning")
    conversations(folder / "data.jsonl")
    conversations(folder / "many.jsonl", 80)
    return folder


@pytest.fixture(scope="module")
def bases(place: Path) -> Bases:
    """A base in a folder, each made once; one that has learned chatml unless another template is asked for."""

    def made(family: str = "gpt2", template: str | None = "chatml", **changes: Any) -> Path:
        folder = place / "-".join([family, str(template), *map(str, changes.values())])
        return folder if folder.exists() else base(folder, family, template=template, **changes)

    return made


@pytest.fixture
def tune(place: Path, bases: Bases, tmp_path: Path) -> Tune:
    """Runs `sft` with an adapter of rank 4 on a chatbot, unless other things are asked for."""

    def run(name: str = "run", *, start: Path | None = None, data: str = "data.jsonl", **more: Any) -> Path:
        return sft(start or bases(), place / data, tmp_path / name, **{"lora_rank": 4, **more})

    return run


def adapter(run: Path) -> bytes:
    return (run / "model" / ADAPTER).read_bytes()


# What learns


def settings_of(model: Path, place: Path, out: Path, **more: Any) -> verb.Settings:
    return config.resolve(verb.Settings, flags=given(model, place / "data.jsonl", out, **more))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("tied", [True, False])
def test_new_rows_get_the_gradient_that_training_everything_would_give_them(
    family: str, tied: bool, bases: Bases, place: Path, tmp_path: Path
) -> None:
    settings = settings_of(
        bases(family, None, tied=tied),
        place,
        tmp_path / "run",
        template="chatml",
        lora_rank=4,
        lora_targets=["o_proj"] if family == "llama" else ["c_proj"],
    )
    policy = _tuning.policy(settings)
    dense = Checkpoint.load(tmp_path / "run" / "base", template="chatml", quiet=True)
    talks = [conversation(f"What is {i}?", f"It is {i}.") for i in range(5)]
    objective = Sft(5, 64)
    batch = next(objective.batches(objective.prepare(talks, policy), policy, policy))
    for model in (policy.model, dense.model):
        model.train()
        objective.loss(model, batch).total.backward()
    assert policy.model.token_rows is not None
    pairs = [(policy.model.token_rows, dense.model.embedding.weight.grad)]
    if not tied:
        assert policy.model.head_rows is not None
        assert dense.model.lm_head is not None
        pairs.append((policy.model.head_rows, dense.model.lm_head.weight.grad))
    for trained, whole in pairs:
        assert trained.rows.grad is not None
        assert whole is not None
        assert trained.indices.tolist() == NEW
        assert float(whole[NEW].abs().amax(dim=1).min()) > 1e-3
        assert_close(trained.rows.grad, whole[NEW])
    frozen = {name for name, weight in policy.model.named_parameters() if weight.grad is None}
    learning = {name for name, _ in policy.model.named_parameters()} - frozen
    assert all(".lora_" in name or name.endswith("_rows.rows") for name in learning)


def assert_close(one: Tensor, other: Tensor) -> None:
    assert float((one - other).abs().max()) <= 1e-5 * float(other.abs().max())


@pytest.mark.parametrize(
    "more",
    [
        {"lora_rslora": True, "lora_alpha": 3.0, "lora_dropout": 0.1},
        {"lora_dora": True, "lora_targets": ["c_attn"]},
        {"template": "chatml", "load_in": "4bit"},
        {"load_in": "8bit", "lora_dora": True},
        {"dtype": "bf16", "template": "chatml"},
    ],
)
def test_what_was_trained_is_what_the_folder_holds(
    more: dict[str, Any], bases: Bases, tune: Tune, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, trained = stage.run, []
    monkeypatch.setattr(stage, "run", lambda job: trained.append(run(job)) or trained[0])
    out = tune(start=bases(template=None), **more)
    load_in = "bf16" if "dtype" in more else more.get("load_in")
    found = Checkpoint.load(out, quiet=True, load_in=load_in)
    found.model.matrix_dtype = trained[0].policy.model.matrix_dtype  # of the run; a model for talking may take bf16
    assert torch.equal(ours(trained[0].policy), ours(found))


def test_the_base_keeps_every_byte_and_checkpoints_hold_the_adapter_alone(bases: Bases, tune: Tune) -> None:
    before = files(bases())
    run = tune(steps=4, save_every=2, keep=5)
    assert files(bases()) == before
    assert not (run / "base").exists()
    folders = [*checkpoints(run), run / "model"]
    assert len(folders) == 3
    weights = len(before["model.safetensors"])
    for folder in folders:
        if folder.name != "model":
            disk.verify(folder)
        found = files(folder)
        assert "config.json" not in found
        assert "model.safetensors" not in found
        assert {name for name in found if name.endswith(".safetensors")} <= {ADAPTER, "resume/optimizer.safetensors"}
        assert len(found[ADAPTER]) < weights / 2
        assert differs(ours(folder), ours(bases()))
    moments = Checkpoint.load(run, quiet=True).model.trained_size
    assert len(files(folders[0])["resume/optimizer.safetensors"]) < 3 * 4 * moments


@pytest.mark.parametrize(("more", "others"), [({}, 0), ({"template": "chatml"}, 2)])
def test_as_many_numbers_are_trained_as_the_adapter_and_its_rows_hold(
    more: dict[str, Any], others: int, bases: Bases, tune: Tune
) -> None:
    run = tune(start=bases(template=None), **more)
    metadata = read(run / "model" / "training_metadata.json")
    held = tensors(run / "model")
    assert metadata["trained_parameters"] == sum(tensor.numel() for tensor in held.values())
    assert sum(len(tensor) for name, tensor in held.items() if "token_adapter" in name) == others


def test_the_rate_of_an_adapter_is_its_own_unless_one_is_given(bases: Bases, place: Path, tmp_path: Path) -> None:
    for more, rate in (({}, 5e-5), ({"lora.rank": 2}, 2e-4), ({"lora.rank": 2, "lr": 1e-3}, 1e-3)):
        flags = {name: value for name, value in given(bases(), place, tmp_path).items() if name != "lr"}
        settings = config.resolve(verb.Settings, flags={**flags, **more})
        assert _tuning.with_default_rate(settings).lr == rate


def test_lora_plus_moves_b_as_many_times_as_far_in_the_first_step(tune: Tune) -> None:
    """Adam's first step is as long whatever the gradient is; A, whose gradient is zero while B is, only decays."""
    one, more = (tensors(tune(f"plus-{times}", steps=1, lr=1e-3, lora_plus=times) / "model") for times in (1, 16))
    for name, tensor in one.items():
        if "lora_B" in name:
            assert float(tensor.abs().max()) > 9e-5
            assert_close(more[name], 16 * tensor)
        else:
            assert torch.equal(more[name], tensor)


def test_dropout_of_the_adapter_is_applied_while_it_learns_and_not_afterwards(tune: Tune) -> None:
    without, with_it = tune("without"), tune("with", lora_dropout=0.5)
    losses = [[row["loss"] for row in rows(run) if row["split"] == "train"] for run in (without, with_it)]
    assert losses[0][0] == losses[1][0]  # B is zero in the first step
    assert losses[0][1:] != losses[1][1:]
    assert read(with_it / "model" / CONFIG)["lora_dropout"] == 0.5
    assert torch.equal(ours(with_it), ours(with_it))


# The same in other ways


@pytest.mark.parametrize(
    ("family", "more"),
    [("gpt2", {}), ("llama", {}), ("gpt2", {"lora_dropout": 0.3, "dropout": 0.2, "lora_dora": True})],
)
def test_checkpointing_changes_no_bit_of_what_is_learned(
    family: str, more: dict[str, Any], bases: Bases, tune: Tune
) -> None:
    kept, again = (tune(str(on), start=bases(family), checkpointing=on, **more) for on in (False, True))
    assert rows(kept) == rows(again)
    assert adapter(kept) == adapter(again)


def test_checkpointing_keeps_less_of_every_block(bases: Bases, place: Path, tmp_path: Path) -> None:
    settings = settings_of(bases(), place, tmp_path, lora_rank=4)
    policy = _tuning.policy(settings)
    found = torch.randint(290, (4, 64))
    sizes = []
    for policy.model.checkpointing in (False, True):
        kept: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, kept=kept: kept.append(t.numel()) or t, lambda t: t):
            policy.model.train()(found)
        sizes.append(sum(kept))
    assert sizes[1] < sizes[0] / 3


@pytest.mark.parametrize("more", [{}, {"template": "chatml"}, {"load_in": "4bit"}])
def test_a_batch_of_eight_is_four_of_two(more: dict[str, Any], bases: Bases, tune: Tune) -> None:
    start = bases(template=None) if "template" in more else bases()
    given = {"steps": 2, "data": "many.jsonl", "start": start, **more}
    whole, parts = tune("whole", batch_size=8, **given), tune("parts", batch_size=2, accumulate=4, **given)
    for one, other in zip(*([r for r in rows(run) if r["split"] == "train"] for run in (whole, parts)), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-5)
        assert one["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-4)
    first, second = tensors(whole / "model"), tensors(parts / "model")
    for name, tensor in first.items():
        assert float((tensor - second[name]).norm()) <= 1e-2 * float(tensor.norm())


# Interrupted

KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "with dropout": {"lora_dropout": 0.2, "dropout": 0.1},
    "with rows of new tokens": {"template": "chatml"},
    "in 4 bits": {"load_in": "4bit", "template": "chatml", "lora_dropout": 0.1},
    "in bf16": {"dtype": "bf16", "template": "chatml"},
    "with all the rest": {
        "lora_dora": True,
        "lora_rslora": True,
        "lora_plus": 4,
        "accumulate": 2,
        "checkpointing": True,
        "lora_dropout": 0.1,
        "dropout": 0.1,
    },
    "with early stopping": {"patience": 3, "eval_every": 1, "lr": 0.3},
}


@contextmanager
def signalled_after(steps: int) -> Iterator[None]:
    """SIGINT in an optimizer step."""
    done: list[int] = []

    def stepped(*_: Any) -> None:
        done.append(1)
        if len(done) == steps:
            os.kill(os.getpid(), signal.SIGINT)

    hook = register_optimizer_step_post_hook(stepped)
    try:
        yield
    finally:
        hook.remove()


@pytest.mark.parametrize("kind", KINDS)
def test_five_steps_then_resume_then_five_are_ten_bit_for_bit(kind: str, bases: Bases, tune: Tune) -> None:
    more: dict[str, Any] = {"steps": 10, "eval_every": 3, **KINDS[kind]}
    more["start"] = bases(template=None) if "template" in more else bases()
    whole = tune("whole", **more)
    with signalled_after(5 if "patience" not in more else 3), pytest.raises(Interrupted):
        tune("cut", **more)
    cut = tune("cut", resume=True, **more)
    assert rows(cut) == rows(whole)
    assert adapter(cut) == adapter(whole)
    assert files(cut / "base") == files(whole / "base") if "template" in more else not (cut / "base").exists()


def test_early_stopping_keeps_the_adapter_of_the_best_validation(tune: Tune) -> None:
    run = tune(steps=12, eval_every=1, patience=3, lr=0.5, keep=1)
    losses = [row["loss"] for row in rows(run) if row["split"] == "validation"]
    best = losses.index(min(losses)) + 1
    assert best < len(losses) < 12
    assert adapter(run) == (run / "checkpoints" / f"step-{best:06d}" / ADAPTER).read_bytes()
    stored = read(run / "result.json")
    assert stored["losses"]["validation"]["loss"] == pytest.approx(min(losses), rel=1e-5)


def test_resuming_a_finished_run_gives_its_result_without_training(
    bases: Bases, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = given(bases(template=None), place / "data.jsonl", tmp_path / "run", template="chatml", lora_rank=4)
    with undrawn():
        first = commands.run("sft", more)
        before = files(tmp_path / "run")

        def trains(*_: Any) -> None:
            raise AssertionError("it trains again")

        monkeypatch.setattr(Trainer, "step", trains)
        second = commands.run("sft", {**more, "resume": True})
    assert second == {**first, "seconds": first["seconds"]}
    changed = {name for name, contents in files(tmp_path / "run").items() if contents != before.get(name)}
    assert {name.partition("/")[0] for name in changed} <= {".lock", "report", "proofs.json"}


NEWER = ("lora", "load_in", "context", "checkpointing", "template")  # settings that the first version did not have


def aged(path: Path, *names: str) -> None:
    """A file as an earlier version wrote it, without the settings that it did not know."""
    found = read(path)
    for name in names:
        *groups, last = name.split(".")
        settings = found["settings"]
        for group in groups:
            settings = settings[group]
        settings.pop(last, None)
    path.write_text(json.dumps(found))


def test_a_finished_run_of_an_earlier_version_is_read_again(bases: Bases, place: Path, tmp_path: Path) -> None:
    more = given(bases(), place / "data.jsonl", tmp_path / "run")
    with undrawn():
        first = commands.run("sft", more)
        aged(tmp_path / "run" / "result.json", *NEWER)
        assert commands.run("sft", {**more, "resume": True}) == first
        with pytest.raises(ConfigError, match=r"lora\.rank None, not 4"):
            commands.run("sft", {**more, "resume": True, "lora.rank": 4})
        with pytest.raises(ConfigError, match="context None, not 300"):
            commands.run("sft", {**more, "resume": True, "context": 300})


@pytest.mark.parametrize(("rank", "missing"), [(None, NEWER), (4, ("lora.plus", "lora.dora", "load_in", "context"))])
def test_an_interrupted_run_of_an_earlier_version_goes_on(
    rank: int | None, missing: tuple[str, ...], tune: Tune, tmp_path: Path
) -> None:
    whole = tune("whole", lora_rank=rank)
    with signalled_after(2), pytest.raises(Interrupted):
        tune(lora_rank=rank)
    [folder] = checkpoints(tmp_path / "run")
    with disk.new_folder(tmp_path / "aged", manifest=True) as copy:
        shutil.copytree(folder, copy, dirs_exist_ok=True, ignore=shutil.ignore_patterns("manifest.json"))
        aged(copy / "resume" / "state.json", *missing)
    shutil.rmtree(folder)
    (tmp_path / "aged").rename(folder)
    if rank:
        with pytest.raises(ConfigError, match=r"lora\.plus 1\.0, not 4"):
            tune(lora_rank=rank, lora_plus=4.0, resume=True)
    tune(lora_rank=rank, resume=True)
    name = ADAPTER if rank else "model.safetensors"
    assert (tmp_path / "run" / "model" / name).read_bytes() == (whole / "model" / name).read_bytes()


def test_a_run_is_not_resumed_on_a_base_that_was_trained_on_since(tmp_path: Path, tune: Tune) -> None:
    start = base(tmp_path / "start", template="chatml")
    with signalled_after(2), pytest.raises(Interrupted):
        tune(start=start)
    base(tmp_path / "start", template="chatml", seed=5)
    with pytest.raises(ConfigError, match="was trained on another"):
        tune(start=start, resume=True)


@pytest.mark.parametrize(
    ("changed", "says"), [({"lora_rank": 8}, "lora.rank 4, not 8"), ({"load_in": "4bit"}, "load_in")]
)
def test_a_run_is_not_resumed_with_another_adapter(changed: dict[str, Any], says: str, tune: Tune) -> None:
    with signalled_after(2), pytest.raises(Interrupted):
        tune()
    with pytest.raises(ConfigError, match=says):
        tune(resume=True, **changed)


# Begun from a run with an adapter


@pytest.fixture(scope="module")
def former(place: Path, bases: Bases) -> Path:
    """A run whose adapter came with trained rows."""
    return sft(bases(template=None), place / "data.jsonl", place / "former", lora_rank=4, template="chatml")


def test_training_all_of_a_model_begins_with_its_adapter_folded_in(former: Path, tune: Tune, tmp_path: Path) -> None:
    run = tune(start=former, lora_rank=None, lr=1e-9, steps=1)
    assert not (run / "base").exists()
    assert_equal(ours(run), ours(former))
    assert differs(ours(run), ours(former / "base"))
    assert set(tensors(run / "model")) == set(tensors(former / "base"))
    assert Checkpoint.load(run).template.name == "chatml"


def pretrained(start: Path, folder: Path, **more: Any) -> Path:
    """A run of `pretrain` that goes on with a model; returns its folder."""
    (folder / "text.txt").write_text("".join(f"Here it says that {i} and {i} is {2 * i}.\n\n" for i in range(60)))
    fixed = {"steps": 2, "batch_size": 2, "seq_len": 32, "threads": 1, "dtype": "fp32", "device": "cpu"}
    settings = {**fixed, "data": str(folder / "text.txt"), "model": str(start), "proofs": "warn", **more}
    out = folder / f"pretrained-{settings.get('lr')}"
    with undrawn():
        commands.run("pretrain", {**settings, "out": str(out)})
    return out


def test_pretraining_goes_on_with_all_of_a_model_its_adapter_folded_in(former: Path, tmp_path: Path) -> None:
    still, run = (pretrained(former, tmp_path, lr=lr) for lr in (1e-9, 1e-2))
    assert_equal(ours(still), ours(former))
    before, after = tensors(still / "model"), tensors(run / "model")
    assert set(before) == set(after) == set(tensors(former / "base"))
    assert not [name for name, weight in after.items() if torch.equal(weight, before[name])]
    assert not Checkpoint.load(run, quiet=True).own_template


@pytest.mark.parametrize("source", ["{% if %}", "{{ messages[0].content }}"])
def test_pretraining_goes_on_with_a_model_whose_template_is_refused(source: str, tmp_path: Path) -> None:
    start = base(tmp_path / "start", template="chatml")
    (start / "chat_template.jinja").write_text(source)
    with pytest.raises(ConfigError):
        Checkpoint.load(start)
    assert not (pretrained(start, tmp_path) / "model" / "chat_template.jinja").exists()


@pytest.mark.parametrize("load_in", [None, "4bit"])
def test_an_adapter_on_top_of_one_has_the_folded_model_as_its_base(
    load_in: Any, former: Path, tune: Tune, tmp_path: Path
) -> None:
    run = tune(start=former, load_in=load_in)
    commands.run("export", {"model": str(former), "out": str(tmp_path / "merged")})
    folded, merged = tensors(run / "base"), tensors(tmp_path / "merged")
    assert folded.keys() == merged.keys()
    assert all(torch.equal(folded[name], tensor) for name, tensor in merged.items())
    config = read(run / "model" / CONFIG)
    assert config["base_model_name_or_path"] == str((run / "base").resolve())
    assert config["trainable_token_indices"] is None  # they have learned what they stand for
    assert Checkpoint.load(run / "base").template.name == "chatml"
    assert read(run / "model" / "training_metadata.json")["base_model"] == str(former)
    with torch.no_grad():
        judge = peft_model(run / "model")(torch.arange(60)[None]).logits
        assert_equal(Checkpoint.load(run).model.eval()(torch.arange(60)[None]), judge)


# A wider window


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("length", [WINDOW + 64, 128])
@pytest.mark.parametrize("rank", [None, 4])
def test_a_stretched_model_is_read_by_transformers_with_equal_logits(
    family: str, length: int, rank: int | None, bases: Bases, tune: Tune
) -> None:
    run = tune(start=bases(family), lora_rank=rank, context=length)
    whole = run / ("base" if rank else "model")
    name = "n_positions" if family == "gpt2" else "max_position_embeddings"
    assert read(whole / "config.json")[name] == length
    assert read(run / "model" / "tokenizer_config.json")["model_max_length"] == length
    found = Checkpoint.load(run)
    assert found.model.config.context_length == length
    judge = peft_model(run / "model") if rank else transformers_model(run / "model")
    ids = torch.randint(290, (2, length), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert_equal(found.model.eval()(ids), judge(ids).logits)
    metadata = read(run / "model" / "training_metadata.json")
    assert metadata["base_model"] == str(bases(family))


def test_the_window_that_a_model_has_already_is_no_other(bases: Bases, tune: Tune) -> None:
    run = tune(context=WINDOW)
    assert not (run / "base").exists()


def test_the_loss_before_and_after_stretching_is_told(bases: Bases, place: Path, tmp_path: Path) -> None:
    with undrawn():
        more = given(bases(), place / "data.jsonl", tmp_path / "run", lora_rank=4, context=2 * WINDOW)
        told = commands.run("sft", more)["context"]
    assert (told["from"], told["to"]) == (WINDOW, 2 * WINDOW)
    assert 0 < told["loss_before"] != told["loss_stretched"] > 0


# Settings


def cli(words: Sequence[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The exit code and what was said on stderr."""
    capsys.readouterr()
    with undrawn():
        code = _cli.main(list(words))
    return code, " ".join(capsys.readouterr().err.split())


def words_of(settings: dict[str, Any]) -> list[str]:
    words = [str(settings.pop("model"))]
    for name, value in settings.items():
        flag = config.flag(name)
        words += [flag] if value is True else [flag.replace("--", "--no-")] if value is False else [flag, str(value)]
    return words


WRONG: dict[str, tuple[list[str], str]] = {
    "4bit alone": (["--load-in", "4bit"], "add --lora.rank 8"),
    "8bit alone": (["--load-in", "8bit"], "add --lora.rank 8"),
    "alpha alone": (["--lora.alpha", "16"], "--lora.alpha is given without --lora.rank"),
    "dora alone": (["--lora.dora"], "--lora.dora is given without --lora.rank"),
    "rank 0": (["--lora.rank", "0"], "--lora.rank must be greater than or equal to 1, got '0'"),
    "rank below": (["--lora.rank", "-8"], "--lora.rank"),
    "rank in words": (["--lora.rank", "eight"], "--lora.rank must be a whole number, got 'eight'"),
    "rank too large": (["--lora.rank", "1000000000"], "--lora.rank must be less than or equal to 10000"),
    "alpha 0": (["--lora.rank", "8", "--lora.alpha", "0"], "--lora.alpha"),
    "alpha nan": (["--lora.rank", "8", "--lora.alpha", "nan"], "--lora.alpha"),
    "alpha too large": (["--lora.rank", "8", "--lora.alpha", "1e30"], "lora_alpha"),
    "dropout 1": (["--lora.rank", "8", "--lora.dropout", "1"], "--lora.dropout must be less than 1"),
    "plus 0": (["--lora.rank", "8", "--lora.plus", "0"], "--lora.plus"),
    "3bit": (["--lora.rank", "8", "--load-in", "3bit"], "'3bit'; did you mean"),
    "unknown": (["--lora.rnak", "8"], "did you mean --lora.rank"),
    "no targets": (["--lora.rank", "8", "--lora.targets", ""], "target_modules"),
    "targets that are not there": (
        ["--lora.rank", "8", "--lora.targets", "c_atn"],
        "did you mean 'c_attn'?; the linear layers there: c_attn, c_proj, c_fc",
    ),
    "targets of another family": (["--lora.rank", "8", "--lora.targets", "q_proj"], "c_attn, c_proj, c_fc"),
    "one target of two": (
        ["--lora.rank", "8", "--lora.targets", "c_attn", "q_proj"],
        "'q_proj' is nothing in this model",
    ),
    "an embedding": (["--lora.rank", "8", "--lora.targets", "wte"], "'wte' is no linear layer"),
    "the head": (["--lora.rank", "8", "--lora.targets", "lm_head"], "'lm_head'"),
    "context 0": (["--context", "0"], "--context"),
    "context beyond memory": (["--context", "1000000000"], "1000000000"),
    "context beyond memory, with an adapter": (["--context", "1000000000", "--lora.rank", "8"], "1000000000"),
    "rows longer than the window": (["--context", "64", "--lora.rank", "8"], "--seq-len is 128"),
}


# told after the model was read, when a base that has grown might have been written
LATE = (
    "alpha too large",
    *(case for case in WRONG if "target" in case or "context" in case or "window" in case),
    "the head",
)


@pytest.mark.parametrize(("case", "grown"), [*((case, False) for case in WRONG), *((case, True) for case in LATE)])
def test_wrong_settings_end_with_2_one_sentence_and_nothing_written(
    case: str, grown: bool, bases: Bases, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong, says = WRONG[case]
    start = bases(template=None) if grown else bases()
    words = words_of(given(start, place / "data.jsonl", tmp_path / "out", template="chatml"))
    code, said = cli(["sft", *words, *wrong], capsys)
    assert code == 2
    assert says in said
    assert said.count("error: ") == 1
    assert not (tmp_path / "out").exists()


def test_data_that_cannot_be_read_are_refused_before_a_base_is_written(
    bases: Bases, tune: Tune, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.jsonl"):
        tune(start=bases(template=None), template="chatml", data="nowhere.jsonl")
    assert not (tmp_path / "run").exists()


def refuses(*_: Any) -> None:
    raise ConfigError("the data are refused")


def test_a_base_left_by_a_run_that_was_refused_is_not_taken_for_that_of_the_next(
    bases: Bases, place: Path, tune: Tune, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("chatwright.commands._training.prepared", refuses)
        with pytest.raises(ConfigError, match="the data are refused"):
            tune(start=bases(template=None), template="chatml")
    assert (tmp_path / "run" / "base" / "config.json").exists()
    run = tune(start=bases(template=None, seed=3), template="chatml")
    assert torch.equal(
        tensors(run / "base")["transformer.h.0.attn.c_attn.weight"],
        tensors(bases(template=None, seed=3))["transformer.h.0.attn.c_attn.weight"],
    )


def test_a_recipe_and_the_environment_set_what_flags_do(
    bases: Bases, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    common = words_of(given(bases(), place / "data.jsonl", tmp_path / "a"))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("lora:\n  rank: 2\n  alpha: 6.0\n  targets: [c_attn, c_fc]\nload_in: 4bit\n")
    assert cli(["sft", *common, "--config", str(recipe)], capsys)[0] == 0
    made = read(tmp_path / "a" / "model" / CONFIG)
    assert (made["r"], made["lora_alpha"], made["target_modules"]) == (2, 6.0, ["c_attn", "c_fc"])
    monkeypatch.setenv("CHATWRIGHT_LORA__RANK", "8")
    monkeypatch.setenv("CHATWRIGHT_LORA__TARGETS", "[c_proj]")
    again = [word.replace(str(tmp_path / "a"), str(tmp_path / "b")) for word in common]
    assert cli(["sft", *again], capsys)[0] == 0
    made = read(tmp_path / "b" / "model" / CONFIG)
    assert (made["r"], made["lora_alpha"], made["target_modules"]) == (8, 16, ["c_proj"])
    monkeypatch.setenv("CHATWRIGHT_LORA__RANK", "many")
    code, said = cli(["sft", *again], capsys)
    assert code == 2
    assert "CHATWRIGHT_LORA__RANK must be a whole number, got 'many'" in said


@pytest.mark.parametrize("rank", [None, 4])
def test_the_settings_that_a_run_wrote_down_repeat_it(
    rank: int | None, tune: Tune, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tune(lora_rank=rank)
    assert cli(["sft", "--config", str(run / "config.yaml"), "--out", str(tmp_path / "again")], capsys)[0] == 0
    name = ADAPTER if rank else "model.safetensors"
    assert (run / "model" / name).read_bytes() == (tmp_path / "again" / "model" / name).read_bytes()


def test_a_whole_run_of_the_command_line_ends_green(
    bases: Bases, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With its pictures, and start and result asked the same questions."""
    words = [str(bases(template=None)), "--data", str(place / "data.jsonl"), "--out", str(tmp_path / "run"), "--json"]
    words += ["--template", "chatml", "--lora.rank", "8", "--from-scratch", "--steps", "2", "--device", "cpu"]
    assert _cli.main(["sft", *words, "--load-in", "4bit", "--checkpointing", "--threads", "1"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["proofs"] == dict.fromkeys(("mask", "stop", "parity", "sanity", "before/after"), "green")
    assert (tmp_path / "run" / "report" / "loss.png").stat().st_size > 1000
    assert "adapter" in (tmp_path / "run" / "model" / "README.md").read_text().lower()


def test_a_model_whose_own_template_is_refused_is_tuned_and_compared_under_another(
    bases: Bases, tune: Tune, tmp_path: Path
) -> None:
    start = tmp_path / "shouting"
    shutil.copytree(bases(template=None), start)
    (start / "chat_template.jinja").write_text("{% for m in messages %}{{ m['content'] | upper }}{% endfor %}")
    with pytest.raises(ConfigError, match="--template chatml"):
        Checkpoint.load(start, quiet=True)
    run = tune(start=start, template="chatml", lora_rank=4, compare=True, proofs="warn")
    assert (run / "proofs.json").exists()
    assert (run / "report" / "index.html").exists()


def test_an_adapter_on_a_checkpoint_of_a_run_has_a_base_of_its_own_because_that_run_may_delete_it(
    bases: Bases, tune: Tune
) -> None:
    whole = tune("whole", start=bases(), lora_rank=None)
    run = tune("adapter", start=checkpoints(whole)[-1], lora_rank=4)
    assert read(run / "model" / "adapter_config.json")["base_model_name_or_path"] == str((run / "base").resolve())


@pytest.mark.parametrize("load_in", ["4bit", "8bit"])
def test_a_quantised_model_for_talking_computes_as_the_machine_does_best(bases: Bases, load_in: str) -> None:
    lower = dtype_of("auto", torch.device("cpu")) == torch.bfloat16
    found = Checkpoint.load(bases(), quiet=True, load_in=load_in)
    assert found.model.matrix_dtype is (torch.bfloat16 if lower else None)
