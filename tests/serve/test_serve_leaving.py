"""A client that goes away takes its sequences with it at once; a request that fails fails alone; a full queue says so."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from running_server import DEATH, POISON, WAIT, Running, chat, eventually, paced

from chatwright.generate.capacity import Capacity
from chatwright.serve.limits import Limits

PAUSE = 0.02
ENDLESS = {"max_tokens": 100_000}


@pytest.fixture
def running() -> Iterator[Running]:
    """Two rows, twenty milliseconds a token, so that there is always something to be left."""
    checkpoint = paced(pause=PAUSE, window=100_000)
    with Running({"m": checkpoint}, capacity=Capacity(max_batch=2, chunk=64), max_waiting=6) as server:
        yield server


def posted(running: Running, **fields: Any) -> Any:
    """A socket on which a chat request has been sent."""
    body = json.dumps(chat(**fields)).encode()
    line = running.connect()
    line.sendall(
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        + f"content-length: {len(body)}\r\n\r\n".encode()
        + body
    )
    return line


def is_free(running: Running) -> None:
    """Nothing is active or waits, in the figures and on the page that Prometheus reads, and the model stands still."""
    eventually(lambda: running.figures()["active"] == running.figures()["waiting"] == 0)
    assert running.metric("chatwright_active") == running.metric("chatwright_waiting") == 0
    assert not running.server.service.busy
    model: Any = running.models["m"].model
    steps = model.steps
    with running.web() as web:
        assert web.post("/v1/chat/completions", json=chat(max_tokens=3)).status_code == 200
    assert model.steps <= steps + 6


def test_a_stream_that_is_left_ends_within_a_step(running: Running) -> None:
    model: Any = running.models["m"].model
    with posted(running, stream=True, **ENDLESS) as line:
        while b'"c"' not in line.recv(65536):
            pass
        assert running.metric("chatwright_active") == 1
    left = model.steps
    is_free(running)
    figures = running.figures()
    assert figures["cancelled"] == 1
    assert model.steps - left < 40, "it would have gone on for a hundred thousand"


def test_an_answer_that_nobody_waits_for_any_more_ends(running: Running) -> None:
    """Nothing is sent before the whole answer is there, so no write fails: the server has to look."""
    with posted(running, **ENDLESS):
        eventually(lambda: running.figures()["active"] == 1)
    is_free(running)


def test_a_request_that_is_left_in_the_queue_leaves_it(running: Running) -> None:
    first = [posted(running, **ENDLESS) for _ in range(2)]
    for stream in (False, True):
        with posted(running, stream=stream, **ENDLESS):
            eventually(lambda: running.figures()["waiting"] == 1)
        eventually(lambda: running.figures()["waiting"] == 0)
    assert running.figures()["active"] == 2
    for line in first:
        line.close()
    is_free(running)


def test_a_request_that_is_left_while_its_prompt_is_read_is_read_no_further(running: Running) -> None:
    model: Any = running.models["m"].model
    begin = model.steps
    with posted(running, text="x" * 50_000, **ENDLESS):  # some eight hundred steps of reading
        eventually(lambda: model.steps > begin + 2)
    is_free(running)
    assert model.steps - begin < 400


def test_all_answers_of_a_request_are_left_together(running: Running) -> None:
    with posted(running, n=4, stream=True, **ENDLESS):
        eventually(lambda: (running.figures()["active"], running.figures()["waiting"]) == (2, 2))
    is_free(running)
    eventually(lambda: running.figures()["cancelled"] == 4)


def test_two_hundred_clients_that_leave_at_any_moment_leave_nothing_behind() -> None:
    checkpoint = paced(pause=0.002, window=10_000)
    with Running({"m": checkpoint}, capacity=Capacity(max_batch=16, chunk=64), max_waiting=1000) as server:
        lines = [posted(server, stream=bool(i % 2), text="x" * (i * 7), **ENDLESS) for i in range(200)]
        for number, line in enumerate(lines):
            if number % 4 == 1:
                line.recv(200)
            line.close()
        is_free(server)
        figures = server.figures()
        assert figures["failed"] == 0
        assert figures["cancelled"] <= 200


def test_a_poisoned_request_fails_alone(running: Running) -> None:
    with running.client() as client:
        stream = client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "a"}], stream=True, max_tokens=60
        )
        parts = [next(iter(stream)).choices[0].delta.content or ""]
        with pytest.raises(openai.InternalServerError) as failed:
            client.chat.completions.create(model="m", messages=[{"role": "user", "content": POISON}])
        assert (failed.value.status_code, failed.value.code) == (500, "internal_error")
        assert "SECRET" not in failed.value.message
        with pytest.raises(openai.APIError) as broken:
            list(client.chat.completions.create(model="m", messages=[{"role": "user", "content": POISON}], stream=True))
        assert broken.value.code == "internal_error"
        parts += [chunk.choices[0].delta.content or "" for chunk in stream]
    alphabet = "abcdefghijklmnopqrstuvwxyz"
    assert "".join(parts) == (alphabet * 3)[:60]
    with running.web() as web:
        assert web.get("/health").status_code == 200
    assert running.figures()["failed"] == 2
    is_free(running)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_when_the_engine_is_lost_everybody_is_told_and_the_health_is_red(running: Running) -> None:
    with running.client() as client, running.web() as web:
        stream = client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "a"}], stream=True, **ENDLESS
        )  # type: ignore[call-overload]
        next(iter(stream))
        with pytest.raises(openai.InternalServerError) as lost:
            client.chat.completions.create(model="m", messages=[{"role": "user", "content": DEATH}])
        assert lost.value.status_code == 503
        with pytest.raises(openai.APIError, match="lost its engine"):
            list(stream)
        health = web.get("/health")
        assert (health.status_code, health.json()["status"]) == (503, "broken")
        after = web.post("/v1/chat/completions", json=chat())
        assert (after.status_code, after.json()["error"]["code"]) == (503, "server_is_overloaded")
        assert web.get("/metrics").status_code == 200


def test_a_full_queue_refuses_at_once_and_says_when_to_come_again(running: Running) -> None:
    lines = [posted(running, stream=True, **ENDLESS) for _ in range(8)]  # two run, six wait
    eventually(lambda: sum(running.figures()[name] for name in ("active", "waiting")) == 8)
    with running.web() as web:
        for _ in range(20):
            refused = web.post("/v1/chat/completions", json=chat())
            assert (refused.status_code, refused.json()["error"]["code"]) == (429, "slow_down")
            assert 1 <= int(refused.headers["retry-after"]) <= 30
        assert refused.json()["error"]["type"] == "rate_limit_error"
    with running.client() as client, pytest.raises(openai.RateLimitError):
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": "a"}])
    for line in lines:
        line.close()
    is_free(running)


def test_n_answers_are_queued_all_or_none(running: Running) -> None:
    lines = [posted(running, stream=True, **ENDLESS) for _ in range(3)]
    eventually(lambda: sum(running.figures()[name] for name in ("active", "waiting")) == 3)
    with running.web() as web:
        assert web.post("/v1/chat/completions", json=chat(n=6, max_tokens=1)).status_code == 429
    eventually(lambda: sum(running.figures()[name] for name in ("active", "waiting")) == 3)
    for line in lines:
        line.close()
    is_free(running)


def test_more_requests_than_there_are_places_are_refused_before_their_bodies_are_read() -> None:
    with Running({"m": paced(pause=PAUSE, window=100_000)}, limits=Limits(requests=2)) as server:
        lines = [posted(server, stream=True, **ENDLESS) for _ in range(2)]
        eventually(lambda: server.figures()["active"] == 2)
        with server.connect() as late:
            late.sendall(
                b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
                b"content-length: 1000000\r\n\r\n"
            )
            assert late.recv(65536).startswith(b"HTTP/1.1 429 "), "no byte of the body was sent"
        for line in lines:
            line.close()


def test_a_client_that_tries_again_gets_through_ten_times_the_capacity(running: Running) -> None:
    """Eighty at once for eight places: nobody is lost, and what was admitted is whole."""
    texts: list[str] = []
    faults: list[BaseException] = []

    def ask() -> None:
        try:
            with running.client(max_retries=30) as client:
                answer = client.chat.completions.create(
                    model="m", messages=[{"role": "user", "content": "a"}], max_tokens=3
                )
                texts.append(answer.choices[0].message.content or "")
        except BaseException as fault:
            faults.append(fault)

    in_threads(ask, 80)
    assert faults == []
    assert texts == ["abc"] * 80
    assert running.figures()["finished"] == 80
    is_free(running)


@pytest.mark.long
def test_a_place_is_free_a_step_and_a_tenth_of_a_second_after_its_client_has_left(running: Running) -> None:
    taken = []
    for number in range(20):
        line = posted(running, stream=bool(number % 2), **ENDLESS)
        eventually(lambda: running.figures()["active"] == 1)
        time.sleep(0.1)
        begin = time.monotonic()
        line.close()
        while running.figures()["active"]:
            time.sleep(0.001)
        taken.append(time.monotonic() - begin)
    print(f"free after {1e3 * max(taken):.0f} ms at most")
    assert max(taken) < PAUSE + 0.1


def in_threads(work: Callable[[], None], count: int) -> None:
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(4 * WAIT)
        assert not thread.is_alive()
