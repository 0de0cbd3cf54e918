"""The end of a server: the first signal lets what runs end, the second does not wait, and the exit code says which."""

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from running_server import ENVIRONMENT, PACED, WAIT, Running, chat, eventually, paced
from scripted_model import bigram_folder

from chatwright.serve.server import Door


@contextmanager
def process(*words: str, **settings: Any) -> Iterator[subprocess.Popen[str]]:
    """A server as a process, killed at the end of the test if it still runs."""
    command = [sys.executable, *words] if words else [*PACED, json.dumps(settings)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    ) as running:
        try:
            yield running
        finally:
            running.kill()


def first_line(running: subprocess.Popen[str]) -> str:
    assert running.stdout is not None
    line = running.stdout.readline().strip()
    assert line, running.stderr.read() if running.stderr else ""
    return line


def streamed(url: str, most: int) -> tuple[threading.Thread, list[str], threading.Event]:
    """A stream that is read in a thread: its lines, and an event when the first token is there."""
    lines: list[str] = []
    begun = threading.Event()

    def read() -> None:
        body = chat(stream=True, max_tokens=most)
        with httpx2.stream("POST", f"{url}/v1/chat/completions", json=body, timeout=WAIT) as answer:
            for line in answer.iter_lines():
                if line:
                    lines.append(line)
                if len(lines) > 2:
                    begun.set()

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread, lines, begun


def test_sigterm_lets_a_stream_end_and_exits_with_143() -> None:
    with process(pause=0.02) as running:
        url = first_line(running)
        thread, lines, begun = streamed(url, 100)
        assert begun.wait(WAIT)
        running.send_signal(signal.SIGTERM)
        eventually(lambda: httpx2.get(f"{url}/health").json()["status"] == "draining")
        late = httpx2.post(f"{url}/v1/chat/completions", json=chat())
        assert httpx2.get(f"{url}/health").status_code == 503
        assert (late.status_code, late.json()["error"]["code"]) == (503, "server_is_overloaded")
        assert late.headers["retry-after"] == "2"
        thread.join(WAIT)
        assert running.wait(WAIT) == 143
    assert lines[-1] == "data: [DONE]"
    assert '"finish_reason":"length"' in lines[-2]


def test_a_stream_that_does_not_end_in_time_ends_with_an_error() -> None:
    with process(pause=0.02, drain=0.3) as running:
        thread, lines, begun = streamed(first_line(running), 100_000)
        assert begun.wait(WAIT)
        running.send_signal(signal.SIGTERM)
        thread.join(WAIT)
        assert running.wait(WAIT) == 143
    assert lines[-1] == "data: [DONE]"
    error = json.loads(lines[-2].removeprefix("data: "))["error"]
    assert (error["code"], error["type"]) == ("server_is_overloaded", "server_error")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_second_signal_ends_everything_at_once(number: int, code: int) -> None:
    with process(pause=0.02, drain=3600) as running:
        url = first_line(running)
        thread, lines, begun = streamed(url, 100_000)
        assert begun.wait(WAIT)
        running.send_signal(number)
        eventually(lambda: httpx2.get(f"{url}/health").status_code == 503)
        running.send_signal(number)
        assert running.wait(WAIT) == code
        thread.join(WAIT)
    assert '"error"' in lines[-2]


@pytest.mark.long
def test_the_second_signal_takes_less_than_four_seconds_under_load() -> None:
    with process(pause=0.02, drain=3600) as running:
        url = first_line(running)
        streams = [streamed(url, 100_000) for _ in range(64)]
        eventually(lambda: all(lines for _, lines, _ in streams), "half of them speak, the others are told who will")
        running.send_signal(signal.SIGTERM)
        eventually(lambda: httpx2.get(f"{url}/health").status_code == 503)
        begin = time.monotonic()
        running.send_signal(signal.SIGTERM)
        assert running.wait(WAIT) == 143
        assert time.monotonic() - begin < 4
        for thread, lines, _ in streams:
            thread.join(WAIT)
            assert '"error"' in lines[-2]


def test_the_command_says_where_it_serves_and_ends_with_143(tmp_path: Path) -> None:
    model = bigram_folder(tmp_path / "model", "Sure!")
    words = ["-m", "chatwright", "serve", f"bot={model}", "--alias", "gpt-3.5-turbo=bot", "--port", "0", "--json"]
    with process(*words, "--api-key", "sk-1", "--temperature", "0") as running:
        said = json.loads(first_line(running))
        assert said["models"] == ["bot", "gpt-3.5-turbo"]
        with openai.OpenAI(base_url=f"{said['address']}/v1", api_key="sk-1") as client:
            answer = client.chat.completions.create(model="bot", messages=[{"role": "user", "content": "hi"}])
        assert answer.choices[0].message.content == "Sure!"
        running.send_signal(signal.SIGTERM)
        assert running.wait(WAIT) == 143
        assert running.stdout is not None
        assert running.stderr is not None
        ended, errors = json.loads(running.stdout.read()), running.stderr.read()
    assert ended["exit_code"] == 143
    assert "curl http://127.0.0.1:" in errors
    assert "Bearer KEY" in errors
    assert "sk-1" not in errors
    assert "POST" not in errors or "hi" not in errors.split("POST")[1]


def test_a_signal_while_the_models_are_read_ends_the_server() -> None:
    """And until they are there, everybody is told to wait."""
    go = threading.Event()

    def load() -> Any:
        assert go.wait(WAIT)
        raise AssertionError("nobody waits for this any more")

    with Running({"m": paced()}, load=load, wait=False) as server:
        with server.web() as web:
            eventually(lambda: web.get("/health").status_code == 503)
            assert web.get("/health").json()["status"] == "loading"
            assert web.get("/health").headers["retry-after"] == "2"
            early = web.post("/v1/chat/completions", json=chat())
            assert (early.status_code, early.json()["error"]["code"]) == (503, "server_is_overloaded")
            assert web.get("/v1/models").status_code == 503
            assert web.get("/metrics").status_code == 200
        server.server.stop()
        server.thread.join(WAIT)
        assert not server.thread.is_alive()
        go.set()
    assert server.fault is None
    assert not server.ready.is_set()


def test_a_model_that_cannot_be_read_ends_the_server_with_its_sentence(tmp_path: Path) -> None:
    words = ["-m", "chatwright", "serve", str(tmp_path / "nothing"), "--port", "0"]
    with process(*words) as running:
        assert running.wait(WAIT) == 2
        assert running.stderr is not None
        assert "nothing" in running.stderr.read()


def test_a_server_ends_while_sockets_are_open_that_say_nothing() -> None:
    with process(pause=0.0) as running:
        port = int(first_line(running).rpartition(":")[2])
        lines = [socket.create_connection(("127.0.0.1", port)) for _ in range(5)]
        lines[0].sendall(b"GET /health HTTP/1.1\r\nx-half: ")
        lines[1].sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\n{")
        time.sleep(0.2)
        running.send_signal(signal.SIGTERM)
        assert running.wait(WAIT) == 143
        for line in lines:
            line.close()


def test_who_waits_for_a_whole_answer_is_told_that_the_server_ends() -> None:
    answers: list[int] = []
    with Running({"m": paced(pause=0.02, window=100_000)}, door=Door(drain_seconds=0.2)) as server:

        def ask() -> None:
            with server.web() as web:
                answers.append(web.post("/v1/chat/completions", json=chat(max_tokens=100_000)).status_code)

        thread = threading.Thread(target=ask)
        thread.start()
        eventually(lambda: server.figures()["active"] == 1)
        server.server.stop()
        thread.join(WAIT)
    assert answers == [503]
