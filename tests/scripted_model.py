"""Models whose next words are known, for the tests of everything that talks.

`ScriptedModel` says given tokens and remembers its prompts. `bigram_folder` saves a real GPT-2 whose weights are chosen
so that each character is followed by one other: a folder that any command can load and whose answers are known.
"""

import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from byte_tokenizer import ByteTokenizer
from torch import Tensor, nn

from chatwright.checkpoint import Checkpoint
from chatwright.generate.capacity import Capacity
from chatwright.generate.chatbot import Chatbot
from chatwright.models.attention import Attend
from chatwright.models.cache import KVCache
from chatwright.models.gpt2 import MODEL, GPT2Config
from chatwright.text import template as templates


class ScriptedModel(nn.Module):
    """Says the tokens of its first script after the first prompt, of the second after the second, …; then `end`.

    One sequence at a time. `prompts` are the ids of the prompts that it was given; `pause` seconds pass for each token.
    """

    def __init__(
        self, scripts: Sequence[Sequence[int]], vocab_size: int, end: int, *, window: int = 512, pause: float = 0.0
    ) -> None:
        super().__init__()
        self.config = GPT2Config(vocab_size=vocab_size, n_positions=window, n_embd=1, n_layer=1, n_head=1)
        self.blocks = nn.ModuleList([nn.Linear(1, 1)])  # the engine asks it for device and dtype
        self.scripts = [list(script) for script in scripts]
        self.end = end
        self.pause = pause
        self.prompts: list[list[int]] = []
        self.place = 0

    def trunk(
        self,
        ids: Tensor,
        *,
        positions: Tensor | None = None,
        attend: Attend | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        assert len(ids) == 1, "a script is for one sequence at a time"
        if attend is None or not attend.seen:  # a prefill: the next conversation begins
            self.prompts.append(ids[0].tolist())
            self.place = 0
        else:
            self.place += 1
            time.sleep(self.pause)
        return torch.zeros(*ids.shape, 1)

    def head(self, hidden: Tensor) -> Tensor:
        script = self.scripts[len(self.prompts) - 1] if len(self.prompts) <= len(self.scripts) else []
        token = script[self.place] if self.place < len(script) else self.end
        logits = torch.zeros(*hidden.shape[:-1], self.config.vocab_size)
        logits[..., token] = 100.0
        return logits


def scripted_chatbot(*replies: str, template: str = "chatml", window: int = 512, pause: float = 0.0) -> Chatbot:
    """A chatbot that gives these answers in turn, each ending by itself, a byte a token."""
    tokenizer: Any = ByteTokenizer()
    layout = templates.load(template)
    end = layout.stop_ids(tokenizer)[0]
    scripts = [tokenizer.encode(reply) for reply in replies]
    model: Any = ScriptedModel(scripts, tokenizer.vocab_size, end, window=window, pause=pause)
    capacity = Capacity(max_batch=1)  # a script is for one sequence at a time
    return Chatbot(Checkpoint(model, tokenizer, layout), device="cpu", capacity=capacity)


def bigram_folder(
    folder: Path, chain: str, *, template: str | None = "chatml", others: Mapping[str, str] | None = None
) -> Path:
    """Saves a GPT-2 that says `chain`, whose characters are ASCII and all different, after a line end or a colon (where
    the answers of chatml and plain begin), and then stops. `others` adds pairs, character -> the next one."""
    tokenizer: Any = ByteTokenizer()
    end = tokenizer.special_tokens["<|im_end|>" if template == "chatml" else "<|endoftext|>"]
    after = {"\n": chain[0], ":": chain[0], **dict(pairwise(chain)), **(others or {})}
    size = tokenizer.vocab_size
    model = MODEL.build(
        {"vocab_size": size, "n_positions": 256, "n_embd": size, "n_layer": 1, "n_head": 1, "n_inner": 4}
        | {"tie_word_embeddings": False}
    )
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "ln" not in name:
                weight.zero_()
        model.transformer.wte.weight.copy_(torch.eye(size))
        assert model.lm_head is not None
        model.lm_head.weight[end] += 0.5  # whatever has no successor is followed by the end
        for character, following in after.items():
            model.lm_head.weight[ord(following), ord(character)] = 100.0
        model.lm_head.weight[end, ord(chain[-1])] = 100.0
    layout: Any = templates.load(template or "plain")
    Checkpoint(model, tokenizer, layout, own_template=template is not None).save(folder)
    return folder
