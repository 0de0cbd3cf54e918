"""A reward model that scores answers: whole conversations in, a number for each out. RL and comparisons ask it.

The score is read where the answer ends. Of a model trained here that is the token that ends the assistant's turn, the
last one that training sees and a rollout gives; what a template writes after it (chatml's line end) belongs to the next
turn. Others have their models read the last token of the whole text. Both are what transformers computes for these ids.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from chatwright.checkpoint import Checkpoint
from chatwright.errors import DataError
from chatwright.models import reward
from chatwright.models.attention import Attend
from chatwright.models.device import device_of
from chatwright.text.records import Conversation

BATCH_TOKENS = 16_384  # of a batch, padding counted


class RewardModel:
    """Wraps the checkpoint of a reward model for scoring."""

    def __init__(self, checkpoint: Checkpoint, *, device: str = "auto", batch_tokens: int = BATCH_TOKENS) -> None:
        self.checkpoint, self.batch_tokens = checkpoint, batch_tokens
        self.device = device_of(device)
        checkpoint.model.to(self.device)

    @classmethod
    def load(cls, name: str | Path, device: str = "auto") -> "RewardModel":
        """From a run folder, a model folder or a hub id. ConfigError for a language model."""
        return cls(Checkpoint.load(name, kind="reward"), device=device)

    def score(self, conversations: Sequence[Conversation]) -> list[float]:
        """How good the last answer of each conversation is; only differences between answers to one prompt mean much.

        DataError for a conversation that ends with no answer, that the template has no place for, or that is longer
        than the window.
        """
        rows = [self.ids(conversation) for conversation in conversations]
        found = [0.0] * len(rows)
        model, training = self.checkpoint.model, self.checkpoint.model.training
        model.eval()
        try:
            for group in self._groups(rows):
                for place, score in zip(group, self._scores([rows[place] for place in group]), strict=True):
                    found[place] = score
        finally:
            model.train(training)
        return found

    def ids(self, conversation: Conversation) -> list[int]:
        """The ids that are read, as training has them: the score is that of the last one."""
        *before, last = conversation.messages
        where = f"{conversation.source}: " if str(conversation.source) else ""
        if last.role != "assistant":
            raise DataError(
                f"{where}the conversation ends with {last.role}; a reward model scores an assistant's answer"
            )
        prompt = (replace(message, learn=False) for message in before)
        answered = Conversation((*prompt, replace(last, learn=True)), conversation.source)
        example = self.checkpoint.render(answered)
        config = self.checkpoint.model.config
        ids = example.ids
        if reward.reads_end_of_turn(config):
            ids = ids[: len(ids) - example.mask[::-1].index(1)]
        ids = ids[: reward.read_to(ids, config.other.get("pad_token_id"))]
        if len(ids) > config.context_length:
            raise DataError(
                f"{where}the conversation has {len(ids)} tokens, but the window of the reward model is "
                f"{config.context_length}; score shorter answers, or use a model with a longer window"
            )
        return ids

    def _groups(self, rows: Sequence[list[int]]) -> Iterator[list[int]]:
        """Rows by number, shortest first, as many as fill a batch."""
        group: list[int] = []
        for place in sorted(range(len(rows)), key=lambda one: len(rows[one])):
            if group and len(rows[place]) * (len(group) + 1) > self.batch_tokens:
                yield group
                group = []
            group.append(place)
        if group:
            yield group

    @torch.inference_mode()
    def _scores(self, rows: Sequence[list[int]]) -> list[float]:
        """Padded on the right: under a causal mask the padding is never seen."""
        lengths = torch.tensor([len(row) for row in rows])
        ids = torch.zeros(len(rows), int(lengths.max()), dtype=torch.long)
        for place, row in enumerate(rows):
            ids[place, : len(row)] = torch.tensor(row)
        model = self.checkpoint.model
        hidden = model.trunk(ids.to(self.device), attend=Attend.causal(ids.shape[1], self.device))  # (B, T, C)
        last = hidden[torch.arange(len(rows)), (lengths - 1).to(self.device)]  # (B, C)
        scores = model.rewards(last)
        if not torch.isfinite(scores).all():
            raise DataError(
                f"the reward model {self.checkpoint.origin} gives a score that is no finite number; train it anew"
            )
        return list(scores.tolist())
