"""The scheduler: requests from many threads share one model, and whatever happens to one happens to it alone."""

import queue
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny_models import random_ids, tiny_checkpoint

from chatwright.checkpoint import Checkpoint
from chatwright.errors import ConfigError
from chatwright.generate.capacity import Capacity
from chatwright.generate.completion import Completion, Piece
from chatwright.generate.engine import Engine
from chatwright.generate.sampling import Sampling
from chatwright.generate.scheduler import Closed, Full, Scheduler
from chatwright.models.lora import LoraConfig

PATIENCE = 60.0  # seconds after which a test says that nothing came
FEW = Sampling(max_tokens=12)


class Heard:
    """A listener that keeps what it hears."""

    def __init__(self) -> None:
        self.events: queue.SimpleQueue[Piece | Exception] = queue.SimpleQueue()
        self.text = ""

    def __call__(self, event: Piece | Exception) -> None:
        self.events.put(event)

    def end(self) -> Completion | Exception:
        """What it came to; the pieces until then are in `text`."""
        while True:
            event = self.events.get(timeout=PATIENCE)
            if isinstance(event, Exception):
                return event
            self.text += event.text
            if event.completion is not None:
                return event.completion


def endless(**changes: Any) -> Checkpoint:
    """A chatbot that goes on to the end of its window."""
    checkpoint = tiny_checkpoint("chatml", **{"n_positions": 2048, **changes})
    with torch.no_grad():
        for number in checkpoint.stop_ids:
            checkpoint.model.output_weight[number] = 0
    return checkpoint


@pytest.fixture
def scheduler() -> Iterator[Scheduler]:
    made = Scheduler({"tiny": tiny_checkpoint("chatml", n_positions=128)}, device="cpu").start()
    yield made
    made.close()


@pytest.fixture
def slow() -> Iterator[Scheduler]:
    """One row, two places to wait, and answers of two thousand tokens."""
    made = Scheduler({"slow": endless()}, Capacity(max_batch=1), max_waiting=2, device="cpu").start()
    yield made
    made.close()


LONG = Sampling(max_tokens=10_000)


def alone(checkpoint: Checkpoint, prompt: list[int], way: Sampling) -> Completion:
    (found,) = Engine(checkpoint.model, checkpoint.tokenizer, checkpoint.stop_ids).generate([prompt], way)
    return found


def test_many_threads_get_the_answers_that_each_would_get_alone(scheduler: Scheduler) -> None:
    prompts = [random_ids(3 + n % 20, vocab_size=256, seed=n).tolist() for n in range(24)]
    ways = [Sampling(max_tokens=5 + n % 9, temperature=float(n % 2), seed=n) for n in range(24)]
    found: dict[int, str] = {}

    def ask(number: int) -> None:
        found[number] = "".join(piece.text for piece in scheduler.pieces("tiny", prompts[number], ways[number]))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    figures = scheduler.figures()
    scheduler.close()  # so that nobody else uses the model
    checkpoint = scheduler.checkpoint("tiny")
    expected = [alone(checkpoint, prompt, way) for prompt, way in zip(prompts, ways, strict=True)]
    assert [found[number] for number in range(24)] == [one.text for one in expected]
    assert (figures.finished, figures.failed, figures.active, figures.waiting) == (24, 0, 0, 0)
    assert figures.prompt_tokens == sum(map(len, prompts))
    assert figures.generated_tokens == sum(len(one.ids) for one in expected)


def test_a_cancelled_request_ends_and_its_row_is_free_for_the_next(slow: Scheduler) -> None:
    first, second = Heard(), Heard()
    ticket = slow.submit("slow", [1, 2, 3], LONG, first)
    first.events.get(timeout=PATIENCE)  # it runs
    slow.submit("slow", [4, 5], FEW, second)
    ticket.cancel()
    ticket.cancel()
    ended = first.end()
    assert isinstance(ended, Completion)
    assert ended.finish == "cancelled"
    done = second.end()
    assert isinstance(done, Completion)
    assert (done.finish, len(done.ids)) == ("length", 12)
    ticket.cancel()  # also long after
    assert slow.figures().cancelled == 1


def test_a_request_that_still_waits_can_be_cancelled(slow: Scheduler) -> None:
    running, waiting = Heard(), Heard()
    first = slow.submit("slow", [1, 2, 3], LONG, running)
    running.events.get(timeout=PATIENCE)
    slow.submit("slow", [4, 5], LONG, waiting).cancel()
    ended = waiting.end()
    assert ended == Completion((), "", "cancelled")
    first.cancel()


def test_closing_the_iterator_cancels_the_request(slow: Scheduler) -> None:
    pieces = slow.pieces("slow", [1, 2, 3], LONG)
    next(pieces)
    pieces.close()  # type: ignore[attr-defined]
    assert [piece.completion for piece in slow.pieces("slow", [1, 2], FEW)][-1] is not None
    assert slow.figures().cancelled == 1


def test_what_does_not_fit_the_queue_is_refused_at_once_and_what_was_taken_is_answered(slow: Scheduler) -> None:
    running, waiting = Heard(), [Heard(), Heard()]
    first = slow.submit("slow", [1, 2, 3], LONG, running)
    for heard in waiting:
        slow.submit("slow", [4, 5], FEW, heard)
    with pytest.raises(Full, match="2 requests wait already; try again in 1 s") as refused:
        slow.submit("slow", [6], FEW, Heard())
    assert refused.value.retry_after == 1
    first.cancel()
    for heard in waiting:
        ended = heard.end()
        assert isinstance(ended, Completion)
        assert ended.finish == "length"
    again = Heard()
    slow.submit("slow", [6], FEW, again)
    assert isinstance(again.end(), Completion)


@pytest.mark.parametrize(
    ("name", "prompt", "says"),
    [
        ("tony", [1], "there is no model 'tony', did you mean 'tiny'"),
        ("tiny", [], "no tokens"),
        ("tiny", [1] * 128, "128 tokens, but the model's window is 128"),
    ],
)
def test_what_cannot_be_answered_is_refused_before_it_waits(
    scheduler: Scheduler, name: str, prompt: list[int], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        scheduler.submit(name, prompt, FEW, Heard())
    assert scheduler.figures().waiting == 0


def test_closing_lets_what_runs_end_and_takes_nothing_more(scheduler: Scheduler) -> None:
    heard = [Heard() for _ in range(5)]
    for one in heard:
        scheduler.submit("tiny", [1, 2, 3], FEW, one)
    scheduler.close(PATIENCE)
    for one in heard:
        ended = one.end()
        assert isinstance(ended, Completion)
        assert ended.finish in ("length", "stop")
    with pytest.raises(Closed, match="shutting down"):
        scheduler.submit("tiny", [1], FEW, Heard())
    assert not scheduler.alive
    scheduler.close()


def test_closing_at_once_cancels_what_runs_and_what_waits(slow: Scheduler) -> None:
    heard = [Heard() for _ in range(3)]
    for one in heard:
        slow.submit("slow", [1, 2, 3], LONG, one)
    heard[0].events.get(timeout=PATIENCE)
    slow.close()
    for one in heard:
        ended = one.end()
        assert isinstance(ended, Completion)
        assert ended.finish == "cancelled"


# ---- faults


class Breaking:
    """A model that breaks on the token 255, and with `fatal` takes its thread along."""

    def __init__(self, model: Any, fatal: bool = False) -> None:
        self.model, self.fatal = model, fatal

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def trunk(self, ids: torch.Tensor, **how: Any) -> torch.Tensor:
        if bool((ids == 255).any()):
            raise SystemExit if self.fatal else MemoryError("too large")
        found: torch.Tensor = self.model.trunk(ids, **how)
        return found


SAFE = replace(FEW, logit_bias=((255, -100.0),))  # of a random model: it never says what breaks it


def breaking(fatal: bool = False) -> Scheduler:
    checkpoint = tiny_checkpoint("chatml", n_positions=128)
    scheduler = Scheduler({"tiny": checkpoint}, device="cpu")
    broken: Any = Breaking(checkpoint.model, fatal)
    scheduler._engines["tiny"].model = broken
    return scheduler


def test_a_request_that_breaks_the_model_fails_alone() -> None:
    scheduler = breaking().start()
    good, bad = [Heard() for _ in range(4)], Heard()
    tickets = [scheduler.submit("tiny", [65 + n, 66], SAFE, one) for n, one in enumerate(good[:2])]
    scheduler.submit("tiny", [255, 3], SAFE, bad)
    tickets += [scheduler.submit("tiny", [67 + n, 66], SAFE, one) for n, one in enumerate(good[2:])]
    fault = bad.end()
    assert isinstance(fault, MemoryError)
    ended = [one.end() for one in good]
    assert scheduler.alive
    assert scheduler.figures().failed == 1
    scheduler.close()
    checkpoint = scheduler.checkpoint("tiny")
    for ticket, heard, found in zip(tickets, good, ended, strict=True):
        assert isinstance(found, Completion)
        assert found.ids == alone(checkpoint, list(ticket.prompt), SAFE).ids
        assert heard.text == found.text


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_when_the_thread_ends_nobody_waits_for_ever(capsys: pytest.CaptureFixture[str]) -> None:
    scheduler = breaking(fatal=True).start()
    heard = [Heard() for _ in range(3)]
    for prompt, one in zip(([65], [66], [255, 1]), heard, strict=True):
        scheduler.submit("tiny", prompt, replace(SAFE, max_tokens=100), one)
    assert isinstance(heard[2].end(), Closed)
    scheduler._thread.join(PATIENCE)
    assert not scheduler.alive
    with pytest.raises(Closed):
        scheduler.submit("tiny", [1], FEW, Heard())
    assert "the model's thread ended: SystemExit" in capsys.readouterr().err


def test_a_listener_that_raises_ends_its_own_request_only(slow: Scheduler, capsys: pytest.CaptureFixture[str]) -> None:
    def gone(event: Piece | Exception) -> None:
        raise RuntimeError("the loop is closed")

    slow.submit("slow", [1, 2, 3], LONG, gone)
    heard = Heard()
    slow.submit("slow", [4, 5], FEW, heard)
    assert isinstance(heard.end(), Completion)
    assert slow.figures().cancelled == 1
    assert "could not be told of its answer: RuntimeError('the loop is closed')" in capsys.readouterr().err


# ---- several models


def test_adapters_of_one_model_take_turns_and_each_says_its_own(tmp_path: Any) -> None:
    base = tiny_checkpoint("chatml", n_positions=128)
    base.save(tmp_path)
    read = Checkpoint.load(tmp_path, quiet=True)
    expected = {"base": alone(read, [65, 66, 67], FEW).ids}
    tuned = read.with_lora(LoraConfig(r=4, lora_alpha=8), str(tmp_path), dtype=torch.float32, seed=3)
    with torch.no_grad():
        for name, weight in tuned.model.named_parameters():
            if "lora_B" in name or name.endswith(".B"):
                weight.copy_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    expected["tuned"] = alone(tuned, [65, 66, 67], FEW).ids
    assert expected["tuned"] != expected["base"]
    scheduler = Scheduler({"base": tuned.without_adapter(), "tuned": tuned}, device="cpu").start()
    heard = {(name, n): Heard() for n in range(3) for name in expected}
    for (name, _), one in heard.items():
        scheduler.submit(name, [65, 66, 67], FEW, one)
    for (name, _), one in heard.items():
        ended = one.end()
        assert isinstance(ended, Completion)
        assert ended.ids == expected[name]
    scheduler.close()
