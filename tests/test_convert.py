"""Old checkpoints: the converted model computes what the old one did, and no pickle gets anything done."""

import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign_models import BookGPT, NanoGPT, randomise
from safetensors.torch import load_file, save_file
from tiny_models import random_ids, theirs, tiny_model, tiny_tokenizer
from torch import Tensor, nn

import chatwright
from chatwright import disk
from chatwright.checkpoint import Checkpoint, read_json
from chatwright.commands import _cli
from chatwright.convert import pickled, unpickle
from chatwright.convert.conversion import check_vocabulary, recognised
from chatwright.convert.layouts.old import Old, Options, Settings, family
from chatwright.errors import ConfigError, DiskFull
from chatwright.text import template as templates

VOCABULARY = 290
NANO = {"n_layer": 2, "n_head": 2, "n_embd": 16, "block_size": 32, "vocab_size": 320, "dropout": 0.0}
BOOK = {"vocab_size": VOCABULARY, "context_length": 32, "emb_dim": 16, "n_heads": 2, "n_layers": 2}
IDS = random_ids(2, 20, vocab_size=VOCABULARY)


def convert(old: Path, out: Path, **settings: Any) -> dict[str, Any]:
    return chatwright.run("convert", {"old": str(old), "out": str(out), **settings})


def logits(model: nn.Module, ids: Tensor = IDS) -> Tensor:
    with torch.no_grad():
        found = model(ids)
    return found if isinstance(found, Tensor) else found.logits


def converted(folder: Path) -> tuple[Tensor, Tensor]:
    """The logits of a converted folder, from us and from `transformers`."""
    from transformers import AutoModelForCausalLM

    judge, notes = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not notes["missing_keys"]
    assert not notes["unexpected_keys"]
    model = Checkpoint.load(folder, quiet=True).model
    assert isinstance(model, nn.Module)
    return logits(model.eval()), logits(judge.eval())


def close(one: Tensor, other: Tensor) -> bool:
    return float((one - other).abs().max()) <= 1e-4 * max(1.0, float(other.abs().max()))


def nano(**changes: Any) -> tuple[NanoGPT, dict[str, Any]]:
    arguments = {**NANO, "bias": False, **changes}
    return randomise(NanoGPT(**arguments)), arguments  # type: ignore[return-value]


def book(**changes: Any) -> tuple[BookGPT, dict[str, Any]]:
    arguments = {**BOOK, "qkv_bias": False, **changes}
    return randomise(BookGPT(**arguments)), arguments  # type: ignore[return-value]


def hf_folder(folder: Path, shards: int = 1) -> Any:
    """A folder as old versions of `transformers` wrote it: a tied head twice, causal masks, two shards and an index."""
    model = theirs(randomise(tiny_model(vocab_size=VOCABULARY)))
    folder.mkdir()
    tiny_tokenizer().save(folder)
    model.config.update({"eos_token_id": 7, "summary_type": "cls_index", "torch_dtype": "float16"})
    (folder / "config.json").write_text(model.config.to_json_string(use_diff=False))
    (folder / "generation_config.json").write_text('{"eos_token_id": [7, 9], "max_new_tokens": 4}')
    own = {"eos_token": "<|endoftext|>", "chat_template": templates.load("plain").to_jinja(tiny_tokenizer())}
    (folder / "tokenizer_config.json").write_text(json.dumps(own))
    weights = dict(model.state_dict())
    assert "lm_head.weight" in weights
    weights["transformer.h.0.attn.bias"] = torch.ones(1, 1, 64, 64, dtype=torch.uint8).tril()
    weights["transformer.h.0.attn.masked_bias"] = torch.tensor(-1e4)
    names = [f"pytorch_model-{i}-of-{shards}.bin" for i in range(shards)] if shards > 1 else ["pytorch_model.bin"]
    place = {name: names[number % shards] for number, name in enumerate(weights)}
    for file in names:
        torch.save({name: weights[name] for name in weights if place[name] == file}, folder / file)
    if shards > 1:
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": place}))
    return model


# ---- what is converted computes the same


def test_a_hugging_face_folder_of_shards_keeps_its_logits_and_its_texts(tmp_path: Path) -> None:
    model = hf_folder(tmp_path / "old", shards=2)
    report = convert(tmp_path / "old", tmp_path / "new")
    ours, judged = converted(tmp_path / "new")
    assert close(ours, logits(model))
    assert torch.equal(judged, logits(model))
    assert report["layout"] == "Hugging Face"
    assert report["parameters"] == sum(weight.numel() for weight in model.parameters())
    assert report["old_tensors"] == report["tensors"] + 3  # the head and two masks
    config = read_json(tmp_path / "new" / "config.json")
    assert (config["eos_token_id"], config["summary_type"], config["dtype"]) == (7, "cls_index", "float32")
    assert "torch_dtype" not in config
    for kept in ("generation_config.json", "tokenizer_config.json", "tokenizer.json"):
        assert (tmp_path / "new" / kept).read_bytes() == (tmp_path / "old" / kept).read_bytes()
    files = {path.name for path in (tmp_path / "new").iterdir()}
    assert not any(Path(name).suffix in (".bin", "") for name in files)
    assert report["bytes"] == sum(path.stat().st_size for path in (tmp_path / "new").iterdir())


def test_a_nanogpt_run_without_biases_keeps_its_logits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what its trainer leaves beside the weights, a compiled model's names, and GPT-2's two vocabulary files."""
    model, arguments = nano()
    (tmp_path / "out").mkdir()
    (tmp_path / "words").mkdir()
    description = json.loads(tiny_tokenizer().file)
    (tmp_path / "words" / "encoder.json").write_text(json.dumps(description["model"]["vocab"]))
    (tmp_path / "words" / "vocab.bpe").write_text("#version: 0.2\n" + "\n".join(description["model"]["merges"]))
    optimizer = torch.optim.AdamW(model.parameters())
    logits(model)
    saved = {
        "model": {f"_orig_mod.{name}": weight for name, weight in model.state_dict().items()},
        "optimizer": optimizer.state_dict(),
        "model_args": arguments,
        "iter_num": 3,
        "best_val_loss": torch.tensor(2.5),
        "config": {**arguments, "learning_rate": 1e-3, "dataset": "openwebtext"},
    }
    torch.save(saved, tmp_path / "out" / "ckpt.pt")
    monkeypatch.chdir(tmp_path)
    assert _cli.main(["convert", "out", "--out", "new", "--tokenizer", "words"]) == 0
    said = capsys.readouterr()
    assert "nanoGPT, 18 tensors" in said.out
    biases = 16 * (
        2 * (1 + 3 + 1 + 1 + 4 + 1) + 1
    )  # in units of the model's width: ln_1, c_attn, c_proj, ln_2, c_fc, c_proj
    assert f"{sum(weight.numel() for weight in model.parameters()) + biases:,} parameters" in said.out
    assert "no biases; they are zeros" in said.err
    assert "30 of the 320 embedding rows belong to no token" in said.err
    ours, judged = converted(tmp_path / "new")
    assert close(ours, logits(model))
    assert close(judged, logits(model))
    assert Checkpoint.load(tmp_path / "new", quiet=True).tokenizer.encode("Paris") == tiny_tokenizer().encode("Paris")


def test_the_books_model_keeps_its_logits(tmp_path: Path) -> None:
    """With its optimizer, its masks, a head of its own, and its settings in a file beside it."""
    model, arguments = book()
    (tmp_path / "settings.json").write_text(json.dumps({"name": "mine", "model": {**arguments, "drop_rate": 0.1}}))
    (tmp_path / "other.json").write_text('{"n": [1]}')
    tiny_tokenizer().save(tmp_path)
    saved = {"model_state_dict": model.state_dict(), "optimizer_state_dict": {"state": {}, "param_groups": []}}
    torch.save(saved, tmp_path / "model.pth")
    report = convert(tmp_path / "model.pth", tmp_path / "new")
    ours, judged = converted(tmp_path / "new")
    assert close(ours, logits(model))
    assert close(judged, logits(model))
    assert (report["layout"], report["context_length"]) == ("the book's GPT-2", 32)
    config = read_json(tmp_path / "new" / "config.json")
    assert (config["tie_word_embeddings"], config["attn_pdrop"], config["n_head"]) == (False, 0.1, 2)


def translated(tensors: dict[str, Tensor], *settings: dict[str, Any], **options: Any) -> nn.Module:
    """The model of a layout's translation, as `convert` builds it."""
    found = tuple(Settings(f"settings {number}", values) for number, values in enumerate(settings))
    old = Old("old.pth", tensors, found, Options(**options))
    result = recognised(old).translate(old)
    model = family(result.config["model_type"]).build(result.config)
    model.load_hf(result.weights)
    return model.eval()


@pytest.mark.parametrize("bias", [True, False])
def test_nanogpt_is_translated_with_and_without_biases(bias: bool) -> None:
    model, arguments = nano(bias=bias)
    assert close(logits(translated(dict(model.state_dict()), arguments)), logits(model))


def test_an_older_nanogpts_gelu_is_asked_for() -> None:
    model, arguments = nano(bias=True)
    exact, tanh = (translated(dict(model.state_dict()), arguments, activation=name) for name in ("gelu", "gelu_new"))
    assert not close(logits(tanh), logits(exact))
    assert close(logits(exact), logits(model))


@pytest.mark.parametrize("qkv_bias", [True, False])
@pytest.mark.parametrize("tied", [True, False])
def test_the_book_is_translated_with_and_without_biases_and_a_tied_head(qkv_bias: bool, tied: bool) -> None:
    model, _ = book(qkv_bias=qkv_bias)
    if tied:
        model.out_head.weight.data.copy_(model.tok_emb.weight.data)
    found = translated(dict(model.state_dict()), heads=2)
    assert close(logits(found), logits(model))
    assert (found.lm_head is None) is tied


def test_the_number_of_heads_matters() -> None:
    model, _ = book()
    assert not close(logits(translated(dict(model.state_dict()), heads=4)), logits(model))


def test_the_first_names_of_gpt2_without_prefix_and_in_half_precision_are_read() -> None:
    model = randomise(tiny_model())
    weights = {name.removeprefix("transformer."): weight.half() for name, weight in model.to_hf().items()}
    halved = tiny_model()
    halved.load_hf({name: weight.half() for name, weight in model.to_hf().items()})
    found = translated(weights, {"model_type": "gpt2", **model.config.to_hf()})
    assert torch.equal(logits(found), logits(halved))


SMALL = {
    "vocab_size": 300,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
}


@pytest.mark.parametrize("model_type", ["llama", "qwen2", "gpt_neox"])
@pytest.mark.parametrize("tied", [True, False])
def test_every_family_is_read_under_hugging_faces_names(model_type: str, tied: bool) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    more = {} if model_type == "gpt_neox" else {"num_key_value_heads": 1}
    config = AutoConfig.for_model(model_type, **SMALL, **more, tie_word_embeddings=tied)
    model = randomise(AutoModelForCausalLM.from_config(config))
    frequencies = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)} if model_type == "llama" else {}
    found = translated({**model.state_dict(), **frequencies}, config.to_dict())
    assert close(logits(found), logits(model))


# ---- what does not fit is refused by name

Tensors = dict[str, Tensor]
Change = Callable[[Tensors, dict[str, Any]], object]


def refused(tensors: Tensors, *settings: dict[str, Any], **options: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        translated(tensors, *settings, **options)
    says = str(caught.value)
    assert "\n" not in says
    return says


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda w, a: w.pop("transformer.h.1.mlp.c_fc.weight"), "lack 'transformer.h.1.mlp.c_fc.weight'"),
        (lambda w, a: w.pop("transformer.wpe.weight"), "lack 'transformer.wpe.weight'"),
        (lambda w, a: w.update({"transformer.wte.weight": torch.zeros(3)}), "no 2-dimensional"),
        (lambda w, a: w.update({"transformer.h.0.ln_1.gain": torch.zeros(16)}), "'transformer.h.0.ln_1.gain'"),
        (lambda w, a: w.update({"transformer.ln_f.weight": torch.zeros(16, dtype=torch.int64)}), "type int64"),
        (lambda w, a: w.update({"transformer.ln_f.weight": torch.zeros(17)}), "(17,)"),
        (lambda w, a: a.update(n_layer=3), "lack 'transformer.h.2"),
        (lambda w, a: a.update(n_layer=1), "no place"),
        (lambda w, a: a.update(n_layer=10**9), "n_layer"),
        (lambda w, a: a.update(n_head=-1), "n_head"),
        (lambda w, a: a.update(n_head=3), "not divisible"),
        (lambda w, a: a.update(vocab_size=None), "vocab_size"),
        (lambda w, a: a.update(bias=True), "biases are not there"),
        (lambda w, a: a.update(use_rmsnorm=True), "use_rmsnorm is True, which nanoGPT does not have"),
        (lambda w, a: a.pop("n_embd"), "are of no known layout"),
    ],
)
def test_a_nanogpt_that_does_not_fit_is_refused(change: Change, says: str) -> None:
    model, arguments = nano()
    weights = dict(model.state_dict())
    change(weights, arguments)
    assert says in refused(weights, arguments)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda w, a: w.pop("trf_blocks.1.att.W_key.weight"), "lack 'trf_blocks.1.att.W_key.weight'"),
        (lambda w, a: w.pop("tok_emb.weight"), "lack 'tok_emb.weight'"),
        (lambda w, a: w.update({"trf_blocks.0.att.W_key.weight": torch.zeros(16)}), "(16,)"),
        (lambda w, a: w.update({"trf_blocks.0.att.W_key.lora.A": torch.zeros(16)}), "W_key.lora.A"),
        (lambda w, a: w.update({"trf_blocks.999999.x": torch.zeros(1)}), "n_layer"),
        (lambda w, a: w.update({"out_head.weight": torch.zeros(2, 16)}), "'out_head.weight' has the shape (2, 16)"),
        (lambda w, a: a.pop("n_heads"), "give --heads"),
        (lambda w, a: a.update(emb_dim=32), "emb_dim is 32, but"),
        (lambda w, a: a.update(qkv_bias=True), "qkv_bias is True, but"),
        (lambda w, a: a.update(n_heads=3), "not divisible"),
        (lambda w, a: a.update(n_heads="two"), "n_head"),
    ],
)
def test_a_book_model_that_does_not_fit_is_refused(change: Change, says: str) -> None:
    model, arguments = book()
    weights = dict(model.state_dict())
    change(weights, arguments)
    assert says in refused(weights, arguments)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda w, a: w.pop("transformer.h.1.ln_1.bias"), "lack 'transformer.h.1.ln_1.bias'"),
        (lambda w, a: w.update({"h.1.ln_1.bias": torch.zeros(16)}), "twice"),
        (lambda w, a: w.update({"score.weight": torch.zeros(16)}), "'score.weight'"),
        (lambda w, a: w.update({"lm_head.weight": torch.zeros(300, 16)}), "though the config ties the two"),
        (lambda w, a: a.update(model_type="mamba"), "'mamba'; supported are"),
        (lambda w, a: a.update(model_type=["gpt2"]), "supported are"),
        (lambda w, a: a.update(n_layer=10**9), "n_layer"),
        (lambda w, a: a.update(quantization_config={"bits": 4}), "quantization_config"),
        (lambda w, a: a.update(vocab_size=301), "(300, 16)"),
    ],
)
def test_a_hugging_face_model_that_does_not_fit_is_refused(change: Change, says: str) -> None:
    model = tiny_model()
    weights, config = model.to_hf(), model.config.to_hf()
    change(weights, config)
    assert says in refused(weights, config)


def test_a_vocabulary_larger_than_the_model_is_refused() -> None:
    old = Old("old.pt", {}, ())
    check_vocabulary(old, tiny_tokenizer(290), 290)
    with pytest.raises(ConfigError, match=r"old\.pt: the tokenizer has 290 tokens, but the model only 289 embeddings"):
        check_vocabulary(old, tiny_tokenizer(290), 289)


def test_options_that_a_layout_has_no_use_for_are_refused() -> None:
    model, arguments = book()
    assert "--heads is 4, but n_heads" in refused(dict(model.state_dict()), arguments, heads=4)
    small = tiny_model()
    assert "leave it out" in refused(small.to_hf(), small.config.to_hf(), heads=2)


@pytest.mark.parametrize(
    ("files", "settings", "says"),
    [
        ({}, {}, "holds no .bin, .pt"),
        ({"model.safetensors": b""}, {}, "no pickle; every verb reads it"),
        ({"a.pt": b"", "b.pth": b""}, {}, "holds 2 pickles"),
        ({"a.pt": b""}, {}, "brings no vocabulary"),
        ({"a.pt": b""}, {"old": "a.txt"}, "does not exist"),
        ({"a.pt": b"", "a.txt": b""}, {"old": "a.txt"}, "no .bin, .pt, .pth, .ckpt file"),
        ({"a.pt": b""}, {"tokenizer": "nowhere"}, "is no folder"),
        ({"a.pt": b""}, {"tokenizer": "."}, "holds neither a tokenizer.json nor"),
        ({"a.pt": b"", "vocab.json": b"{}", "merges.txt": b"", "added_tokens.json": b"{}"}, {}, "added_tokens.json"),
        ({"a.pt": b"", "config.json": b"{"}, {}, "not valid JSON"),
        ({"a.pt": b""}, {"config_from": "nowhere.json"}, "is missing"),
        ({"a.pt": b"", "new/x": b""}, {}, "is not empty"),
        ({"pytorch_model.bin.index.json": b"{}"}, {}, "no weight_map"),
        ({"pytorch_model.bin.index.json": b'{"weight_map": {"a": "../x.bin"}}'}, {}, "inside the folder"),
        ({"pytorch_model.bin.index.json": b'{"weight_map": {"a": "x.bin"}}'}, {}, "x.bin is missing"),
    ],
)
def test_a_folder_with_nothing_to_convert_is_refused_before_any_pickle_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes], settings: dict[str, str], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pickled, "SCRIPT", tmp_path / "there is no such script")
    for name, contents in files.items():
        Path("old", name).parent.mkdir(exist_ok=True)
        Path("old", name).write_bytes(contents)
    Path("old").mkdir(exist_ok=True)
    given = {key: f"old/{value}" for key, value in settings.items()}
    with pytest.raises(ConfigError, match=r"^[^\n]*$") as caught:
        chatwright.run("convert", {"old": "old", "out": "old/new", **given})
    assert says in str(caught.value)


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text('{"token": 1}')
    hf_folder(tmp_path / "old")
    (tmp_path / "old" / "special_tokens_map.json").symlink_to(tmp_path / "secret.json")
    with pytest.raises(ConfigError, match=r"special_tokens_map\.json is a link out of its folder"):
        convert(tmp_path / "old", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_lone_file_is_read_whatever_lies_beside_it_but_no_link_out_of_its_folder(tmp_path: Path) -> None:
    model, arguments = book()
    old = tmp_path / "old"
    old.mkdir()
    torch.save({"model_state_dict": model.state_dict()}, old / "model.pth")
    tiny_tokenizer().save(old)
    (tmp_path / "outside.json").write_text(json.dumps(arguments))
    for name in ("notes.txt", "other.json", "last.pt", "LICENSE"):
        (old / name).symlink_to(tmp_path / "outside.json")
    assert convert(old / "model.pth", tmp_path / "new", heads=2)["context_length"] == 32
    for name in ("config.json", "special_tokens_map.json", "link.pth"):
        (old / name).symlink_to(tmp_path / "outside.json")
        file = "link.pth" if name == "link.pth" else "model.pth"
        with pytest.raises(ConfigError, match=rf"{name} is a link out of its folder"):
            convert(old / file, tmp_path / "newer", heads=2)
        (old / name).unlink()


# ---- pickles: read without running anything, and never larger than they are


class Sprung(Exception):
    """The code of a pickle was run."""


class Trap:
    """Asks whoever unpickles it to make a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, (str(self.mark),))


class Allocation:
    """Asks for 4 GiB, with a type that is allowed: many times what its file can need."""

    def __reduce__(self) -> tuple[object, ...]:
        return (bytearray, (2**32,))


def test_a_trap_is_refused_and_not_sprung_nor_is_code_that_lies_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    hf_folder(tmp_path / "old")
    mark = tmp_path / "sprung"
    for place in (tmp_path, tmp_path / "old"):
        for module in ("torch", "json", "safetensors", "chatwright"):
            (place / f"{module}.py").write_text(f"import os; os.mkdir({str(mark)!r})")
    torch.save({"model": {"transformer.wte.weight": torch.zeros(2, 2)}, "x": Trap(mark)}, "old/pytorch_model.bin")
    assert _cli.main(["convert", "old", "--out", "new"]) == 2
    says = capsys.readouterr().err
    assert says.startswith(f"error: old/pytorch_model.bin: asks for {os.name}.mkdir, which is code and is not run;")
    assert says.count("\n") == 1
    assert not mark.exists()
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {"old"}


def test_a_pickle_that_asks_for_too_much_memory_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    hf_folder(tmp_path / "old")
    torch.save({"a": torch.zeros(2), "b": Allocation()}, tmp_path / "old" / "pytorch_model.bin")
    with pytest.raises(ConfigError, match="asks for more memory than a file of"):
        convert(tmp_path / "old", tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def stand_in(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str) -> None:
    """Another program in the place of the one that unpickles."""
    (folder / "script.py").write_text(script)
    monkeypatch.setattr(pickled, "SCRIPT", folder / "script.py")


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("import os; os.kill(os.getpid(), 9)", "was ended by SIGKILL"),
        ("raise SystemExit(3)", "ended with exit code 3"),
        ("print('[' * 100_000)", "ended with exit code 0"),
        ("import time; time.sleep(60)", "was not read within"),
    ],
)
def test_a_process_that_dies_or_hangs_ends_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, says: str
) -> None:
    (tmp_path / "scratch").mkdir()
    (tmp_path / "a.pt").write_bytes(b"x")
    stand_in(monkeypatch, tmp_path, script)
    monkeypatch.setattr(pickled, "SECONDS", 0.5 if "sleep" in script else 60.0)
    with pytest.raises(ConfigError, match=says):
        pickled.read([tmp_path / "a.pt"], tmp_path / "scratch")


def test_a_full_disk_in_the_other_process_is_told_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, tmp_path, """print('{"file": "x", "full": true, "refused": "cannot be written"}')""")
    with pytest.raises(DiskFull, match="no room left on the disk while writing new"), disk.room(Path("new")):
        pickled.read([], tmp_path)


def test_two_shards_with_the_same_tensor_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(2):
        save_file({"w": torch.zeros(3)}, tmp_path / f"{number}.safetensors")
        (tmp_path / f"{number}.bin").write_bytes(b"x")
    stand_in(monkeypatch, tmp_path, """print('{"entries": {}}')""")
    with pytest.raises(ConfigError, match=r"1\.bin holds 'w', as another shard does"):
        pickled.read([tmp_path / "0.bin", tmp_path / "1.bin"], tmp_path)


def test_secrets_of_the_environment_are_not_handed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, tmp_path, "import json, os; print(json.dumps({'entries': dict(os.environ)}))")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert "HF_TOKEN" not in pickled.read([], tmp_path).entries


def read(file: Path) -> tuple[Tensors, dict[str, Any]]:
    """What the other process does with one file, in this one."""
    entries = unpickle.convert(file, file.with_suffix(".out"))
    return load_file(file.with_suffix(".out")), entries


def zipped(file: Path, change: Callable[[str, bytes], bytes] = lambda name, contents: contents, **how: Any) -> None:
    """Packs an archive of torch.save anew."""
    with zipfile.ZipFile(file) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(file, "w", **how) as archive:
        for name, one in contents.items():
            archive.writestr(name, change(name, one))


def save(**how: Any) -> Callable[[Path], None]:
    return lambda file: torch.save({"w": torch.randn(500)}, file, **how)


def cut(where: int, **how: Any) -> Callable[[Path], None]:
    def make(file: Path) -> None:
        save(**how)(file)
        file.write_bytes(file.read_bytes()[:where])

    return make


def repacked(change: Callable[[str, bytes], bytes], **how: Any) -> Callable[[Path], None]:
    def make(file: Path) -> None:
        save()(file)
        zipped(file, change, **how)

    return make


def larger(name: str, contents: bytes) -> bytes:
    """The tensor and its storage claim 65,000 numbers in the place of 500."""
    return contents.replace(b"M\xf4\x01", b"M\xe8\xfd") if name.endswith("data.pkl") else contents


OLD_FORMAT = {"_use_new_zipfile_serialization": False}


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda file: file.write_bytes(b""), "no file of torch.save, or is cut short"),
        (lambda file: file.write_bytes(b"hello" * 99), "no file of torch.save"),
        (lambda file: file.write_bytes(pickle.dumps({"w": 1}, protocol=2)), "no file of torch.save"),
        (lambda file: file.write_bytes(pickle.dumps(Trap(file / "x"), protocol=2)), "posix.mkdir, which is code"),
        (lambda file: torch.save(Trap(file / "x"), file, **OLD_FORMAT), "posix.mkdir, which is code"),
        (lambda file: torch.save(nn.Linear(2, 2), file), "torch.nn.modules.linear.Linear, which is code"),
        (cut(1500), "is cut short or damaged"),
        (cut(3), "is cut short"),
        (cut(-20, **OLD_FORMAT), "is cut short"),
        (repacked(larger), "no file of torch.save, or is cut short"),
        (repacked(lambda name, one: one, compression=zipfile.ZIP_DEFLATED), "holds compressed entries"),
        (lambda file: torch.jit.save(torch.jit.script(nn.Linear(2, 2)), file), "is a TorchScript archive"),
        (lambda file: torch.save([torch.zeros(3)], file), "holds one list"),
        (lambda file: torch.save(torch.zeros(3), file), "holds one Tensor"),
        (lambda file: torch.save({"model": {"a": 1}, "b": 2.0}, file), "holds no tensors"),
        (lambda file: torch.save({3: torch.zeros(3)}, file), "names a tensor '3'"),
        (lambda file: torch.save({"w": torch.zeros(1).expand(2**40)}, file), "'w' claims the shape (1099511627776,)"),
        (lambda file: torch.save({"w": torch.zeros(9).as_strided((9, 9), (0, 1))}, file), "claims the shape (9, 9)"),
        (lambda file: torch.save({"w": torch.zeros(3, device="meta")}, file), "'w' is a meta tensor"),
        (lambda file: torch.save({"w": torch.eye(3).to_sparse()}, file), "'w' is sparse"),
        (lambda file: torch.save({"w": torch.zeros(3, dtype=torch.complex64)}, file), "type torch.complex64"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*(Detected pickle protocol|torch.jit.script|jit.script_method|jit.save).*")
def test_a_pickle_that_is_not_plain_weights_is_refused(tmp_path: Path, make: Callable[[Path], None], says: str) -> None:
    make(tmp_path / "a.pt")
    with pytest.raises(unpickle.Refused) as caught:
        read(tmp_path / "a.pt")
    assert says in str(caught.value)
    assert not (tmp_path / "a.out").exists()


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_quantised_and_nested_tensors_are_refused_by_name(tmp_path: Path) -> None:
    odd = {
        "quantised": torch.quantize_per_tensor(torch.randn(3), 0.1, 0, torch.qint8),
        "nested": torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]),
        "sparse": torch.eye(3).to_sparse_csr(),
    }
    for kind, tensor in odd.items():
        torch.save({"w": tensor}, tmp_path / "a.pt")
        with pytest.raises(unpickle.Refused, match=f"'w' is {kind}"):
            read(tmp_path / "a.pt")


def test_many_views_of_one_storage_do_not_fill_the_disk(tmp_path: Path) -> None:
    storage = torch.zeros(2**18)  # 1 MB
    torch.save({f"w{number}": storage.view(2**9, 2**9) for number in range(100)}, tmp_path / "a.pt")
    with pytest.raises(unpickle.Refused, match="claims more than twice its"):
        read(tmp_path / "a.pt")


@pytest.mark.parametrize("how", [{}, OLD_FORMAT], ids=["zip", "legacy"])
def test_tensors_come_through_as_they_are(tmp_path: Path, how: dict[str, Any]) -> None:
    """Shared, transposed and sliced ones too, in every type; buffers of whole numbers with them."""
    whole = torch.randn(6, 4)
    tensors = {
        "whole": whole,
        "tied": whole,
        "transposed": whole.t(),
        "part": whole[1:3],
        "scalar": torch.tensor(3.5),
        "none": torch.zeros(0, 4),
        "parameter": nn.Parameter(torch.randn(3)),
        **{str(dtype): torch.arange(5).to(dtype) for dtype in unpickle.TYPES},
    }
    saved = {"state_dict": tensors, "epoch": 3, "nan": float("nan"), "args": {"lr": 0.1, "bias": True, "betas": [1]}}
    torch.save(saved, tmp_path / "a.pt", **how)
    found, entries = read(tmp_path / "a.pt")
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor.detach())
    assert entries == {"epoch": 3, "args": {"lr": 0.1, "bias": True}}
