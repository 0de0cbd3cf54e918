"""What is served: model folders by name, adapters on them, their own defaults, and the figures of it all."""

import json
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from running_server import Running, chat, eventually, paced
from scripted_model import bigram_folder
from tiny_models import tiny_checkpoint

from chatwright.commands import serve as command
from chatwright.errors import ConfigError
from chatwright.generate.chatbot import Chatbot
from chatwright.generate.sampling import Sampling
from chatwright.models.lora import LoraConfig
from chatwright.serve import catalogue
from chatwright.serve.catalogue import Wanted
from chatwright.text.records import conversation


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """base, and two adapters of it that have learned something each."""
    import torch

    folder = tmp_path_factory.mktemp("models")
    tiny_checkpoint("chatml", n_positions=128).save(folder / "base")
    for name, seed in (("pirate", 1), ("poet", 2)):
        checkpoint = catalogue.Checkpoint.load(folder / "base")
        adapted = checkpoint.with_lora(LoraConfig(4, 8), str(folder / "base"), dtype=torch.float32, seed=seed)
        torch.manual_seed(seed)
        for weight in adapted.model.parameters():
            if weight.requires_grad:
                weight.data.normal_(std=0.5)
        adapted.save(folder / name)
    return folder


def test_adapters_are_models_that_answer_as_they_do_alone(folders: Path) -> None:
    """At the same time, over one base whose weights are in memory once."""
    wanted = Wanted([f"b={folders / 'base'}"], [f"pirate={folders / 'pirate'}", f"b:poet={folders / 'poet'}"])
    found = catalogue.load(wanted, 0)
    assert found.names == ["b", "b:pirate", "b:poet"]
    models = found.checkpoints
    assert len({id(one.model) for one in models.values()}) == 1
    alone = {}
    for name, folder in (("b", "base"), ("b:pirate", "pirate"), ("b:poet", "poet")):
        bot = Chatbot.load(folders / folder, device="cpu")
        alone[name] = "".join(bot.reply(conversation("hi"), Sampling(max_tokens=20)))
    assert len(set(alone.values())) == 3
    with Running(models) as server:
        told: dict[str, set[str]] = {name: set() for name in models}

        def ask(name: str) -> None:
            with server.web() as web:
                for _ in range(3):
                    body = chat(max_tokens=20) | {"model": name}
                    told[name].add(
                        web.post("/v1/chat/completions", json=body).json()["choices"][0]["message"]["content"]
                    )

        threads = [threading.Thread(target=ask, args=(name,)) for name in models]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert told == {name: {text} for name, text in alone.items()}


def test_adapters_that_belong_to_nothing_are_refused_at_the_start(folders: Path) -> None:
    base = f"b={folders / 'base'}"
    with pytest.raises(ConfigError, match="there is no model 'c'"):
        catalogue.load(Wanted([base], [f"c:pirate={folders / 'pirate'}"]), 0)
    with pytest.raises(ConfigError, match="is there twice"):
        catalogue.load(Wanted([base], [f"x={folders / 'pirate'}", f"x={folders / 'poet'}"]), 0)
    with pytest.raises(ConfigError, match="a whole model"):
        catalogue.load(Wanted([base], [str(folders / "base")]), 0)
    with pytest.raises(ConfigError, match="two models"):
        catalogue.load(Wanted([base, base]), 0)
    with pytest.raises(ConfigError, match="--alias"):
        catalogue.load(Wanted([base], aliases=["gpt"]), 0)


def test_defaults_are_the_command_lines_then_the_models_then_openais(folders: Path) -> None:
    path = folders / "base" / "generation_config.json"
    before = json.loads(path.read_text())

    def defaults(**own: Any) -> dict[str, Any]:
        path.write_text(json.dumps(before | own))
        return dict(catalogue.load(Wanted([f"b={folders / 'base'}"], defaults={"top_p": 0.5}), 0).find("b").defaults)

    try:
        assert defaults() == {"temperature": 1.0, "top_p": 0.5}
        assert defaults(temperature=0.7, top_p=0.9, top_k=40) == {"temperature": 0.7, "top_p": 0.5, "top_k": 40}
        assert defaults(do_sample=False, temperature=0.7)["temperature"] == 0.0
        assert defaults(temperature="hot", top_k=None, min_p=True) == {"temperature": 1.0, "top_p": 0.5}
    finally:
        path.write_text(json.dumps(before))


def test_the_figures_count_what_was_done() -> None:
    with Running({"m": paced(window=512)}) as server, server.web() as web:
        assert web.post("/v1/chat/completions", json=chat(max_tokens=7)).status_code == 200
        assert web.post("/v1/chat/completions", json=chat(n=9)).status_code == 400
        assert web.get("/v1/models/elsewhere").status_code == 404
        for number in range(50):
            web.get(f"/random/{number}")
        eventually(lambda: server.metric("chatwright_finished_total") == 1)
        assert server.metric("chatwright_generated_tokens_total") == 7
        assert server.metric("chatwright_first_token_seconds_count") == 1
        assert server.metric("chatwright_between_tokens_seconds_count") == 6
        page = web.get("/metrics")
        assert page.headers["content-type"].startswith("text/plain; version=")
        lines = page.text.splitlines()
    assert 'chatwright_requests_total{path="/v1/chat/completions",status="400"} 1.0' in lines
    assert 'chatwright_requests_total{path="/v1/models/{id}",status="404"} 1.0' in lines
    assert 'chatwright_requests_total{path="other",status="404"} 50.0' in lines, "what is asked makes no new rows"
    assert "random" not in page.text


def test_the_version_is_told() -> None:
    with Running({"m": paced()}) as server, server.web() as web:
        assert web.get("/version").json()["version"]


def test_the_command_serves_until_it_is_told_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In this process, where `test_serve_ending` has one of its own."""
    model = bigram_folder(tmp_path / "model", "Sure!")
    settings = command.Settings(models=[f"bot={model}"], port=0, log_requests=False)
    server = command._server(settings)
    loaded, address = command._loaded(settings), server.address
    thread = threading.Timer(0.5, server.stop, [signal.SIGTERM])
    thread.start()
    assert server.run(lambda: loaded, lambda: command._say(server, settings)) == signal.SIGTERM
    thread.join()
    said = capsys.readouterr()
    assert said.out == ""
    assert f"serving bot at {address}/v1" in said.err
    assert "Authorization" not in said.err


def test_without_the_servers_packages_the_command_says_how_to_get_them(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from chatwright.commands import _cli

    monkeypatch.setitem(sys.modules, "chatwright.serve.server", None)
    assert _cli.main(["serve", "m"]) == 2
    assert "pip install 'chatwright[serve]'" in capsys.readouterr().err
