"""The Hugging Face folder: what is saved loads again, here and in `transformers`, and says the same."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny_models import theirs, tiny_checkpoint, tiny_config, tiny_model, tiny_tokenizer

from chatwright.checkpoint import Checkpoint, load_text
from chatwright.errors import ConfigError
from chatwright.generate.chatbot import Chatbot
from chatwright.generate.sampling import Sampling
from chatwright.text import template as templates
from chatwright.text.records import conversation
from chatwright.text.tokenizer import Tokenizer

PROMPTS = ["Hi", "What is the capital of France?", "Café 東京 🙂"]
NEW = 12


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def foreign(folder: Path, changes: dict[str, Any] | None = None, **options: Any) -> dict[str, torch.Tensor]:
    """A folder as `transformers` saves it, with keys in its config that nobody here knows; returns its tensors."""
    model = theirs(tiny_model(vocab_size=tiny_tokenizer().vocab_size))
    model.config.update({"summary_type": "cls_index", "task_specific_params": {"a": {"b": [1, 2]}}, **(changes or {})})
    model.save_pretrained(folder, **options)
    tiny_tokenizer().save(folder)
    weights: dict[str, torch.Tensor] = {}
    for path in folder.glob("*.safetensors"):
        weights |= load_file(path)
    return weights


# ---- our own folder


@pytest.mark.parametrize("template", [None, "plain", "chatml", "alpaca"])
@pytest.mark.parametrize("tied", [True, False])
def test_save_load_save_gives_identical_bytes(tmp_path: Path, template: str | None, tied: bool) -> None:
    one = tiny_checkpoint(template, tie_word_embeddings=tied, n_inner=40)
    one.save(tmp_path / "a", metadata={"base_model": "", "num_samples": 3})
    for former, later in (("a", "b"), ("b", "c")):
        loaded = Checkpoint.load(tmp_path / former, quiet=True)
        assert loaded.own_template is (template is not None)
        loaded.save(tmp_path / later, metadata={"base_model": "", "num_samples": 3})
    assert files(tmp_path / "a") == files(tmp_path / "b") == files(tmp_path / "c")


def test_weights_are_fp32_without_a_tied_head_and_with_the_one_key_of_metadata(tmp_path: Path) -> None:
    tiny_checkpoint().save(tmp_path / "m")
    with safe_open(tmp_path / "m" / "model.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}
        assert "lm_head.weight" not in file.keys()  # noqa: SIM118
    assert {w.dtype for w in load_file(tmp_path / "m" / "model.safetensors").values()} == {torch.float32}
    assert read(tmp_path / "m" / "config.json")["architectures"] == ["GPT2LMHeadModel"]


def test_the_chat_template_stands_in_both_places_and_a_base_model_has_none(tmp_path: Path) -> None:
    tiny_checkpoint("chatml").save(tmp_path / "chat")
    jinja = (tmp_path / "chat" / "chat_template.jinja").read_text()
    assert read(tmp_path / "chat" / "tokenizer_config.json")["chat_template"] == jinja
    (tmp_path / "chat" / "chat_template.jinja").unlink()  # older tools write the other place only
    assert Checkpoint.load(tmp_path / "chat").template.name == "chatml"
    tiny_checkpoint().save(tmp_path / "base")
    assert not (tmp_path / "base" / "chat_template.jinja").exists()
    assert "chat_template" not in read(tmp_path / "base" / "tokenizer_config.json")


def test_a_model_without_template_is_read_under_plain_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_checkpoint().save(tmp_path / "m")
    loaded = Checkpoint.load(tmp_path / "m")
    assert loaded.template.name == "plain"
    assert "has no chat template; using --template plain" in capsys.readouterr().err.replace("\n", " ")


def test_a_template_grows_the_vocabulary_by_rows_that_are_the_mean(tmp_path: Path) -> None:
    tiny_checkpoint().save(tmp_path / "m")
    before, after = Checkpoint.load(tmp_path / "m", quiet=True), Checkpoint.load(tmp_path / "m", template="chatml")
    old, new = (one.model.to_hf()["transformer.wte.weight"] for one in (before, after))
    assert len(new) == len(old) + 2 == after.tokenizer.vocab_size
    assert torch.equal(new[:-2], old)
    assert torch.equal(new[-2:], old.mean(0).expand(2, -1))
    tokenizer, template = load_text(tmp_path / "m", "chatml")
    assert (tokenizer.fingerprint, template.name) == (after.tokenizer.fingerprint, "chatml")


def test_the_end_of_text_of_a_foreign_vocabulary_outlives_a_new_end_of_turn(tmp_path: Path) -> None:
    """Saved under chatml the eos token is <|im_end|>; the token that ends documents is still the vocabulary's own."""
    tokenizer = Tokenizer.train(["some words"], 260, special=("</s>",))
    named = Tokenizer(tokenizer.file, eos_token="</s>")
    base = Checkpoint(tiny_model(vocab_size=260), named, templates.load("plain"), own_template=False)
    one = base.with_template(templates.load("chatml"))
    one.save(tmp_path / "a")
    again = Checkpoint.load(tmp_path / "a")
    assert again.tokenizer.end_of_text == one.tokenizer.end_of_text
    assert again.stop_ids == one.stop_ids
    again.save(tmp_path / "b")
    assert files(tmp_path / "a") == files(tmp_path / "b")


@pytest.mark.parametrize("inside", ["", "model", "checkpoints/step-000002"])
def test_a_run_its_model_and_its_newest_whole_checkpoint_are_models(
    tmp_path: Path, inside: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from chatwright import disk

    one = tiny_checkpoint("plain")
    if inside.startswith("checkpoints"):
        for step in (1, 2, 3):
            with disk.new_folder(tmp_path / f"checkpoints/step-{step:06d}", manifest=True) as folder:
                one.write(folder)
        (tmp_path / "checkpoints/step-000003/config.json").write_text("{}")  # damaged: the one before it is taken
    else:
        one.save(tmp_path / inside)
    loaded = Checkpoint.load(tmp_path)
    assert torch.equal(loaded.model.to_hf()["transformer.wte.weight"], one.model.to_hf()["transformer.wte.weight"])
    assert ("step-000003" in capsys.readouterr().err) is inside.startswith("checkpoints")


# ---- a folder from elsewhere


@pytest.mark.parametrize("options", [{}, {"max_shard_size": "5KB"}], ids=["one file", "sharded"])
def test_a_folder_of_transformers_loads_with_equal_tensors_and_keeps_its_keys(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    weights = foreign(tmp_path / "theirs", **options)
    assert (tmp_path / "theirs" / "model.safetensors.index.json").exists() is bool(options)
    loaded = Checkpoint.load(tmp_path / "theirs", quiet=True)
    ours = loaded.model.to_hf()
    assert ours.keys() == weights.keys()
    assert all(torch.equal(ours[name], weight) for name, weight in weights.items())
    loaded.save(tmp_path / "ours")
    before, after = read(tmp_path / "theirs" / "config.json"), read(tmp_path / "ours" / "config.json")
    ends = {"bos_token_id": 289, "eos_token_id": 289}
    assert {**before, **ends} == {name: after[name] for name in before}
    assert (
        read(tmp_path / "ours" / "generation_config.json").items()
        >= {
            key: value
            for key, value in read(tmp_path / "theirs" / "generation_config.json").items()
            if not key.endswith("token_id")
        }.items()
    )


def test_what_a_foreign_config_says_of_its_type_and_its_code_is_not_said_of_ours(tmp_path: Path) -> None:
    foreign(tmp_path / "m")
    stale = {"torch_dtype": "float16", "auto_map": {"AutoModelForCausalLM": "modeling_own.Own"}}
    path = tmp_path / "m" / "config.json"
    path.write_text(json.dumps({**read(path), **stale}))
    Checkpoint.load(tmp_path / "m", quiet=True).save(tmp_path / "saved")
    config = read(tmp_path / "saved" / "config.json")
    assert not config.keys() & stale.keys()
    assert config["dtype"] == "float32"
    assert config["summary_type"] == "cls_index"


def test_fp16_weights_the_first_names_and_old_causal_masks_load(tmp_path: Path) -> None:
    weights = foreign(tmp_path)
    old = {name.removeprefix("transformer."): weight.half() for name, weight in weights.items()}
    masks = {f"h.{i}.attn.bias": torch.ones(1, 1, 64, 64, dtype=torch.bool) for i in (0, 1)}
    masks |= {f"h.{i}.attn.masked_bias": torch.tensor(-1e4) for i in (0, 1)}
    save_file({**old, **masks}, tmp_path / "model.safetensors", metadata={"format": "pt", "author": "somebody"})
    ours = Checkpoint.load(tmp_path, quiet=True).model.to_hf()
    assert ours.keys() == weights.keys()
    assert all(torch.equal(ours[name], weight.half().float()) for name, weight in weights.items())


def test_a_copy_of_a_tied_head_is_left_out(tmp_path: Path) -> None:
    weights = foreign(tmp_path)
    copy = weights["transformer.wte.weight"].clone()
    save_file({**weights, "lm_head.weight": copy}, tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert Checkpoint.load(tmp_path, quiet=True).model.to_hf().keys() == weights.keys()


# ---- read by transformers


@pytest.mark.parametrize("template", ["plain", "chatml", "alpaca"])
def test_transformers_loads_our_folder_and_gives_the_same_greedy_answer(tmp_path: Path, template: str) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    one = tiny_checkpoint(template, n_positions=256, seed=3)
    one.save(tmp_path / "m")
    bot = Chatbot.load(tmp_path / "m", device="cpu")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "m")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "m")
    assert model.generation_config.eos_token_id == list(one.stop_ids)
    assert tokenizer.eos_token_id == one.stop_ids[0]
    finishes = set()
    for text in PROMPTS:
        talk = [{"role": "user", "content": text}]
        inputs = tokenizer.apply_chat_template(talk, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        width = inputs["input_ids"].shape[1]
        assert inputs["input_ids"][0].tolist() == one.render(conversation(text), reply=True).ids
        out = model.generate(**inputs, do_sample=False, max_new_tokens=NEW)[0, width:].tolist()
        pieces = list(bot.reply(text, Sampling(max_tokens=NEW)))
        assert bot.last is not None
        finishes.add(bot.last.finish)
        theirs_kept = out[:-1] if out[-1] in one.stop_ids else out
        assert list(bot.last.ids) == theirs_kept
        assert "".join(pieces) == bot.last.text == tokenizer.decode(theirs_kept, clean_up_tokenization_spaces=False)
    assert finishes <= {"stop", "length"}


def test_both_stop_where_an_answer_ends(tmp_path: Path) -> None:
    """A model whose end-of-turn row dominates stops at once, in `transformers` by our generation_config alone."""
    from transformers import AutoModelForCausalLM

    one = tiny_checkpoint("chatml")
    weight = one.model.transformer.wte.weight  # type: ignore[attr-defined]
    bias = one.model.transformer.ln_f.bias  # type: ignore[attr-defined]
    with torch.no_grad():
        bias.fill_(3.0)
        weight[one.stop_ids[0]] = 3.0
    one.save(tmp_path / "m")
    completion = Chatbot(one, device="cpu").replies(["Hi"], Sampling(max_tokens=NEW))[0]
    assert (completion.ids, completion.text, completion.finish) == ((), "", "stop")
    prompt = torch.tensor([one.render(conversation("Hi"), reply=True).ids])
    out = AutoModelForCausalLM.from_pretrained(tmp_path / "m").generate(prompt, do_sample=False, max_new_tokens=NEW)
    assert out[0, prompt.shape[1] :].tolist() == [one.stop_ids[0]]


def test_a_path_wins_over_a_hub_id_and_a_wrong_one_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tiny_checkpoint("plain").save(Path("gpt2"))
    assert Checkpoint.load("gpt2").model.config.vocab_size == 290
    wrongs = {"./nowhere/at/all": "does not exist", "gpt2/config.json": "is a file", ".": "no config.json"}
    for wrong, says in wrongs.items():
        with pytest.raises(ConfigError, match=says):
            Checkpoint.load(wrong)


def test_our_config_has_what_other_readers_ask_for(tmp_path: Path) -> None:
    tiny_checkpoint("chatml").save(tmp_path / "m")
    config, generation = read(tmp_path / "m" / "config.json"), read(tmp_path / "m" / "generation_config.json")
    assert config["model_type"] == "gpt2"
    expected = tiny_config(vocab_size=292, initializer_range=0.2).to_hf()
    assert {name: config[name] for name in expected} == expected
    assert config["eos_token_id"] == config["bos_token_id"] == 289  # ends a document
    assert generation["eos_token_id"] == [291, 289]  # either ends an answer
    assert read(tmp_path / "m" / "tokenizer_config.json")["eos_token"] == "<|im_end|>"


GROWTH = """
import sys
from pathlib import Path
from chatwright.checkpoint import Checkpoint
from chatwright.models.cache import KVCache

def peak():  # not ru_maxrss: that begins with what the parent used
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024

small, large, load_in = sys.argv[1:]
Checkpoint.load(small, quiet=True, load_in=load_in or None)  # what it imports
before = peak()
model = Checkpoint.load(large, quiet=True, load_in=load_in or None).model
loaded = peak() - before
cache = KVCache.of(model, 64, 1024)
print(loaded, peak() - before - loaded)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads what Linux tells of a process")
@pytest.mark.parametrize(("load_in", "share"), [("", 1.0), ("bf16", 0.5), ("8bit", 0.25)])
def test_a_model_is_loaded_in_the_memory_that_it_takes_and_one_tensor_more(
    tmp_path: Path, load_in: str, share: float
) -> None:
    tiny_checkpoint().save(tmp_path / "small")
    tiny_checkpoint(n_embd=512, n_layer=12, n_head=8, n_positions=1024).save(tmp_path / "large")
    whole, largest = 12 * 12 * 512**2 * 4 / 2**20, 4 * 512**2 * 4 / 2**20  # MB: 144 and 4
    command = [sys.executable, "-c", GROWTH, str(tmp_path / "small"), str(tmp_path / "large"), load_in]
    loaded, cached = map(float, subprocess.check_output(command, text=True, timeout=60).split())
    assert loaded < share * whole + 3 * largest + 12
    assert cached < 8  # of 768: a cache takes memory when it is written to
