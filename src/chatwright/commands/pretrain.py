"""Trains a new model on plain text: from random weights to a base model that continues what it is given."""

from pathlib import Path
from typing import Any

from pydantic import Field

from chatwright.train.settings import TrainSettings

POSITIONAL = ("data",)
EXAMPLES = (
    "chatwright pretrain corpus.txt --model tiny --tokenizer runs/tokenizer --out runs/base",
    "chatwright pretrain primer:documents --model tiny --tokenizer runs/tokenizer --steps 500 --lr 3e-3 --out runs/base",
    "chatwright pretrain books/ --model config.json --tokenizer runs/tokenizer --epochs 2 --out runs/base --resume",
)


class Settings(TrainSettings):
    """What to read, and how large the model is."""

    data: str = Field(description="a file, a folder, a hub dataset or primer:documents")
    model: str = Field(default="tiny", description="a size (tiny, small, gpt2 … gpt2-xl) or a config.json; or a base to go on with")
    tokenizer: Path | None = Field(default=None, description="folder with a tokenizer.json; not needed to go on with a base")
    format: str | None = Field(default=None, description="row format of the data; recognised if not given")
    lr: float = Field(default=1e-3, gt=0, description="highest learning rate")
    quick: bool = Field(default=False, description="100 samples, 20 steps: see that data and model work")


def run(settings: Settings) -> dict[str, Any]:
    """The run's figures; see StageResult."""
    from chatwright.commands import _training as training

    return training.pretrain(settings)
