"""Losses are sums over the learned tokens: equal to the whole cross-entropy, however the tokens are cut into parts."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tiny_models import random_ids, tiny_checkpoint, tiny_model
from torch import Tensor, nn

from chatwright.data.examples import Examples
from chatwright.data.loader import Batch, Pack, collate, once
from chatwright.errors import DataError
from chatwright.evals.loss import measure
from chatwright.models.attention import Attend
from chatwright.models.gpt2 import GPT2, GPT2Config
from chatwright.models.protocol import LanguageModel
from chatwright.objectives import logprobs
from chatwright.objectives.logprobs import token_loss
from chatwright.objectives.pretrain import Pretrain
from chatwright.objectives.sft import Sft
from chatwright.text.records import Document, conversation
from chatwright.text.template import Example

TOLERANCE = 1e-6  # law 8: relative, in norm


def batch(rows: int = 3, width: int = 11, vocab_size: int = 300, seed: int = 1) -> Batch:
    """Rows of which some tokens are learned, a different number in each."""
    ids = random_ids(rows, width + 1, vocab_size=vocab_size, seed=seed)
    mask = (torch.arange(width) % (torch.arange(rows)[:, None] + 2) == 0).float()
    return Batch(ids[:, :-1], ids[:, 1:], mask, Attend.causal(width), {}, rows * width)


def gradients(model: GPT2, loss: Tensor) -> list[Tensor]:
    model.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]


def difference(a: list[Tensor], b: list[Tensor]) -> float:
    """Relative, in norm, over all parameters."""
    away = torch.stack([(x - y).norm() for x, y in zip(a, b, strict=True)]).norm()
    return float(away / torch.stack([x.norm() for x in a]).norm())


# ---- the head only where the mask is 1


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(("rows", "width", "most"), [(3, 11, logprobs.MOST_LOGITS), (30, 60, 1), (1, 2, 1)], ids=str)
def test_the_loss_and_its_gradients_equal_the_whole_cross_entropy(
    tied: bool, rows: int, width: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logprobs, "MOST_LOGITS", most)
    model, one = tiny_model(tie_word_embeddings=tied), batch(rows, width)
    logits = model(one.ids)
    every = F.cross_entropy(logits.flatten(0, 1), one.targets.flatten(), reduction="none")
    expected = (every * one.mask.flatten()).sum()
    found = token_loss(model, one)
    assert found.total.item() == pytest.approx(expected.item(), rel=1e-6)
    assert float(found.weight) == float(one.mask.sum())
    right = (logits.argmax(-1) == one.targets) * one.mask
    assert float(found.metrics["token_accuracy"]) == float(right.sum())
    assert difference(gradients(model, expected), gradients(model, token_loss(model, one).total)) < TOLERANCE


def test_the_gradient_follows_the_scale_of_what_the_loss_becomes() -> None:
    model, one = tiny_model(), batch()
    whole, tenth = gradients(model, token_loss(model, one).total), gradients(model, token_loss(model, one).total * 0.1)
    assert difference(whole, [part * 10 for part in tenth]) < TOLERANCE


def test_without_gradients_the_loss_is_the_same() -> None:
    model, one = tiny_model(), batch()
    with torch.no_grad():
        still = token_loss(model, one)
    assert not still.total.requires_grad
    assert torch.equal(still.total, token_loss(model, one).total.detach())


def test_the_right_predictions_can_be_counted_by_hand() -> None:
    model, one = tiny_model(), batch()
    with torch.no_grad():
        best = model(one.ids).argmax(-1)
    known = Batch(one.ids, best, torch.ones_like(one.mask), one.attend, {}, 33)
    assert token_loss(model, known).metrics["token_accuracy"] == 33
    wrong = Batch(one.ids, (best + 1) % 300, torch.ones_like(one.mask), one.attend, {}, 33)
    assert token_loss(model, wrong).metrics["token_accuracy"] == 0


def test_in_bf16_loss_and_gradients_stay_near() -> None:
    model, one = tiny_model(), batch()
    exact = gradients(model, token_loss(model, one).total)
    with torch.autocast("cpu", torch.bfloat16):
        loss = token_loss(model, one).total
    assert loss.dtype == torch.float32
    assert difference(exact, gradients(model, loss)) < 5e-2


# ---- law 8


def lessons(objective: Sft | Pretrain) -> Examples:
    """Examples of very different length, as the objective makes them."""
    start = tiny_checkpoint("plain", n_positions=256)
    if isinstance(objective, Pretrain):
        return objective.prepare([Document("Paris is " * n) for n in (1, 9, 3, 20, 2, 14, 5, 30)], start)
    talks = [conversation("Hi " * (9 - n), "Paris is the capital. " * n) for n in range(1, 9)]
    return objective.prepare(talks, start).conversations


@pytest.mark.parametrize("objective", [Sft(seq_len=200), Pretrain(seq_len=60)], ids=["sft", "pretrain"])
@pytest.mark.parametrize("rows", [1, 2, 4])
def test_one_batch_of_eight_gives_the_gradient_of_its_accumulated_parts(objective: Sft | Pretrain, rows: int) -> None:
    examples = lessons(objective)
    model = tiny_checkpoint(n_positions=256).model
    assert isinstance(model, GPT2)
    count = len(examples)
    whole = objective.loss(model, collate([(examples, [i]) for i in range(count)], 200, {}))
    parts = [
        objective.loss(model, collate([(examples, [i]) for i in range(at, min(at + rows, count))], 200, {}))
        for at in range(0, count, rows)
    ]
    weight = sum(float(part.weight) for part in parts)
    assert weight == float(whole.weight) == examples.learned.sum()
    assert len({float(part.weight) for part in parts}) > 1  # so a mean of means would be another one
    total = torch.stack([part.total for part in parts]).sum()
    assert difference(gradients(model, whole.total / weight), gradients(model, total / weight)) < TOLERANCE


def test_packed_rows_give_the_gradient_of_examples_alone() -> None:
    objective = Sft(batch_size=2, seq_len=240)
    examples = lessons(objective)
    model = tiny_checkpoint(n_positions=256).model
    assert isinstance(model, GPT2)
    alone = torch.stack([objective.loss(model, collate([(examples, [i])], 240, {})).total for i in range(8)]).sum()
    expected = gradients(model, alone)
    packed = list(once(examples, Pack(2, 240)))
    assert sum(len(one.ids) for one in packed) < 8
    total = torch.stack([objective.loss(model, one).total for one in packed]).sum()
    assert difference(expected, gradients(model, total)) < 1e-5


# ---- objectives


def test_documents_are_cut_so_that_each_token_is_predicted_once() -> None:
    start = tiny_checkpoint()
    document = Document("Paris is the capital of France. Was ist das? " * 3)
    ids = [*start.tokenizer.encode(document.text), start.tokenizer.end_of_text]
    examples = Pretrain(seq_len=7).prepare([document], start)
    windows = [examples[number].ids.tolist() for number in range(len(examples))]
    assert [number for window in windows for number in window[1:]] == ids[1:]
    assert examples.learned.sum() == len(ids) - 1
    assert int(examples.lengths.max()) == 7


@pytest.mark.parametrize(
    ("objective", "record", "says"),
    [
        (Pretrain(), conversation("Hi", "Hello"), "a conversation; pretraining reads documents"),
        (Sft(), Document("Hi"), "there is no conversation"),
    ],
)
def test_records_that_an_objective_cannot_learn_from_are_refused(objective: Any, record: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        objective.prepare([record], tiny_checkpoint())


# ---- what evaluation reports


class Uniform(nn.Module):
    """Knows nothing: every token has the same logit. Or, with `sure`, is certain of that one."""

    def __init__(self, vocab_size: int, sure: int | None = None) -> None:
        super().__init__()
        self.config = GPT2Config(vocab_size=vocab_size, n_embd=1, n_head=1)
        self.output_weight = nn.Parameter(torch.zeros(vocab_size, 1))
        self.output_rows = None
        if sure is not None:
            self.output_weight.data[sure] = 1000.0

    def trunk(self, ids: Tensor, **given: Any) -> Tensor:
        return torch.ones(*ids.shape, 1)

    def head(self, hidden: Tensor) -> Tensor:
        return F.linear(hidden, self.output_weight)


def measured(model: Any, batches: list[Batch], byte_lengths: list[int]) -> Any:
    one: LanguageModel = model
    return measure(one, Pretrain(), batches, byte_lengths)


def test_a_model_that_knows_nothing_has_the_loss_of_chance() -> None:
    found = measured(Uniform(8), [batch(vocab_size=8), batch(rows=2, vocab_size=8)], [2] * 8)
    assert found.loss == pytest.approx(math.log(8))
    assert found.perplexity == pytest.approx(8)
    assert found.bits_per_byte == pytest.approx(1.5)  # three bits a token of two bytes
    assert found.tokens == int(batch().mask.sum() + batch(rows=2).mask.sum())


def test_a_model_that_is_sure_is_right_or_lost() -> None:
    targets = torch.tensor([[3, 3, 5, 3]])
    one = Batch(targets, targets, torch.tensor([[1.0, 1.0, 1.0, 0.0]]), Attend.causal(4), {}, 4)
    found = measured(Uniform(8, sure=3), [one], [1] * 8)
    assert found.token_accuracy == pytest.approx(2 / 3)
    assert found.loss == pytest.approx(1000 / 3)
    assert found.perplexity == pytest.approx(math.exp(1000 / 3))
    assert measured(Uniform(8, sure=4), [one], [1] * 8).perplexity == math.inf  # e^1000 is beyond a float


def test_bytes_are_those_of_the_learned_targets() -> None:
    targets = torch.tensor([[0, 1, 2]])
    one = Batch(targets, targets, torch.tensor([[1.0, 0.0, 1.0]]), Attend.causal(3), {}, 3)
    assert measured(Uniform(4), [one], [1, 50, 3, 9]).bits_per_byte == pytest.approx(2 * 2 / 4)
    assert math.isnan(measured(Uniform(4), [one], [0, 0, 0, 0]).bits_per_byte)


def test_how_the_tokens_are_batched_does_not_matter_and_long_batches_count_more() -> None:
    examples = Examples.of(Example(random_ids(n, seed=n).tolist(), [1] * n) for n in (2, 30, 7, 12, 3, 25))
    model = tiny_model()
    found = [measure(model, Pretrain(), once(examples, Pack(size, 40)), [1] * 300) for size in (1, 2, 6)]
    for one in found[1:]:
        assert one.loss == pytest.approx(found[0].loss, rel=1e-6)
        assert (one.tokens, one.token_accuracy) == (found[0].tokens, found[0].token_accuracy)


@pytest.mark.parametrize("training", [True, False])
def test_a_measurement_drops_nothing_out_and_leaves_the_mode_as_it_was(training: bool) -> None:
    model = tiny_model(resid_pdrop=0.5).train(training)
    found = [measured(model, [batch()], [1] * 300).loss for _ in range(2)]
    assert found[0] == found[1]
    assert model.training is training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_no_batch_is_not_a_number() -> None:
    found = measured(tiny_model(), [], [1] * 300)
    assert math.isnan(found.loss)
    assert math.isnan(found.token_accuracy)
    assert found.tokens == 0
