"""Sampling: each knob cuts what `transformers` cuts, and a draw depends on the seed and its place alone."""

import math
from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from chatwright.errors import ConfigError, NotFinite
from chatwright.generate.sampling import Sampling, cut, penalise, pick, told, uniforms, weighed


def logits(size: int = 50, seed: int = 0) -> torch.Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed)) * 3


def judged(scores: torch.Tensor, seen: list[int], chosen: Sampling) -> torch.Tensor:
    """What `generate` would draw from: its processors in its order."""
    from transformers import generation as hf

    steps: list[Any] = []
    if chosen.repetition_penalty != 1:
        steps.append(hf.RepetitionPenaltyLogitsProcessor(chosen.repetition_penalty))
    steps.append(hf.TemperatureLogitsWarper(float(chosen.temperature)))
    if chosen.top_k:
        steps.append(hf.TopKLogitsWarper(chosen.top_k))
    if chosen.top_p < 1:
        steps.append(hf.TopPLogitsWarper(chosen.top_p))
    if chosen.min_p:
        steps.append(hf.MinPLogitsWarper(chosen.min_p))
    found: torch.Tensor = hf.LogitsProcessorList(steps)(torch.tensor([seen]), scores[None].clone())
    return found[0]


def ours(scores: torch.Tensor, seen: list[int], chosen: Sampling) -> torch.Tensor:
    return cut(penalise(scores, seen, chosen.repetition_penalty) / chosen.temperature, chosen)


def drawn(scores: torch.Tensor, chosen: Sampling, place: int) -> int:
    """What a row draws that is alone."""
    return pick(scores[None], [chosen], [[]], [[0] * place])[0]


@given(
    seed=st.integers(0, 10**6),
    seen=st.lists(st.integers(0, 49), min_size=1, max_size=30),
    temperature=st.floats(0.1, 3),
    top_k=st.integers(0, 60),
    top_p=st.floats(0.05, 1),
    min_p=st.floats(0, 0.9),
    penalty=st.floats(0.5, 2),
)
@settings(max_examples=150, deadline=None)
def test_the_knobs_together_leave_what_transformers_leaves(
    seed: int, seen: list[int], temperature: float, top_k: int, top_p: float, min_p: float, penalty: float
) -> None:
    chosen = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, repetition_penalty=penalty)
    scores = logits(seed=seed)
    odds = cut(penalise(scores, seen, penalty) / temperature, Sampling(top_k=top_k)).softmax(-1)
    ladder = odds.double().sort(descending=True).values.cumsum(-1)
    assume(top_p == 1 or float((ladder - top_p).abs().min()) > 1e-6)  # on the edge itself, rounding decides
    expected, found = judged(scores, seen, chosen), ours(scores, seen, chosen)
    assert torch.equal(expected.isinf(), found.isinf())
    assert torch.allclose(expected, found, atol=1e-5)


@pytest.mark.parametrize(
    ("knob", "left"),
    [({"top_k": 2}, [0, 1]), ({"top_p": 0.6}, [0, 1]), ({"top_p": 0.01}, [0]), ({"min_p": 0.3}, [0, 1])],
    ids=str,
)
def test_each_knob_on_four_probabilities(knob: dict[str, Any], left: list[int]) -> None:
    scores = torch.tensor([0.5, 0.3, 0.14, 0.06]).log()
    assert cut(scores, Sampling(**knob)).isfinite().nonzero().flatten().tolist() == left


def test_a_penalty_lowers_what_was_said_whatever_its_sign() -> None:
    found = penalise(torch.tensor([2.0, -2.0, 1.0]), [0, 1, 1], 2.0)
    assert found.tolist() == [1.0, -4.0, 1.0]


def test_draws_follow_the_probabilities() -> None:
    scores = torch.tensor([0.5, 0.3, 0.2]).log()
    found = Counter(drawn(scores, Sampling(temperature=1.0, seed=7), place) for place in range(2000))
    for token, share in enumerate((0.5, 0.3, 0.2)):
        assert abs(found[token] / 2000 - share) < 4 * math.sqrt(share * (1 - share) / 2000)


@pytest.mark.parametrize("varied", ["seed", "index"])
def test_numbers_of_neighbouring_seeds_indices_and_places_are_even_and_have_nothing_in_common(varied: str) -> None:
    rows, fixed = [s for s in range(60) for _ in range(60)], [5] * 3600
    seeds, indices = (rows, fixed) if varied == "seed" else (fixed, rows)
    grid = torch.from_numpy(uniforms(seeds, indices, [p for _ in range(60) for p in range(60)]))
    assert 0 <= float(grid.min()) < float(grid.max()) < 1
    assert len(set(grid.tolist())) == 3600
    shares = torch.histc(grid, 10, 0, 1) / 3600
    assert (shares - 0.1).abs().max() < 4 * math.sqrt(0.09 / 3600)
    square = grid.reshape(60, 60)
    for shifted in (square.roll(1, 0), square.roll(1, 1), square.t()):
        assert abs(float(torch.corrcoef(torch.stack([square.flatten(), shifted.flatten()]))[0, 1])) < 4 / 60


def test_a_draw_depends_on_the_seed_and_the_place_alone() -> None:
    scores, chosen = logits() / 3, Sampling(temperature=1.0, seed=3)
    torch.manual_seed(1)
    first = [drawn(scores, chosen, place) for place in range(30)]
    torch.manual_seed(2)
    assert [drawn(scores, chosen, place) for place in range(30)] == first
    assert len(set(first)) > 1
    assert [drawn(scores, Sampling(temperature=1.0, seed=4), place) for place in range(30)] != first


def test_rows_that_are_drawn_together_draw_what_each_draws_alone() -> None:
    kinds: list[dict[str, Any]] = [{}, {"top_k": 5}, {"top_p": 0.8}, {"min_p": 0.1}, {"repetition_penalty": 1.5}]
    kinds += [{"presence_penalty": 0.5}, {"frequency_penalty": -0.5}, {"logit_bias": ((3, 5.0),)}, {"index": 2}]
    ways = [Sampling(temperature=t, seed=s, **kind) for kind in kinds for t in (0.0, 0.7, 1.5) for s in range(20)]
    scores = torch.stack([logits(seed=row) for row in range(len(ways))])
    seen, said = [[row % 50, 3] for row in range(len(ways))], [[row % 50] * (row % 7) for row in range(len(ways))]
    together = pick(scores, ways, seen, said)
    assert together == [pick(scores[r : r + 1], [ways[r]], [seen[r]], [said[r]])[0] for r in range(len(ways))]
    for row, way in enumerate(ways):
        left = ours(scores[row], seen[row] + said[row], way) if way.temperature else scores[row]
        assert left[together[row]].isfinite()


def test_what_was_cut_off_is_never_drawn() -> None:
    scores = torch.zeros(4, 1000)
    scores[:, ::2] = -torch.inf
    for place in range(200):
        rows = pick(scores, [Sampling(temperature=1.0, seed=row) for row in range(4)], [[]] * 4, [[0] * place] * 4)
        assert all(token % 2 for token in rows)


@pytest.mark.parametrize("seed", [-1, 2**31, 2**63, -(2**63), 2**70])
def test_any_whole_number_is_a_seed(seed: int) -> None:
    assert 0 <= drawn(logits(), Sampling(temperature=1.0, seed=seed), 0) < 50


def test_temperature_zero_takes_the_likeliest() -> None:
    assert drawn(logits(), Sampling(seed=9), 0) == int(logits().argmax())


@pytest.mark.parametrize("smallest", [5e-324, 1e-45, 1e-30, 1e-7])
def test_a_temperature_next_to_nothing_is_nothing(smallest: float) -> None:
    assert drawn(logits(), Sampling(temperature=smallest, seed=9), 0) == int(logits().argmax())


def test_no_token_is_drawn_from_what_are_no_probabilities() -> None:
    with pytest.raises(NotFinite, match="logits are NaN"):
        drawn(logits() * math.nan, Sampling(temperature=1.0), 0)


def test_presence_and_frequency_are_counted_in_the_answer_alone() -> None:
    way = Sampling(presence_penalty=0.5, frequency_penalty=0.25)
    assert weighed(torch.zeros(4), way, [0, 1, 1], [2, 3, 2]).tolist() == [0.0, 0.0, -1.0, -0.75]
    assert weighed(torch.zeros(4), way, [0, 1], []).tolist() == [0.0] * 4


def test_a_bias_makes_a_token_certain_or_impossible_and_an_unknown_id_changes_nothing() -> None:
    scores = logits()
    likeliest = int(scores.argmax())
    assert drawn(scores, Sampling(logit_bias=((7, 100.0),)), 0) == 7
    banned = Sampling(temperature=1.0, logit_bias=((likeliest, -100.0), (999, 100.0)))
    assert likeliest not in {drawn(scores, banned, place) for place in range(300)}


def test_answers_with_one_seed_and_other_indices_are_drawn_apart() -> None:
    first, second = (
        [drawn(logits() / 3, Sampling(temperature=1.0, index=index), place) for place in range(40)] for index in (0, 1)
    )
    assert first != second


def test_what_is_told_are_the_models_own_log_probabilities() -> None:
    scores = torch.stack([logits(seed=row) for row in range(3)])
    ways = [Sampling(logprobs=0), Sampling(), Sampling(logprobs=3, temperature=0.5, logit_bias=((5, 100.0),))]
    chosen = pick(scores, ways, [[]] * 3, [[]] * 3)
    first, nothing, biased = told(scores, chosen, ways)
    own = scores.log_softmax(-1)
    assert (first[0].id, first[0].top, nothing) == (chosen[0], (), ())
    assert first[0].logprob == pytest.approx(float(own[0].max()))
    assert (biased[0].id, biased[0].logprob) == (5, pytest.approx(float(own[2, 5])))
    ids, values = zip(*biased[0].top, strict=True)
    assert list(ids) == own[2].topk(3).indices.tolist()
    assert list(values) == pytest.approx(own[2].topk(3).values.tolist())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("presence_penalty", 2.1),
        ("frequency_penalty", -2.1),
        ("logit_bias", ((1, 101.0),)),
        ("logit_bias", ((-1, 1.0),)),
        ("logprobs", 21),
        ("max_tokens", 0),
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("top_k", -1),
        ("min_p", 1.5),
        ("repetition_penalty", 0.0),
        ("repetition_penalty", 1e-30),
        ("repetition_penalty", math.inf),
        ("stop", ("a", "")),
        ("stop", "\nUser:"),  # a string is a sequence of its characters, each of which would stop
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"^{name} is "):
        Sampling(**{name: value})
