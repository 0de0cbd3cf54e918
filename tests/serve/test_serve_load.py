"""Many clients at once: every stream is whole and in order, the loop is never blocked, and company changes no text.

How fast it is under load is measured in the long tests, which want the machine for themselves.
"""

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import psutil
import pytest
import stream_clients
from running_server import ENVIRONMENT, PACED, Running, chat, eventually, paced
from stream_clients import Stream, median, share
from tiny_models import tiny_checkpoint

from chatwright.generate.capacity import Capacity
from chatwright.serve.limits import Limits

ALPHABET = "abcdefghijklmnopqrstuvwxyz"


def whole(streams: list[Stream], length: int) -> None:
    """No fault, nothing lost, nothing out of order."""
    assert [stream.fault for stream in streams if stream.fault] == []
    assert {stream.status for stream in streams} == {200}
    assert {stream.text for stream in streams} == {(ALPHABET * (length // 26 + 1))[:length]}
    assert {(stream.finish, stream.done) for stream in streams} == {("length", True)}


@pytest.mark.parametrize("count", [100, 300])
def test_every_one_of_many_streams_is_whole(count: int) -> None:
    capacity = Capacity(max_batch=count, chunk=2048)
    with Running({"m": paced(window=512)}, capacity=capacity, limits=Limits(requests=count)) as server:
        whole(stream_clients.run(server.url, [chat(max_tokens=20)] * count), 20)
        eventually(lambda: not server.server.service.busy)
        assert server.figures()["finished"] == count


def test_a_real_model_answers_three_hundred_clients_as_it_answers_one() -> None:
    checkpoint = tiny_checkpoint("chatml", n_positions=128)
    capacity = Capacity(max_batch=64, chunk=512)
    bodies = [chat(f"number {i}", max_tokens=12, temperature=1.0, seed=i) for i in range(300)]
    with Running({"m": checkpoint}, capacity=capacity, max_waiting=300, limits=Limits(requests=300)) as server:
        together = stream_clients.run(server.url, bodies)
        alone = [text for body in bodies[::20] for text in [stream_clients.run(server.url, [body])[0].text]]
    assert [stream.fault for stream in together if stream.fault] == []
    assert all(stream.done and stream.finish for stream in together)
    assert [stream.text for stream in together[::20]] == alone
    assert len({stream.text for stream in together}) > 200


def test_a_megabyte_of_prompt_is_refused_without_being_tokenised_while_others_stream() -> None:
    """Whoever could not fit by its length alone costs nobody anything."""
    checkpoint = paced(window=4096)
    encode = checkpoint.tokenizer.encode
    seen: list[int] = []
    checkpoint.tokenizer.encode = lambda text, **given: (seen.append(len(text)), encode(text, **given))[1]  # type: ignore[method-assign]
    with Running({"m": checkpoint}, max_waiting=200) as server, server.web() as web:
        answer = web.post("/v1/chat/completions", json=chat("x" * 1_000_000))
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "context_length_exceeded")
    assert max(seen, default=0) < 100


def test_the_loop_answers_while_prompts_are_tokenised() -> None:
    """Tokenising is held up until somebody else has been answered: on the loop, that would be never."""
    checkpoint = paced(window=100_000)
    begun, answered = threading.Event(), threading.Event()
    encode = checkpoint.tokenizer.encode

    def held(text: str, **given: Any) -> list[int]:
        if len(text) > 10_000:
            begun.set()
            assert answered.wait(20), "the event loop waits for a tokenizer"
        return encode(text, **given)

    checkpoint.tokenizer.encode = held  # type: ignore[method-assign]
    statuses: list[int] = []
    with Running({"m": checkpoint}) as server:

        def ask() -> None:
            with server.web() as web:
                statuses.append(web.post("/v1/chat/completions", json=chat("x" * 20_000, max_tokens=1)).status_code)

        thread = threading.Thread(target=ask)
        thread.start()
        assert begun.wait(20)
        whole(stream_clients.run(server.url, [chat(max_tokens=5)]), 5)
        answered.set()
        thread.join(30)
    assert statuses == [200]


def test_company_changes_no_text() -> None:
    """Greedy and seeded, alone and among eight others that come and go."""
    with Running({"m": tiny_checkpoint("chatml", n_positions=128)}) as server:
        for way in ({"temperature": 0.0}, {"temperature": 1.0, "seed": 11}):
            mine = chat("the one", max_tokens=40, **way)
            alone = stream_clients.run(server.url, [mine])[0].text
            others = [chat(f"other {i}", max_tokens=5 * i + 1, temperature=1.0, seed=i) for i in range(8)]
            assert stream_clients.run(server.url, [*others[:4], mine, *others[4:]])[4].text == alone


@contextmanager
def paced_process(**settings: Any) -> Iterator[tuple[str, psutil.Process]]:
    command = [*PACED, json.dumps(settings)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=ENVIRONMENT
    ) as running:
        assert running.stdout is not None
        try:
            yield running.stdout.readline().strip(), psutil.Process(running.pid)
        finally:
            running.kill()


@pytest.mark.long
@pytest.mark.parametrize("count", [100, 300])
def test_streams_are_even_small_and_cheap(count: int) -> None:
    """p99 between chunks is at most three times the median, a client takes at most 100 kB, an event 150 µs."""
    with paced_process(pause=0.02, rows=count) as (url, process):
        whole(stream_clients.run(url, [chat(max_tokens=10)] * 10), 10)
        before, cpu = process.memory_info().rss, sum(process.cpu_times()[:2])
        begin = time.monotonic()
        streams = stream_clients.run(url, [chat(max_tokens=200)] * count)
        seconds = time.monotonic() - begin
        after, spent = process.memory_info().rss, sum(process.cpu_times()[:2]) - cpu
    whole(streams, 200)
    gaps = [gap for stream in streams for gap in stream.gaps]
    each = spent / (200 * count)
    print(
        f"{count} clients: {200 * count / seconds:,.0f} events/s, gaps {1e3 * median(gaps):.1f} ms, "
        f"p99 {1e3 * share(gaps, 0.99):.1f} ms, {1e6 * each:.0f} µs an event, {(after - before) / 1e6:.1f} MB more"
    )
    assert share(gaps, 0.99) <= 3 * median(gaps)
    assert after - before <= count / 10 * 1e6
    assert each <= 150e-6


@pytest.mark.long
def test_under_ten_times_the_load_refusals_are_quick_and_what_runs_runs_on() -> None:
    with paced_process(pause=0.02, rows=8, waiting=8) as (url, _):
        alone = stream_clients.run(url, [chat(max_tokens=50)] * 8)
        quiet = median([gap for stream in alone for gap in stream.gaps])
        begin = time.monotonic()
        streams = stream_clients.run(url, [chat(max_tokens=50)] * 160, between=0.002)
        served = [stream for stream in streams if stream.status == 200]
        refused = [stream for stream in streams if stream.status == 429]
        again = time.monotonic()
        assert httpx2.post(f"{url}/v1/chat/completions", json=chat(max_tokens=1)).status_code == 200
        recovery = time.monotonic() - again
    assert len(served) + len(refused) == 160
    assert len(served) >= 16
    whole(served, 50)
    busy = median([gap for stream in served for gap in stream.gaps])
    print(
        f"{len(refused)} refused; gaps {1e3 * quiet:.1f} ms alone, {1e3 * busy:.1f} ms under load; {again - begin:.1f} s"
    )
    assert busy < 1.5 * quiet
    assert recovery < 2


@pytest.mark.long
def test_refusals_take_less_than_a_tenth_of_a_second() -> None:
    with paced_process(pause=0.02, rows=8, waiting=8) as (url, _):
        thread = threading.Thread(target=stream_clients.run, args=(url, [chat(max_tokens=400)] * 16))
        thread.start()
        time.sleep(1)
        with httpx2.Client() as web:
            seconds = []
            for _ in range(50):
                begin = time.monotonic()
                answer = web.post(f"{url}/v1/chat/completions", json=chat())
                seconds.append(time.monotonic() - begin)
                assert (answer.status_code, answer.json()["error"]["code"]) == (429, "slow_down")
                assert answer.headers["retry-after"]
        thread.join(60)
    print(f"429 after {1e3 * median(seconds):.1f} ms, at most {1e3 * max(seconds):.1f} ms")
    assert max(seconds) < 0.1


@pytest.mark.long
def test_a_megabyte_that_is_tokenised_delays_twenty_streams_by_less_than_a_tenth_of_a_second() -> None:
    with paced_process(pause=0.02, window=340_000) as (url, _):
        quiet = stream_clients.run(url, [chat(max_tokens=100)] * 20)
        found: list[list[Stream]] = []
        thread = threading.Thread(target=lambda: found.append(stream_clients.run(url, [chat(max_tokens=300)] * 20)))
        thread.start()
        time.sleep(1)
        with httpx2.Client(timeout=60) as web:
            for text in ("to be or not to be " * 53_000, "x" * 1_000_000):
                answer = web.post(f"{url}/v1/chat/completions", json=chat(text) | {"model": "words"})
                assert answer.json()["error"]["code"] == "context_length_exceeded"
                assert "at least" not in answer.json()["error"]["message"], "it was not tokenised"
        thread.join(60)
    whole(found[0], 300)
    calm = max(gap for stream in quiet for gap in stream.gaps)
    worst = max(gap for stream in found[0] for gap in stream.gaps)
    print(f"the longest gap is {1e3 * worst:.0f} ms with the large prompts, {1e3 * calm:.0f} ms without")
    assert worst <= 0.1
