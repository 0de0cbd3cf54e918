"""Log-probabilities of the learned tokens are those of the whole logits, and so are their gradients, whatever each counts."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from small_answers import difference, gradients
from tiny_models import random_ids, tiny_model
from torch import Tensor

from chatwright.data.loader import Batch
from chatwright.models import lora
from chatwright.models.attention import Attend
from chatwright.models.gpt2 import GPT2
from chatwright.models.lora import LoraConfig
from chatwright.models.token_rows import TokenRows
from chatwright.objectives import logprobs
from chatwright.objectives.logprobs import MULTIPLE, token_logprobs, token_loss

TOLERANCE = 1e-5
SHAPES = [(3, 11), (30, 60), (1, 2)]  # of a batch: fewer learned tokens than are filled up to, many more, and one
pieces = pytest.mark.parametrize("most", [logprobs.MOST_LOGITS, 1], ids=["at once", "in pieces"])
heads = pytest.mark.parametrize("tied", [True, False], ids=["tied", "own head"])
NEW = [7, 250, 299]  # rows that are trained though the matrix is frozen


def batch(rows: int, width: int) -> Batch:
    """Rows of which some tokens are learned, a different number in each."""
    ids = random_ids(rows, width + 1)
    mask = (torch.arange(width) % (torch.arange(rows)[:, None] + 2) == 0).float()
    return Batch(ids[:, :-1], ids[:, 1:], mask, Attend.causal(width), {}, rows * width)


def expected(model: GPT2, one: Batch, logits: Tensor | None = None) -> Tensor:
    """(N,) from all logits at once."""
    logits = model(one.ids) if logits is None else logits
    picked = logits.float().log_softmax(-1).gather(2, one.targets[..., None])[..., 0]
    return picked[one.mask > 0]


def counts(number: int) -> Tensor:
    """(N,) of both signs, some of them none at all."""
    drawn = torch.randn(number, generator=torch.Generator().manual_seed(3))
    return torch.where(torch.arange(number) % 5 == 4, 0.0, drawn)


def adapted(tied: bool) -> GPT2:
    """A frozen model with an adapter that does something, and three rows that are trained in embedding and head."""
    model = tiny_model(tie_word_embeddings=tied)
    lora.attach(model, LoraConfig(r=2, lora_alpha=4), seed=0)
    lora.freeze(model, torch.float32)
    model.token_rows = TokenRows(NEW, model.embedding.weight)
    if model.lm_head is not None:
        model.head_rows = TokenRows(NEW, model.lm_head.weight)
    with torch.no_grad():
        for weight in (weight for weight in model.parameters() if weight.requires_grad):
            weight.add_(0.1 * torch.randn_like(weight))
    model(random_ids(1, 2))  # writes the rows into the matrix
    return model


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, torch.dtype]]:
    """How many rows of logits are made at a time, and in what precision."""
    linear: Callable[..., Tensor] = F.linear
    seen: list[tuple[int, torch.dtype]] = []

    def watched(*given: Any) -> Tensor:
        found = linear(*given)
        seen.extend([(len(found), found.dtype)] * (found.shape[-1] == 300))
        return found

    monkeypatch.setattr(F, "linear", watched)
    return seen


@heads
@pieces
@pytest.mark.parametrize(("rows", "width"), SHAPES)
def test_they_are_those_of_the_whole_logits(
    rows: int, width: int, most: int, tied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logprobs, "MOST_LOGITS", most)
    model, one = tiny_model(tie_word_embeddings=tied), batch(rows, width)
    with torch.no_grad():
        found = token_logprobs(model, one)
        torch.testing.assert_close(found, expected(model, one), rtol=TOLERANCE, atol=TOLERANCE)
    assert found.dtype == torch.float32


@heads
@pieces
@pytest.mark.parametrize(("rows", "width"), SHAPES)
def test_gradients_are_those_of_the_whole_logits_whatever_each_token_counts(
    rows: int, width: int, most: int, tied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logprobs, "MOST_LOGITS", most)
    model, one = tiny_model(tie_word_embeddings=tied), batch(rows, width)
    weigh = counts(int(one.mask.sum()))
    wanted = gradients(model, weigh @ expected(model, one))
    assert difference(gradients(model, weigh @ token_logprobs(model, one)), wanted) < TOLERANCE


def test_a_loss_that_is_no_sum_of_them_has_the_right_gradient_too() -> None:
    model, one = tiny_model(), batch(3, 11)

    def loss(each: Tensor) -> Tensor:
        return F.softplus(each[::2].sum() - each[1::2].sum()) + each.square().mean()

    wanted = gradients(model, loss(expected(model, one)))
    assert difference(gradients(model, loss(token_logprobs(model, one))), wanted) < TOLERANCE


@heads
@pieces
def test_an_adapter_and_rows_that_are_trained_beside_it_get_their_gradients(
    most: int, tied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logprobs, "MOST_LOGITS", most)
    model, one = adapted(tied), batch(9, 40)
    weigh = counts(int(one.mask.sum()))
    trained = model.output_rows
    assert trained is not None
    head = model.output_weight.detach().index_put((trained.indices,), trained.rows)
    logits = F.linear(model.trunk(one.ids, attend=one.attend), head)
    wanted = gradients(model, weigh @ expected(model, one, logits))
    found = gradients(model, weigh @ token_logprobs(model, one))
    assert difference(found, wanted) < TOLERANCE
    assert float(trained.rows.grad.abs().max()) > 0  # type: ignore[union-attr]
    assert model.output_weight.grad is None


def test_a_frozen_head_gets_none() -> None:
    model, one = tiny_model(tie_word_embeddings=False), batch(3, 11)
    model.output_weight.requires_grad_(False)
    found = gradients(model, token_logprobs(model, one).sum())
    assert model.output_weight.grad is None
    assert difference(found, gradients(model, expected(model, one).sum())) < TOLERANCE


def test_in_bf16_they_stay_near_and_their_gradients_too(made: list[tuple[int, torch.dtype]]) -> None:
    model, one = tiny_model(), batch(30, 60)
    weigh = counts(int(one.mask.sum()))
    exact = expected(model, one)
    wanted = gradients(model, weigh @ exact)
    made.clear()
    with torch.autocast("cpu", torch.bfloat16):
        found = token_logprobs(model, one)
    assert found.dtype == torch.float32
    assert difference([found.detach()], [exact.detach()]) < 2e-2
    assert difference(gradients(model, weigh @ found), wanted) < 2e-2
    assert [dtype for _, dtype in made] == [torch.bfloat16] * 2


def test_where_no_gradient_is_recorded_they_are_the_same_numbers() -> None:
    model, one = tiny_model(), batch(3, 11)
    with torch.no_grad():
        still = token_logprobs(model, one)
    assert not still.requires_grad
    assert torch.equal(still, token_logprobs(model, one).detach())


def test_the_logits_are_neither_kept_nor_made_at_once(
    made: list[tuple[int, torch.dtype]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 1,800 learned tokens those of 128 exist at one time, and none until the way back makes them again."""
    monkeypatch.setattr(logprobs, "MOST_LOGITS", MULTIPLE * 300)
    model, one = tiny_model(), batch(30, 60)
    one.mask.fill_(1.0)
    found = token_logprobs(model, one)
    function: Any = found.grad_fn.next_functions[0][0]  # type: ignore[union-attr]
    assert len(found) == 1800
    assert max(kept.numel() for kept in function.saved_tensors if kept is not None) < 1800 * 300 / 2
    assert made == [(MULTIPLE, torch.float32)] * 15
    found.sum().backward()  # type: ignore[no-untyped-call]
    assert made == [(MULTIPLE, torch.float32)] * 30


def test_nothing_learned_is_no_log_probability() -> None:
    model, one = tiny_model(), batch(3, 11)
    one.mask.zero_()
    found = token_logprobs(model, one)
    assert found.shape == (0,)
    assert all(float(each.abs().max()) == 0 for each in gradients(model, found.sum()))


@heads
def test_the_loss_of_pretraining_is_the_sum_of_them(tied: bool) -> None:
    model, one = tiny_model(tie_word_embeddings=tied), batch(30, 60)
    loss = token_loss(model, one).total
    assert float(loss.detach()) == pytest.approx(-float(token_logprobs(model, one).detach().sum()), rel=1e-6)
    assert difference(gradients(model, -token_logprobs(model, one).sum()), gradients(model, loss)) < TOLERANCE
