"""The reward model's loss is what its papers say on three pairs and what TRL computes; a run of the verb makes a judge."""

import json
import math
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from small_answers import FAMILIES, batch, difference, families, family, gpt2, gradients, model_of
from small_runs import rows
from tiny_models import tiny_checkpoint
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook
from trl_referee import PAIR, TOLERANCE, VOCABULARY, assert_same_gradients, figure, quietly, sides, tokenizer
from trl_referee import _plain as plain
from tuned_runs import base, conversations, files, read, undrawn

from chatwright import commands
from chatwright.checkpoint import Checkpoint
from chatwright.data import lessons
from chatwright.data.answers import Answers, laid_out
from chatwright.data.examples import Tokens
from chatwright.data.loader import unshifted
from chatwright.data.truncate import Fit
from chatwright.errors import ConfigError, DataError, LeftOut
from chatwright.evals import scored
from chatwright.generate.judge import RewardModel
from chatwright.models.decoder import Decoder
from chatwright.models.gpt2 import GPT2
from chatwright.models.lora import LoraConfig
from chatwright.objectives.reward import Reward, scores
from chatwright.text.pieces import Example
from chatwright.text.records import Conversation, Message, Preference, conversation
from chatwright.train.signals import Interrupted

pytestmark = list(quietly)
SHAPES = ((9, 5, 2), (1, 3, 6), (4, 1, 1), (12, 8, 11), (2, 7, 3), (6, 1, 14))  # of a prompt and its two answers


def scoring(model: Decoder) -> Decoder:
    """The same with a head that is wide enough for scores to differ."""
    model.add_score(model.config.vocab_size - 1, seed=3)
    assert model.score is not None
    with torch.no_grad():
        model.score.weight.mul_(3)
    return model


def whole(some: Any) -> Answers:
    """As a batch in which answers are read to their ends."""
    labels = torch.tensor([float(place == 0) for members in some for place, _ in enumerate(members)])
    return laid_out(some, labels, None, {}, unshifted)


def alone(model: Decoder, some: Any) -> Tensor:
    """(n,): the score of each answer of some families, read by itself."""
    read: list[Tokens] = [one for members in some for one in members]
    states = [model.trunk(torch.from_numpy(one.ids).long()[None])[0, -1] for one in read]
    return model.rewards(torch.stack(states))


# ---- by hand


def test_on_three_pairs_it_is_how_unlikely_it_is_that_the_better_answer_is_preferred() -> None:
    """Scores that differ by 1, 0 and -2."""
    chosen, rejected = torch.tensor([2.0, -1.0, 0.5]), torch.tensor([1.0, -1.0, 2.5])
    found = Reward().pair_loss(chosen, rejected).tolist()
    assert found == pytest.approx([math.log(1 + math.exp(-1)), math.log(2), math.log(1 + math.exp(2))])
    assert found == pytest.approx([0.31326169, 0.69314718, 2.12692801])
    centred = Reward(centre=0.1).pair_loss(chosen, rejected).tolist()
    assert centred == pytest.approx([found[0] + 0.9, found[1] + 0.4, found[2] + 0.9])


def test_a_model_that_scores_everything_alike_is_at_the_logarithm_of_two_and_right_on_half() -> None:
    model = scoring(gpt2())
    assert model.score is not None
    torch.nn.init.zeros_(model.score.weight)
    loss = Reward().loss(model, whole(families(*SHAPES)))
    assert (loss.total / loss.weight).item() == pytest.approx(math.log(2))
    assert float(loss.metrics["accuracy"] / loss.weight) == 0.5


# ---- TRL


def reward_trainer(model: GPT2, out: Path, **given: Any) -> Any:
    """TRL's trainer around the same weights."""
    from datasets import Dataset
    from transformers import GPT2Config, GPT2ForSequenceClassification
    from trl import RewardConfig, RewardTrainer

    other = GPT2ForSequenceClassification(GPT2Config(**model.config.to_hf()))
    other.load_state_dict(model.to_hf())
    config = RewardConfig(**plain(out), **given)
    data = Dataset.from_list([PAIR])
    return RewardTrainer(model=other.eval(), args=config, train_dataset=data, processing_class=tokenizer())


@pytest.mark.parametrize("centre", [0.0, 0.05])
def test_loss_figures_and_gradients_are_those_of_trl(centre: float, tmp_path: Path) -> None:
    model, some = scoring(gpt2(vocab_size=VOCABULARY)), families(*SHAPES)
    assert isinstance(model, GPT2)
    loss = Reward(centre=centre).loss(model, whole(some))
    ours = loss.total / loss.weight
    trainer = reward_trainer(model, tmp_path, center_rewards_coefficient=centre or None)
    read = sides(some)
    # the token by which transformers finds the ends; no drawn answer has it
    ids = read["input_ids"].masked_fill(read["attention_mask"] == 0, trainer.model.config.pad_token_id)
    expected = trainer.compute_loss(trainer.model, {"input_ids": ids, "attention_mask": read["attention_mask"]})
    assert ours.item() == pytest.approx(expected.item(), rel=TOLERANCE)
    assert_same_gradients(model, ours, trainer.model, expected)
    found = {name: float(value / loss.weight) for name, value in loss.metrics.items()}
    assert found["accuracy"] == pytest.approx(figure(trainer, "accuracy"))
    assert 0 < found["accuracy"] < 1
    assert found["margin"] == pytest.approx(figure(trainer, "margin"), rel=TOLERANCE)
    mean = (found["chosen"] + found["rejected"]) / 2
    assert mean == pytest.approx(figure(trainer, "mean_reward"), rel=TOLERANCE, abs=TOLERANCE)


# ---- batches


@pytest.mark.parametrize("name", FAMILIES)
def test_the_score_of_an_answer_is_that_of_its_conversation_read_by_itself(name: str) -> None:
    """Whatever shares its row, and whichever row it comes into; one answer that begins another is among them."""
    model = scoring(model_of(*FAMILIES[name]))
    some = [*families(*SHAPES), family([3, 1, 4], [1, 5, 9], [1, 5, 9, 2, 6])]
    found, expected = scores(model, whole(some)), alone(model, some)
    assert (found - expected).abs().max() < 1e-5
    assert expected.std() > 0.1
    weights = torch.arange(len(found)).float()
    one = gradients(model, (weights * found).sum())
    assert difference(one, gradients(model, (weights * expected).sum())) < 1e-5


def test_answers_that_share_no_row_keep_their_order() -> None:
    """Rows are filled with the longest prompts first."""
    model, some = scoring(gpt2(n_positions=512)), families((9, 3, 5), (300, 90, 4), (7, 200, 2), (260, 5, 6))
    found = whole(some)
    assert len(found.ids) > 1
    assert found.answer[found.answer >= 0].tolist() != list(range(8))
    assert (scores(model, found) - alone(model, some)).abs().max() < 1e-5


def test_a_batch_is_its_parts_accumulated() -> None:
    model, some, objective = scoring(gpt2()), families(*SHAPES), Reward(centre=0.1)
    loss = objective.loss(model, whole(some))
    expected = gradients(model, loss.total)
    for pieces in ([whole(some[:1]), whole(some[1:])], [whole(some).select([4, 0]), whole(some).select([1, 2, 3, 5])]):
        parts = [objective.loss(model, piece) for piece in pieces]
        assert sum(float(part.weight) for part in parts) == float(loss.weight) == 6
        assert difference(gradients(model, torch.stack([part.total for part in parts]).sum()), expected) < 1e-6
        for metric, value in loss.metrics.items():
            assert sum(float(part.metrics[metric]) for part in parts) == pytest.approx(float(value), abs=1e-4)


def test_an_answer_is_read_to_its_end_and_a_probability_is_not() -> None:
    """The shift by one makes of the last id a target; a score is read at it."""
    some = [family([3, 1, 4], [1, 5, 9], [2, 6])]
    shifted, read = batch(some), whole(some)
    assert (shifted.tokens, read.tokens) == (2 + 3 + 2, 2 + 4 + 3)
    assert read.ids[read.mask > 0].tolist() == [9, 6]
    assert shifted.ids[shifted.mask > 0].tolist() == [4, 1, 5, 4, 2]


# ---- what pairs become


TEXT = lessons.Text((start := tiny_checkpoint("chatml")).tokenizer, start.template)
STOP = start.stop_ids[0]


def pair(good: str, bad: str, *, ended: bool = True) -> Preference:
    answered = [conversation("Hi", "Hello?", "Who?").messages, Message("assistant", bad, ended=ended)]
    return Preference(conversation("Hi", "Hello?", "Who?", good), Conversation((*answered[0], answered[1])))


def test_both_answers_end_where_the_judge_reads_the_score() -> None:
    fitted = lessons.compared(pair("me", "you"), TEXT, 200)
    assert [one.label for one in fitted] == [1, 0]
    for one, answer in zip(fitted, ("me", "you"), strict=True):
        assert one.example is not None
        assert one.example.ids[-1] == STOP
        assert TEXT.tokenizer.decode(one.example.ids).endswith(f"{answer}<|im_end|>")


def test_the_window_holds_every_id_and_an_answer_that_loses_its_end_is_left_out() -> None:
    longest = max(
        len(one.example.ids) for one in lessons.compared(pair("me", "somebody else"), TEXT, 200) if one.example
    )
    assert all(one.fit is Fit.WHOLE for one in lessons.compared(pair("me", "somebody else"), TEXT, longest))
    with pytest.raises(LeftOut, match="an answer does not fit the window, and without its end there is no place"):
        lessons.compared(pair("me", "somebody else"), TEXT, longest - 1)
    assert len(lessons.preferences(pair("me", "somebody else"), TEXT, longest - 1)) == 2  # dpo takes what is left of it


def test_an_answer_that_ran_into_a_limit_is_read_to_the_end_that_the_judge_gives_it() -> None:
    cut = lessons.compared(pair("me", "you and", ended=False), TEXT, 200)
    assert cut == lessons.compared(pair("me", "you and"), TEXT, 200)
    assert cut[1].example is not None
    assert cut[1].example.ids[-1] == STOP


# ---- whole runs


def preferences(path: Path, count: int = 40) -> Path:
    """A file of short ones: the good answer says a number."""
    rows = [
        {"prompt": f"What is {i} and {i}?", "chosen": f"It is {2 * i}.", "rejected": "No idea" + "!" * (1 + i % 3)}
        for i in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def given(place: Path, out: Path, **more: Any) -> dict[str, Any]:
    """The settings of a run of a second."""
    fixed: dict[str, Any] = {"steps": 12, "batch_size": 4, "seq_len": 128, "lr": 1e-2, "save_every": 100}
    fixed |= {"dtype": "fp32", "device": "cpu", "threads": 1, "eval_every": 4, "validation_share": 0.2}
    return fixed | {"model": str(place / "base"), "data": str(place / "pairs.jsonl"), "out": str(out), **more}


def reward(place: Path, out: Path, **more: Any) -> dict[str, Any]:
    with undrawn():
        return commands.run("reward", given(place, out, **more))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reward")
    base(folder / "base", template="chatml")
    preferences(folder / "pairs.jsonl")
    return folder


@pytest.fixture(scope="module")
def made(place: Path) -> tuple[Path, dict[str, Any]]:
    """A run, and what it gave."""
    return place / "run", reward(place, place / "run")


Made = tuple[Path, dict[str, Any]]


def test_a_run_makes_a_judge_that_prefers_the_better_answers(made: Made) -> None:
    run, found = made
    judge = RewardModel.load(run, device="cpu")
    asked = [f"What is {i} and {i}?" for i in range(100, 120)]  # none of which it saw
    good = judge.score([conversation(one, "It is 200.") for one in asked])
    bad = judge.score([conversation(one, "No idea!!") for one in asked])
    assert all(a > b for a, b in zip(good, bad, strict=True))
    assert found["losses"]["train"]["loss"] < 0.3 < found["loss_before"]
    assert found["losses"]["train"]["metrics"]["accuracy"] > 0.9
    assert found["losses"]["train"]["metrics"]["chosen"] > found["losses"]["train"]["metrics"]["rejected"]
    assert found["proofs"] == {"mask": "green", "parity": "green", "sanity": "green"}


def test_transformers_loads_the_result_whole_and_gives_equal_scores(made: Made) -> None:
    from transformers import AutoModelForSequenceClassification

    run, _ = made
    other, told = AutoModelForSequenceClassification.from_pretrained(run / "model", output_loading_info=True)
    assert not any(told.values()), told
    judge = RewardModel.load(run, device="cpu")
    talks = [conversation("What is 7 and 7?", answer) for answer in ("It is 14.", "No idea!", "Perhaps.")]
    with torch.no_grad():
        expected = [other.eval()(torch.tensor([judge.ids(talk)])).logits.item() for talk in talks]
    assert judge.score(talks) == pytest.approx(expected, abs=1e-4)


def test_the_card_loads_a_classifier_and_says_how_often_it_is_right(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, found = made
    text = (run / "model" / "README.md").read_text()
    assert "A reward model, made by `chatwright reward`" in text
    assert "pipeline_tag: text-classification" in text
    assert "chatwright compare path/to/one path/to/another --judge path/to/this/folder" in text
    assert "chatwright chat" not in text
    assert "| held out accuracy |" in text
    code = text.partition("```python\n")[2].partition("```")[0]
    exec(code.replace("path/to/this/folder", str(run / "model")), {})
    score = RewardModel.load(run, device="cpu").score([conversation("Who are you?", "A chatbot.")])[0]
    assert float(capsys.readouterr().out) == pytest.approx(score, abs=1e-4)
    told = read(run / "model" / "training_metadata.json")
    assert told["stage"] == "reward"
    assert told["held_out_pairs"] == found["calibration"]["held_out_pairs"] > 5
    assert told["held_out_accuracy"] == found["calibration"]["held_out_accuracy"] > 0.8


def test_what_was_held_out_is_in_the_report_and_beside_every_later_judgement(
    made: Made, place: Path, tmp_path: Path
) -> None:
    run, found = made
    sheets = read(run / "report" / "report.json")["sheets"]
    assert [one["title"] for one in sheets] == ["Held-out pairs"]
    assert found["calibration"]["says"] in sheets[0]["hint"]
    commands_shown = (run / "report" / "index.html").read_text()
    assert f"chatwright compare M1 M2 --judge {run}" in commands_shown
    assert "chatwright chat" not in commands_shown
    base(tmp_path / "other", template="chatml", seed=1)
    asked = {"models": [str(place / "base"), str(tmp_path / "other")], "out": str(tmp_path / "compared")}
    with undrawn():
        compared = commands.run("compare", {**asked, "judge": str(run), "max_tokens": 2, "device": "cpu"})
    says = compared["win_rates"][0]["says"]
    count = found["calibration"]["held_out_pairs"]
    assert f"of {count} labelled pairs" in says
    assert "pairs.jsonl, held out in its training" in says


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


def test_five_steps_then_resume_then_five_are_ten_bit_for_bit(place: Path, tmp_path: Path) -> None:
    more: dict[str, Any] = {"steps": 10, "eval_every": 3, "dropout": 0.1, "centre": 0.01}
    reward(place, tmp_path / "whole", **more)
    with signalled_after(5), pytest.raises(Interrupted):
        reward(place, tmp_path / "cut", **more)
    reward(place, tmp_path / "cut", resume=True, **more)
    assert rows(tmp_path / "cut") == rows(tmp_path / "whole")
    weights = [files(tmp_path / name / "model")["model.safetensors"] for name in ("cut", "whole")]
    assert weights[0] == weights[1]


def test_nothing_is_dropped_unless_that_is_asked_for(place: Path, tmp_path: Path) -> None:
    """What is dropped of one answer and not of the other would be a difference of their scores."""
    base(tmp_path / "base", template="chatml", resid_pdrop=0.5, embd_pdrop=0.5)
    dropping = ({"model": str(tmp_path / "base")}, {"dropout": 0.5})
    for name, more in zip(("without", "model's", "asked"), ({}, *dropping), strict=True):
        reward(place, tmp_path / name, steps=2, **more)
    assert rows(tmp_path / "without") == rows(tmp_path / "model's") != rows(tmp_path / "asked")


def test_a_reward_model_is_gone_on_with_and_keeps_its_head(made: Made, place: Path, tmp_path: Path) -> None:
    run, found = made
    more = reward(place, tmp_path / "more", model=str(run), steps=1)
    assert more["loss_before"] == pytest.approx(found["losses"]["validation"]["loss"], rel=1e-4)


def test_an_adapter_that_the_model_came_with_is_folded_in_first(place: Path, tmp_path: Path) -> None:
    start = Checkpoint.load(place / "base", quiet=True)
    adapted = start.with_lora(LoraConfig(r=2, lora_alpha=4), str(place / "base"), dtype=torch.float32, seed=0)
    with torch.no_grad():
        for name, weight in adapted.model.named_parameters():
            if "lora_B" in name:
                weight.add_(0.1)
    adapted.save(tmp_path / "lora")
    reward(place, tmp_path / "run", model=str(tmp_path / "lora"), steps=1, lr=1e-6)
    made, plain_base = (read_weights(one) for one in (tmp_path / "run", place / "base"))
    name = "transformer.h.0.attn.c_attn.weight"
    assert float((made[name] - plain_base[name]).abs().max()) > 1e-3


def read_weights(place: Path) -> dict[str, Tensor]:
    return Checkpoint.load(place, kind="any", quiet=True).model.to_hf()


def test_pairs_whose_answers_are_cut_are_listed_and_not_scored(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [json.loads(line) for line in (place / "pairs.jsonl").read_text().splitlines()]
    rows[7]["rejected"] = "No idea" + ", none at all" * 40
    data = tmp_path / "long.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    reward(place, tmp_path / "run", data=str(data), steps=1)
    told = read(tmp_path / "run" / "data_report.json")
    assert (told["read"], told["used"], told["filtered"]) == (40, 39, 1)
    assert "an answer does not fit the window" in told["listed"][0]["reason"]
    assert told["listed"][0]["line"] == 8
    assert told["truncated"] == []
    assert "1 of 40 rows are left out on purpose" in " ".join(capsys.readouterr().err.split())


def test_without_pairs_that_are_held_out_nothing_is_claimed(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = reward(place, tmp_path / "run", steps=1, validation_share=0, test_share=0)
    assert found["calibration"] is None
    assert "raise --test-share" in " ".join(capsys.readouterr().err.split())
    assert "held_out_pairs" not in read(tmp_path / "run" / "model" / "training_metadata.json")


def test_pairs_by_which_the_weights_were_chosen_do_not_count_as_held_out(place: Path, tmp_path: Path) -> None:
    found = [reward(place, tmp_path / str(n), steps=1, test_share=0.1, patience=n) for n in (0, 1)]
    splits = read(tmp_path / "0" / "data_report.json")["splits"]
    counts = [one["calibration"]["held_out_pairs"] for one in found]
    assert counts == [(splits["validation"] + splits["test"]) // 2, splits["test"] // 2]  # of two answers each


# ---- proofs


def test_an_answer_that_does_not_end_makes_the_proof_red() -> None:
    fitted = [one.example for one in lessons.compared(pair("me", "you"), TEXT, 200) if one.example is not None]
    data = Reward(seq_len=200).prepare([pair("me", "you"), pair("him", "her")], start)
    assert scored.mask_proof(data.members[0], [STOP]).state == "green"
    cut = [Example(one.ids[:-1], one.mask[:-1]) for one in fitted]
    found = scored.mask_proof(type(data.members[0]).of([*fitted, *cut]), [STOP])
    assert (found.state, found.figures["without_end"]) == ("red", 2)
    assert "the first is 2" in found.says


def test_a_judge_that_reads_other_ids_makes_the_proof_red(made: Made) -> None:
    run, _ = made
    judge, talks = RewardModel.load(run, device="cpu"), [conversation("Hi", "Hello!"), conversation("Who?", "Me.")]
    read = [Example(judge.ids(talk), [1]) for talk in talks]
    assert scored.parity_proof(run / "model", talks, read).state == "green"
    found = scored.parity_proof(run / "model", talks, [read[0], Example([*read[1].ids, 5], [1])])
    assert found.state == "red"
    assert "row 1" in found.says


# ---- bad input


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"lora.rank": 4}, "a reward model is trained whole, without an adapter; leave out --lora.rank"),
        ({"lora.alpha": 4.0}, "a reward model is trained whole, without an adapter; leave out --lora.alpha"),
        ({"load_in": "4bit"}, "--load-in 4bit holds weights that cannot be trained; leave it out"),
        ({"centre": -1.0}, "centre"),
    ],
)
def test_settings_that_do_not_fit_are_refused_before_anything_is_read(
    tmp_path: Path, more: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        commands.run("reward", given(tmp_path / "nowhere", tmp_path / "run", **more))
    assert "\n" not in str(caught.value)


def test_conversations_are_no_preferences(place: Path, tmp_path: Path) -> None:
    data = conversations(tmp_path / "chats.jsonl")
    with pytest.raises(
        DataError, match="this verb learns from preferences, a prompt with a chosen and a rejected answer"
    ):
        reward(place, tmp_path / "run", data=str(data))


def test_pairs_of_equal_answers_teach_nothing(place: Path, tmp_path: Path) -> None:
    rows = [{"prompt": f"What is {i}?", "chosen": "It is.", "rejected": " It is. "} for i in range(9)]
    data = tmp_path / "same.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match=r"chosen and rejected are the same answer(.|\n)*no row of .* can be used"):
        reward(place, tmp_path / "run", data=str(data))
