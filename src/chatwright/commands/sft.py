"""Fine-tunes a model on conversations: it learns the assistant's turns, and to stop at their end."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from chatwright import console
from chatwright.data.settings import Names
from chatwright.train.settings import TuneSettings

if TYPE_CHECKING:
    from chatwright.commands._training import Data
    from chatwright.evals.proofs import Proof

POSITIONAL = ("model",)
EXAMPLES = (
    "chatwright sft gpt2 --data HuggingFaceH4/ultrachat_200k#5000 --epochs 3 --out runs/ultrachat",
    "chatwright sft gpt2 --data chats.jsonl --quick --out runs/quick",
    "chatwright sft gpt2 --data chats.jsonl@0.7 --data databricks/databricks-dolly-15k@0.3 --out runs/mixed",
    "chatwright sft EleutherAI/pythia-410m --data chats.jsonl --lora.rank 8 --out runs/lora",
    "chatwright sft gpt2-xl --data chats.jsonl --lora.rank 16 --load-in 4bit --checkpointing --out runs/qlora",
    "chatwright sft runs/base --data primer --template chatml --rehearse-data primer:documents --rehearse 0.3 --out runs/sft",
)


class Settings(TuneSettings):
    """The start model, the conversations, and how they become tokens."""

    data: Names = Field(
        min_length=1,
        description="conversations: files, folders, chat exports, hub datasets or primer, each #N and @WEIGHT",
    )
    lr: float = Field(
        default=5e-5, gt=0, allow_inf_nan=False, description="highest learning rate; 2e-4 for adapters if not given"
    )
    rehearse_data: str | None = Field(default=None, description="documents to rehearse beside the conversations")
    rehearse: float = Field(default=0.0, ge=0, lt=1, description="share of the rows that rehearse documents")
    from_scratch: bool = Field(default=False, description="the start model's weights are random, and that is meant")
    quick: bool = Field(default=False, description="100 samples, 20 steps, then before/after on your own data")
    compare: bool = Field(default=True, description="ask start and result the same questions at the end")


def run(settings: Settings) -> dict[str, Any]:
    """The run's figures, with the proofs that it learned answers, learned to stop, and what it changed."""
    return learn(settings, lambda folder, data: [])


def learn(settings: Settings, more: "Callable[[Path, Data], list[Proof]]") -> dict[str, Any]:
    """`run` for verbs that have proofs of their own to add: `more` is given the run's folder and what was trained on."""
    from chatwright.commands import _training as training
    from chatwright.commands import _tuning as tuning
    from chatwright.evals import proofs
    from chatwright.objectives.sft import Lessons, Sft
    from chatwright.train import stage

    settings = tuning.with_default_rate(training.quick(settings) if settings.quick else settings)
    streams = training.opened(settings, settings.data, "conversations")
    policy = tuning.policy(settings)
    if settings.dropout is not None:
        policy.model.set_dropout(settings.dropout)
    settings = settings.model_copy(update={"seq_len": training.window(settings, policy)})
    data = training.prepared(settings, policy, streams, Sft.rule)
    documents = (
        training.rehearsal(settings, policy, [settings.rehearse_data], "documents") if settings.rehearse_data else None
    )
    lessons = {name: Lessons(examples) for name, examples in data.examples.items()}
    if documents is not None and settings.rehearse:
        lessons["train"] = Lessons(data.examples["train"], documents.examples["train"])
    console.note(
        f"{training.size_of(policy)}, {len(lessons['train']):,} conversations, template {policy.template.name}"
    )
    objective = Sft(settings.batch_size, settings.seq_len, settings.seed, settings.rehearse)
    held = data.examples.get("validation", data.examples["train"])
    stretched = tuning.stretching(settings, policy, objective, held)
    account = data.report if documents is None else training.with_rehearsal(data, documents)
    job = stage.Job("sft", settings, policy, objective, lessons, account)
    prompts = [one.first_user for one in data.samples("validation", "train")]
    job = replace(job, loaded=not settings.from_scratch, live_prompt=prompts[0])
    result = stage.run(job)
    shown = [*training.text_proofs(policy, data, result.folder / "model"), *result.proofs]
    report = training.stage_report(settings, result, "sft")
    if settings.compare:
        report = training.with_start(report, settings, data.samples("validation", "test"), tuning.load_in(settings))
        shown.append(proofs.before_after_proof({one.name: one.evaluation for one in report.stages}))
    shown.extend(more(result.folder, data))
    return {**training.conclude(settings, result, shown, report), **stretched}
