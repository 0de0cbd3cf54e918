"""Reward models: a head on any family, the folder that `transformers` scores the same by, and the judge that asks it."""

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import tiny_checkpoint, tiny_tokenizer

import chatwright
from chatwright import registry
from chatwright.checkpoint import Checkpoint
from chatwright.checkpoint.shape import shape_of
from chatwright.data.truncate import fit_answer
from chatwright.errors import ConfigError, DataError
from chatwright.generate.judge import RewardModel
from chatwright.models import lora
from chatwright.models.decoder import Decoder
from chatwright.models.lora import LoraConfig
from chatwright.text import template as templates
from chatwright.text.records import Conversation, Message, conversation

TEMPLATES = ("plain", "chatml", "alpaca")
LLAMA = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
GPT2 = {"n_embd": 16, "n_layer": 2, "n_head": 2, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
FAMILIES: dict[str, dict[str, Any]] = {
    "gpt2": {**GPT2, "n_positions": 512},
    "gpt_neo": {"hidden_size": 32, "num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]]}
    | {"window_size": 7, "max_position_embeddings": 512, "initializer_range": 0.05},
    "gpt_neox": {**LLAMA, "max_position_embeddings": 512},
    "llama": {**LLAMA, "num_key_value_heads": 2, "max_position_embeddings": 512},
    "mistral": {**LLAMA, "num_key_value_heads": 2, "sliding_window": 9, "max_position_embeddings": 512},
    "qwen2": {**LLAMA, "num_key_value_heads": 2, "max_position_embeddings": 512},
    "qwen3": {**LLAMA, "num_key_value_heads": 2, "head_dim": 10, "max_position_embeddings": 512},
}
TALKS = [
    conversation("Hi", "Hello! What would you like to know?"),
    conversation("What is the capital of France?", "Paris.", "Are you sure?", "Yes: Paris is the capital of France."),
    conversation("Was?", "Café 東京 🙂"),
    conversation("Add 2 and 2.", "4", system="You are a calculator."),
]


def language_model(family: str = "gpt2", template: str = "plain", **changes: Any) -> Checkpoint:
    """Random, and perturbed, because biases and norms that stay 0 and 1 would hide a mistake in them."""
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer()
    config = {"initializer_range": 0.2, **FAMILIES[family], **changes, "vocab_size": tokenizer.vocab_size}
    model: Decoder = registry.load("models", family).MODEL.build(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)
    base = Checkpoint(model, tokenizer, templates.load("plain"), own_template=False)
    return base if template == "plain" else base.with_template(templates.load(template))


def reward_model(folder: Path, family: str = "gpt2", template: str = "plain", **changes: Any) -> Path:
    """A folder with one, whose head is as wide as the scores that trained models give."""
    made = language_model(family, template, **changes).with_score(1)
    assert made.model.score is not None
    made.model.score.weight.data.mul_(5)
    made.save(folder)
    return folder


@contextmanager
def no_warnings() -> Iterator[None]:
    """Fails on whatever `transformers` has to say against a config or a file."""
    said: list[str] = []
    listener = logging.Handler(logging.WARNING)
    listener.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("transformers")
    logger.addHandler(listener)
    try:
        yield
    finally:
        logger.removeHandler(listener)
    assert not said


def theirs(folder: Path) -> Any:
    """The model as `transformers` reads it: nothing missing, nothing left over."""
    from transformers import AutoModelForSequenceClassification

    with no_warnings():
        model, found = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
    assert not any(found.values()), found
    return model.eval()


def their_scores(folder: Path, rows: Sequence[list[int]]) -> list[float]:
    """Of one batch, padded on the right by the folder's own tokenizer."""
    from transformers import AutoTokenizer

    padded = AutoTokenizer.from_pretrained(folder).pad({"input_ids": rows}, padding_side="right", return_tensors="pt")
    with torch.no_grad():
        logits = theirs(folder)(**padded).logits
    assert logits.shape == (len(rows), 1)
    found: list[float] = logits[:, 0].tolist()
    return found


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def change(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**read(path), **changes}))


# ---- transformers is the judge


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("family", FAMILIES)
def test_transformers_loads_every_family_whole_and_gives_equal_scores(tmp_path: Path, family: str, tied: bool) -> None:
    for template in ("plain", "chatml"):
        folder = reward_model(tmp_path / template, family, template, tie_word_embeddings=tied)
        judge = RewardModel.load(folder, device="cpu")
        scores, rows = judge.score(TALKS), [judge.ids(talk) for talk in TALKS]
        assert len({len(row) for row in rows}) == len(rows)
        assert max(scores) - min(scores) > 0.1
        assert scores == pytest.approx(their_scores(folder, rows), abs=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_folder_says_what_it_is(tmp_path: Path, family: str) -> None:
    from transformers import AutoConfig

    folder = reward_model(tmp_path / "m", family, tie_word_embeddings=False)
    config = AutoConfig.from_pretrained(folder)
    assert config.architectures == [type(theirs(folder)).__name__]
    assert config.num_labels == 1
    weights = load_file(folder / "model.safetensors")
    channels = weights["score.weight"].shape[1]
    assert weights["score.weight"].shape == (1, channels)
    assert not [name for name in weights if name.startswith(("lm_head", "embed_out", "score.b"))]
    assert not (folder / "generation_config.json").exists()  # it writes nothing
    assert shape_of(str(folder)).size == Checkpoint.load(folder, kind="reward").model.size


@pytest.mark.parametrize("template", TEMPLATES)
def test_padding_ends_no_answer_and_both_files_mean_the_same_token(tmp_path: Path, template: str) -> None:
    """Where the end of text ends answers, a pad token of its own is added; where it does not, nothing is."""
    folder = reward_model(tmp_path / "m", template=template)
    judge = RewardModel.load(folder, device="cpu")
    tokenizer = judge.checkpoint.tokenizer
    padding = read(folder / "config.json")["pad_token_id"]
    assert all(judge.ids(talk)[-1] == judge.checkpoint.stop_ids[0] != padding for talk in usable(template))
    assert tokenizer.spelling_of(padding) == read(folder / "tokenizer_config.json")["pad_token"]
    assert tokenizer.vocab_size == language_model(template=template).tokenizer.vocab_size + (template != "chatml")


def usable(template: str) -> list[Conversation]:
    return [talk for talk in TALKS if template != "alpaca" or talk.messages[0].role != "system"]


@pytest.mark.parametrize("template", ["plain", "alpaca"])
def test_where_the_end_of_turn_is_the_last_token_the_chat_template_is_all_that_transformers_needs(
    tmp_path: Path, template: str
) -> None:
    from transformers import AutoTokenizer

    folder = reward_model(tmp_path / "m", template=template)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    talks = [[{"role": m.role, "content": m.content} for m in talk.messages] for talk in TALKS]
    rows = [tokenizer.apply_chat_template(talk, return_dict=True)["input_ids"] for talk in talks]
    assert RewardModel.load(folder, device="cpu").score(TALKS) == pytest.approx(their_scores(folder, rows), abs=1e-4)


# ---- the folder


@pytest.mark.parametrize("template", TEMPLATES)
def test_load_save_load_gives_identical_bytes(tmp_path: Path, template: str) -> None:
    reward_model(tmp_path / "a", "llama", template)
    for former, later in (("a", "b"), ("b", "c")):
        loaded = Checkpoint.load(tmp_path / former, kind="reward")
        assert loaded.model.score is not None
        assert loaded.own_template
        loaded.save(tmp_path / later)
    assert files(tmp_path / "a") == files(tmp_path / "b") == files(tmp_path / "c")


def test_a_run_that_is_gone_on_with_takes_the_head_back(tmp_path: Path) -> None:
    folder = reward_model(tmp_path / "m", "gpt_neox")
    again = language_model("gpt_neox").with_score(2)
    again.restore(folder)
    expected = load_file(folder / "model.safetensors")
    found = again.model.to_hf()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], weight) for name, weight in expected.items())


@pytest.mark.parametrize("load_in", ["bf16", "8bit"])
def test_a_judge_held_in_fewer_bits_scores_nearly_the_same(tmp_path: Path, load_in: Any) -> None:
    folder = reward_model(tmp_path / "m", "llama", hidden_size=64, intermediate_size=64)
    held = RewardModel(Checkpoint.load(folder, kind="reward", load_in=load_in), device="cpu")
    assert held.score(TALKS) == pytest.approx(RewardModel.load(folder, device="cpu").score(TALKS), abs=0.5)


def foreign(folder: Path, family: str, template: str, **changes: Any) -> None:
    """A folder as `transformers` saves one; its vocabulary, under a template with the names of ours, is beside it."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    text = tiny_checkpoint(template)
    size = {**FAMILIES[family], "initializer_range": 0.2, "vocab_size": text.tokenizer.vocab_size}
    torch.manual_seed(5)
    config = AutoConfig.for_model(family, **size, num_labels=1, **changes)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    text.tokenizer.save(folder)
    (folder / "chat_template.jinja").write_text(text.template.to_jinja(text.tokenizer))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_folder_from_elsewhere_loads_with_its_head_and_keeps_its_keys(tmp_path: Path, family: str) -> None:
    names = {"id2label": {0: "helpful"}, "label2id": {"helpful": 0}, "pad_token_id": 7}
    foreign(tmp_path / "theirs", family, "chatml", **names, task_specific_params={"a": [1]})
    loaded = Checkpoint.load(tmp_path / "theirs", kind="reward")
    weights, ours = load_file(tmp_path / "theirs" / "model.safetensors"), loaded.model.to_hf()
    assert ours.keys() == weights.keys()
    assert all(torch.equal(ours[name], weight) for name, weight in weights.items())
    loaded.save(tmp_path / "ours")
    before, after = read(tmp_path / "theirs" / "config.json"), read(tmp_path / "ours" / "config.json")
    ends = {name: after[name] for name in ("bos_token_id", "eos_token_id")}
    assert {**before, **ends, "dtype": "float32"} == {name: after[name] for name in before}
    assert after["id2label"] == {"0": "helpful"}
    Checkpoint.load(tmp_path / "ours", kind="reward").save(tmp_path / "again")
    assert files(tmp_path / "ours") == files(tmp_path / "again")


@pytest.mark.parametrize("padding", ["the end of the answer", "another token", "none"])
@pytest.mark.parametrize("template", ["plain", "chatml"])
def test_a_model_from_elsewhere_is_read_where_transformers_reads_it(
    tmp_path: Path, template: str, padding: str
) -> None:
    """At the last token of the whole text that is not padding: under chatml that is the line end."""
    stop = tiny_checkpoint(template).stop_ids[0]
    token = {"the end of the answer": stop, "another token": 8, "none": None}[padding]
    foreign(tmp_path / "m", "llama", template, pad_token_id=token)
    judge, model = RewardModel.load(tmp_path / "m", device="cpu"), theirs(tmp_path / "m")
    wholes = [judge.checkpoint.render(talk).ids for talk in TALKS]
    with torch.no_grad():
        expected = [model(torch.tensor([ids])).logits.item() for ids in wholes]
    assert judge.score(TALKS) == pytest.approx(expected, abs=1e-4)
    assert (len(judge.ids(TALKS[0])) == len(wholes[0])) is (padding != "the end of the answer" or template == "chatml")


# ---- the head


def test_equal_seeds_draw_equal_heads_whatever_else_was_drawn() -> None:
    def drawn(seed: int) -> torch.Tensor:
        torch.rand(seed + 3)
        score = language_model().with_score(seed).model.score
        assert score is not None
        return score.weight

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))


def test_the_head_starts_as_wide_as_the_config_says() -> None:
    score = language_model("llama", hidden_size=4000, num_hidden_layers=1).with_score(1).model.score
    assert score is not None
    assert float(score.weight.detach().std()) == pytest.approx(0.2, rel=0.05)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_score_leaves_the_rest_of_the_model_alone_and_all_of_it_learns(family: str) -> None:
    start = language_model(family, "chatml", tie_word_embeddings=False)
    before = {name: weight.clone() for name, weight in start.model.to_hf().items()}
    model = start.with_score(1).model
    after = model.to_hf()
    assert set(before) - set(after) == {model.HEAD}
    assert set(after) - set(before) == {"score.weight"}
    assert all(torch.equal(after[name], before[name]) for name in set(before) & set(after))
    model.rewards(model.trunk(torch.arange(9)[None])[:, -1]).sum().backward()
    assert all(weight.grad is not None for weight in model.parameters())


def test_a_model_that_has_a_score_keeps_it() -> None:
    made = language_model().with_score(1)
    assert made.with_score(2) is made


@pytest.mark.parametrize("template", ["plain", "chatml"])
def test_a_model_from_elsewhere_that_is_trained_on_is_read_where_ours_are(tmp_path: Path, template: str) -> None:
    """It keeps its head and what its maker calls the score, and gets another padding if its own ends answers."""
    stop = tiny_checkpoint(template).stop_ids[0]
    names = {"id2label": {0: "helpful"}, "label2id": {"helpful": 0}, "pad_token_id": stop}
    foreign(tmp_path / "theirs", "llama", template, **names)
    loaded = Checkpoint.load(tmp_path / "theirs", kind="any")
    head = loaded.model.to_hf()["score.weight"].clone()
    loaded.with_score(1).save(tmp_path / "ours")
    judge = RewardModel.load(tmp_path / "ours", device="cpu")
    assert torch.equal(judge.checkpoint.model.to_hf()["score.weight"], head)
    assert read(tmp_path / "ours" / "config.json")["id2label"] == {"0": "helpful"}
    rows = [judge.ids(talk) for talk in TALKS]
    assert {row[-1] for row in rows} == {stop}
    assert judge.score(TALKS) == pytest.approx(their_scores(tmp_path / "ours", rows), abs=1e-4)


def test_padding_from_elsewhere_that_ends_no_answer_stays(tmp_path: Path) -> None:
    foreign(tmp_path / "m", "llama", "plain", pad_token_id=8)
    made = Checkpoint.load(tmp_path / "m", kind="any").with_score(1)
    assert made.model.config.other["pad_token_id"] == 8
    assert made.tokenizer.vocab_size == tiny_tokenizer().vocab_size


def test_the_labels_that_old_configs_of_language_models_carry_are_not_taken_for_its_own(tmp_path: Path) -> None:
    old = {"id2label": {"0": "LABEL_0", "1": "LABEL_1"}, "label2id": {"LABEL_0": 0, "LABEL_1": 1}}
    folder = reward_model(tmp_path / "m", problem_type="single_label_classification", **old)
    assert read(folder / "config.json")["id2label"] == {"0": "LABEL_0"}
    assert theirs(folder).config.num_labels == 1


# ---- the judge


@pytest.mark.parametrize("template", TEMPLATES)
def test_the_ids_that_are_scored_are_those_that_training_sees(tmp_path: Path, template: str) -> None:
    judge = RewardModel.load(reward_model(tmp_path / "m", template=template), device="cpu")
    for talk in usable(template):
        fitted = fit_answer(talk, judge.checkpoint.tokenizer, judge.checkpoint.template, 512).example
        assert fitted is not None
        assert judge.ids(talk) == fitted.ids
        assert fitted.mask[-1] == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_batched_scores_equal_those_of_one_by_one_in_their_order(tmp_path: Path, family: str) -> None:
    judge = RewardModel.load(reward_model(tmp_path / "m", family, "chatml"), device="cpu")
    alone = [judge.score([talk])[0] for talk in TALKS]
    assert judge.score(TALKS) == pytest.approx(alone, abs=1e-5)
    judge.batch_tokens = 150
    assert len(list(judge._groups([judge.ids(talk) for talk in TALKS]))) > 1
    assert judge.score(TALKS) == pytest.approx(alone, abs=1e-5)
    assert judge.score(TALKS[::-1]) == pytest.approx(alone[::-1], abs=1e-5)
    assert judge.score([]) == []


def test_dropout_is_off_while_scoring_and_training_goes_on_after(tmp_path: Path) -> None:
    folder = reward_model(tmp_path / "m", resid_pdrop=0.5, embd_pdrop=0.5)
    judge = RewardModel.load(folder, device="cpu")
    judge.checkpoint.model.train()
    scores = judge.score(TALKS)
    assert judge.score(TALKS) == scores
    assert judge.checkpoint.model.training
    assert all(type(score) is float for score in scores)


def test_an_answer_that_nobody_was_to_learn_is_scored_all_the_same(tmp_path: Path) -> None:
    judge = RewardModel.load(reward_model(tmp_path / "m", template="chatml"), device="cpu")
    talk = TALKS[1]
    unlearned = Conversation((*talk.messages[:-1], replace(talk.messages[-1], learn=False)))
    assert judge.score([unlearned]) == judge.score([talk])


def test_later_answers_and_their_prompts_count(tmp_path: Path) -> None:
    judge = RewardModel.load(reward_model(tmp_path / "m"), device="cpu")
    same = "Yes."
    scores = judge.score([conversation("Is it Paris?", same), conversation("Is it Rome?", same)])
    scores += judge.score([conversation("Is it Paris?", same, "Sure?", same)])
    assert len({round(score, 3) for score in scores}) == 3


@pytest.mark.parametrize(
    ("talk", "says"),
    [
        (Conversation((Message("user", "Hi"),)), "ends with user"),
        (conversation("Hi", "word " * 600), "the window of the reward model is 512"),
        (
            Conversation((*TALKS[0].messages, Message("tool", "4"), Message("assistant", "It is 4."))),
            "the role tool, for which plain has no place",
        ),
    ],
    ids=["no answer", "too long", "no place"],
)
def test_what_cannot_be_scored_is_refused_in_a_sentence(tmp_path: Path, talk: Conversation, says: str) -> None:
    judge = RewardModel.load(reward_model(tmp_path / "m"), device="cpu")
    with pytest.raises(DataError, match=says) as caught:
        judge.score([TALKS[0], talk])
    assert "\n" not in str(caught.value)


def test_a_score_that_is_no_number_is_refused(tmp_path: Path) -> None:
    folder = reward_model(tmp_path / "m")
    weights = load_file(folder / "model.safetensors")
    save_file({**weights, "score.weight": weights["score.weight"] * float("nan")}, folder / "model.safetensors")
    with pytest.raises(DataError, match="no finite number"):
        RewardModel.load(folder, device="cpu").score(TALKS)


# ---- the wrong kind of model


@pytest.mark.parametrize("verb", ["chat", "generate", "sft", "eval", "compare", "export", "pretrain"])
def test_a_verb_that_needs_words_refuses_a_reward_model(tmp_path: Path, verb: str) -> None:
    folder, chats, out = reward_model(tmp_path / "m"), tmp_path / "chats.jsonl", str(tmp_path / "out")
    rows = [{"messages": [{"role": m.role, "content": m.content} for m in talk.messages]} for talk in TALKS * 9]
    chats.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "text.txt").write_text("Once upon a time. " * 200)
    given: dict[str, dict[str, Any]] = {
        "chat": {"model": str(folder), "prompt": "Hi"},
        "generate": {"model": str(folder), "text": "Hi"},
        "sft": {"model": str(folder), "data": [str(chats)], "out": out, "steps": 1},
        "eval": {"model": str(folder)},
        "compare": {"models": [str(folder), str(tiny(tmp_path / "other"))], "out": out},
        "export": {"model": str(folder), "out": out},
        "pretrain": {"model": str(folder), "data": [str(tmp_path / "text.txt")], "out": out, "steps": 1},
    }
    with pytest.raises(
        ConfigError, match=r"is a reward model, which scores answers and writes none; use it with"
    ) as caught:
        chatwright.run(verb, given[verb])
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


def tiny(folder: Path) -> Path:
    tiny_checkpoint("plain").save(folder)
    return folder


def test_a_language_model_is_no_judge(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"is a language model, which scores no answers.*chatwright reward "
    ) as caught:
        RewardModel.load(tiny(tmp_path / "m"), device="cpu")
    assert "\n" not in str(caught.value)


def test_whoever_takes_both_gets_either(tmp_path: Path) -> None:
    assert Checkpoint.load(tiny(tmp_path / "a"), kind="any").model.score is None
    assert Checkpoint.load(reward_model(tmp_path / "b"), kind="any").model.score is not None


def test_a_reward_model_is_trained_whole(tmp_path: Path) -> None:
    """An adapter that a language model came with is folded in first, and its answers' states are what is scored."""
    config = LoraConfig(r=2, lora_alpha=4)
    base = tiny(tmp_path / "base")
    adapted = Checkpoint.load(base).with_lora(config, str(base), dtype=torch.float32, seed=1)
    with torch.no_grad():
        for _, weight in sorted(lora.state(adapted.model).items()):
            weight.add_(0.1)
    ids = torch.arange(9)[None]
    expected = adapted.model.trunk(ids).detach()
    with pytest.raises(ConfigError, match="trained whole, without an adapter"):
        adapted.with_score(1)
    made = adapted.merged().with_score(1)
    assert made.model.score is not None
    assert torch.allclose(made.model.trunk(ids), expected, atol=1e-5)
    with pytest.raises(ConfigError, match="trained whole, without an adapter"):
        made.with_lora(config, str(base), dtype=torch.float32, seed=1)


def test_an_adapter_with_a_head_beside_it_is_refused_by_name(tmp_path: Path) -> None:
    """As PEFT saves one of the task SEQ_CLS."""
    from peft import LoraConfig as TheirConfig
    from peft import TaskType, get_peft_model

    folder = reward_model(tmp_path / "m", "llama")
    wanted = TheirConfig(task_type=TaskType.SEQ_CLS, r=2, target_modules=["q_proj"])
    get_peft_model(theirs(folder), wanted).save_pretrained(tmp_path / "adapter")
    with pytest.raises(DataError, match=r"modules_to_save is .*'score'.*merge it with PEFT first"):
        RewardModel.load(tmp_path / "adapter", device="cpu")


# ---- hostile folders

Damage = Callable[[Path], None]


def config(**changes: Any) -> Damage:
    return lambda folder: change(folder / "config.json", **changes)


def weights(edit: Callable[[dict[str, torch.Tensor]], Any]) -> Damage:
    def damage(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        edit(tensors)
        save_file(tensors, folder / "model.safetensors")

    return damage


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (weights(lambda w: w.update({"score.weight": torch.zeros(2, 16)})), r"'score.weight' has the shape \(2, 16\)"),
        (weights(lambda w: w.update({"score.weight": torch.zeros(16)})), r"'score.weight' has the shape \(16,\)"),
        (weights(lambda w: w.update({"score.weight": torch.zeros(1, 16, dtype=torch.int64)})), "the type I64"),
        (weights(lambda w: w.update({"score.bias": torch.zeros(1)})), "holds 'score.bias'"),
        (weights(lambda w: w.pop("score.weight")), "lack 'score.weight'"),
        (config(id2label={"0": "no", "1": "yes"}), "a classifier with 2 labels"),
        (config(id2label=None), "a classifier with 2 labels"),  # what transformers takes it for
        (config(id2label=None, num_labels=3), "a classifier with 3 labels"),
        (config(id2label=[], num_labels="one"), "a classifier with 'one' labels"),
        (config(id2label={}), "a classifier with 0 labels"),
        (config(pad_token_id="<|pad|>"), "pad_token_id is '<|pad|>'"),
        (config(architectures=["GPT2LMHeadModel"]), "is a language model"),
        (config(architectures="GPT2ForSequenceClassification"), "is a language model"),
        (config(n_embd=100_000, n_head=1), "asks for"),
    ],
)
def test_a_head_that_is_none_is_refused_in_a_sentence(tmp_path: Path, damage: Damage, says: str) -> None:
    folder = reward_model(tmp_path / "m")
    damage(folder)
    with pytest.raises(ConfigError) as caught:
        RewardModel.load(folder, device="cpu")
    assert says.replace("\\", "") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_language_model_with_the_weight_of_a_score_is_refused(tmp_path: Path) -> None:
    folder = tiny(tmp_path / "m")
    weights(lambda w: w.update({"score.weight": torch.zeros(1, 16)}))(folder)
    with pytest.raises(DataError, match=r"holds .score\.weight., which this model has not"):
        Checkpoint.load(folder)


def test_a_single_label_without_names_is_a_reward_model(tmp_path: Path) -> None:
    folder = reward_model(tmp_path / "m")
    written = read(folder / "config.json")
    del written["id2label"], written["label2id"]
    (folder / "config.json").write_text(json.dumps({**written, "num_labels": 1}))
    judge = RewardModel.load(folder, device="cpu")
    assert judge.score(TALKS) == pytest.approx(their_scores(folder, [judge.ids(talk) for talk in TALKS]), abs=1e-4)
