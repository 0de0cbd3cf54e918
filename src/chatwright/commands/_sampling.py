"""The settings of how a model picks its tokens, for every verb that lets one answer; Sampling says what each does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from chatwright import config

if TYPE_CHECKING:
    from chatwright.generate.sampling import Sampling


class SamplingSettings(config.Settings):
    """The fields of generate.sampling.Sampling, which cannot be read off it here: it brings torch with it."""

    max_tokens: int = Field(default=256, ge=1, description="longest answer, in tokens")
    temperature: float = Field(default=0.0, ge=0, le=100, description="0 always takes the likeliest token")
    top_p: float = Field(default=1.0, gt=0, le=1, description="keep the likeliest tokens up to this share; 1 is off")
    top_k: int = Field(default=0, ge=0, description="keep so many of the likeliest tokens; 0 is off")
    min_p: float = Field(default=0.0, ge=0, le=1, description="least share of the likeliest token's; 0 is off")
    repetition_penalty: float = Field(default=1.0, ge=0.01, le=100, description="above 1, what was said is less likely")
    presence_penalty: float = Field(default=0.0, ge=-2, le=2, description="taken off every token that was said")
    frequency_penalty: float = Field(default=0.0, ge=-2, le=2, description="the same, for each time that it was said")
    stop: tuple[str, ...] = Field(default=(), description="texts that end the answer and are left out of it")
    seed: int = Field(default=0, description="above temperature 0, the same seed gives the same answer")

    def sampling(self) -> Sampling:
        """These settings as the engine takes them."""
        from chatwright.generate.sampling import Sampling

        return Sampling(**self.model_dump(include=set(SamplingSettings.model_fields) - {"json"}))
