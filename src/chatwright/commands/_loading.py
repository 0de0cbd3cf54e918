"""How verbs that only run a model hold its weights: in full, or in fewer bits where memory is short."""

from typing import Annotated, Literal

from pydantic import Field

LoadInSetting = Annotated[
    Literal["bf16", "8bit", "4bit"] | None,
    Field(description="hold the weights of the blocks in this precision: less memory, a little less exact"),
]
