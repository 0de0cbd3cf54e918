"""The settings that every training verb shares, under the same names on the command line, in YAML and in Python."""

from typing import Literal

from pydantic import Field

from chatwright.config import Group, Settings


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


class TrainSettings(Settings):
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
    skip_bad_rows: bool = Field(default=False, description="leave out rows that cannot be read, and list them")
    max_bad_share: float = Field(default=0.01, ge=0, le=1, description="of the rows, when bad ones are skipped")
    proofs: Literal["strict", "warn"] = Field(
        default="strict", description="a red proof ends with exit code 6, or only warns"
    )
    optim: Optim = Optim()
