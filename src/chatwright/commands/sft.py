"""Fine-tunes a model on conversations: it learns the assistant's turns, and to stop at their end."""

from dataclasses import replace
from typing import Any

from pydantic import Field

from chatwright import console
from chatwright.train.settings import TuneSettings

POSITIONAL = ("model",)
EXAMPLES = (
    "chatwright sft gpt2 --data HuggingFaceH4/ultrachat_200k#5000 --epochs 3 --out runs/ultrachat",
    "chatwright sft gpt2 --data chats.jsonl --quick --out runs/quick",
    "chatwright sft EleutherAI/pythia-410m --data chats.jsonl --lora.rank 8 --out runs/lora",
    "chatwright sft gpt2-xl --data chats.jsonl --lora.rank 16 --load-in 4bit --checkpointing --out runs/qlora",
    "chatwright sft runs/base --data primer --template chatml --rehearse-data primer:documents --rehearse 0.3 --out runs/sft",
)


class Settings(TuneSettings):
    """The start model, the conversations, and how they become tokens."""

    data: str = Field(description="conversations: a file, a folder, a hub dataset or primer")
    format: str | None = Field(default=None, description="row format of the data; recognised if not given")
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
    from chatwright.commands import _training as training
    from chatwright.commands import _tuning as tuning
    from chatwright.data import source
    from chatwright.evals import proofs
    from chatwright.objectives.sft import Sft
    from chatwright.text.records import Conversation
    from chatwright.train import stage

    settings = tuning.with_default_rate(training.quick(settings) if settings.quick else settings)
    skip, most = settings.skip_bad_rows, settings.max_bad_share
    data = source.read(
        settings.data, kind="conversations", format=settings.format, skip_bad_rows=skip, max_bad_share=most
    )
    policy = tuning.policy(settings)
    if settings.dropout is not None:
        policy.model.set_dropout(settings.dropout)
    settings = settings.model_copy(update={"seq_len": training.window(settings, policy)})
    found = training.screened(data, policy, settings.seq_len, settings)
    splits = training.splits(found.data, settings)
    learned = [record for record in splits.train if isinstance(record, Conversation)]
    if settings.rehearse_data:
        documents = source.read(settings.rehearse_data, kind="documents").records
        splits = replace(splits, train=[*splits.train, *documents])
    console.note(f"{training.size_of(policy)}, {len(learned):,} conversations, template {policy.template.name}")
    objective = Sft(settings.batch_size, settings.seq_len, settings.seed, settings.rehearse)
    stretched = tuning.stretching(settings, policy, objective, splits.validation or learned)
    prompts = [one.first_user for one in splits.validation if isinstance(one, Conversation)]
    job = stage.Job("sft", settings, policy, objective, splits, training.data_report(found.data))
    job = replace(job, loaded=not settings.from_scratch, live_prompt=prompts[0] if prompts else learned[0].first_user)
    result = stage.run(job)
    shown = [*training.text_proofs(policy, found, learned, result.folder / "model"), *result.proofs]
    report = training.stage_report(settings, result, "sft")
    if settings.compare:
        report = training.with_start(report, settings, [*splits.validation, *splits.test], tuning.load_in(settings))
        shown.append(proofs.before_after_proof({one.name: one.evaluation for one in report.stages}))
    return {**training.conclude(settings, result, shown, report), **stretched}
