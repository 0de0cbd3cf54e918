"""How a server holds up: `chatwright serve` beside `llama_cpp.server`, on one random GPT-2 124M, in one run.

    python benchmarks/serve.py [--peers PYTHON] [--clients 1,8,32,100] [--rounds 3] [--only NAME,NAME] [--quick] [--json]

So many clients at once, each with a stream of its own: 64 tokens of prompt, which no two share, and 64 new ones, greedy.
Tokens a second of all together, milliseconds to the first token and from token to token (median and 99th percentile over
all clients of all rounds), and errors. Servers take turns; each has a process of its own that is there for the whole run
and waits while the others are asked. The peer answers one request at a time.

The peer: pip install "llama-cpp-python[server]" gguf safetensors, built from source; --peers names that Python.
"""

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from _serving import POSITIONS, free_port, peer_file, save_model, say

OURS = {"ours fp32": [], "ours bf16": ["--load-in", "bf16"], "ours int8": ["--load-in", "8bit"]}
PEERS = {"llama_cpp.server f32": "f32", "llama_cpp.server q8_0": "q8_0"}
BESIDE = {"ours fp32": "llama_cpp.server f32", "ours int8": "llama_cpp.server q8_0"}
PROMPT, NEW, QUICK_NEW = 64, 64, 16  # tokens
COLUMNS = ("tok/s", "first p50", "first p99", "between p50", "between p99", "errors")


@dataclass
class Heard:
    """What one client got, with the times of its pieces of text."""

    began: float = 0.0
    times: list[float] = field(default_factory=list)
    tokens: int = 0
    error: str = ""


class Server:
    """One of the servers, in a process of its own."""

    def __init__(self, name: str, folder: Path, given: argparse.Namespace) -> None:
        self.port = free_port()
        self.log = (folder / f"{name}.log").open("w+")
        environment = {**os.environ, "OMP_NUM_THREADS": str(given.threads)}
        if name in OURS:
            command = [sys.executable, "-m", "chatwright", "serve", f"m={folder}", "--port", str(self.port)]
            command += ["--max-waiting", "1000", "--no-log-requests", *OURS[name]]
        else:
            file = peer_file(given.peers, folder, PEERS[name])
            # a new request would end the one before it, and each client would be told that it was interrupted
            command = [given.peers, "-m", "llama_cpp.server", "--model", str(file), "--port", str(self.port)]
            command += ["--interrupt_requests", "false", "--n_ctx", str(POSITIONS), "--n_threads", str(given.threads)]
            command += ["--n_threads_batch", str(given.threads), "--verbose", "false", "--model_alias", "m"]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, env=environment)

    def wait(self) -> None:
        """Until it answers. Raises RuntimeError with its last words when it has ended."""
        while True:
            try:
                heard = asyncio.run(clients(self.port, 1, 2, "warm"))
                if not heard[0].error:
                    return
            except OSError:
                pass
            if self.process.poll() is not None:
                self.log.seek(0)
                raise RuntimeError((self.log.read().strip().splitlines() or ["it said nothing"])[-1])
            time.sleep(0.5)

    def close(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()


async def clients(port: int, count: int, new: int, seed: str) -> list[Heard]:
    """All at once, each on a socket of its own."""
    drawn = random.Random(seed)
    prompts = ["".join(drawn.choice("abcdefgh") for _ in range(PROMPT)) for _ in range(count)]
    return list(await asyncio.gather(*(client(port, prompt, new) for prompt in prompts)))


async def client(port: int, prompt: str, new: int) -> Heard:
    """One streamed completion; its own errors are what it heard, but for a server that is not there."""
    body = {"model": "m", "prompt": prompt, "max_tokens": new, "temperature": 0, "stream": True}
    data = json.dumps(body).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    heard = Heard(time.perf_counter())
    head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n"
    writer.write(head.encode() + b"Content-Type: application/json\r\n\r\n" + data)
    try:
        status = await reader.readline()
        if b" 200 " not in status:
            heard.error = status.decode().strip()
        while not heard.error and (line := await reader.readline()):
            if not line.startswith(b"data: "):
                continue
            if line.startswith(b"data: [DONE]"):
                break
            take(heard, json.loads(line[6:]))
        if not heard.error and heard.tokens != new:
            heard.error = f"{heard.tokens} tokens came, not {new}"
    except (OSError, ValueError) as error:
        heard.error = repr(error)
    writer.close()
    return heard


def take(heard: Heard, chunk: dict[str, Any]) -> None:
    """Each token is a text of its own in this vocabulary, so that pieces are tokens."""
    if "error" in chunk:
        heard.error = str(chunk["error"])
        return
    for choice in chunk["choices"]:
        if choice["text"]:
            heard.times.append(time.perf_counter())
            heard.tokens += choice["text"].count("\N{MIDDLE DOT}")


def main() -> None:
    """Prints a table or, with --json, one object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", default="", help="the Python that has llama_cpp.server, gguf and safetensors")
    parser.add_argument("--clients", default="1,8,32,100")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--only", default="", help=f"some of: {', '.join([*OURS, *PEERS])}")
    parser.add_argument("--quick", action="store_true", help="1 round, 1 and 8 clients, 16 new tokens")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args()
    names = [name.strip() for name in given.only.split(",") if name.strip()] or [*OURS, *(PEERS if given.peers else ())]
    unknown = [name for name in names if name not in {**OURS, **PEERS}]
    if unknown:
        parser.error(f"--only names {unknown[0]!r}; there are {', '.join([*OURS, *PEERS])}")
    if not given.peers and any(name in PEERS for name in names):
        parser.error("--peers is not given, and the peer's server lives there")
    with tempfile.TemporaryDirectory() as folder:
        say("making the model")
        save_model(Path(folder))
        rows, failed = measured(names, Path(folder), given)
    result = {"threads": given.threads, "load": round(os.getloadavg()[0], 2), "rows": rows, "failed": failed}
    print(json.dumps(result)) if given.json else show(result)


def measured(names: list[str], folder: Path, given: argparse.Namespace) -> tuple[dict[str, Any], dict[str, str]]:
    """Server -> clients -> figures; and what those said that did not begin."""
    counts = [1, 8] if given.quick else [int(count) for count in given.clients.split(",")]
    rounds, new = (1, QUICK_NEW) if given.quick else (given.rounds, NEW)
    servers: dict[str, Server] = {}
    failed: dict[str, str] = {}
    heard: dict[str, dict[int, list[Heard]]] = {name: {count: [] for count in counts} for name in names}
    seconds: dict[str, dict[int, list[float]]] = {name: {count: [] for count in counts} for name in names}
    try:
        for name in names:
            say(f"starting {name}")
            servers[name] = Server(name, folder, given)
            try:
                servers[name].wait()
            except RuntimeError as error:
                failed[name] = str(error)
        for turn in range(rounds):
            for count in counts:
                for name in names:
                    if name in failed:
                        continue
                    began = time.perf_counter()
                    heard[name][count] += asyncio.run(clients(servers[name].port, count, new, f"{turn} {count}"))
                    seconds[name][count].append(time.perf_counter() - began)
                    say(f"{name}: {count} clients in {seconds[name][count][-1]:.1f} s")
    finally:
        for server in servers.values():
            server.close()
    rows = {
        name: {count: figures(heard[name][count], seconds[name][count], count * new) for count in counts}
        for name in names
        if name not in failed
    }
    return rows, failed


def figures(heard: list[Heard], seconds: list[float], tokens: int) -> dict[str, float]:
    """Tokens a second in the median round; milliseconds of all clients that heard anything."""
    good = [one for one in heard if not one.error]
    first = [1e3 * (one.times[0] - one.began) for one in good]
    between = [1e3 * (b - a) for one in good for a, b in zip(one.times, one.times[1:], strict=False)]
    row = {"tok/s": round(tokens / median(seconds), 1) if len(good) == len(heard) else 0.0}
    for name, values in (("first", first), ("between", between)):
        ordered = sorted(values) or [0.0]
        row[f"{name} p50"] = round(median(ordered), 1)
        row[f"{name} p99"] = round(ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))], 1)
    return {**row, "errors": len(heard) - len(good)}


def show(result: dict[str, Any]) -> None:
    """A line for each server and number of clients; in brackets how many times the peer's tokens a second."""
    print(f"{result['threads']} threads, load {result['load']}; in brackets: times the peer's tokens a second; ms")
    print(f"{'':<24}{'clients':>8}" + "".join(f"{name:>14}" for name in COLUMNS))
    for name, row in result["rows"].items():
        peer = result["rows"].get(BESIDE.get(name, ""), {})
        for count, found in row.items():
            cells = [str(found[column]) for column in COLUMNS]
            if peer and peer[count]["tok/s"]:
                cells[0] += f" ({found['tok/s'] / peer[count]['tok/s']:.2f})"
            print(f"{name:<24}{count:>8}" + "".join(f"{cell:>14}" for cell in cells))
    for name, said in result["failed"].items():
        print(f"{name:<24} failed: {said}")


if __name__ == "__main__":
    main()
