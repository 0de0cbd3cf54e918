"""Who is let in: keys, hosts, origins; what a name in a request can reach; and what is written down of it all."""

import contextlib
import logging
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import openai
import pytest
from running_server import POISON, Running, chat, eventually, paced, served

from chatwright.commands import _cli
from chatwright.errors import ConfigError
from chatwright.serve import auth, catalogue
from chatwright.serve.errors import Refused
from chatwright.serve.server import Door, listen

KEY = "sk-Abc123_right"
OTHER = "sk-second"
SECRET = "the-secret-of-the-prompt"


@pytest.fixture(scope="module")
def locked() -> Iterator[Running]:
    """A server with keys."""
    with Running({"m": paced(window=512)}, door=Door(keys=auth.Keys([KEY, OTHER]))) as server:
        yield server


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with Running({"m": paced(window=512)}) as server:
        yield server


def status(server: Running, **headers: str) -> int:
    with server.web() as web:
        answer = web.post("/v1/chat/completions", json=chat(max_tokens=1), headers=headers)
    if answer.status_code != 200:
        assert answer.headers["content-type"] == "application/json"
        assert KEY not in answer.text
    return answer.status_code


def test_the_right_keys_open_the_door(locked: Running) -> None:
    for key in (KEY, OTHER):
        assert status(locked, authorization=f"Bearer {key}") == 200
        assert status(locked, authorization=f"bearer  {key}") == 200
        with openai.OpenAI(base_url=f"{locked.url}/v1", api_key=key, max_retries=0) as client:
            assert client.models.list().data


@pytest.mark.parametrize(
    "given",
    [
        "",
        "Bearer",
        "Bearer wrong",
        f"Bearer {KEY[:-1]}",
        f"Bearer {KEY}x",
        f"Bearer {KEY.upper()}",
        f"Bearer {KEY.lower()}",
        f"Bearer {KEY},{OTHER}",
        f"Bearer {KEY} {OTHER}",
        f"Basic {KEY}",
        KEY,
        "Bearer schlüssel",
        "Bearer " + "x" * 60_000,
    ],
    ids=lambda given: given[:24] or "nothing",
)
def test_any_other_key_does_not(locked: Running, given: str) -> None:
    with locked.web() as web:
        headers = [(b"authorization", given.encode("latin-1"))] if given else []
        answer = web.post("/v1/chat/completions", json=chat(), headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
    assert answer.json()["error"]["type"] == "authentication_error"
    assert answer.headers["www-authenticate"] == "Bearer"


def test_every_key_is_compared_each_time_and_as_a_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long it takes tells nobody which key was near, how much of it was right, or how long they are."""
    compared: list[tuple[bytes, bytes]] = []
    compare = auth.hmac.compare_digest
    monkeypatch.setattr(auth.hmac, "compare_digest", lambda *pair: (compared.append(pair), compare(*pair))[1])
    keys = auth.Keys([KEY, OTHER, "third"])
    for given in (KEY, OTHER, KEY[:-1], "x", "x" * 60_000, ""):
        compared.clear()
        with contextlib.suppress(Refused):
            keys.check([(b"authorization", f"Bearer {given}".encode())])
        assert len(compared) == 3
        assert {len(one) for pair in compared for one in pair} == {32}


def test_a_key_elsewhere_or_twice_or_of_a_megabyte_is_none(locked: Running) -> None:
    assert status(locked, **{"x-api-key": KEY}) == 401
    with locked.web() as web:
        twice = [("authorization", f"Bearer {KEY}"), ("authorization", f"Bearer {KEY}")]
        assert web.post("/v1/chat/completions", json=chat(), headers=twice).status_code == 401
        assert web.get(f"/v1/models?api_key={KEY}").status_code == 401
        assert 400 <= web.get("/v1/models", headers={"authorization": "Bearer " + "k" * 2**20}).status_code < 500


def test_without_a_key_only_the_health_is_told(locked: Running) -> None:
    with locked.web() as web:
        assert web.get("/health").status_code == 200
        for path in ("/v1/models", "/v1/models/m", "/metrics", "/version", "/openapi.json", "/nothing"):
            assert web.get(path).status_code == 401, path
        assert web.post("/tokenize", json={"model": "m", "text": "a"}).status_code == 401
        assert web.get("/metrics", headers={"authorization": f"Bearer {KEY}"}).status_code == 200


def test_a_wrong_key_is_refused_before_the_body_is_read(locked: Running) -> None:
    with locked.connect() as line:
        line.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            b"authorization: Bearer wrong\r\ncontent-length: 1000000\r\n\r\n"
        )
        assert line.recv(65536).startswith(b"HTTP/1.1 401 "), "no byte of the body was sent"


def test_a_page_of_another_site_gets_nothing(running: Running) -> None:
    evil = {"origin": "https://evil.example"}
    with running.web(headers=evil) as web:
        plain = web.post("/v1/chat/completions", content=b"{}", headers={"content-type": "text/plain"})
        preflight = web.options("/v1/chat/completions", headers={"access-control-request-method": "POST"})
        models = web.get("/v1/models")
    assert (plain.status_code, preflight.status_code) == (415, 405)
    for answer in (plain, preflight, models):
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_page_that_was_named_may_ask() -> None:
    door = Door(keys=auth.Keys([KEY]), origins=["https://good.example"])
    asks = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    with Running({"m": paced(window=512)}, door=door) as server, server.web() as web:
        good = web.options("/v1/chat/completions", headers={"origin": "https://good.example", **asks})
        evil = web.options("/v1/chat/completions", headers={"origin": "https://evil.example", **asks})
        wrong = web.get("/v1/models", headers={"origin": "https://good.example"})
    assert good.headers["access-control-allow-origin"] == "https://good.example"
    assert "access-control-allow-origin" not in evil.headers
    assert (wrong.status_code, wrong.headers["access-control-allow-origin"]) == (401, "https://good.example")


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8000", "127.0.0.1", "[::1]:80", "192.168.1.7:8000", "my.name"]
)
def test_hosts_that_are_meant_are_answered(host: str) -> None:
    auth.Hosts(["my.name"]).check([(b"host", host.encode())])
    auth.Hosts(["my.name"]).check([(b"host", socket.gethostname().encode())])


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "evil.example:8000", "", "localhost:", "a b", "127.0.0.1.evil.example"],
)
def test_a_host_that_is_not_on_the_list_is_refused(running: Running, host: str) -> None:
    """A name of somebody else that leads here is how a page in a browser gets around its own rules."""
    for path in ("/health", "/v1/models", "/metrics"):
        with running.web() as web:
            answer = web.get(path, headers={"host": host})
        assert answer.status_code == 403
        assert "--allowed-hosts" in answer.json()["error"]["message"]


def test_two_hosts_or_none_are_refused() -> None:
    for headers in ([], [(b"host", b"localhost"), (b"host", b"localhost")]):
        with pytest.raises(Refused):
            auth.Hosts().check(headers)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.7", "::", "my.name"])
def test_the_network_is_not_served_without_a_key(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _cli.main(["serve", "no-such-model", "--host", host]) == 2
    assert "--insecure" in capsys.readouterr().err
    auth.check_exposure(host, auth.Keys([]), insecure=True)
    auth.check_exposure(host, auth.Keys([KEY]), insecure=False)


def test_loopback_needs_none() -> None:
    for host in ("127.0.0.1", "localhost", "::1", "127.9.9.9"):
        auth.check_exposure(host, auth.Keys([]), insecure=False)


def test_keys_come_from_a_file_as_well(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# ours\n{KEY}\n\n  {OTHER} \n")
    keys = auth.keys_of(["third"], file)
    assert len(keys) == 3
    for key in (KEY, OTHER, "third"):
        keys.check([(b"authorization", f"Bearer {key}".encode())])
    file.write_text("# none\n")
    for wrong in (file, tmp_path / "missing"):
        with pytest.raises(ConfigError, match="--api-key-file"):
            auth.keys_of([], wrong)


@pytest.mark.parametrize("key", ["", " ", "with space", "schlüssel", "line\nbreak"])
def test_a_key_that_no_header_carries_is_refused_at_the_start_and_not_shown(key: str) -> None:
    with pytest.raises(ConfigError) as refused:
        auth.Keys([key])
    assert "schl" not in str(refused.value)


PATHS = [
    "../../etc/passwd",
    "/etc/passwd",
    "%2e%2e%2fetc%2fpasswd",
    "..\\..\\windows\\win.ini",
    "C:\\Users",
    "\\\\host\\share",
    "file:///etc/passwd",
    "m/../m",
    "m\0",
    "M",
    "m:../adapter",
    "con",
]


@pytest.mark.parametrize("name", PATHS)
def test_a_model_of_a_request_is_a_name_and_never_a_path(running: Running, name: str) -> None:
    with running.web() as web:
        chats = web.post("/v1/chat/completions", json=chat() | {"model": name})
        found = web.get("/v1/models/" + quote(name, safe="%"))
    assert (chats.status_code, chats.json()["error"]["code"]) == (404, "model_not_found")
    assert found.status_code == 404


def test_a_path_of_this_machine_is_told_to_nobody(tmp_path: Path) -> None:
    assert catalogue.named(str(tmp_path / "pirate" / "model"))[0] == "pirate"
    assert catalogue.named(str(tmp_path / "pirate"))[0] == "pirate"
    assert catalogue.named("runs/quickstart/sft") == ("runs/quickstart/sft", "runs/quickstart/sft")
    assert catalogue.named(f"bot={tmp_path}") == ("bot", str(tmp_path))
    with pytest.raises(ConfigError, match="simpler"):
        catalogue.named("a b=runs")


def test_nothing_that_was_said_is_written_down(locked: Running, caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("chatwright.serve")
    log.propagate = True
    caplog.set_level(logging.DEBUG, logger="chatwright.serve")
    right = {"authorization": f"Bearer {KEY}"}
    with locked.web(headers=right) as web:
        assert web.post("/v1/chat/completions", json=chat(SECRET, max_tokens=2)).status_code == 200
        assert web.post("/v1/chat/completions", json=chat(SECRET + POISON)).status_code == 500
        assert web.post("/v1/chat/completions", json=chat(SECRET, colour=SECRET, n=99)).status_code == 400
        assert web.get("/v1/models/%0d%0aINJECTED%1b[31m").status_code == 404
        assert web.get("/v1/models", headers={"authorization": f"Bearer {SECRET}"}).status_code == 401
    eventually(lambda: "INJECTED" in caplog.text)
    assert SECRET not in caplog.text
    assert KEY not in caplog.text
    assert "SECRET" not in caplog.text, "the words of an error may quote what was sent"
    assert "RuntimeError at " in caplog.text
    assert "abc" not in caplog.text
    lines = [record.getMessage() for record in caplog.records]
    assert not [line for line in lines if "\n" in line or "\r" in line or "\x1b" in line]


def test_a_port_that_is_taken_is_said_before_a_model_is_read(
    running: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _cli.main(["serve", "no-such-model", "--port", str(running.port)]) == 2
    assert "give another --port" in capsys.readouterr().err
    with pytest.raises(ConfigError):
        listen("256.0.0.1", 0)


def test_names_of_models_and_aliases_are_checked_at_the_start() -> None:
    one: Any = paced()
    with pytest.raises(ConfigError, match="two models"):
        catalogue.Catalogue([served("m", one), served("m", one)], {})
    with pytest.raises(ConfigError, match="not served"):
        catalogue.Catalogue([served("m", one)], {"alias": "n"})
    with pytest.raises(ConfigError, match="own name"):
        catalogue.Catalogue([served("m", one), served("n", one)], {"m": "n"})
