"""What `serve` and `web` share: which models are opened to whom, and how a server lives until it is told to end."""

import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from pydantic import Field

from chatwright import config
from chatwright.commands._loading import LoadInSetting
from chatwright.errors import ChatwrightError, ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from chatwright.generate.scheduler import Scheduler
    from chatwright.serve.auth import Hosts, Keys
    from chatwright.serve.catalogue import Catalogue
    from chatwright.serve.server import Server


class DoorSettings(config.Settings):
    """Models, and who may ask them."""

    models: list[str] = Field(min_length=1, description="models: run or model folders, hub ids, or ID=M each")
    adapters: list[str] = Field(
        default=[], description="adapters on the first model, or BASE:NAME=A; asked for as BASE:NAME"
    )
    host: str = Field(default="127.0.0.1", description="address to listen on; 0.0.0.0 is the whole network")
    api_key: list[str] = Field(
        default=[], description="keys that are let in; others see the command line: better CHATWRIGHT_API_KEY or a file"
    )
    api_key_file: Path | None = Field(default=None, description="file with such keys, one a line")
    insecure: bool = Field(default=False, description="open to the network without a key")
    allowed_hosts: list[str] = Field(default=[], description="further names under which the server is asked")
    template: str | None = Field(default=None, description="chat template in place of the models' own")
    load_in: LoadInSetting = None
    device: str = Field(default="auto", description="auto, cpu, cuda or mps")


def check_installed() -> None:
    """ConfigError where the libraries of the extra `serve` are missing."""
    try:
        import chatwright.serve.server  # noqa: F401
    except ModuleNotFoundError as error:
        raise ConfigError(f"{error.name} is not installed; pip install 'chatwright[serve]'") from None


def who(settings: DoorSettings) -> "tuple[Keys, Hosts]":
    """Who may ask, and under which names; ConfigError where it would be everybody."""
    from chatwright.serve import auth

    keys = auth.keys_of(settings.api_key, settings.api_key_file)
    auth.check_exposure(settings.host, keys, settings.insecure)
    return keys, auth.Hosts((settings.host, *settings.allowed_hosts))


def lived(server: "Server", load: "Callable[[], tuple[Catalogue, Scheduler]]", ready: "Callable[[], None]") -> NoReturn:
    """Serves until a signal comes, and then raises Interrupted with its exit code."""
    from chatwright.train.signals import Interrupted

    number = server.run(load, ready)
    if number is None:  # nobody asked for that
        raise ChatwrightError("the server has ended by itself; its log says why")
    raise Interrupted(number, f"ended by {signal.Signals(number).name}")


def told(server: "Server", settings: DoorSettings) -> list[str]:
    """The names that are served; with --json they are said, with the address, in a line on stdout."""
    names = server.service.catalogue.names
    if settings.json:
        ready: dict[str, Any] = {"address": server.address, "models": names}
        print(json.dumps(ready), file=sys.__stdout__, flush=True)
    return names
