"""How much an engine may hold and do at a time."""

from dataclasses import dataclass

from chatwright.errors import ConfigError
from chatwright.generate.prefixes import BLOCK, PrefixStore
from chatwright.models.cache import KVCache

LEAST = 64  # tokens that a row of the cache has room for


@dataclass(frozen=True)
class Capacity:
    """What an engine may hold and do at a time.

    `max_batch` sequences run at once. `kv_tokens` is the most tokens the cache has room for, rows times the longest
    sequence (None: what the batch asks for); `prefix_tokens` those that are kept of earlier sequences, so that what
    begins like one of them reads only the rest. `chunk` tokens of prompts are read in a step. A sequence that runs alone
    may have up to `speculate` tokens guessed, which one pass of the model then confirms.

    `deterministic`: each sequence is computed alone, in shapes that its own length decides, so that its text is the same
    in any company, in every precision, at the price of what a batch saves.
    """

    max_batch: int = 64
    kv_tokens: int | None = None
    prefix_tokens: int = 0
    chunk: int = 8192
    speculate: int = 0
    deterministic: bool = False

    def __post_init__(self) -> None:
        for name in ("max_batch", "chunk"):
            if vars(self)[name] < 1:
                raise ConfigError(f"{name} is {vars(self)[name]}; it must be at least 1")
        for name in ("prefix_tokens", "speculate"):
            if vars(self)[name] < 0:
                raise ConfigError(f"{name} is {vars(self)[name]}; it must be 0 (off) or more")
        if self.deterministic and self.chunk % BLOCK:
            raise ConfigError(f"chunk is {self.chunk}; with deterministic it must be a multiple of {BLOCK}")

    def check(self, window: int) -> None:
        """ConfigError where the cache could not hold one sequence as long as the model's window."""
        if self.kv_tokens is not None and self.kv_tokens < window:
            raise ConfigError(f"kv_tokens is {self.kv_tokens}; it must hold one window of the model, {window} tokens")

    def prefixes(self) -> PrefixStore:
        """An empty store for the beginnings that are kept."""
        return PrefixStore(self.prefix_tokens, self.chunk if self.deterministic else BLOCK)

    def fits(self, rows: int, longest: int) -> bool:
        """Whether so many sequences, of which the longest may come to so many tokens, can run together."""
        return rows <= self.max_batch and (self.kv_tokens is None or rows * longest <= self.kv_tokens)

    def grown(self, rows: int, longest: int, old: KVCache | None) -> tuple[int, int]:
        """Rows and length of a cache for so many sequences of which one is so long: rows double, as far as they may."""
        most = self.kv_tokens
        wide = max(longest, LEAST if old is None else old.room)
        if most is not None and rows * wide > most:
            wide = longest  # there were longer sequences once
        tall = min(max(rows, 1 if old is None else 2 * old.rows), self.max_batch)
        return max(rows, tall if most is None else min(tall, most // wide)), wide
