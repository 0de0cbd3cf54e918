"""The settings that every training verb shares, under the same names on the command line, in YAML and in Python."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from chatwright.config import Group
from chatwright.data.settings import DataSettings, Names


class Optim(Group):
    """AdamW (Loshchilov & Hutter, 2019) and its learning-rate schedule."""

    weight_decay: float = Field(default=0.1, ge=0, description="of matrices and embeddings; biases and norms have none")
    beta1: float = Field(default=0.9, ge=0, lt=1, description="decay of the mean of the gradients")
    beta2: float = Field(default=0.95, ge=0, lt=1, description="decay of the mean of their squares")
    clip: float = Field(default=1.0, ge=0, description="the gradient's norm is cut to this; 0 never cuts")
    warmup: float = Field(default=0.05, ge=0, le=1, description="share of the steps in which the rate rises from 0")
    final: float = Field(default=0.1, ge=0, le=1, description="the rate at the last step, as a share of --lr")
    schedule: Literal["cosine", "linear", "constant"] = Field(
        default="cosine", description="how the rate falls after warmup"
    )


class Lora(Group):
    """Low-rank adapters (Hu et al., 2021): the model stays as it is, and two small matrices beside each large one learn."""

    rank: int | None = Field(
        default=None, ge=1, le=10_000, description="of the adapter; given, only the adapter learns"
    )
    alpha: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="the adapter counts alpha / rank times; 2 × rank if not given",
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description="of what the adapter reads, while it learns")
    targets: list[str] = Field(
        default=["all-linear"], min_length=1, description="matrices that get an adapter, by the end of their names"
    )
    rslora: bool = Field(default=False, description="alpha / sqrt(rank) instead (Kalajdzievski, 2023)")
    dora: bool = Field(default=False, description="learn the length of each row apart (Liu et al., 2024)")
    plus: float = Field(
        default=1.0,
        gt=0,
        allow_inf_nan=False,
        description="learning rate of B over that of A (LoRA+, Hayou et al., 2024)",
    )


class TrainSettings(DataSettings):
    """What a training verb is given; the verb adds the model and the data."""

    out: str = Field(description="folder of the run; it is made, and must not hold another run")
    steps: int | None = Field(default=None, ge=1, description="optimizer steps; given, it overrides --epochs")
    epochs: float = Field(default=1.0, gt=0, allow_inf_nan=False, description="times through the training data")
    batch_size: int = Field(default=8, ge=1, description="rows of one forward pass")
    accumulate: int = Field(default=1, ge=1, description="forward passes that share one optimizer step")
    seq_len: int = Field(default=512, ge=2, description="tokens in a row; the model's window where that is shorter")
    lr: float = Field(default=1e-4, gt=0, allow_inf_nan=False, description="highest learning rate")
    seed: int = Field(
        default=0, ge=0, lt=2**32, description="fixes the weights of a new model, the order of the data and dropout"
    )
    dropout: float | None = Field(default=None, ge=0, lt=1, description="overrides the model's own dropout")
    max_samples: int | None = Field(default=None, ge=1, description="read at most this many records")
    validation_share: float = Field(default=0.05, ge=0, lt=0.5, description="of the prompts, held out to measure loss")
    test_share: float = Field(default=0.05, ge=0, lt=0.5, description="of the prompts, held out to the end")
    save_every: int | None = Field(
        default=None, ge=1, description="steps between checkpoints; a tenth of the run if not given"
    )
    keep: int = Field(default=2, ge=1, description="checkpoints kept, besides the best")
    eval_every: int | None = Field(
        default=None, ge=1, description="steps between validations; a tenth of the run if not given"
    )
    eval_batches: int = Field(default=20, ge=1, description="batches of one validation during the run")
    patience: int = Field(
        default=0, ge=0, description="stop after so many validations without a better one, keeping the best; 0: never"
    )
    sample_every: int | None = Field(
        default=None, ge=1, description="steps between live samples; a fifth of the run if not given"
    )
    dtype: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto", description="precision of the arithmetic; weights stay fp32"
    )
    device: str = Field(default="auto", description="auto, cpu, cuda, cuda:1 or mps")
    threads: int | None = Field(
        default=None, ge=1, description="processor threads; what the machine gives if not given"
    )
    resume: bool = Field(default=False, description="go on with the run in --out from its newest whole checkpoint")
    prepared: Path | None = Field(
        default=None,
        description="folder for tokenised data, used again while nothing has changed; ~/.cache if not given",
    )
    workers: int | None = Field(
        default=None, ge=1, description="processes that prepare data; one a processor if not given"
    )
    proofs: Literal["strict", "warn"] = Field(
        default="strict", description="a red proof ends with exit code 6, or only warns"
    )
    checkpointing: bool = Field(
        default=False, description="keep less while learning and compute it again: less memory, a third more time"
    )
    optim: Optim = Optim()


class TuneSettings(TrainSettings):
    """What a verb is given that goes on with a trained model: all of it, or an adapter beside it."""

    model: str = Field(description="a hub id (also user/name@REVISION), a model folder or a run folder")
    template: str | None = Field(
        default=None, description="plain, chatml, alpaca or FILE.jinja; the model's own if it has one, else plain"
    )
    load_in: Literal["4bit", "8bit"] | None = Field(
        default=None, description="hold the frozen model in this precision (QLoRA); needs --lora.rank"
    )
    context: int | None = Field(
        default=None, ge=2, le=1 << 20, description="stretch the model's window to so many tokens before training"
    )
    lora: Lora = Lora()


class Guards(Group):
    """The panel that looks at the policy on held-out prompts, at every validation."""

    prompts: int = Field(default=32, ge=0, description="held-out prompts that the policy answers; 0 looks at none")
    max_tokens: int = Field(default=128, ge=1, description="longest of these answers, in tokens")
    temperature: float = Field(default=1.0, gt=0, le=100, description="of these answers")


class PreferenceSettings(TuneSettings):
    """What a verb is given that learns which of two answers is better, or which are good."""

    data: Names = Field(
        min_length=1, description="preferences: files, folders, hub datasets or primer:preferences, each #N and @WEIGHT"
    )
    lr: float = Field(default=1e-5, gt=0, allow_inf_nan=False, description="highest learning rate; 2e-4 for adapters")
    reference: Literal["auto", "cached", "copy", "adapter"] = Field(
        default="auto",
        description="the start model: computed before training, a second model, or the model with its adapter off",
    )
    quick: bool = Field(default=False, description="100 pairs, 20 steps, then before/after on your own data")
    compare: bool = Field(default=True, description="ask start and result the same questions at the end")
    guards: Guards = Guards()
