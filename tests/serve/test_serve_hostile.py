"""What is sent to break the server gets a 4xx with an error object, never a 5xx, and the next request is answered."""

import asyncio
import json
import random
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from running_server import WAIT, Running, chat, paced

from chatwright.serve.limits import Limits

LIMITS = Limits()
JSON = {"content-type": "application/json"}
PATHS = ("/v1/chat/completions", "/v1/completions", "/tokenize")


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with Running({"m": paced(window=512)}) as server:
        yield server


def refused(running: Running, body: bytes, path: str = PATHS[0], headers: dict[str, str] = JSON) -> dict[str, Any]:
    """The error object of a refusal; the server is asked for its health afterwards."""
    with running.web() as web:
        answer = web.post(path, content=body, headers=headers)
        assert 400 <= answer.status_code < 500, answer.text
        assert answer.status_code != 422
        assert answer.headers["content-type"] == "application/json"
        error: dict[str, Any] = answer.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["message"]
        assert web.get("/health").status_code == 200
    return {**error, "status": answer.status_code}


def asked(**fields: Any) -> bytes:
    return json.dumps(chat(**fields)).encode()


def spliced(value: str, name: str = "temperature") -> bytes:
    """A chat request with a value that no encoder would write."""
    return asked(**{name: 0}).replace(f'"{name}": 0'.encode(), f'"{name}": {value}'.encode())


HOSTILE = {
    "empty": b"",
    "blanks": b"  \n ",
    "no json": b"{'model': 'm'}",
    "cut": asked()[:-4],
    "two": asked() + asked(),
    "an array": b"[]",
    "null": b"null",
    "a string": b'"m"',
    "deep arrays": b"[" * 200_000,
    "deep objects": b'{"a":' * 200_000,
    "deep inside": spliced("[" * 200_000 + "]" * 200_000, "unknown"),
    "a number of 5,000 digits": spliced("9" * 5000, "max_tokens"),
    "a number of 5,000 digits that nobody knows": spliced("9" * 5000, "unknown"),
    "NaN": spliced("NaN"),
    "infinity": spliced("Infinity"),
    "1e999": spliced("1e999"),
    "true as a number": spliced("true"),
    "true as a whole number": spliced("true", "max_tokens"),
    "text as a number": spliced('"3"', "max_tokens"),
    "a fraction as a whole number": spliced("1.5", "max_tokens"),
    "a number as text": spliced("3", "model"),
    "one as true": spliced("1", "stream"),
    "a lone surrogate": spliced(r'"\ud800"', "user_").replace(b'"hi"', rb'"\ud800"'),
    "no utf-8": asked().replace(b'"hi"', b'"\xff\xfe"'),
    "a null byte": b"\0" + asked(),
    "utf-16": asked().decode().encode("utf-16"),
    "a key twice": b'{"model": "m", ' + asked()[1:],
    "a key twice inside": asked().replace(b'"role"', b'"role": "system", "role"'),
    "messages as text": json.dumps({"model": "m", "messages": "hi"}).encode(),
    "a message as text": json.dumps({"model": "m", "messages": ["hi"]}).encode(),
    "no messages": json.dumps({"model": "m", "messages": []}).encode(),
    "no model": json.dumps({"messages": [{"role": "user", "content": "hi"}]}).encode(),
}


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_hostile_json_is_refused_in_words(running: Running, name: str) -> None:
    assert refused(running, HOSTILE[name])["status"] == 400


@pytest.mark.parametrize("path", PATHS)
def test_random_bytes_are_refused_everywhere(running: Running, path: str) -> None:
    draw = random.Random(0)
    for size in (1, 10, 1000, 100_000):
        assert refused(running, draw.randbytes(size), path)["status"] == 400


BEYOND: dict[str, tuple[dict[str, Any], str]] = {
    "messages": ({"messages": [{"role": "user", "content": "a"}] * 1025}, "messages"),
    "n": ({"n": 9}, "n"),
    "no n": ({"n": 0}, "n"),
    "stops": ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
    "an empty stop": ({"stop": ""}, "stop"),
    "an empty stop among others": ({"stop": ["a", ""]}, "stop[1]"),
    "a long stop": ({"stop": "x" * 1001}, "stop"),
    "no tokens": ({"max_tokens": 0}, "max_tokens"),
    "negative tokens": ({"max_tokens": -1}, "max_tokens"),
    "no newer tokens": ({"max_completion_tokens": 0}, "max_completion_tokens"),
    "biases": ({"logit_bias": {str(i): 1 for i in range(301)}}, "logit_bias"),
    "a bias of no token": ({"logit_bias": {"abc": 1}}, "logit_bias"),
    "a bias too large": ({"logit_bias": {"5": 101}}, "logit_bias"),
    "a bias beyond the vocabulary": ({"logit_bias": {"100000": 1}}, "logit_bias"),
    "temperature": ({"temperature": 2.1}, "temperature"),
    "negative temperature": ({"temperature": -0.1}, "temperature"),
    "top_p": ({"top_p": 1.5}, "top_p"),
    "penalty": ({"presence_penalty": 3}, "presence_penalty"),
    "top_logprobs": ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    "top_logprobs alone": ({"top_logprobs": 2}, "top_logprobs"),
    "seed": ({"seed": 2**64}, "seed"),
    "stream_options alone": ({"stream_options": {"include_usage": True}}, "stream_options"),
    "a role": ({"messages": [{"role": "tool", "content": "a"}]}, "messages[0].role"),
    "no content": ({"messages": [{"role": "user"}]}, "messages[0].content"),
    "null content": ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
    "empty content": ({"messages": [{"role": "user", "content": " "}]}, "messages"),
    "two users": ({"messages": [{"role": "user", "content": "a"}] * 2}, "messages"),
    "a part": (
        {"messages": [{"role": "user", "content": [{"type": "file", "file": {}}]}]},
        "messages[0].content[0].type",
    ),
    "calls": (
        {"messages": [{"role": "assistant", "content": "a", "tool_calls": [{"id": "x"}]}]},
        "messages[0].tool_calls",
    ),
}


@pytest.mark.parametrize("name", sorted(BEYOND))
def test_what_is_beyond_a_limit_is_refused_by_its_name(running: Running, name: str) -> None:
    fields, param = BEYOND[name]
    error = refused(running, asked(**fields))
    assert (error["status"], error["param"]) == (400, param)


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": []},
        {"prompt": [[]]},
        {"prompt": [1, "a"]},
        {"prompt": [-1]},
        {"prompt": [259]},
        {"prompt": ["a"] * 129},
        {"prompt": ["a"] * 100, "n": 2},
        {"prompt": ""},
        {"prompt": None},
        {"prompt": "a", "logprobs": 21},
        {"prompt": "a", "best_of": 3},
    ],
)
def test_a_prompt_that_is_none_is_refused(running: Running, fields: dict[str, Any]) -> None:
    assert refused(running, json.dumps({"model": "m", **fields}).encode(), PATHS[1])["status"] == 400


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "json"])
def test_only_json_is_read(running: Running, kind: str) -> None:
    assert refused(running, asked(), headers={"content-type": kind})["status"] == 415


def test_a_packed_body_is_refused(running: Running) -> None:
    assert refused(running, asked(), headers={**JSON, "content-encoding": "gzip"})["status"] == 415


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE"])
@pytest.mark.parametrize("path", PATHS)
def test_other_methods_are_refused(running: Running, path: str, method: str) -> None:
    with running.web() as web:
        answer = web.request(method, path)
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"
    assert "access-control-allow-origin" not in answer.headers
    if method != "HEAD":
        assert answer.json()["error"]["type"] == "invalid_request_error"


def test_a_path_that_is_none_is_not_found(running: Running) -> None:
    with running.web() as web:
        for path in ("/", "/v2", "/docs", "/v1/chat", "/v1/chat/completions/", "/%1b[31m", "/%00"):
            assert web.get(path).status_code == 404, path
        lost = web.post("/chat/completions", json=chat()).json()["error"]  # a base URL without its /v1
    assert lost["code"] == "unknown_path"
    assert "/v1/chat/completions" in lost["message"]


def test_a_body_that_is_too_large_is_refused_whether_it_says_so_or_not(running: Running) -> None:
    large = b" " * (LIMITS.body + 1)
    error = refused(running, large)
    assert (error["status"], error["code"]) == (413, "request_too_large")
    pieces = (b" " * 65536 for _ in range(LIMITS.body // 65536 + 1))
    with running.web() as web:
        answer = web.post(PATHS[0], content=pieces, headers=JSON)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")
    assert refused(running, b" " * LIMITS.body)["status"] == 400, "one that just fits is read"


def test_who_speaks_before_listening_hears_that_the_body_was_too_large(running: Running) -> None:
    """A socket that is closed on bytes that nobody read is reset, and what was answered lost."""
    size = 8 * 2**20
    with running.connect() as line:
        line.sendall(head(**{"content-length": str(size)}) + b" " * size)
        assert received(line).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("smallest", [5e-324, 1e-300, 1e-45, 1e-30])
def test_numbers_next_to_nothing_fail_no_request(running: Running, smallest: float) -> None:
    with running.web() as web:
        answer = web.post(PATHS[0], json=chat(temperature=smallest, top_p=smallest, min_p=smallest, max_tokens=3))
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["message"]["content"] == "abc"
    assert refused(running, asked(repetition_penalty=smallest))["param"] == "repetition_penalty"


def test_what_a_body_says_of_its_size_is_believed_before_it_comes(running: Running) -> None:
    answer = sent(running, head(**{"content-length": str(64 * 2**20)}))
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_headers_that_are_too_large_are_refused_in_one_piece_and_in_many(running: Running) -> None:
    whole = head(**{"x-large": "x" * (LIMITS.headers + 1)})
    assert b"HTTP/1.1 4" in sent(running, whole)
    many = head(**{f"x-{i}": "y" * 90 for i in range(1000)})
    assert b"HTTP/1.1 4" in sent(running, many)
    with running.connect() as line:
        line.settimeout(WAIT)
        line.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\n")
        for i in range(2000):
            try:
                line.sendall(f"x-{i}: {'z' * 90}\r\n".encode())
            except OSError:  # cut off
                break
        assert received(line)[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 431", b"")


def test_a_head_that_came_in_one_piece_is_measured_as_well(running: Running) -> None:
    """The parser looks at the size of what is not whole yet; how the network cuts it up is not ours to say."""
    sent_back: list[Any] = []

    async def send(message: Any) -> None:
        sent_back.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    headers = [(b"host", b"localhost"), *((b"x-many", b"y" * 90) for _ in range(1000))]
    scope = {"type": "http", "method": "GET", "path": "/v1/models", "headers": headers}
    asyncio.run(running.server._guard(scope, receive, send))
    assert sent_back[0]["status"] == 431


def test_what_is_no_http_gets_an_error_object(running: Running) -> None:
    for line in (b"hello\r\n\r\n", b"GET /\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500):
        answer = sent(running, line)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["type"] == "invalid_request_error"


def test_a_body_with_two_lengths_is_refused(running: Running) -> None:
    answer = sent(running, head(**{"content-length": "2", "transfer-encoding": "chunked"}) + b"{}")
    assert answer.startswith(b"HTTP/1.1 400 ")


def head(**headers: str) -> bytes:
    fields = {"host": "localhost", "content-type": "application/json", **headers}
    lines = [f"POST {PATHS[0]} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def sent(running: Running, data: bytes) -> bytes:
    """What comes back on a fresh socket."""
    with running.connect() as line:
        line.sendall(data)
        return received(line)


def received(line: socket.socket) -> bytes:
    """Everything until the other side ends, or a whole answer."""
    found = b""
    try:
        while part := line.recv(65536):
            found += part
            before, _, body = found.partition(b"\r\n\r\n")
            length = [int(one.split(b":")[1]) for one in before.split(b"\r\n") if one.startswith(b"content-length:")]
            if length and len(body) >= length[0]:
                break
    except ConnectionResetError:
        pass
    return found
