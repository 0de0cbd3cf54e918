"""The settings of how the engine computes, for every verb that answers; Capacity says what each does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from chatwright import config

if TYPE_CHECKING:
    from chatwright.generate.capacity import Capacity


class EngineSettings(config.Settings):
    """What changes no text, only the time it takes and what it depends on."""

    deterministic: bool = Field(
        default=False, description="the same text in any company and precision: each answer is computed alone, slower"
    )
    speculate: int = Field(
        default=0,
        ge=0,
        le=64,
        description="guess so many tokens ahead where one answer is written; 8 helps if it quotes",
    )

    def capacity(self, *, max_batch: int = 64, kv_tokens: int | None = None, prefix_tokens: int = 0) -> Capacity:
        """These settings as the engine takes them, beside what the verb itself decides."""
        from chatwright.generate.capacity import Capacity
        from chatwright.generate.scheduler import SERVING

        return Capacity(max_batch, kv_tokens, prefix_tokens, SERVING.chunk, self.speculate, self.deterministic)
