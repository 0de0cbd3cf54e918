"""Guard rails: what preferences or rewards make of a policy on held-out prompts, and when that has to be said.

In come readings of the panel, out come alarms in words, a proof, the rows of metrics.jsonl and a sheet for the report.
The loss shows none of it: it also falls when chosen answers become less likely (Razin et al., 2024), when answers only
grow longer (Singhal et al., 2023), and when the grader is gamed (Gao et al., 2022).
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from chatwright.evals.intervals import wilson
from chatwright.evals.proofs import Proof
from chatwright.evals.results import Sheet, plain
from chatwright.evals.tables import NOTHING, percent

SPLIT = "panel"  # of the rows in metrics.jsonl
MOST_ROWS = 12  # of the sheet
SPEAKS = "speaks for the user"
REMEDIES = ("beta", "nll_weight", "length_normalised")  # settings that an alarm may name, where the verb has them


@dataclass(frozen=True)
class Reading:
    """One look at a policy; NaN is not measured.

    Over `pairs` held-out pairs (0: as many as `n`): `accuracy`, the share whose chosen answer has the higher implicit
    reward; `margin`, by how much (beta times nats); `chosen` and `rejected`, by how many nats the log-probability of an
    answer changed against the start. Over `n` answers that the policy itself sampled: `kl` to the reference, in nats
    per answer, words and tokens per answer, the shares that stop, loop and speak for the user, and the mean `reward`.
    """

    step: int
    accuracy: float
    margin: float
    chosen: float
    rejected: float
    kl: float
    words: float
    tokens: float
    stop_rate: float
    loop_rate: float
    leak_rate: float
    n: int
    reward: float = math.nan
    pairs: int = 0


@dataclass(frozen=True)
class Limits:
    """From where on a change is an alarm. Shares have to change beyond chance as well."""

    chosen: float = -3.0  # nats: a chosen answer has become e^3 = 20 times less likely
    kl: float = 10.0  # nats: an answer of the policy's is e^10 = 22,000 times likelier than it was
    longer: float = 1.5  # times as many words an answer as at the start; or, the other way round, as few
    share: float = 0.05  # of the answers, in which fewer stop or more loop: five of a hundred
    reward: float = 0.05  # by which it rises, while health falls
    fewest: int = 20  # answers or pairs: the mean of fewer is not judged


@dataclass(frozen=True)
class Alarm:
    """What went wrong at a step: what happened, with figures, and which setting helps."""

    name: str
    says: str
    step: int = 0


def alarms(
    start: Reading, now: Reading, limits: Limits | None = None, remedies: Collection[str] = REMEDIES
) -> list[Alarm]:
    """What is wrong with the policy as it is `now`, held against itself at the start.

    `remedies` are those of REMEDIES that the verb has: no alarm names a setting that would be refused.
    """
    limits = limits or Limits()
    ill = [*_length(start, now, limits, remedies), *_manners(start, now, limits, remedies)]
    found = [*_pairs(start, now, limits, remedies), *ill, *_kl(now, limits, remedies)]
    if ill and now.reward - start.reward > limits.reward:
        signs = " and ".join(says.partition(":")[0] for _, says in ill)
        rose = f"reward rose from {start.reward:.2f} to {now.reward:.2f} while {signs}"
        found.append(("gamed", f"the grader is being gamed: {rose}; read rollouts.jsonl, raise --beta"))
    return [Alarm(name, says, now.step) for name, says in found]


def proof(readings: Sequence[Reading], alarms: Iterable[Alarm]) -> Proof:
    """What changed from the first reading to the last, and of each alarm of the run the last words."""
    if len(readings) < 2:
        return Proof("guard rails", "not run", "The policy was not looked at twice.", {})
    first, last = readings[0], readings[-1]
    by_name = {alarm.name: alarm for alarm in alarms}
    moves = [
        f"{figure.label} {figure.show(before)} to {figure.show(after)}"
        for name, figure in FIGURES.items()
        if not math.isnan(before := asdict(first)[name]) and not math.isnan(after := asdict(last)[name])
    ]
    if not moves:
        says = (
            "Nothing was measured: there were no held-out pairs (--validation-share) and no prompts (--guards.prompts)."
        )
        return Proof("guard rails", "not run", says, {})
    says = f"From step {first.step:,} to {last.step:,}: {', '.join(moves)}"
    figures = {
        "first": as_row(first),
        "last": as_row(last),
        "alarms": [asdict(alarm) for alarm in by_name.values()],
    }
    if not by_name:
        return Proof("guard rails", "green", f"{says}; no alarm.", figures)
    said = "; ".join(f"{alarm.says} (step {alarm.step:,})" for alarm in by_name.values())
    return Proof("guard rails", "warning", f"{says}; alarms: {said}.", figures)


def as_row(reading: Reading) -> dict[str, Any]:
    """A reading for metrics.jsonl: what was not measured is null."""
    return {"split": SPLIT, **plain(reading)}


def of_row(row: Mapping[str, Any]) -> Reading:
    """The reading that became this row; what it lacks was not measured."""
    found = {one.name: row.get(one.name) for one in fields(Reading)}
    measured: dict[str, Any] = {name: math.nan if value is None else value for name, value in found.items()}
    measured["pairs"] = found["pairs"] or 0
    return Reading(**measured)


def readings(rows: Iterable[Mapping[str, Any]]) -> list[Reading]:
    """Those among the rows of a metrics.jsonl."""
    return [of_row(row) for row in rows if row.get("split") == SPLIT]


def line(reading: Reading) -> str:
    """`accuracy 0.91, margin 2.3, chosen -0.4, rejected -9.8, KL 1.2, 9.1 words, 99% stop, 0% loop`."""
    leaks = f"{_whole(reading.leak_rate)} speak for the user" if reading.leak_rate else ""
    parts = {
        f"reward {reading.reward:.2f}": reading.reward,
        f"accuracy {reading.accuracy:.2f}": reading.accuracy,
        f"margin {_short(reading.margin)}": reading.margin,
        f"chosen {_short(reading.chosen)}": reading.chosen,
        f"rejected {_short(reading.rejected)}": reading.rejected,
        f"KL {_short(reading.kl)}": reading.kl,
        f"{reading.words:.1f} words": reading.words,
        f"{_whole(reading.stop_rate)} stop": reading.stop_rate,
        f"{_whole(reading.loop_rate)} loop": reading.loop_rate,
        leaks: reading.leak_rate,
    }
    return ", ".join(text for text, value in parts.items() if text and not math.isnan(value))


def measured(readings: Sequence[Reading]) -> bool:
    """Whether any figure of any reading was."""
    return any(not math.isnan(asdict(one)[name]) for one in readings for name in FIGURES)


def sheet(readings: Sequence[Reading], title: str = "Guard rails") -> Sheet:
    """A row for each reading, the start first, a dozen at most; what was never measured has no column."""
    most = min(MOST_ROWS, len(readings))
    chosen = [readings[round(i * (len(readings) - 1) / max(1, most - 1))] for i in range(most)]
    values = [asdict(reading) for reading in chosen]
    shown = {name: one for name, one in FIGURES.items() if any(not math.isnan(row[name]) for row in values)}
    rows = tuple((f"{row['step']:,}", *(one.show(row[name]) for name, one in shown.items())) for row in values)
    return Sheet(title, ("step", *(one.label for one in shown.values())), rows, HINT)


@dataclass(frozen=True)
class _Figure:
    label: str
    show: Callable[[float], str]


def _short(value: float) -> str:
    """Two decimals below one, else one; and no -0.0."""
    if not math.isfinite(value):
        return NOTHING
    places = 2 if abs(value) < 0.995 else 1
    return f"{round(value, places) + 0.0:.{places}f}"


def _whole(share: float) -> str:
    """`99%`; only what is all or nothing reads so."""
    if math.isnan(share):
        return NOTHING
    return f"{round(100 * share) if share in (0, 1) else min(99, max(1, round(100 * share)))}%"


FIGURES: dict[str, _Figure] = {
    "reward": _Figure("reward", _short),
    "accuracy": _Figure("accuracy", percent),
    "margin": _Figure("margin", _short),
    "chosen": _Figure("chosen", _short),
    "rejected": _Figure("rejected", _short),
    "kl": _Figure("KL", _short),
    "words": _Figure("words", _short),
    "stop_rate": _Figure("stops", percent),
    "loop_rate": _Figure("loops", percent),
    "leak_rate": _Figure(SPEAKS, percent),
}
HINT = (
    "On held-out prompts. Accuracy and margin are of implicit rewards; chosen and rejected, by how many nats these "
    "answers became likelier than at the start; KL to the reference in nats per sampled answer."
)
Found = list[tuple[str, str]]


def _hold(remedies: Collection[str], *names: str) -> str:
    """`lower --lr, raise --beta or --nll-weight`: with those of the settings that there are."""
    flags = [f"--{name.replace('_', '-')}" for name in names if name in remedies]
    return f"lower --lr, raise {' or '.join(flags)}" if flags else "lower --lr"


def _pairs(start: Reading, now: Reading, limits: Limits, remedies: Collection[str]) -> Found:
    """Chosen answers that fall with the rejected ones, and pairs that are learned the wrong way round.

    Where there is no reference, accuracy may be low from the start: then it is no alarm while the margin rises.
    """
    count = now.pairs or now.n
    found = []
    if count >= limits.fewest and now.chosen < limits.chosen:
        says = f"chosen answers became less likely ({now.chosen:+.1f} nats)"
        found.append(("chosen", f"{says}: {_hold(remedies, 'beta', 'nll_weight')}"))
    if now.margin < start.margin and wilson(now.accuracy * count, count)[1] < 0.5:
        says = f"accuracy is below chance ({percent(now.accuracy)} of {count:,} pairs)"
        found.append(("accuracy", f"{says}: see whether chosen and rejected are exchanged in the data, lower --lr"))
    return found


def _length(start: Reading, now: Reading, limits: Limits, remedies: Collection[str]) -> Found:
    """Answers that grow, which is the easiest way to be preferred, or wither."""
    if min(start.n, now.n) < limits.fewest or math.isnan(start.words):
        return []
    change = f"from {start.words:.1f} to {now.words:.1f} words"
    graded = not math.isnan(now.reward)
    if now.words > limits.longer * max(1.0, start.words):
        pairs = "give --length-normalised, or more pairs" if "length_normalised" in remedies else "give more pairs"
        helps = "raise --length-penalty" if graded else f"{pairs} of equal length"
        return [("length", f"answers grew {change}: {helps}")]
    if now.words * limits.longer < start.words:
        helps = "lower --length-penalty or --lr" if graded else "give more pairs of equal length, lower --lr"
        return [("length", f"answers shrank {change}: {helps}")]
    return []


def _manners(start: Reading, now: Reading, limits: Limits, remedies: Collection[str]) -> Found:
    """Shares of the answers that became worse beyond chance."""
    hold = _hold(remedies, "beta")
    stops = f"fewer answers stop by themselves ({percent(start.stop_rate)} to {percent(now.stop_rate)})"
    loops = f"more answers loop ({percent(start.loop_rate)} to {percent(now.loop_rate)})"
    leaks = f"more answers speak for the user ({percent(start.leak_rate)} to {percent(now.leak_rate)})"
    judged = (
        ("stop rate", 1 - start.stop_rate, 1 - now.stop_rate, f"{stops}: {hold}"),
        ("loops", start.loop_rate, now.loop_rate, f"{loops}: {hold}, or add pairs that reject loops"),
        (SPEAKS, start.leak_rate, now.leak_rate, f"{leaks}: {hold}"),
    )
    return [
        (name, says)
        for name, before, after, says in judged
        if after - before > limits.share and _beyond_chance(before, start.n, after, now.n)
    ]


def _beyond_chance(before: float, first: int, after: float, second: int) -> bool:
    """Whether the two intervals lie apart: stricter than a test of the difference, since there are many readings."""
    return wilson(after * second, second)[0] > wilson(before * first, first)[1]


def _kl(now: Reading, limits: Limits, remedies: Collection[str]) -> Found:
    if now.n >= limits.fewest and now.kl > limits.kl:
        says = f"the policy left the reference (KL {now.kl:.1f} nats an answer)"
        return [("KL", f"{says}: {_hold(remedies, 'beta')}")]
    return []
