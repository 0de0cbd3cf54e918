"""How a chat was opened: which model, held and placed how, so that another one is read or trained in the same way."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from chatwright.checkpoint import LoadIn
from chatwright.errors import ConfigError
from chatwright.generate.capacity import Capacity
from chatwright.generate.chatbot import TOGETHER, Chatbot

Verb = Callable[[str, dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class Opening:
    """`run` runs a training verb by its name; verbs live a floor above, so whoever opens the chat hands it in."""

    model: str
    device: str = "auto"
    template: str | None = None
    load_in: LoadIn | None = None
    run: Verb | None = None
    capacity: Capacity = TOGETHER

    def load(self, name: str, template: str | None = None) -> Chatbot:
        """Another model, in the same way. Raises ConfigError or DataError in one sentence."""
        return Chatbot.load(name, device=self.device, template=template, load_in=self.load_in, capacity=self.capacity)

    def train(self, verb: str, settings: dict[str, Any]) -> dict[str, Any]:
        """Runs a training verb with the device, the precision and, for its own model, the template of the chat."""
        if self.run is None:
            raise ConfigError("this conversation cannot train; open it with: chatwright chat MODEL")
        held = {} if self.load_in in (None, "bf16") else {"load_in": self.load_in}
        spoken = {"template": self.template} if self.template and settings["model"] == self.model else {}
        return self.run(verb, {"device": self.device, **held, **spoken, **settings})
