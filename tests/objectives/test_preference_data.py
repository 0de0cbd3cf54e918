"""Pairs and rated answers on their way from a file into batches: what is learned of them, what is left out, and why."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from preferring_runs import VERBS, given, losses, pair, pairs, prefer, talk, written
from tuned_runs import base

from chatwright import config, registry
from chatwright.checkpoint import Checkpoint
from chatwright.commands import _training as training
from chatwright.data import lessons
from chatwright.data.answers import answers
from chatwright.data.examples import Examples
from chatwright.data.loader import Pack
from chatwright.data.truncate import fit_record
from chatwright.errors import ConfigError, DataError, NotFinite
from chatwright.objectives.dpo import Dpo
from chatwright.objectives.kto import Kto
from chatwright.text.pieces import Example
from chatwright.text.records import Conversation, Message, Preference, Rated, Record, conversation


@pytest.fixture(scope="module")
def chatbot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return base(tmp_path_factory.mktemp("chatbot") / "chatbot", template="chatml")


@pytest.fixture(scope="module")
def start(chatbot: Path) -> Checkpoint:
    return Checkpoint.load(chatbot, quiet=True)


def learned(start: Checkpoint, examples: Examples, number: int) -> str:
    one = examples[number]
    return start.tokenizer.decode(one.ids[one.mask].tolist())


def read(start: Checkpoint, examples: Examples, number: int) -> str:
    one = examples[number]
    return start.tokenizer.decode(one.ids[~one.mask].tolist())


# ---- what is learned


def test_of_many_turns_only_the_last_answer_is_learned_with_its_end(start: Checkpoint) -> None:
    """The assistant's turns before it are the prompt, the same for both; and the ids are those of any conversation."""
    before = ("Hi", "Hello!", "How are you?")
    record = Preference(conversation(*before, "Well, thanks."), conversation(*before, "Go away."))
    data = Dpo(seq_len=128).prepare([record], start)
    chosen, rejected = (members[0] for members in data.members)
    assert [learned(start, members, 0) for members in data.members] == ["Well, thanks.<|im_end|>", "Go away.<|im_end|>"]
    assert "Hello!" in read(start, data.members[0], 0)
    whole = start.render(record.chosen).ids
    assert chosen.ids.tolist() == whole[: len(chosen.ids)]
    assert start.tokenizer.decode(whole[len(chosen.ids) :]).strip() == ""
    prompt = start.render(record.chosen[:-1], reply=True).ids
    for one in (chosen, rejected):
        assert one.ids[~one.mask].tolist() == prompt


def test_what_check_shows_of_a_pair_is_what_training_learns_of_it(start: Checkpoint) -> None:
    """For pairs and for rated answers, of several turns and of an answer that did not end."""
    before = (Message("user", "Hi"), Message("assistant", "Hello!"), Message("user", "How are you?"))
    sides = [
        Conversation((*before, Message("assistant", text, ended=ended)))
        for text, ended in (("Well.", True), ("Go go go", False))
    ]
    text = lessons.Text(start.tokenizer, start.template)
    for record, rule in ((Preference(*sides), lessons.preferences), (Rated(sides[0], True), lessons.rated)):
        shown = fit_record(record, start.tokenizer, start.template, 129)
        assert [one.example for one in shown] == [one.example for one in rule(record, text, 128)]


def test_an_answer_that_ran_into_a_limit_is_learned_without_an_end(start: Checkpoint) -> None:
    """It did not stop there, and nobody is to learn that it does."""
    endless = Message("assistant", "on and on and", ended=False)
    rejected = Conversation((Message("user", "Hi"), endless))
    data = Dpo(seq_len=128).prepare([Preference(conversation("Hi", "Hello!"), rejected)], start)
    assert [learned(start, members, 0) for members in data.members] == ["Hello!<|im_end|>", "on and on and"]


def test_an_answer_that_nobody_is_to_learn_is_refused(start: Checkpoint) -> None:
    last = Message("assistant", "Hello!", learn=False)
    record = Rated(Conversation((Message("user", "Hi"), last)), good=True)
    with pytest.raises(DataError, match="nothing to learn"):
        Kto(seq_len=128).prepare([record], start)


def test_a_rated_answer_keeps_its_label_and_a_pair_gives_one_of_each(start: Checkpoint) -> None:
    records: list[Record] = [
        Rated(conversation("Hi", "Hello!"), good=False),
        Preference(conversation("Who?", "Me."), conversation("Who?", "You.")),
        Rated(conversation("Why?", "So."), good=True),
    ]
    data = Kto(seq_len=128).prepare(records, start)
    own = data.members[0]
    found = [(learned(start, own, number), int(own.labels[number])) for number in range(4)]
    end = "<|im_end|>"
    assert found == [("Hello!" + end, 0), ("Me." + end, 1), ("You." + end, 0), ("So." + end, 1)]


# ---- from files


def prepared(chatbot: Path, files: Sequence[object], tmp_path: Path, verb: str = "dpo", **more: Any) -> training.Data:
    """What a verb makes of files, on disk and mapped from there."""
    settings = config.resolve(
        registry.load("commands", verb).Settings,
        flags=given(chatbot, "-", tmp_path / "out", **more) | {"data": [str(file) for file in files]},
    )
    rule = "rated" if verb == "kto" else "preferences"
    streams = training.opened(settings, settings.data, rule)
    return training.prepared(settings, Checkpoint.load(chatbot, quiet=True), streams, rule)


def asked(start: Checkpoint, examples: Examples, number: int) -> str:
    """The user's words before an answer."""
    text: str = read(start, examples, number).split("<|im_start|>user\n")[1]
    return text.split("<|im_end|>")[0]


def texts(start: Checkpoint, examples: Examples) -> list[tuple[str, str, int]]:
    """Prompt, answer and label of every example."""
    found = []
    for number in range(len(examples)):
        answer = learned(start, examples, number).removesuffix("<|im_end|>")
        found.append((asked(start, examples, number), answer, int(examples.labels[number])))
    return found


def expected(numbers: Sequence[int]) -> set[tuple[str, str, int]]:
    rows = [pair(number) for number in numbers]
    sides = [
        (row["prompt"], row[side].strip(), int(side == "chosen")) for row in rows for side in ("chosen", "rejected")
    ]
    return set(sides)


def test_pairs_stay_pairs_in_every_split_and_none_gets_lost(chatbot: Path, start: Checkpoint, tmp_path: Path) -> None:
    data = prepared(chatbot, [pairs(tmp_path / "pairs.jsonl", 60)], tmp_path, validation_share=0.3, test_share=0.2)
    assert set(data.examples) == {"train", "validation", "test"}
    every = []
    for examples in data.examples.values():
        found = texts(start, examples)
        assert [label for *_, label in found] == [1, 0] * (len(found) // 2)
        assert [prompt for prompt, *_ in found[::2]] == [prompt for prompt, *_ in found[1::2]]
        every += found
    assert len(every) == 120
    assert set(every) == expected(range(60))


@pytest.mark.parametrize("weights", [("", ""), ("@0.7", "@0.3"), ("@1", "")])
def test_in_a_mixture_they_stay_together_too_and_come_in_their_shares(
    weights: tuple[str, str], chatbot: Path, start: Checkpoint, tmp_path: Path
) -> None:
    files = [
        written(tmp_path / name, [pair(number) for number in numbers])
        for name, numbers in (("a.jsonl", range(30)), ("b.jsonl", range(30, 40)))
    ]
    data = prepared(chatbot, [f"{file}{weight}" for file, weight in zip(files, weights, strict=True)], tmp_path)
    choices = Dpo().of(data.examples["train"])
    seen: list[str] = []
    for batch in answers(choices, Pack(4, 128)):
        for family in range(batch.count // 2):
            sides = [start.tokenizer.decode(batch.targets[batch.answer == 2 * family + k].tolist()) for k in (0, 1)]
            assert batch.labels[2 * family : 2 * family + 2].tolist() == [1.0, 0.0]
            number = int(sides[0].removeprefix("It is ").partition(".")[0]) // 2
            row = pair(number)
            assert sides == [row["chosen"] + "<|im_end|>", row["rejected"].strip() + "<|im_end|>"]
            seen.append("a" if number < 30 else "b")
        if batch.cursor["epoch"] == 3:
            break
    assert len(seen) == pytest.approx(3 * len(choices), abs=3)
    whole = len(data.sources[0].examples["train"]) / len(data.examples["train"])
    share = {"": whole, "@0.7": 0.7, "@1": 0.5}[weights[0]]
    assert seen.count("a") / len(seen) == pytest.approx(share, abs=0.02)


def test_at_most_so_many_records_are_pairs_and_not_answers(chatbot: Path, start: Checkpoint, tmp_path: Path) -> None:
    more: dict[str, Any] = {"max_samples": 7, "validation_share": 0.0, "test_share": 0.0}
    data = prepared(chatbot, [pairs(tmp_path / "pairs.jsonl", 60)], tmp_path, **more)
    assert set(texts(start, data.examples["train"])) == expected(range(7))
    assert data.report["records"] == 7


def test_labels_of_rated_answers_survive_the_disk(chatbot: Path, start: Checkpoint, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"prompt": f"Q{n}", "completion": f"A{n}", "label": n % 3 == 0} for n in range(20)]
    data = prepared(chatbot, [written(tmp_path / "rated.jsonl", rows)], tmp_path, "kto")
    found = [one for examples in data.examples.values() for one in texts(start, examples)]
    assert set(found) == {(row["prompt"], row["completion"], int(row["label"])) for row in rows}


def test_selected_examples_keep_their_labels() -> None:
    examples = Examples.of(Example([1, n], [0, 1]) for n in range(5)).labelled([1, 0, 0, 1, 1])
    assert examples.select([3, 2, 0]).labels.tolist() == [1, 0, 1]
    assert examples.shortened(2).labels.tolist() == [1, 0, 0, 1, 1]


# ---- bad input


def refused(verb: str, chatbot: Path, data: Path, out: Path, **more: Any) -> str:
    """The sentence that a run ends with; nothing is left of it."""
    with pytest.raises(ConfigError) as ended:
        prefer(verb, chatbot, data, out, **more)
    assert ended.value.exit_code == 2
    assert not (out / "model").exists()
    return str(ended.value)


def test_pairs_of_one_answer_are_listed_and_none_of_them_is_learned(chatbot: Path, tmp_path: Path) -> None:
    """Nothing is wrong with them, so the run goes on without being asked to."""
    same = [{"prompt": f"Q{n}", "chosen": "The same.", "rejected": " The same. "} for n in range(3)]
    written(tmp_path / "data.jsonl", [*(pair(n) for n in range(20)), *same])
    pairs(tmp_path / "without.jsonl", 20)
    for name in ("data", "without"):
        prefer("dpo", chatbot, tmp_path / f"{name}.jsonl", tmp_path / name, guards_prompts=0)
    report = json.loads((tmp_path / "data" / "data_report.json").read_text())
    assert (report["read"], report["used"], report["filtered"], report["dropped"]) == (23, 20, 3, 0)
    assert [row["line"] for row in report["listed"]] == [21, 22, 23]
    assert {row["kind"] for row in report["listed"]} == {"filtered"}
    assert {row["reason"] for row in report["listed"]} == {"chosen and rejected are the same answer"}
    assert losses(tmp_path / "data") == losses(tmp_path / "without")
    says = refused("dpo", chatbot, written(tmp_path / "same.jsonl", same), tmp_path / "same")
    assert says.endswith("same.jsonl can be used")


def test_a_panel_that_knows_nothing_says_nothing(
    chatbot: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = written(tmp_path / "data.jsonl", [pair(n) for n in range(8)])
    prefer("dpo", chatbot, data, tmp_path / "run", guards_prompts=0, validation_share=0, test_share=0)
    lines = [line.strip() for line in capsys.readouterr().err.splitlines()]
    assert any(line.startswith("note:") for line in lines)
    assert not any(re.fullmatch(r"note: step \d+:", line) for line in lines)


def test_answers_that_are_the_same_within_the_window_are_left_out(chatbot: Path, tmp_path: Path) -> None:
    long = "so it goes on " * 30
    row = {"prompt": "Hi", "chosen": long + "a", "rejected": long + "b"}
    data = written(tmp_path / "data.jsonl", [*(pair(n) for n in range(40)), row])
    prefer("dpo", chatbot, data, tmp_path / "run", guards_prompts=0)
    (listed,) = json.loads((tmp_path / "run" / "data_report.json").read_text())["listed"]
    assert (listed["line"], listed["kind"]) == (41, "filtered")
    assert listed["reason"] == "chosen and rejected are the same answer within the window, so nothing can be preferred"


def test_an_answer_that_loses_its_end_at_the_window_is_counted_by_the_proof_of_ends(
    chatbot: Path, tmp_path: Path
) -> None:
    """Only where that was accepted: a model that never sees the end of an answer never stops."""
    long = [{"prompt": f"Q{n}", "chosen": f"yes {n} " * 40, "rejected": f"no {n} " * 40} for n in range(4)]
    data = written(tmp_path / "data.jsonl", [*(pair(n) for n in range(20)), *long])
    assert "do not fit the window whole" in refused("dpo", chatbot, data, tmp_path / "refused")
    prefer("dpo", chatbot, data, tmp_path / "run", guards_prompts=0, max_truncated_share=0.2)
    proofs = json.loads((tmp_path / "run" / "proofs.json").read_text())["proofs"]
    (ends,) = (proof for proof in proofs if proof["name"] == "stop")
    assert ends["figures"]["truncated_rows"] == 4


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no answer": ({"prompt": "Hi", "chosen": "", "rejected": "Go."}, r"message 2 \(assistant\) is empty"),
    "no other answer": ({"prompt": "Hi", "chosen": "Hello!", "rejected": " "}, r"message 2 \(assistant\) is empty"),
    "other prompts": (
        {"chosen": talk("Hi", "Hello!"), "rejected": talk("Who?", "Me.")},
        "chosen and rejected have no message in common",
    ),
    "a conversation": ({"messages": talk("Hi", "Hello!")}, "has no 'chosen'"),
    "a prompt as long as the window": (
        {"prompt": "on and on " * 50, "chosen": "a", "rejected": "b"},
        "the prompt alone fills the window, so nothing can be learned",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_bad_row_ends_the_run_with_its_line_or_is_counted_where_that_is_wanted(
    name: str, chatbot: Path, tmp_path: Path
) -> None:
    row, reason = WRONG[name]
    good = [{"chosen": talk(str(n), "Yes."), "rejected": talk(str(n), "No.")} for n in range(100)]
    rows = good if name == "other prompts" else [pair(n) for n in range(100)]
    data = written(tmp_path / "data.jsonl", [*rows, row])
    says = refused("dpo", chatbot, data, tmp_path / "refused")
    assert f"{data}:101: " in says
    assert says.endswith("1 of 101 rows cannot be used; correct them, or leave them out with --skip-bad-rows")
    assert re.search(reason, says)
    prefer("dpo", chatbot, data, tmp_path / "run", skip_bad_rows=True, guards_prompts=0)
    report = json.loads((tmp_path / "run" / "data_report.json").read_text())
    assert (report["used"], report["dropped"], report["filtered"]) == (100, 1, 0)
    assert [(one["line"], one["kind"]) for one in report["listed"]] == [(101, "bad")]


@pytest.mark.parametrize("verb", VERBS)
def test_conversations_are_refused_by_what_is_wanted_instead(verb: str, chatbot: Path, tmp_path: Path) -> None:
    data = written(tmp_path / "talks.jsonl", [{"messages": talk(str(n), "Yes.")} for n in range(9)])
    wanted = "kto learns from answers with a label" if verb == "kto" else "this verb learns from preferences"
    assert wanted in refused(verb, chatbot, data, tmp_path / "run")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"lora_rank": 2, "lora_dropout": 0.1}, "--lora.dropout is given, but policy and start are compared without"),
        ({"dropout": 0.1}, "--dropout is given, but policy and start are compared without any dropout; leave it out"),
        ({"reference": "adapter"}, "--reference adapter switches an adapter off, and there is none; add --lora.rank 8"),
        ({"load_in": "4bit"}, "--load-in 4bit holds weights that cannot be trained; add --lora.rank 8"),
        ({"seq_len": 300}, "--seq-len is 300, but this model has 256 positions"),
    ],
    ids=str,
)
def test_settings_that_contradict_each_other_are_one_sentence(
    given: dict[str, Any], says: str, chatbot: Path, tmp_path: Path
) -> None:
    found = refused("dpo", chatbot, pairs(tmp_path / "pairs.jsonl"), tmp_path / "run", **given)
    assert found.startswith(says)
    assert "\n" not in found


@pytest.mark.parametrize("value", ["beta", "label_smoothing", "lr"])
def test_a_number_that_makes_no_sense_is_refused_by_name(value: str, chatbot: Path, tmp_path: Path) -> None:
    wrong = {"beta": 0.0, "label_smoothing": 0.5, "lr": -1.0}[value]
    found = refused("dpo", chatbot, pairs(tmp_path / "pairs.jsonl"), tmp_path / "run", **{value: wrong})
    assert value.replace("_", "-") in found


def test_the_dropout_of_a_model_is_off_whatever_its_config_says(chatbot: Path, tmp_path: Path) -> None:
    """Or policy and start would differ by chance: the losses are those of a model that has none."""
    drop: dict[str, Any] = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.3)
    dropping = base(tmp_path / "dropping", template="chatml", **drop)
    data = pairs(tmp_path / "pairs.jsonl")
    for name, model in (("none", chatbot), ("some", dropping)):
        prefer("dpo", model, data, tmp_path / name, guards_prompts=0)
    assert losses(tmp_path / "some") == losses(tmp_path / "none")


@pytest.mark.parametrize(
    ("label", "says"),
    [(True, "are good: nothing shows what to avoid"), (False, "are bad: the model learns what to avoid")],
)
def test_answers_of_one_kind_are_warned_of(
    label: bool, says: str, chatbot: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"prompt": f"Q{n}", "completion": f"A{n}", "label": label} for n in range(20)]
    prefer("kto", chatbot, written(tmp_path / "rated.jsonl", rows), tmp_path / "run", guards_prompts=0)
    assert says in capsys.readouterr().err


def test_answers_of_both_kinds_are_not(chatbot: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prefer("kto", chatbot, pairs(tmp_path / "pairs.jsonl"), tmp_path / "run", guards_prompts=0)
    assert "warning" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("cached", "the start model's log-probability of an answer is no number; its weights are damaged"),
        ("copy", "the start model's loss is nan before any step; its weights are damaged"),
    ],
)
def test_a_model_whose_weights_are_damaged_is_said_before_anything_is_learned_or_sampled(
    reference: str, says: str, chatbot: Path, tmp_path: Path
) -> None:
    damaged = Checkpoint.load(chatbot, quiet=True)
    damaged.model.output_weight.data[5:, 3] = float("nan")
    damaged.save(tmp_path / "damaged")
    with pytest.raises(NotFinite, match=says) as ended:
        prefer("dpo", tmp_path / "damaged", pairs(tmp_path / "pairs.jsonl"), tmp_path / "run", reference=reference)
    assert ended.value.exit_code == 3
    assert not (tmp_path / "run" / "reference.safetensors").exists()
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.parametrize("verb", ["dpo", "kto"])
def test_one_row_is_enough(verb: str, chatbot: Path, tmp_path: Path) -> None:
    """It cannot be split, and nothing is held out: the run says so and learns."""
    reached = prefer(verb, chatbot, pairs(tmp_path / "one.jsonl", 1), tmp_path / "run")
    assert reached["proofs"]["sanity"] == "green"


def test_a_start_of_another_vocabulary_cannot_be_given(chatbot: Path) -> None:
    """The start is always what the policy began as: no setting names another model."""
    settings = registry.load("commands", "dpo").Settings
    assert settings.model_fields["reference"].annotation.__args__ == ("auto", "cached", "copy", "adapter")
    assert [name for name in settings.model_fields if "model" in name] == ["model"]
