"""The one training loop: gradients add up, the rate follows its schedule, and looking on changes nothing."""

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import Probe, job, policy, rows, settings, steps, tokenizer, train, weights

from chatwright.data.loader import Batch
from chatwright.models.attention import Attend
from chatwright.objectives.protocol import Loss
from chatwright.train import optim, sanity, stage
from chatwright.train.run_folder import RunFolder
from chatwright.train.settings import Optim, TrainSettings
from chatwright.train.signals import Signals
from chatwright.train.trainer import Hooks, Schedule, Setup, Trainer


def trainer(out: Path, **given: Any) -> Trainer:
    wanted: TrainSettings = settings(out, **given)
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[wanted.dtype]
    schedule = Schedule.of(wanted, per_epoch=9)
    return Trainer(
        Setup(
            policy(),
            Probe(wanted.batch_size),
            wanted,
            schedule,
            RunFolder(out),
            torch.device("cpu"),
            dtype,
            Hooks(),
            {},
        )
    )


def batch(rows_: int, *, start: int = 0) -> Batch:
    """Rows of 12 tokens of which each learns another number."""
    random = torch.Generator().manual_seed(7)
    ids = torch.randint(0, 250, (8, 13), generator=random)[start : start + rows_]
    mask = torch.stack([torch.arange(12) >= 3 + row for row in range(8)]).float()[start : start + rows_]
    attend = Attend.packed(torch.zeros(rows_, 12, dtype=torch.long))
    return Batch(ids[:, :-1], ids[:, 1:], mask, attend, {"epoch": 0, "batch": start}, 12 * rows_)


# Law 8


@pytest.mark.parametrize("parts", [2, 4, 8])
def test_a_batch_of_eight_is_accumulated_small_batches(parts: int, tmp_path: Path) -> None:
    """The mean is over tokens, not over the means of the parts: here each part has another number of them."""
    given = {"steps": 3, "optim": {"clip": 0.5}}
    whole, cut = trainer(tmp_path, **given), trainer(tmp_path, accumulate=parts, **given)
    size = 8 // parts
    first = whole.step(iter([batch(8)]), Signals())
    second = cut.step(iter([batch(size, start=at) for at in range(0, 8, size)]), Signals())
    assert second["loss"] == pytest.approx(first["loss"], rel=1e-6)
    assert second["grad_norm"] == pytest.approx(first["grad_norm"], rel=1e-6)
    assert second["token_accuracy"] == first["token_accuracy"]
    for one, other in zip(whole.optimizer.param_groups, cut.optimizer.param_groups, strict=True):
        for a, b in zip(one["params"], other["params"], strict=True):
            moments = [whole.optimizer.state[a]["exp_avg"], cut.optimizer.state[b]["exp_avg"]]  # (1 - beta1) · gradient
            assert float((moments[0] - moments[1]).norm()) <= 1e-6 * float(moments[0].norm()) + 1e-9


# The schedule and the optimizer


def test_the_rate_rises_in_a_line_and_ends_at_its_final_share() -> None:
    given = Optim(warmup=0.1, final=0.2)
    rates = [optim.rate(step, 100, 1.0, given) for step in range(1, 101)]
    assert rates[:10] == pytest.approx([step / 10 for step in range(1, 11)])
    assert all(a > b for a, b in pairwise(rates[9:]))
    assert rates[54] == pytest.approx(0.6)  # half of the cosine
    assert rates[-1] == pytest.approx(0.2)


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
@pytest.mark.parametrize("warmup", [0.0, 0.05, 1.0])
@pytest.mark.parametrize("count", [1, 2, 7])
def test_every_step_of_every_schedule_has_a_rate_above_zero(schedule: Any, warmup: float, count: int) -> None:
    given = Optim(warmup=warmup, schedule=schedule)
    rates = [optim.rate(step, count, 1.0, given) for step in range(1, count + 1)]
    assert all(0 < rate <= 1 for rate in rates)
    last = 1.0 if schedule == "constant" or warmup == 1.0 else 0.1
    assert warmup == 0.05 or rates[-1] == pytest.approx(last)


def test_matrices_decay_and_biases_and_norms_do_not() -> None:
    model = policy().model
    assert isinstance(model, torch.nn.Module)
    decayed, others = optim.build(model, 1e-3, Optim(weight_decay=0.3)).param_groups
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.3, 0.0)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert {names[id(p)].split(".")[-1] for p in others["params"]} == {"bias", "weight"}
    assert all(names[id(p)].endswith("bias") or ".ln_" in names[id(p)] for p in others["params"])
    assert len(decayed["params"]) + len(others["params"]) == len(names)


def test_the_gradient_is_cut_to_its_longest_length_and_its_own_is_reported(tmp_path: Path) -> None:
    free, cut = trainer(tmp_path, optim={"clip": 0}), trainer(tmp_path, optim={"clip": 1e-3})
    assert free.step(iter([batch(8)]), Signals())["grad_norm"] == cut.step(iter([batch(8)]), Signals())["grad_norm"]
    lengths = [
        torch.stack([state["exp_avg"].norm() for state in one.optimizer.state.values()]).norm() / (1 - 0.9)
        for one in (free, cut)
    ]
    assert float(lengths[1]) == pytest.approx(1e-3, rel=1e-3)
    assert float(lengths[0]) > 0.1


def test_bf16_arithmetic_leaves_fp32_weights_and_moments(tmp_path: Path) -> None:
    one = trainer(tmp_path, dtype="bf16")
    before = [parameter.detach().clone() for parameter in one.module.parameters()]
    row = one.step(iter([batch(8)]), Signals())
    exact = trainer(tmp_path).step(iter([batch(8)]), Signals())
    assert row["loss"] != exact["loss"]
    assert row["loss"] == pytest.approx(exact["loss"], rel=2e-2)
    assert {parameter.dtype for parameter in one.module.parameters()} == {torch.float32}
    assert {state["exp_avg"].dtype for state in one.optimizer.state.values()} == {torch.float32}
    moved = [float((a - b.detach()).abs().max()) for a, b in zip(before, one.module.parameters(), strict=True)]
    assert min(moved) > 0
    # less than bf16 could tell apart near 1: it is the fp32 weights that move
    assert max(moved) < 2**-6


def test_fp16_scales_its_losses_and_halves_the_scale_where_they_overflow(tmp_path: Path) -> None:
    one = trainer(tmp_path, dtype="fp16")
    assert one.scaler.get_scale() == 2.0**16
    first = one.step(iter([batch(8)]), Signals())
    assert first["loss"] == pytest.approx(trainer(tmp_path).step(iter([batch(8)]), Signals())["loss"], rel=2e-2)
    before = [parameter.detach().clone() for parameter in one.module.parameters()]
    one.scaler.update(2.0**120)  # every gradient overflows
    row = one.step(iter([batch(8)]), Signals())
    assert not math.isfinite(row["grad_norm"])
    assert one.scaler.get_scale() == 2.0**119
    assert all(torch.equal(a, b) for a, b in zip(before, one.module.parameters(), strict=True))


def test_fp16_goes_on_with_the_scale_it_had(tmp_path: Path) -> None:
    one = trainer(tmp_path / "run", dtype="fp16")
    one.step(iter([batch(8)]), Signals())
    one.scaler.update(2.0**10)
    one.step(iter([batch(8)]), Signals())
    one.save()
    again = trainer(tmp_path / "run", dtype="fp16")
    again.restore()
    assert again.scaler.state_dict() == one.scaler.state_dict()


# Looking on


def test_looking_on_changes_nothing(tmp_path: Path) -> None:
    """Validation, live samples and checkpoints draw no random number that training would have drawn."""
    blind = job(tmp_path / "blind", dropout=0.2, steps=6, eval_every=100, save_every=100, sample_every=100)
    blind.data = {"train": blind.data["train"]}
    stage.run(blind)
    seen = job(tmp_path / "seen", dropout=0.2, steps=6, eval_every=1, save_every=1, sample_every=1)
    seen.live_prompt = "What is 3 and 3?"
    stage.run(seen)
    assert weights(tmp_path / "seen") == weights(tmp_path / "blind")


def test_a_live_prompt_that_does_not_fit_does_not_stop_the_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = job(tmp_path / "run", steps=2, sample_every=1)
    one.live_prompt = "why " * 300
    stage.run(one)
    assert "no sample: the message has" in capsys.readouterr().err


def test_dropout_differs_from_step_to_step_and_is_off_when_measuring(tmp_path: Path) -> None:
    one = trainer(tmp_path)
    one.policy.model.set_dropout(0.3)  # type: ignore[attr-defined]
    one.settings = one.settings.model_copy(update={"lr": 1e-20})
    losses = [one.step(iter([batch(8)]), Signals())["loss"] for _ in range(3)]
    assert len(set(losses)) == 3
    assert one.validate(iter([batch(8)])) == one.validate(iter([batch(8)]))
    assert one.module.training


# What is written down


def test_metrics_hold_a_row_a_step_and_a_row_a_validation(tmp_path: Path) -> None:
    train(tmp_path / "run", steps=4, eval_every=2)
    found = rows(tmp_path / "run")
    assert [(row["step"], row["split"]) for row in found] == [
        (1, "train"), (2, "train"), (2, "validation"), (3, "train"), (4, "train"), (4, "validation")
    ]  # fmt: skip
    line = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
    assert set(line) == {
        "step", "split", "loss", "token_accuracy", "lr", "grad_norm", "tokens", "tokens_per_second", "data_seconds",
        "seconds"
    }  # fmt: skip
    assert line["lr"] == optim.rate(1, 4, 1e-2, Optim())


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    result = train(tmp_path / "run", steps=60)
    assert result.losses["train"].loss < 0.5 * result.loss_before
    assert result.proofs[0].state == "green"


def test_early_stopping_ends_the_run_and_gives_the_weights_of_the_best_validation(tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = train(
        out, steps=60, lr=0.5, patience=3, eval_every=1, keep=1, optim={"warmup": 0.0, "schedule": "constant"}
    )
    seen = [row for row in rows(out) if row["split"] == "validation"]
    best = min(seen, key=lambda row: row["loss"])
    assert len(seen) < 60
    assert seen[-1]["step"] == best["step"] + 3
    assert best["step"] in steps(out)
    assert weights(out) == (out / "checkpoints" / f"step-{best['step']:06d}" / "model.safetensors").read_bytes()
    assert result.losses["validation"].loss == pytest.approx(best["loss"], rel=1e-6)


def test_a_damaged_best_checkpoint_is_said_and_not_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"

    def damage(call: int, loss: Any) -> None:
        for step in steps(out)[:-1]:
            (out / "checkpoints" / f"step-{step:06d}" / "model.safetensors").write_bytes(b"")

    train(out, steps=60, lr=0.5, patience=1, eval_every=3, save_every=1, keep=50, watch=damage)
    assert "it was the best validation, and the result is the last step instead" in capsys.readouterr().err.replace(
        "\n", " "
    )


# The sanity proof


@pytest.mark.parametrize(
    "wrong",
    [
        lambda loss: Loss(loss.total / loss.weight, torch.tensor(1.0), loss.metrics),  # a mean that claims to be a sum
        lambda loss: Loss(loss.total, torch.tensor(2.0), loss.metrics),  # a weight that is not that of the tokens
    ],
)
def test_gradients_that_are_averaged_wrongly_turn_the_sanity_proof_red(wrong: Any, tmp_path: Path) -> None:
    result = train(tmp_path / "run", steps=1, watch=lambda call, loss: wrong(loss))
    assert result.proofs[0].state == "red"
    assert "accumulated and whole gradient differ" in result.proofs[0].says
    assert (tmp_path / "run" / "model" / "config.json").exists()


def test_gradients_that_are_averaged_rightly_leave_it_green(tmp_path: Path) -> None:
    proof = train(tmp_path / "run", steps=1).proofs[0]
    assert proof.state == "green"
    assert proof.figures["gradient_difference"] < sanity.LARGEST_DIFFERENCE
    assert proof.figures["weights_moved"] is True


def test_a_loaded_model_with_random_weights_turns_it_red_unless_that_was_meant(tmp_path: Path) -> None:
    loaded = job(tmp_path / "loaded", steps=1)
    loaded.loaded = True
    proof = stage.run(loaded).proofs[0]
    assert proof.state == "red"
    assert "these are random weights" in proof.says
    assert proof.figures["ln_vocabulary"] == pytest.approx(math.log(tokenizer().vocab_size))


def test_a_step_that_moves_nothing_and_a_difference_that_is_no_number_are_red() -> None:
    one, expected = policy(), sanity.Expected("token", None, loaded=True)
    assert sanity.proof({"start_loss": 2.0, "gradient_difference": 0.0}, one, expected, False).state == "red"
    assert sanity.proof({"start_loss": 2.0, "gradient_difference": math.nan}, one, expected, True).state == "red"
    assert sanity.proof({"start_loss": 2.0, "gradient_difference": 0.0}, one, expected, True).state == "green"


def test_a_start_loss_other_than_the_formulas_is_red() -> None:
    one, expected = policy(), sanity.Expected("pair", math.log(2), loaded=True)
    for loss, state in ((0.6931, "green"), (0.75, "red"), (math.nan, "red")):
        assert sanity.proof({"start_loss": loss, "gradient_difference": 0.0}, one, expected, True).state == state
