"""A model one can talk to: conversations in, streamed text out. Every face of the model answers through this."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from chatwright.checkpoint import Checkpoint, LoadIn
from chatwright.errors import ConfigError
from chatwright.generate import prompt as prompts
from chatwright.generate.capacity import Capacity
from chatwright.generate.completion import Completion, Piece
from chatwright.generate.engine import Engine
from chatwright.generate.sampling import Sampling
from chatwright.models.device import device_of
from chatwright.models.inference import prepare
from chatwright.text.records import Conversation, Message

DEFAULT = Sampling()
TOGETHER = Capacity()
WINDOWS = 2


class Chatbot:
    """Wraps a checkpoint for generation.

    `last` is the completion of the newest `reply`, also of one that was left half-way (finish "cancelled").
    `dropped` counts the oldest messages that the newest conversation lost because it did not fit the window.
    """

    def __init__(self, checkpoint: Checkpoint, *, device: str = "auto", capacity: Capacity = TOGETHER) -> None:
        self.checkpoint = checkpoint
        checkpoint.model.to(device_of(device)).eval()
        self.engine = Engine(checkpoint.model, checkpoint.tokenizer, checkpoint.stop_ids, capacity)
        self.last: Completion | None = None
        self.dropped = 0
        self._arrived: dict[int, list[Piece]] = {}  # news of answers that are being read in turns, by sequence

    @classmethod
    def load(
        cls,
        name: str | Path,
        *,
        device: str = "auto",
        template: str | None = None,
        load_in: LoadIn | None = None,
        capacity: Capacity = TOGETHER,
    ) -> "Chatbot":
        """From a run folder, a model folder or a hub id; `load_in` holds its matrices in fewer bits.

        Unless `capacity` says how much, as much as two windows of what it reads is remembered, so that the next turn of a
        conversation reads only what is new.
        """
        checkpoint = Checkpoint.load(name, template=template, load_in=load_in)
        if not capacity.prefix_tokens:
            capacity = replace(capacity, prefix_tokens=WINDOWS * checkpoint.model.config.context_length)
        bot = cls(checkpoint, device=device, capacity=capacity)
        prepare(checkpoint.model)
        return bot

    def switch(self, checkpoint: Checkpoint) -> None:
        """Answers through another adapter of the same model from now on.

        Raises ConfigError for a template without an end; the former adapter then goes on.
        """
        assert checkpoint.model is self.checkpoint.model
        engine = self.engine
        if checkpoint is not self.checkpoint:  # what the cache holds was computed by the former adapter
            try:
                stop_ids = checkpoint.stop_ids
            except ConfigError:
                self.checkpoint.activate()  # one that was just read is the active one already
                raise
            engine = Engine(checkpoint.model, checkpoint.tokenizer, stop_ids, engine.capacity)
        checkpoint.activate()
        checkpoint.model.to(checkpoint.model.final_norm.weight.device).eval()
        self.checkpoint, self.engine = checkpoint, engine

    def reply(self, conversation: Conversation | str, sampling: Sampling = DEFAULT) -> Iterator[str]:
        """The next answer, piece by piece; the pieces joined are `last.text`. Closing the iterator stops the answer."""
        self.last = None
        prompt = self._prompt(conversation, sampling)
        number = self.engine.add(prompt, prompts.with_stops(self.checkpoint, sampling))
        completion: Completion | None = None
        try:
            while completion is None:
                for piece in self._news(number):
                    completion = self.last = piece.completion
                    if piece.text:
                        yield piece.text
        finally:
            self._arrived.pop(number, None)
            if completion is None:
                self.last = self.engine.cancel(number)

    def replies(
        self, conversations: Sequence[Conversation | str], sampling: Sampling | Sequence[Sampling] = DEFAULT
    ) -> list[Completion]:
        """The next answers of many conversations, decoded together, all in one way or each in its own."""
        ways = [sampling] * len(conversations) if isinstance(sampling, Sampling) else sampling
        asked = zip(conversations, ways, strict=True)
        ready = [(self._prompt(one, way), prompts.with_stops(self.checkpoint, way)) for one, way in asked]
        numbers = [self.engine.add(prompt, way) for prompt, way in ready]
        return [self._completion(number) for number in numbers]

    def fit(self, conversation: Conversation, reserve: int) -> tuple[Conversation, int]:
        """The conversation without what no longer fits the window, and how many messages that are: `prompt.fit`."""
        return prompts.fit(self.checkpoint, conversation, reserve)

    def _news(self, number: int) -> list[Piece]:
        """What has happened to one sequence since it was last asked for; the engine steps until there is something."""
        while number not in self._arrived:
            for piece in self.engine.step():
                self._arrived.setdefault(piece.sequence, []).append(piece)
        return self._arrived.pop(number)

    def _completion(self, number: int) -> Completion:
        while (completion := self._news(number)[-1].completion) is None:
            pass
        return completion

    def _prompt(self, conversation: Conversation | str, sampling: Sampling) -> list[int]:
        if isinstance(conversation, str):
            conversation = Conversation((Message("user", conversation),))
        kept, self.dropped = self.fit(conversation, sampling.max_tokens)
        return prompts.prompt_ids(self.checkpoint, kept)
