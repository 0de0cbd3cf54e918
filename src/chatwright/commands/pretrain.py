"""Trains a new model on plain text: from random weights to a base model that continues what it is given."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from chatwright import console
from chatwright.data.settings import Names
from chatwright.errors import ConfigError
from chatwright.train.settings import TrainSettings

if TYPE_CHECKING:
    from chatwright.checkpoint import Checkpoint

POSITIONAL = ("data",)
EXAMPLES = (
    "chatwright pretrain corpus.txt --model tiny --tokenizer runs/tokenizer --out runs/base",
    "chatwright pretrain primer:documents --model tiny --tokenizer runs/tokenizer --steps 500 --lr 3e-3 --out runs/base",
    "chatwright pretrain books/ --model config.json --tokenizer runs/tokenizer --epochs 2 --out runs/base --resume",
)


class Settings(TrainSettings):
    """What to read, and how large the model is."""

    data: Names = Field(
        min_length=1, description="documents: files, folders, hub datasets or primer:documents, each #N and @WEIGHT"
    )
    model: str = Field(
        default="tiny",
        description="a size (tiny, small, gpt2 … gpt2-xl; of other families llama-tiny, pythia-70m …) or a config.json; "
        "or a base to go on with",
    )
    tokenizer: Path | None = Field(
        default=None, description="folder with a tokenizer.json; not needed to go on with a base"
    )
    lr: float = Field(default=1e-3, gt=0, allow_inf_nan=False, description="highest learning rate")
    quick: bool = Field(default=False, description="100 samples, 20 steps: see that data and model work")


def run(settings: Settings) -> dict[str, Any]:
    """A new or a loaded model, trained on documents; the run's figures and the place of its report."""
    from chatwright.commands import _training as training
    from chatwright.objectives.pretrain import Pretrain
    from chatwright.train import stage

    settings = training.quick(settings) if settings.quick else settings
    streams = training.opened(settings, settings.data, "documents")
    policy, loaded = _base(settings)
    settings = settings.model_copy(update={"seq_len": training.window(settings, policy)})
    data = training.prepared(settings, policy, streams, Pretrain.rule)
    objective = Pretrain(settings.batch_size, settings.seq_len, settings.seed)
    size = training.size_of(policy)
    count = sum(one.report.account.used for one in data.sources)
    console.note(f"{'going on with' if loaded else 'a new model of'} {size}; {count:,} documents to read")
    job = stage.Job("pretrain", settings, policy, objective, data.examples, data.report, loaded=False)
    result = stage.run(job)
    report = training.stage_report(settings, result, "pretrain")
    return training.conclude(settings, result, list(result.proofs), report)


def _base(settings: Settings) -> "tuple[Checkpoint, bool]":
    """A new model for a size or config file, or a loaded one to go on with; and whether it was loaded."""
    from chatwright import checkpoint
    from chatwright.checkpoint import Checkpoint
    from chatwright.commands._training import new_model, sizes

    if settings.model in sizes() or settings.model.endswith(".json"):
        if settings.tokenizer is None:
            raise ConfigError(
                "a new model needs a vocabulary: give --tokenizer DIR (`chatwright tokenizer D --out DIR` makes one)"
            )
        tokenizer = checkpoint.load_tokenizer(settings.tokenizer)
        return new_model(settings.model, tokenizer, seed=settings.seed, dropout=settings.dropout), False
    if not Path(settings.model).exists() and "/" not in settings.model:
        raise ConfigError(f"--model {settings.model!r} is no size ({', '.join(sizes())}), no config.json and no folder")
    # documents need no template; what has learned from them is a base, an adapter that it came with folded in
    loaded = Checkpoint.load(settings.model, template="plain", quiet=True).merged()
    loaded = replace(loaded, own_template=False)
    loaded.model.requires_grad_(True)  # an adapter had frozen it
    given = loaded.tokenizer if settings.tokenizer is None else checkpoint.load_tokenizer(settings.tokenizer)
    if given.fingerprint != loaded.tokenizer.fingerprint:
        raise ConfigError(f"--tokenizer {settings.tokenizer} is not the vocabulary of {settings.model}; leave it out")
    if settings.dropout is not None:
        loaded.model.set_dropout(settings.dropout)
    return loaded, True
