"""A folder that is no model, lies about its sizes or reaches outside: one sentence, at once, before memory is taken."""

import json
import math
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tiny_models import tiny_checkpoint, tiny_tokenizer

from chatwright.checkpoint import Checkpoint
from chatwright.errors import ChatwrightError, ConfigError

WEIGHTS, CONFIG, INDEX = "model.safetensors", "config.json", "model.safetensors.index.json"
Damage = Callable[[Path], None]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a good model."""
    folder = tmp_path_factory.mktemp("whole") / "m"
    tiny_checkpoint("chatml").save(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def model(whole: dict[str, bytes], tmp_path: Path) -> Path:
    folder = tmp_path / "m"
    folder.mkdir()
    for name, contents in whole.items():
        (folder / name).write_bytes(contents)
    return folder


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
    return says


def config(**changes: object) -> Damage:
    def damage(folder: Path) -> None:
        contents = json.loads((folder / CONFIG).read_text())
        (folder / CONFIG).write_text(json.dumps({**contents, **changes}))

    return damage


def weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Damage:
    def damage(folder: Path) -> None:
        tensors = load_file(folder / WEIGHTS)
        change(tensors)
        save_file(tensors, folder / WEIGHTS)

    return damage


def put(name: str, contents: bytes | str) -> Damage:
    def damage(folder: Path) -> None:
        (folder / name).write_bytes(contents if isinstance(contents, bytes) else contents.encode())

    return damage


def index(*names: object) -> Damage:
    return put(INDEX, json.dumps({"weight_map": {f"tensor{i}": name for i, name in enumerate(names)}}))


def header(contents: object, claimed: int | None = None) -> bytes:
    """A safetensors file with this header, and a length that may be a lie."""
    text = json.dumps(contents).encode()
    return struct.pack("<Q", len(text) if claimed is None else claimed) + text


HUGE = {"F": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (put(CONFIG, "{"), "not valid JSON"),
        (put(CONFIG, b"\xff\xfe"), "not valid JSON"),
        (put(CONFIG, "[" * 100_000), "not valid JSON"),
        (put(CONFIG, "[1, 2]"), "not a JSON object"),
        (put(CONFIG, "{}"), "model_type"),
        (config(model_type="mamba"), "'mamba'; supported are"),
        (config(model_type="attention"), "'attention'; supported are"),
        (config(model_type="../gpt2"), "supported are"),
        (config(vocab_size=None), "vocab_size"),
        (config(vocab_size="many"), "vocab_size"),
        (config(vocab_size=-1), "vocab_size is -1"),
        (config(vocab_size=10**30), "vocab_size"),
        (config(vocab_size=9_999_999), "asks for"),
        (config(n_embd=100_000, n_head=1, n_positions=10**7), "asks for"),
        (config(n_embd=math.nan), "n_embd"),
        (config(n_layer=math.inf), "n_layer"),
        (config(n_layer=10**9), "n_layer"),
        (config(n_layer=1000), "lack 'transformer.h.10.attn.c_attn.bias'"),
        (config(n_layer=1), "holds 'transformer.h.1"),
        (config(n_inner=10**6), "asks for"),
        (config(tie_word_embeddings=False), "lack 'lm_head.weight'"),
        (config(add_cross_attention=True), "add_cross_attention"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(model: Path, damage: Damage, says: str) -> None:
    damage(model)
    assert says in refusal(model)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (put(WEIGHTS, b""), "is not a safetensors file"),
        (put(WEIGHTS, b"PK\x03\x04 a zip, as torch.save writes it"), "is not a safetensors file"),
        (put(WEIGHTS, header({}, claimed=2**62)), "is not a safetensors file"),
        (put(WEIGHTS, header({})), "lack 'transformer.h.0"),
        (put(WEIGHTS, header(HUGE)), "is not a safetensors file"),
        (put(WEIGHTS, header({"F": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}})), "is not a safetensors"),
        (weights(lambda w: w.pop("transformer.wpe.weight")), "lack 'transformer.wpe.weight'"),
        (weights(lambda w: w.update({"transformer.wpe.weight": torch.zeros(64, 17)})), "has the shape (64, 17)"),
        (weights(lambda w: w.update({"transformer.wte.weight": torch.zeros(16, 292)})), "has the shape (16, 292)"),
        (weights(lambda w: w.update({"transformer.h.9.ln_1.bias": torch.zeros(16)})), "holds 'transformer.h.9"),
        (weights(lambda w: w.update({"wpe.weight": torch.zeros(64, 16)})), "once"),
        (weights(lambda w: w.update({"transformer.ln_f.bias": torch.zeros(16, dtype=torch.int64)})), "the type I64"),
        (index("../m/model.safetensors"), "inside the folder"),
        (index("/etc/passwd"), "inside the folder"),
        (index(".."), "inside the folder"),
        (index("pytorch_model.bin"), "inside the folder"),
        (index(7), "inside the folder"),
        (index("model-00001-of-00002.safetensors"), "is missing"),
        (index(), "weight_map"),
        (put(INDEX, '{"weight_map": ["model.safetensors"]}'), "weight_map"),
        (put(INDEX, "nothing"), "not valid JSON"),
    ],
)
def test_a_weight_file_that_does_not_fit_is_refused(model: Path, damage: Damage, says: str) -> None:
    damage(model)
    assert says in refusal(model)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "consolidated.00.pth"])
def test_pickles_are_never_opened(model: Path, name: str) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (model / "sprung",))

    torch.save({"transformer.wte.weight": Trap()}, model / name)
    (model / WEIGHTS).unlink()
    assert f"{name} is a pickle, which is never opened" in refusal(model)
    assert not (model / "sprung").exists()


def test_a_vocabulary_larger_than_the_model_is_refused(model: Path) -> None:
    tiny_tokenizer(295).with_special([f"<|{i}|>" for i in range(9)]).save(model)
    assert "the tokenizer has" in refusal(model)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer.json"),
        (put("tokenizer.json", "{}"), "tokenizer.json"),
        (put("tokenizer_config.json", "{"), "tokenizer_config.json"),
        (put("generation_config.json", "no"), "generation_config.json"),
        (put("chat_template.jinja", "{% for x in range(10**9) %}{{ x }}{% endfor %}"), "template"),
        (put("chat_template.jinja", b"\xff\xfe\xfa"), "chat_template.jinja"),
    ],
)
def test_broken_files_beside_the_weights_are_refused_by_name(model: Path, damage: Damage, says: str) -> None:
    damage(model)
    assert says in refusal(model)


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_weight_file_cut_anywhere_is_refused(
    whole: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    for name, contents in whole.items():
        (folder / name).write_bytes(contents)
    cut = data.draw(st.integers(0, len(whole[WEIGHTS]) - 1))
    (folder / WEIGHTS).write_bytes(whole[WEIGHTS][:cut])
    assert "is not a safetensors file, or is cut short" in refusal(folder)


def test_the_good_folder_loads(model: Path) -> None:
    assert Checkpoint.load(model).template.name == "chatml"
