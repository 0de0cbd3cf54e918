"""Fine-tunes a model on conversations: it learns the assistant's turns, and to stop at their end."""

from typing import Any

from pydantic import Field

from chatwright.train.settings import TrainSettings

POSITIONAL = ("model",)
EXAMPLES = (
    "chatwright sft gpt2 --data HuggingFaceH4/ultrachat_200k#5000 --epochs 3 --out runs/ultrachat",
    "chatwright sft gpt2 --data chats.jsonl --quick --out runs/quick",
    "chatwright sft runs/base --data primer --template chatml --rehearse-data primer:documents --rehearse 0.3 --out runs/sft",
)


class Settings(TrainSettings):
    """The start model, the conversations, and how they become tokens."""

    model: str = Field(description="a hub id, a model folder or a run folder")
    data: str = Field(description="conversations: a file, a folder, a hub dataset or primer")
    format: str | None = Field(default=None, description="row format of the data; recognised if not given")
    template: str | None = Field(default=None, description="plain, chatml or alpaca; the model's own if it has one, else plain")
    lr: float = Field(default=5e-5, gt=0, description="highest learning rate")
    rehearse_data: str | None = Field(default=None, description="documents to rehearse beside the conversations")
    rehearse: float = Field(default=0.0, ge=0, lt=1, description="share of the rows that rehearse documents")
    from_scratch: bool = Field(default=False, description="the start model's weights are random, and that is meant")
    quick: bool = Field(default=False, description="100 samples, 20 steps, then before/after on your own data")
    compare: bool = Field(default=True, description="ask start and result the same questions at the end")


def run(settings: Settings) -> dict[str, Any]:
    """The run's figures, proofs and the place of its report."""
    from chatwright.commands import _training as training

    return training.sft(settings)
