"""Sockets that say little, slowly or nothing are closed in their time, and nobody else waits for them.

The clocks are short here; that they are what the safe defaults promise is a test of its own, and the long one waits for
the real ones.
"""

import asyncio
import contextlib
import functools
import json
import shlex
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
import uvicorn
from running_server import ENVIRONMENT, PACED, WAIT, Running, chat, eventually, paced

from chatwright.serve.limits import Limits
from chatwright.serve.protocol import GuardedProtocol
from chatwright.serve.server import listen

SOON = 4.0  # seconds: longer than any of these clocks, and shorter than any of the real ones
QUICK = Limits(head_seconds=0.4, body_seconds=0.8, idle_seconds=1, linger_seconds=0.3, send_seconds=0.5)
POST = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with Running({"m": paced(window=512)}, limits=QUICK) as server:
        yield server


def test_the_clocks_are_those_that_are_promised() -> None:
    assert Limits() == Limits(
        body=2 * 2**20, headers=64 * 2**10, head_seconds=10, body_seconds=30, send_seconds=30, idle_seconds=5
    )
    assert Limits().ping_seconds == 15
    assert Limits().requests == 160
    assert Limits().connections == 4096


def ended(line: socket.socket) -> bytes:
    """What came until the server closed the socket; fails when that is not soon."""
    line.settimeout(WAIT)
    begin = time.monotonic()
    found = b""
    with contextlib.suppress(ConnectionError):
        while part := line.recv(65536):
            found += part
    assert time.monotonic() - begin < SOON
    return found


def dripping(line: socket.socket, pause: float = 0.05) -> threading.Thread:
    """Sends a byte at a time until the server has had enough."""

    def drip() -> None:
        with contextlib.suppress(OSError):
            while True:
                line.sendall(b"x")
                time.sleep(pause)

    thread = threading.Thread(target=drip, daemon=True)
    thread.start()
    return thread


def test_a_silent_socket_is_closed(running: Running) -> None:
    with running.connect() as line:
        assert ended(line) == b""


def test_a_head_that_comes_byte_by_byte_is_cut_off(running: Running) -> None:
    with running.connect() as line:
        line.sendall(b"GET /health HTTP/1.1\r\nx-slow: ")
        thread = dripping(line)
        assert ended(line) == b""
    thread.join(WAIT)


def test_a_second_head_on_the_same_socket_has_no_longer(running: Running) -> None:
    """uvicorn's own clock between two requests stops at the first byte of the second."""
    with running.connect() as line:
        line.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
        eventually(lambda: line.recv(65536).startswith(b"HTTP/1.1 200"))
        line.sendall(b"GET /health HTTP/1.1\r\nx-slow: ")
        thread = dripping(line)
        ended(line)
    thread.join(WAIT)


def test_a_socket_that_goes_idle_is_closed(running: Running) -> None:
    with running.connect() as line:
        line.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert ended(line).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("head", [b"content-length: 1000\r\n\r\n", b"transfer-encoding: chunked\r\n\r\n3e8\r\n"])
def test_a_body_that_comes_byte_by_byte_is_answered_with_408_and_closed(running: Running, head: bytes) -> None:
    with running.connect() as line:
        line.sendall(POST + head)
        thread = dripping(line)
        answer = ended(line)
    thread.join(WAIT)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"request_timeout" in answer


def test_a_request_without_need_of_a_body_does_not_wait_for_one_for_ever(running: Running) -> None:
    for path in (b"/health", b"/v1/models", b"/nothing"):
        with running.connect() as line:
            line.sendall(b"GET " + path + b" HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\n")
            thread = dripping(line)
            assert ended(line).startswith(b"HTTP/1.1 408 ")
        thread.join(WAIT)


def test_a_refused_body_is_thrown_away_for_a_moment_only(running: Running) -> None:
    with running.connect() as line:
        line.sendall(b"POST /nothing HTTP/1.1\r\nhost: evil.example\r\ncontent-length: 1000\r\n\r\n")
        thread = dripping(line)
        assert ended(line).startswith(b"HTTP/1.1 403 ")
    thread.join(WAIT)


def test_slow_sockets_take_no_place_from_others(running: Running) -> None:
    """More of them than there are places, in heads and in bodies, and a request among them is answered."""
    patient = Limits(requests=4)
    with Running({"m": paced(window=512)}, limits=patient) as server:
        lines = [server.connect() for _ in range(500)]
        try:
            for number, line in enumerate(lines):
                line.sendall(POST if number % 2 else POST + b"content-length: 1000\r\n\r\nx")
            with server.web() as web:
                for _ in range(5):
                    assert web.post("/v1/chat/completions", json=chat(max_tokens=2)).status_code == 200
        finally:
            for line in lines:
                line.close()


def test_one_connection_more_than_there_is_room_for_is_told_so() -> None:
    with Running({"m": paced(window=512)}, limits=Limits(connections=5)) as server:
        lines = [server.connect() for _ in range(5)]
        connections = server.server._uvicorn.server_state.connections
        eventually(lambda: len(connections) == 5)
        with server.connect() as line:
            answer = ended(line)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 2" in answer
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "server_is_overloaded"
        for line in lines:
            line.close()
        eventually(lambda: not connections)
        with server.web() as web:
            assert web.post("/v1/chat/completions", json=chat(max_tokens=1)).status_code == 200


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such limit")
def test_a_process_never_runs_out_of_files_however_many_connect() -> None:
    """Three hundred sockets for two hundred files: some are turned away, and when they have gone all is as before."""
    words = " ".join(shlex.quote(word) for word in [*PACED, "{}"])
    command = ["bash", "-c", f"ulimit -n 200; exec {words}"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            url = process.stdout.readline().strip()
            address = ("127.0.0.1", int(url.rpartition(":")[2]))
            with contextlib.ExitStack() as lines:
                some = [lines.enter_context(socket.create_connection(address, timeout=WAIT)) for _ in range(300)]
                assert ended(some[-1]).startswith(b"HTTP/1.1 503 ")
            eventually(lambda: httpx2.get(f"{url}/health").status_code == 200)
            process.terminate()
            assert "Too many open files" not in process.stderr.read()
        finally:
            process.kill()


def test_bodies_that_are_being_read_have_a_limit_together() -> None:
    with Running({"m": paced(window=512)}, limits=Limits(bodies=3000, linger_seconds=0.2)) as server:
        lines = [server.connect() for _ in range(2)]
        try:
            for line in lines:
                line.sendall(POST + b"content-length: 2000\r\n\r\n" + b" " * 1400)
            with server.web() as web:
                eventually(lambda: web.post("/v1/chat/completions", json=chat("x" * 400)).status_code == 429)
                assert web.post("/v1/chat/completions", json=chat(max_tokens=1)).status_code == 200
        finally:
            for line in lines:
                line.close()

            def free() -> bool:
                with server.web() as web:
                    return web.post("/v1/chat/completions", json=chat("x" * 400, max_tokens=1)).status_code == 200

            eventually(free, "what was read of bodies that never came is given back")


def test_a_reader_that_stops_is_cut_off_and_its_answer_ends() -> None:
    """The application sees the same as when the client goes away."""
    states: list[str] = []

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            states.append("gone")

        gone = asyncio.ensure_future(watch())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while not gone.done():
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
        states.append("ended")

    sock = listen("127.0.0.1", 0)
    protocol: Any = functools.partial(GuardedProtocol, QUICK)
    config = uvicorn.Config(endless, http=protocol, ws="none", lifespan="off", log_config=None, log_level="critical")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[sock])), daemon=True)
    thread.start()
    with socket.create_connection(sock.getsockname(), timeout=WAIT) as line:
        line.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        begin = time.monotonic()
        eventually(lambda: states == ["gone", "ended"], "nobody noticed that the reader has stopped")
        assert time.monotonic() - begin < SOON
    server.should_exit = True
    thread.join(WAIT)
    assert not thread.is_alive()


def test_a_long_silence_is_broken_by_comments_that_clients_pass_over() -> None:
    """So that no proxy takes the connection for dead."""
    limits = Limits(ping_seconds=0.05)
    with Running({"m": paced(window=512, pause=0.2)}, limits=limits) as server:
        with server.web() as web:
            lines = web.post("/v1/chat/completions", json=chat(stream=True, max_tokens=4)).text.splitlines()
        with server.client() as client:
            stream = client.chat.completions.create(
                model="m", messages=[{"role": "user", "content": "a"}], max_tokens=4, stream=True
            )
            assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == "abcd"
    assert lines.count(": ping") > 2
    assert {line.partition(" ")[0] for line in lines} == {"", ":", "data:"}


def test_small_writes_are_not_held_back(running: Running) -> None:
    """Else each of them may wait forty milliseconds for the one before it to be acknowledged."""
    with running.connect() as line:
        line.sendall(b"GET /")
        connections = running.server._uvicorn.server_state.connections
        eventually(lambda: len(connections) == 1)
        sock = next(iter(connections)).transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


@pytest.mark.long
def test_five_hundred_slow_sockets_delay_a_request_by_less_than_200_ms_and_are_closed_in_their_time() -> None:
    with Running({"m": paced(window=512)}) as server, server.web() as web:

        def seconds() -> float:
            begin = time.monotonic()
            assert web.post("/v1/chat/completions", json=chat(max_tokens=2)).status_code == 200
            return time.monotonic() - begin

        alone = sorted(seconds() for _ in range(20))[-1]
        begin = time.monotonic()
        lines = [server.connect() for _ in range(500)]
        for number, line in enumerate(lines):
            line.sendall(POST if number % 2 else POST + b"content-length: 1000\r\n\r\nx")
            line.setblocking(False)
        closed: dict[int, float] = {}
        while len(closed) < 500 and time.monotonic() - begin < 60:
            for number, line in enumerate(lines):
                if number in closed:
                    continue
                try:
                    line.send(b"x")
                    if not line.recv(4096):
                        closed[number] = time.monotonic() - begin
                except BlockingIOError:
                    pass
                except OSError:
                    closed[number] = time.monotonic() - begin
            assert seconds() < alone + 0.2
            time.sleep(0.1)
        for line in lines:
            line.close()
    assert len(closed) == 500
    # a second is for opening, and for looking at, so many sockets; a body is answered after its 30, and then closed
    assert max(at for number, at in closed.items() if number % 2) < 10 + 1, "heads"
    assert max(at for number, at in closed.items() if not number % 2) < 30 + Limits().linger_seconds + 1, "bodies"
