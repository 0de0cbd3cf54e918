"""Thousands of requests of every kind leave nothing behind: no memory, no files, no threads, no tasks, no rows."""

import asyncio
import json
import os
import random
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
from running_server import ENVIRONMENT, PACED, Running, chat, eventually, paced
from tiny_models import tiny_checkpoint

from chatwright.generate.capacity import Capacity

KINDS = (
    *("whole", "stream", "left", "wrong", "unknown", "too long", "logprobs", "n", "tokenize", "cut"),
    *("told stream", "text", "truncated"),
)


def spell(url: str, count: int, seed: int) -> None:
    """So many requests, some of them left half-way, each with a prompt that no other has."""
    draw = random.Random(seed)
    host, port = url.removeprefix("http://").split(":")

    async def one(client: httpx2.AsyncClient, number: int) -> None:
        kind = KINDS[number % len(KINDS)]
        text = f"{seed} {number} " + "x" * draw.randrange(50)
        body: dict[str, Any] = chat(text, max_tokens=draw.randrange(1, 20))
        path = "/v1/chat/completions"
        changes: dict[str, dict[str, Any]] = {
            "wrong": {"n": 99},
            "unknown": {"model": text},
            "too long": chat("x" * 5000),
            "logprobs": {"logprobs": True, "top_logprobs": 5},
            "n": {"n": 4},
            "told stream": {"logprobs": True, "top_logprobs": 5, "stream": True},
            "truncated": {"messages": long_talk(text), "truncate": True},
        }
        body |= changes.get(kind, {})
        if kind == "tokenize":
            path, body = "/tokenize", {"model": "m", "text": text}
        if kind == "text":
            path, body = "/v1/completions", {"model": "m", "prompt": [text, "x"], "max_tokens": 5, "logprobs": 5}
        if kind in ("left", "cut"):
            reader, writer = await asyncio.open_connection(host, int(port))
            data = json.dumps(body | {"stream": True, "max_tokens": 1000}).encode()
            length = len(data) + (kind == "cut") * 10  # one that never comes whole
            head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n"
            writer.write(head.encode() + b"content-type: application/json\r\n\r\n" + data)
            if kind == "left":
                await reader.read(200)
            writer.close()
            return
        answer = await client.post(path, json=body | ({"stream": True} if kind == "stream" else {}))
        assert answer.status_code in (200, 400, 404), answer.text

    async def all_of_them() -> None:
        async with httpx2.AsyncClient(base_url=url, timeout=60) as client:
            for begin in range(0, count, 20):
                await asyncio.gather(*(one(client, begin + k) for k in range(20)))

    asyncio.run(all_of_them())


def long_talk(text: str) -> list[dict[str, str]]:
    """More than the window holds."""
    return [{"role": ("user", "assistant")[turn % 2], "content": f"{text} {'x' * 200}"} for turn in range(9)]


def test_after_hundreds_of_requests_nothing_is_left() -> None:
    """Threads, sockets, tasks and rows, in a server in this process."""
    with Running({"m": paced(window=1024)}, capacity=Capacity(max_batch=16, chunk=256)) as server:
        spell(server.url, 40, 0)
        service, state = server.server.service, server.server._uvicorn.server_state
        eventually(lambda: not service.busy and not state.tasks)
        threads = threading.active_count()
        files = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
        spell(server.url, 200, 1)
        eventually(lambda: not service.busy and not state.tasks and not server.server._guard.places.taken)
        eventually(lambda: not state.connections, "sockets stay open")
        assert server.server._guard.bodies.taken == 0
        assert server.figures()["active"] == server.figures()["waiting"] == server.figures()["failed"] == 0
        assert threading.active_count() <= threads
        if files:
            eventually(lambda: len(os.listdir("/proc/self/fd")) <= files)


@pytest.mark.long
@pytest.mark.parametrize("model", ["that talks without end", "that is real"])
def test_ten_thousand_requests_take_less_than_a_megabyte_a_thousand(model: str, tmp_path: Path) -> None:
    """RssAnon + VmSwap: what leaks may well lie in swap, and then no resident size shows it. The real one is served by
    the command as a user has it: it remembers prompts, and each of these is new."""
    words = [*PACED, json.dumps({"pause": 0.0, "rows": 16, "window": 1024})]
    if model == "that is real":
        tiny_checkpoint("chatml", n_positions=1024).save(tmp_path / "m")
        command = ["serve", f"m={tmp_path / 'm'}", "--port", "0", "--json", "--no-log-requests"]
        words = [sys.executable, "-m", "chatwright", *command]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=ENVIRONMENT
    ) as running:
        try:
            assert running.stdout is not None
            url = running.stdout.readline().strip()
            url = json.loads(url)["address"] if url.startswith("{") else url
            process = psutil.Process(running.pid)
            spell(url, 3000, 0)  # what is made once is made by then
            held, threads, files = [private(running.pid)], process.num_threads(), process.num_fds()
            for part in range(7):
                spell(url, 1000, part + 1)
                held.append(private(running.pid))
                print(f"{3 + part + 1},000 requests: {held[-1] / 1e6:.1f} MB", flush=True)
            print("MB after each thousand:", [round(one / 1e6, 1) for one in held])
            eventually(lambda: process.num_fds() <= files, "sockets stay open")
            assert process.num_threads() <= threads
        finally:
            running.kill()
    assert (held[-1] - held[0]) / 7 < 1e6


def private(pid: int) -> int:
    """Bytes that belong to a process alone, in memory or swapped out."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    return sum(int(fields[name].split()[0]) * 1024 for name in ("RssAnon", "VmSwap"))
