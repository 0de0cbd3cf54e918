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

from chatwright.generate.capacity import Capacity

KINDS = ("whole", "stream", "left", "wrong", "unknown", "too long", "logprobs", "n", "tokenize", "cut")


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
        }
        body |= changes.get(kind, {})
        if kind == "tokenize":
            path, body = "/tokenize", {"model": "m", "text": text}
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
def test_ten_thousand_requests_take_less_than_a_megabyte_a_thousand() -> None:
    """RssAnon + VmSwap: what leaks may well lie in swap, and then no resident size shows it."""
    settings = json.dumps({"pause": 0.0, "rows": 16, "window": 1024})
    with subprocess.Popen(
        [*PACED, settings], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=ENVIRONMENT
    ) as running:
        try:
            assert running.stdout is not None
            url = running.stdout.readline().strip()
            process = psutil.Process(running.pid)
            spell(url, 3000, 0)  # what is made once is made by then
            held, threads = [private(running.pid)], process.num_threads()
            for part in range(7):
                spell(url, 1000, part + 1)
                held.append(private(running.pid))
            print("MB after each thousand:", [round(one / 1e6, 1) for one in held])
            eventually(lambda: process.num_fds() < 40, "sockets stay open")
            assert process.num_threads() <= threads
        finally:
            running.kill()
    assert (held[-1] - held[0]) / 7 < 1e6


def private(pid: int) -> int:
    """Bytes that belong to a process alone, in memory or swapped out."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    return sum(int(fields[name].split()[0]) * 1024 for name in ("RssAnon", "VmSwap"))
