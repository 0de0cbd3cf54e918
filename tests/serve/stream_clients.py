"""Many streaming clients in one thread, over bare sockets: each event with the time at which it came."""

import asyncio
import json
import statistics
import time
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Stream:
    """What one client was sent."""

    status: int = 0
    began: float = 0.0
    times: list[float] = field(default_factory=list)  # of the chunks with text
    text: str = ""
    finish: str | None = None
    done: bool = False
    fault: str = ""

    @property
    def gaps(self) -> list[float]:
        return [later - earlier for earlier, later in zip(self.times, self.times[1:], strict=False)]


def run(address: str, bodies: list[dict[str, Any]], between: float = 0.0) -> list[Stream]:
    """All bodies at once, each on a socket of its own, `between` seconds apart."""
    return asyncio.run(_all(address, bodies, between))


async def _all(address: str, bodies: list[dict[str, Any]], between: float) -> list[Stream]:
    tasks = []
    for body in bodies:
        tasks.append(asyncio.ensure_future(_one(address, body)))
        await asyncio.sleep(between)
    return list(await asyncio.gather(*tasks))


async def _one(address: str, body: dict[str, Any]) -> Stream:
    found = Stream(began=time.monotonic())
    host, port = address.removeprefix("http://").split(":")
    try:
        reader, writer = await asyncio.open_connection(host, int(port), limit=2**22)
        data = json.dumps({**body, "stream": True}).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(data)}\r\n"
        writer.write(head.encode() + b"content-type: application/json\r\n\r\n" + data)
        found.status = int((await reader.readline()).split()[1])
        async for line in reader:
            if line.startswith(b"data: "):
                _take(found, line[6:].strip())
            if found.done or line == b"0\r\n":
                break
        writer.close()
    except (OSError, ValueError, IndexError) as error:
        found.fault = repr(error)
    return found


def _take(found: Stream, data: bytes) -> None:
    if data == b"[DONE]":
        found.done = True
        return
    chunk = json.loads(data)
    if "error" in chunk:
        found.fault = chunk["error"]["message"]
        return
    for choice in chunk["choices"]:
        text = choice["delta"].get("content")
        if text:
            found.text += text
            found.times.append(time.monotonic())
        found.finish = choice["finish_reason"] or found.finish


def share(values: list[float], part: float) -> float:
    """The value below which this part of them lies: 0.5 is the median."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def median(values: list[float]) -> float:
    return statistics.median(values)
