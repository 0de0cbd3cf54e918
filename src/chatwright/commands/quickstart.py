"""From nothing to a chatbot, offline, in minutes: tokenizer, pretraining, fine-tuning, preferences, practice, report."""

import time
from pathlib import Path
from typing import Any

from pydantic import Field

from chatwright import config, console, disk
from chatwright.commands import _out
from chatwright.errors import ConfigError, RedProof

POSITIONAL = ()
EXAMPLES = (
    "chatwright quickstart",
    "chatwright quickstart --out runs/long --seconds 900",
    "chatwright quickstart --out runs/q --json",
)


class Settings(config.Settings):
    """Everything has a default; --seconds turns into steps once, and config.yaml holds the steps."""

    out: Path = Field(default=Path("runs/quickstart"), description="folder for all stages and the report")
    seconds: float | None = Field(
        default=None, ge=20, description="about how long the whole road may take on this machine"
    )
    pretrain_steps: int = Field(default=800, ge=1, description="optimizer steps of pretraining")
    sft_steps: int = Field(default=430, ge=1, description="optimizer steps of fine-tuning")
    dpo_steps: int = Field(default=60, ge=1, description="optimizer steps of learning from preferences")
    grpo_steps: int = Field(default=280, ge=1, description="optimizer steps of practice with rewards")
    model: str = Field(default="tiny", description="size of the model: tiny, small, gpt2 …")
    vocab_size: int = Field(default=4096, ge=512, description="ids of the tokenizer")
    lr: float = Field(default=3e-3, gt=0, description="highest learning rate of pretraining")
    sft_lr: float = Field(default=2e-3, gt=0, description="highest learning rate of fine-tuning")
    dpo_lr: float = Field(default=2e-5, gt=0, description="highest learning rate of learning from preferences")
    grpo_lr: float = Field(default=3e-4, gt=0, description="highest learning rate of practice")
    rehearse: float = Field(default=0.3, ge=0, lt=1, description="share of fine-tuning's rows that rehearse documents")
    seed: int = Field(default=0, ge=0, description="fixes weights and order: the same seed gives the same bot")
    max_problems: int | None = Field(default=250, ge=1, description="grade at most so many problems of each set")
    device: str = Field(default="auto", description="auto, cpu, cuda or mps")
    proofs: str = Field(
        default="strict", pattern="strict|warn", description="a red proof ends with exit code 6, or only warns"
    )


def run(settings: Settings) -> dict[str, Any]:
    """The whole road. A run that was killed goes on where it was when the same command is given again."""
    from chatwright.commands import _road as road
    from chatwright.commands import _road_end as end

    began = time.perf_counter()
    settings = _settled(settings)
    clock: dict[str, float] = {}
    for stage in (road.tokenizer, road.pretrain, road.sft, road.dpo, road.grpo):
        with road.timed(clock, stage.__name__):
            stage(settings)
    with road.timed(clock, "evaluate"):
        evaluations, examination = end.evaluate(settings)
    with road.timed(clock, "report"):
        report = end.report(settings, evaluations, examination, clock)
    clock["whole"] = time.perf_counter() - began
    reached = end.summary(settings, report, clock)
    disk.write_json(settings.out / "result.json", reached)
    if not settings.json:
        end.show(report, reached)
    red = [proof for proof in report.proofs if proof.state == "red"]
    if red and settings.proofs == "strict":
        raise RedProof(
            f"the proof {red[0].name!r} is red: {red[0].says} The models are saved in {settings.out}", reached
        )
    return reached


def _settled(settings: Settings) -> Settings:
    """The settings of a run that is being continued are those in its config.yaml; a new one gets its steps now."""
    path = settings.out / "config.yaml"
    _out.check(settings.out)
    if path.exists():
        earlier = config.resolve(Settings, path, flags={"json": settings.json, "out": settings.out}, verb="quickstart")
        for name in settings.model_fields_set - {"json", "out", "seconds"}:
            if vars(earlier)[name] != vars(settings)[name]:
                raise ConfigError(
                    f"{settings.out} was begun with {name} {vars(earlier)[name]!r}, not {vars(settings)[name]!r}; "
                    "give another --out"
                )
        console.note(f"going on with {settings.out}, as its config.yaml says")
        return earlier
    if settings.seconds is not None:
        from chatwright.commands import _road as road

        steps = road.steps_for(settings, settings.seconds)
        settings = settings.model_copy(update={f"{verb}_steps": count for verb, count in steps.items()})
        planned = ", ".join(f"{count} steps of {verb}" for verb, count in steps.items())
        console.note(f"{settings.seconds:g} seconds on this machine: {planned}")
    disk.write(path, config.dump(settings, {}, "quickstart"))
    return settings
