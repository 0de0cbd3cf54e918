"""The page over models whose answers are known, in a thread of the test's own process, on a free port."""

import threading
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from byte_tokenizer import ByteTokenizer
from scripted_model import ScriptedModel
from threaded_server import WAIT, Threaded, eventually
from torch import nn

from chatwright.checkpoint import Checkpoint
from chatwright.generate.capacity import Capacity
from chatwright.generate.scheduler import Figures, Scheduler
from chatwright.serve.catalogue import Catalogue, Served
from chatwright.serve.limits import Limits
from chatwright.serve.server import Door, Server, listen
from chatwright.serve.web.face import OPEN_PATHS, Face
from chatwright.serve.web.votes import Votes
from chatwright.text import template as templates

__all__ = ["WAIT", "Page", "eventually", "saying"]


class Speaker(ScriptedModel):
    """A script that may stand beside others in one scheduler."""

    def __init__(self, *script: Any, **settings: Any) -> None:
        super().__init__(*script, **settings)
        self.final_norm = nn.LayerNorm(1)  # the scheduler asks it where the weights are,
        self.lm_head = self.embedding = None  # and looks for weights that it can hold better

    def set_rows(self, *rows: Any) -> None:
        """There are no adapters whose rows it could take."""


def saying(replies: Sequence[str], *, pause: float = 0.0, window: int = 4096) -> Checkpoint:
    """A chatbot that gives these answers in turn, each ending by itself, a byte a token."""
    tokenizer: Any = ByteTokenizer()
    layout = templates.load("chatml")
    scripts = [tokenizer.encode(reply) for reply in replies]
    end = layout.stop_ids(tokenizer)[0]
    model: Any = Speaker(scripts, tokenizer.vocab_size, end, window=window, pause=pause)
    return Checkpoint(model, tokenizer, layout)


class Page(Threaded):
    """The chat page."""

    def __init__(
        self,
        models: Mapping[str, Checkpoint],
        votes: Path,
        *,
        door: Door | None = None,
        capacity: Capacity | None = None,
        hold: threading.Event | None = None,
    ) -> None:
        self.models, self.hold = models, hold
        # a script is for one sequence at a time, read in one piece
        self.capacity = capacity or Capacity(max_batch=1)
        self.votes = Votes(votes)
        self.scheduler: Scheduler | None = None
        sock = listen("127.0.0.1", 0)
        server = Server(sock, Limits(), door or Door(drain_seconds=0.0), partial(Face, votes=self.votes), OPEN_PATHS)
        super().__init__(server, self.loaded, wait=hold is None)

    def figures(self) -> Figures:
        assert self.scheduler is not None
        return self.scheduler.figures()

    def prompts(self, name: str) -> list[str]:
        """What a model was given, as text."""
        model: Any = self.models[name].model
        return [self.models[name].tokenizer.decode(ids) for ids in model.prompts]

    def loaded(self) -> tuple[Catalogue, Scheduler]:
        if self.hold is not None:
            assert self.hold.wait(WAIT)
        torch.set_num_threads(1)
        catalogue = Catalogue([Served(name, one, 1, {"temperature": 0.0}, 1) for name, one in self.models.items()], {})
        self.scheduler = Scheduler(catalogue.checkpoints, self.capacity, device="cpu")
        return catalogue, self.scheduler
