"""Guard rails say what preference and reward training did to a policy, in time, in words, and not by chance."""

import json
import math
import random
from dataclasses import asdict, replace
from itertools import pairwise
from typing import Any

import pytest

from chatwright.evals import guards, panel_plots, plots, proofs
from chatwright.evals.guards import Alarm, Limits, Reading, alarms

START = Reading(
    step=0, accuracy=0.5, margin=0.0, chosen=0.0, rejected=0.0, kl=0.0, words=9.1, tokens=12.0,
    stop_rate=0.98, loop_rate=0.02, leak_rate=0.0, n=200, pairs=200,
)  # fmt: skip
GOOD = replace(START, step=60, accuracy=0.91, margin=2.31, chosen=-0.42, rejected=-9.8, kl=1.2, words=9.4, stop_rate=1)


def reading(**changes: Any) -> Reading:
    return replace(GOOD, **changes)


def names(now: Reading, start: Reading = START) -> list[str]:
    return [alarm.name for alarm in alarms(start, now)]


@pytest.mark.parametrize("now", [START, GOOD, replace(START, step=5, accuracy=0.0)])
def test_a_policy_that_fares_well_or_has_not_moved_raises_no_alarm(now: Reading) -> None:
    assert names(now) == []


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"chosen": -4.1},
            "chosen answers became less likely (-4.1 nats): lower --lr, raise --beta or --nll-weight",
        ),
        (
            {"accuracy": 0.31, "margin": -0.4},
            "accuracy is below chance (31 % of 200 pairs): see whether chosen and rejected are exchanged in the data, lower --lr",
        ),
        (
            {"words": 23.44},
            "answers grew from 9.1 to 23.4 words: give --length-normalised, or more pairs of equal length",
        ),
        ({"words": 2.0}, "answers shrank from 9.1 to 2.0 words: give more pairs of equal length, lower --lr"),
        ({"stop_rate": 0.71}, "fewer answers stop by themselves (98 % to 71 %): lower --lr, raise --beta"),
        (
            {"loop_rate": 0.14},
            "more answers loop (2 % to 14 %): lower --lr, raise --beta, or add pairs that reject loops",
        ),
        ({"leak_rate": 0.2}, "more answers speak for the user (0 % to 20 %): lower --lr, raise --beta"),
        ({"kl": 14.23}, "the policy left the reference (KL 14.2 nats an answer): lower --lr, raise --beta"),
    ],
)
def test_each_harm_has_a_sentence_with_its_figures_and_the_setting_that_helps(
    changes: dict[str, Any], sentence: str
) -> None:
    (alarm,) = alarms(START, reading(**changes))
    assert (alarm.says, alarm.step) == (sentence, 60)


@pytest.mark.parametrize(
    ("remedies", "helps"),
    [
        (("beta", "nll_weight"), "lower --lr, raise --beta or --nll-weight"),
        (("beta",), "lower --lr, raise --beta"),
        ((), "lower --lr"),
    ],
)
def test_a_setting_that_the_verb_does_not_have_is_not_advised(remedies: tuple[str, ...], helps: str) -> None:
    ill = reading(chosen=-4.1, words=30.0, stop_rate=0.7, loop_rate=0.2, leak_rate=0.2, kl=14.0)
    says = [alarm.says for alarm in alarms(START, ill, remedies=remedies)]
    assert len(says) == 6
    assert says[0].endswith(f" nats): {helps}")
    assert says[1].endswith("words: give more pairs of equal length")
    hold = helps.removesuffix(" or --nll-weight")
    assert [one.partition(": ")[2] for one in says[2:]] == [hold, f"{hold}, or add pairs that reject loops", hold, hold]


def test_a_reward_that_rises_while_health_falls_is_a_grader_that_is_gamed() -> None:
    start = replace(START, reward=0.32)
    found = {alarm.name: alarm.says for alarm in alarms(start, reading(reward=0.712, loop_rate=0.3))}
    assert set(found) == {"loops", "gamed"}
    assert found["gamed"] == (
        "the grader is being gamed: reward rose from 0.32 to 0.71 while more answers loop (2 % to 30 %); "
        "read rollouts.jsonl, raise --beta"
    )
    assert names(reading(reward=0.712), start) == []
    assert names(reading(reward=0.33, loop_rate=0.3), start) == ["loops"]
    (longer,) = (alarm.says for alarm in alarms(start, reading(reward=0.33, words=30)))
    assert longer.endswith("raise --length-penalty")


def test_what_was_not_measured_is_no_alarm() -> None:
    nothing = {name: math.nan for name, value in asdict(GOOD).items() if isinstance(value, float)}
    unknown = reading(**{**nothing, "stop_rate": math.nan})
    assert names(unknown) == []
    assert names(reading(loop_rate=0.9), unknown) == []


def test_without_a_reference_a_low_accuracy_is_no_alarm_while_the_margin_rises() -> None:
    start = replace(START, accuracy=0.2, margin=-1.5)
    assert names(reading(accuracy=0.3, margin=-1.0), start) == []
    assert names(reading(accuracy=0.15, margin=-1.9), start) == ["accuracy"]


def test_few_answers_do_not_cry_wolf() -> None:
    bad = {
        "loop_rate": 0.2,
        "stop_rate": 0.8,
        "words": 30.0,
        "chosen": -9.0,
        "kl": 30.0,
        "accuracy": 0.4,
        "margin": -1.0,
    }
    assert names(reading(n=10, pairs=10, **bad), replace(START, n=10, pairs=10)) == []
    assert len(names(reading(n=2000, pairs=2000, **bad), replace(START, n=2000, pairs=2000))) == 6
    assert names(reading(n=10, pairs=0, chosen=-9.0)) == []  # as many pairs as answers
    assert names(reading(n=20, pairs=0, chosen=-9.0)) == ["chosen"]


def test_a_policy_that_did_not_change_alarms_in_less_than_one_look_of_a_hundred() -> None:
    draw = random.Random(0)
    wrong = looks = 0
    for n in (20, 64, 256):
        for truth in (0.02, 0.1, 0.5):
            for _ in range(200):
                first, second = (sum(draw.random() < truth for _ in range(n)) / n for _ in range(2))
                now = reading(loop_rate=second, leak_rate=0, stop_rate=0.9, n=n)
                wrong += bool(alarms(replace(START, loop_rate=first, stop_rate=0.9, n=n), now))
                looks += 1
    assert wrong / looks < 0.01


def test_a_change_too_small_to_matter_is_no_alarm_however_sure_it_is() -> None:
    sure = {"n": 1_000_000, "stop_rate": 0.95}
    assert names(reading(**sure), replace(START, n=1_000_000)) == []
    assert [alarm.name for alarm in alarms(START, reading(chosen=-1.0), Limits(chosen=-0.5))] == ["chosen"]


def test_a_reading_comes_back_from_its_row_in_the_metrics() -> None:
    for one in (GOOD, reading(reward=0.5), reading(accuracy=math.nan, chosen=math.nan)):
        row = json.loads(json.dumps(guards.as_row(one), allow_nan=False))
        assert row["split"] == "panel"
        back = guards.of_row(row)
        assert repr(back) == repr(replace(one, stop_rate=back.stop_rate))  # NaN is not equal to itself
        assert back.stop_rate == one.stop_rate
    rows = [{"split": "train", "step": 1, "loss": 2.0}, guards.as_row(START), guards.as_row(GOOD)]
    assert [one.step for one in guards.readings(rows)] == [0, 60]


def test_a_row_of_an_older_run_without_some_keys_is_read() -> None:
    row = guards.as_row(GOOD)
    del row["pairs"], row["reward"]
    assert math.isnan(guards.of_row(row).reward)
    assert guards.of_row(row).pairs == 0


def test_the_line_of_the_progress_view_is_compact_and_leaves_out_what_was_not_measured() -> None:
    good = reading(stop_rate=0.993, loop_rate=0.0)
    assert guards.line(good) == (
        "accuracy 0.91, margin 2.3, chosen -0.42, rejected -9.8, KL 1.2, 9.4 words, 99% stop, 0% loop"
    )
    graded = reading(
        reward=0.5, accuracy=math.nan, margin=math.nan, chosen=math.nan, rejected=math.nan, leak_rate=0.003
    )
    assert guards.line(graded) == "reward 0.50, KL 1.2, 9.4 words, 100% stop, 2% loop, 1% speak for the user"
    assert "chosen 0.00" in guards.line(reading(chosen=-0.001))


def test_the_sheet_has_the_start_first_the_end_last_and_a_dozen_rows_at_most() -> None:
    many = [replace(GOOD, step=step) for step in range(0, 101, 2)]
    found = guards.sheet(many)
    assert len(found.rows) == 12
    assert (found.rows[0][0], found.rows[-1][0]) == ("0", "100")
    steps = [int(row[0]) for row in found.rows]
    assert {after - before for before, after in pairwise(steps)} <= {8, 10}
    short = guards.sheet([START, GOOD])
    assert short.columns == (
        "step", "accuracy", "margin", "chosen", "rejected", "KL", "words", "stops", "loops", "speaks for the user",
    )  # fmt: skip
    assert short.rows[1] == ("60", "91 %", "2.3", "-0.42", "-9.8", "1.2", "9.4", "100 %", "2 %", "0 %")
    assert guards.sheet([]).rows == ()
    assert guards.sheet([GOOD]).rows[0][0] == "60"
    assert guards.sheet([reading(chosen=math.nan), GOOD]).rows[0][3] == "–"


def test_the_proof_says_what_changed_and_repeats_each_alarm_once_with_its_last_words() -> None:
    green = guards.proof([START, GOOD], [])
    assert (green.name, green.state) == ("guard rails", "green")
    assert green.says.startswith("From step 0 to 60: accuracy 50 % to 91 %, margin 0.00 to 2.3, chosen 0.00 to -0.42,")
    assert green.says.endswith("; no alarm.")
    raised = [Alarm("loops", "loops early", 20), Alarm("KL", "KL high", 40), Alarm("loops", "loops late", 60)]
    found = guards.proof([START, GOOD], raised)
    assert found.state == "warning"
    assert found.says.endswith("; alarms: loops late (step 60); KL high (step 40).")
    assert [alarm["says"] for alarm in found.figures["alarms"]] == ["loops late", "KL high"]
    json.dumps(found.figures, allow_nan=False)
    assert guards.proof([START], []).state == "not run"


def test_the_proof_is_written_and_read_like_any_other(tmp_path) -> None:  # type: ignore[no-untyped-def]
    made = guards.proof([START, reading(reward=math.nan)], alarms(START, reading(kl=99.0)))
    proofs.write(tmp_path, [made])
    assert proofs.load(tmp_path) == [made]


# ---- curves

ROWS = [guards.as_row(replace(GOOD, step=step, chosen=-step / 10)) for step in range(0, 50, 10)]
GRADED = [{**row, "reward": 0.5, "accuracy": None, "margin": None, "chosen": None, "rejected": None} for row in ROWS]


def test_what_was_never_measured_is_no_green_proof_and_no_table() -> None:
    nothing = [guards.of_row({"step": step}) for step in (0, 4)]
    assert not guards.measured(nothing)
    found = guards.proof(nothing, [])
    assert found.state == "not run"
    assert found.says.startswith("Nothing was measured")
    some = [*nothing, guards.of_row({"step": 8, "words": 3.0})]
    assert guards.measured(some)


def panels(stages: dict[str, Any]) -> list[str]:
    figure = panel_plots._figure(panel_plots.recorded(stages), plots.PAPER)
    titles = [axis.get_title(loc="left") for axis in figure.axes if axis.get_visible()]
    return [title for title in titles if title]


def test_every_stage_with_readings_has_a_panel_for_what_was_measured() -> None:
    assert panels({"dpo": ROWS}) == [
        "pairs", "change of log-probability", "KL to the reference", "length", "manners",
    ]  # fmt: skip
    both = panels({"sft": [{"step": 1, "split": "train", "loss": 2.0}], "dpo": ROWS, "grpo": GRADED})
    assert both[-4:] == ["grpo: reward", "grpo: KL to the reference", "grpo: length", "grpo: manners"]
    assert len(both) == 9


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "rows", [[], ROWS, ROWS[:1], GRADED, [{**ROWS[0], "kl": math.inf}, {**ROWS[1], "step": 2, "words": math.nan}]]
)
def test_the_curves_are_drawn_whatever_was_measured_and_the_same_each_time(rows: list[dict[str, Any]]) -> None:
    first = panel_plots.render({"a $x_{$": rows}, "png", plots.DARK)
    assert first.startswith(b"\x89PNG")
    assert panel_plots.render({"a $x_{$": rows}, "png", plots.DARK) == first
