"""A model that talks without end, for as many rows as there are, at a pace: a is followed by b, z by a.

What must go wrong goes wrong where a prompt asks for it.
"""

import time
from collections.abc import Sequence
from string import ascii_lowercase
from typing import Any

import torch
from byte_tokenizer import ByteTokenizer
from torch import Tensor, nn

from chatwright.checkpoint import Checkpoint
from chatwright.models.attention import Attend
from chatwright.models.cache import KVCache
from chatwright.models.gpt2 import GPT2Config
from chatwright.serve.catalogue import Served
from chatwright.text import template as templates

POISON, DEATH = "\x07", "\x08"  # a prompt with the first fails; with the second the engine's thread ends


class PacedModel(nn.Module):
    """a is followed by b, z by a, anything else by a. `steps` counts the calls, `rows` the most rows of one."""

    def __init__(
        self, letters: Sequence[int], vocab_size: int, *, window: int = 4096, pause: float = 0.0, tame: bool = False
    ) -> None:
        """letters: the ids of a to z. tame: nothing goes wrong, whatever a prompt asks for."""
        super().__init__()
        self.config = GPT2Config(vocab_size=vocab_size, n_positions=window, n_embd=1, n_layer=1, n_head=1)
        self.blocks = nn.ModuleList([nn.LayerNorm(1)])  # the engine asks it for device and dtype,
        self.final_norm = nn.LayerNorm(1)  # and this is asked before anything is made fast,
        self.lm_head = self.embedding = None  # which there is nothing for here
        self.pause = pause
        self.tame = tame
        self.steps = self.rows = 0
        self.following = torch.full((vocab_size,), letters[0])
        self.following[list(letters[:-1])] = torch.tensor(letters[1:])

    def trunk(
        self,
        ids: Tensor,
        *,
        positions: Tensor | None = None,
        attend: Attend | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        self.steps += 1
        self.rows = max(self.rows, len(ids))
        if not self.tame and bool((ids == ord(DEATH)).any()):
            raise SystemExit("the thread is to end")
        if not self.tame and bool((ids == ord(POISON)).any()):
            raise RuntimeError("the prompt is poison: SECRET")
        time.sleep(self.pause)
        return ids[..., None].float()  # (B, T) -> (B, T, 1): head is told which token was last

    def set_rows(self, *rows: Any) -> None:
        """There are no adapters whose rows it could take."""

    def head(self, hidden: Tensor) -> Tensor:
        logits = torch.zeros(*hidden.shape[:-1], self.config.vocab_size)
        return logits.scatter(-1, self.following[hidden[..., 0].long()][..., None], 100.0)


def paced(tokenizer: Any = None, **settings: Any) -> Checkpoint:
    """A checkpoint whose model talks without end: over bytes under chatml, or over a vocabulary of its own under plain."""
    template = templates.load("chatml" if tokenizer is None else "plain")
    tokenizer = tokenizer or ByteTokenizer()
    letters = [tokenizer.encode(letter)[0] for letter in ascii_lowercase]
    model: Any = PacedModel(letters, tokenizer.vocab_size, **settings)
    return Checkpoint(model, tokenizer, template)


def served(name: str, checkpoint: Checkpoint, **defaults: Any) -> Served:
    """A model as the catalogue has it; greedy, so that answers are known."""
    longest = max(checkpoint.tokenizer.byte_lengths)
    return Served(name, checkpoint, 1_700_000_000, {"temperature": 0.0, **defaults}, longest)
