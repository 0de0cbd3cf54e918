"""How the training verbs put their parts together: data and model in, a stage, then its proofs and its report."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from chatwright import checkpoint, console, registry
from chatwright.checkpoint import Checkpoint
from chatwright.commands import pretrain as pretrain_verb
from chatwright.commands import sft as sft_verb
from chatwright.data import source
from chatwright.data.source import Dataset
from chatwright.data.split import Splits, split
from chatwright.data.truncate import Fit, fit
from chatwright.errors import ConfigError, RedProof
from chatwright.evals import proofs, report
from chatwright.evals.compare import Comparison, Evaluation, Examination, evaluate
from chatwright.evals.machine import machine
from chatwright.evals.plots import read_metrics
from chatwright.evals.prompts import default as default_prompts
from chatwright.evals.prompts import prompt
from chatwright.evals.results import Report, Stage
from chatwright.generate.chatbot import Chatbot
from chatwright.generate.sampling import Sampling
from chatwright.objectives.pretrain import Pretrain
from chatwright.objectives.sft import Sft
from chatwright.text.records import Conversation, Record
from chatwright.text.tokenizer import Tokenizer
from chatwright.train import stage
from chatwright.train.settings import TrainSettings
from chatwright.train.stage import Job, StageResult

if TYPE_CHECKING:
    from chatwright.evals.proofs import Proof

S = TypeVar("S", bound=TrainSettings)
LIVE_PROMPT = "What is the capital of Italy?"  # shown as the training goes on; whatever the data, an answer shows the manner
OWN_PROMPTS = 4  # held-out prompts of the user's own data that start and result are asked too
PARITY_ROWS = 200  # conversations whose ids are compared, from the start of the data


def pretrain(settings: pretrain_verb.Settings) -> dict[str, Any]:
    """A new or a loaded model, trained on documents."""
    settings = _quick(settings) if settings.quick else settings
    policy, loaded = _base(settings)
    data = source.read(settings.data, kind="documents", format=settings.format, skip_bad_rows=settings.skip_bad_rows)
    objective = Pretrain(settings.batch_size, window(settings, policy), settings.seed)
    first = " ".join(_text(data.records[0]).split()[:5])
    job = Job(
        "pretrain", settings, policy, objective, _splits(data, settings), _data_report(data), loaded=False, live_prompt=""
    )
    console.note(f"{'going on with' if loaded else 'a new model of'} {_size(policy)}; {len(job.data.train):,} documents, first: {first} …")
    result = stage.run(job)
    whole = _stage_report(settings, result, "pretrain")
    return _conclude(settings, result, list(result.proofs), whole)


def sft(settings: sft_verb.Settings) -> dict[str, Any]:
    """A model tuned on conversations, with the proofs that it learned answers, learned to stop, and what changed."""
    settings = _quick(settings) if settings.quick else settings
    policy = Checkpoint.load(settings.model, template=settings.template)
    policy = policy.with_template(policy.template)
    policy.template.check(policy.tokenizer)
    data = source.read(settings.data, kind="conversations", format=settings.format, skip_bad_rows=settings.skip_bad_rows)
    splits = _splits(data, settings)
    conversations = [record for record in splits.train if isinstance(record, Conversation)]
    if settings.rehearse_data:
        documents = source.read(settings.rehearse_data, kind="documents").records
        splits = replace(splits, train=[*splits.train, *documents])
    objective = Sft(settings.batch_size, window(settings, policy), settings.seed, settings.rehearse)
    job = Job(
        "sft", settings, policy, objective, splits, _data_report(data), loaded=not settings.from_scratch,
        live_prompt=next((r.first_user for r in splits.validation if isinstance(r, Conversation)), LIVE_PROMPT),
    )  # fmt: skip
    console.note(f"tuning {_size(policy)} on {len(conversations):,} conversations under the template {policy.template.name}")
    result = stage.run(job)
    shown = [*_text_proofs(policy, conversations, objective.seq_len, result.folder / "model"), *result.proofs]
    whole = _stage_report(settings, result, "sft")
    if settings.compare:
        whole = _with_start(whole, settings, [*splits.validation, *splits.test])
        shown.append(proofs.before_after_proof({s.name: s.evaluation for s in whole.stages}))
    return _conclude(settings, result, shown, whole)


def window(settings: TrainSettings, policy: Checkpoint) -> int:
    """--seq-len, or the model's window where that is shorter and nobody asked for more."""
    room = policy.model.config.context_length
    if settings.seq_len > room:
        if "seq_len" in settings.model_fields_set:
            raise ConfigError(f"--seq-len is {settings.seq_len}, but this model has {room} positions; give --seq-len {room} or less")
        return room
    return settings.seq_len


def new_model(name: str, tokenizer: Tokenizer, *, seed: int, dropout: float | None) -> Checkpoint:
    """A model of a size or a config.json with random weights, fixed by the seed, for this vocabulary."""
    family, config = _config(name)
    config = {**config, "vocab_size": tokenizer.vocab_size, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    torch.manual_seed(seed)
    model = registry.load("models", family).build(config)
    if dropout is not None:
        model.set_dropout(dropout)
    return Checkpoint(model, tokenizer, _plain(), own_template=False)


def _base(settings: pretrain_verb.Settings) -> tuple[Checkpoint, bool]:
    """A new model for a size or config file, or a loaded one to go on with; and whether it was loaded."""
    if settings.model in sizes() or settings.model.endswith(".json"):
        if settings.tokenizer is None:
            raise ConfigError("a new model needs a vocabulary: give --tokenizer DIR (`chatwright tokenizer D --out DIR` makes one)")
        tokenizer = checkpoint.load_tokenizer(settings.tokenizer)
        return new_model(settings.model, tokenizer, seed=settings.seed, dropout=settings.dropout), False
    if not Path(settings.model).exists() and "/" not in settings.model:
        raise ConfigError(f"--model {settings.model!r} is no size ({', '.join(sizes())}), no config.json and no folder")
    loaded = Checkpoint.load(settings.model)
    if settings.dropout is not None:
        loaded.model.set_dropout(settings.dropout)
    return loaded, True


def sizes() -> dict[str, tuple[str, dict[str, Any]]]:
    """Every size by name: its family and the fields of config.json that it sets."""
    families = registry.names("models")
    return {name: (family, size) for family in families for name, size in registry.load("models", family).SIZES.items()}


def _config(name: str) -> tuple[str, dict[str, Any]]:
    if name in sizes():
        return sizes()[name]
    path = Path(name)
    config = checkpoint.read_json(path)
    if config.get("model_type", "gpt2") not in registry.names("models"):
        raise ConfigError(f"{path}: the model_type is {config['model_type']!r}; supported are {', '.join(registry.names('models'))}")
    return config.get("model_type", "gpt2"), config


def _quick(settings: S) -> S:
    """100 samples and 20 steps, unless they were given."""
    given = settings.model_fields_set
    wanted = {"max_samples": 100, "steps": 20}
    return settings.model_copy(update={name: value for name, value in wanted.items() if name not in given})


def _splits(data: Dataset, settings: TrainSettings) -> Splits:
    records = data.records[: settings.max_samples] if settings.max_samples else data.records
    held_out = settings.validation_share, settings.test_share
    cut = split(records, (1 - sum(held_out), *held_out))
    for line in cut.notes:
        console.note(line)
    return cut


def _text_proofs(policy: Checkpoint, conversations: Sequence[Conversation], seq_len: int, folder: Path) -> list["Proof"]:
    """mask, stop and parity, from the very examples that were trained on."""
    fitted = [fit(one, policy.tokenizer, policy.template, seq_len + 1) for one in conversations]
    empty = [row for row, one in enumerate(fitted) if one.example is None]
    for row in empty[:10]:
        console.warn(f"{conversations[row].source}: {fitted[row].fit}")
    examples = [policy.render(one) for one in conversations]
    cut = [row for row, one in enumerate(fitted) if one.fit is not Fit.WHOLE]
    return [
        proofs.mask_proof(examples, empty),
        proofs.stop_proof(conversations, policy.template, policy.tokenizer, truncated=cut),
        proofs.parity_proof(folder, conversations[:PARITY_ROWS], examples[:PARITY_ROWS]),
    ]


def _with_start(whole: Report, settings: sft_verb.Settings, held_out: Sequence[Record]) -> Report:
    """The report with start and result asked the same: the classic prompts, and some of the user's own held-out ones."""
    own = [prompt(_question(record).messages) for record in held_out if isinstance(record, Conversation)]
    examination = Examination((*default_prompts(), *own[:OWN_PROMPTS]), Sampling(max_tokens=64))
    after = whole.stages[-1]
    evaluations: list[Evaluation] = []
    for name, place in (("start", settings.model), (after.name, str(Path(settings.out) / "model"))):
        bot = Chatbot(Checkpoint.load(place, quiet=True), device=settings.device)
        evaluations.append(evaluate(name, bot, examination))
    start = Stage("start", evaluations[0])
    stages = (start, replace(after, evaluation=evaluations[1]))
    changes = Comparison(examination, tuple(evaluations)).changes
    return replace(whole, stages=stages, examination=examination, changes=changes)


def _question(conversation: Conversation) -> Conversation:
    """Up to the first user turn."""
    end = next(i for i, m in enumerate(conversation.messages) if m.role == "user") + 1
    return conversation[:end]


def _stage_report(settings: TrainSettings, result: StageResult, name: str) -> Report:
    one = Stage(
        name,
        losses=result.losses,
        metrics=read_metrics(result.folder / "metrics.jsonl"),
        settings=settings.model_dump(mode="json", exclude={"json"}),
        seconds=result.seconds,
    )
    model = result.folder
    after = (f"chatwright chat {model}", f'chatwright generate {model} "Once upon a time"', f"chatwright eval {model}")
    return Report(f"{name} {model}", (one,), machine=machine(), next_commands=after)


def _conclude(settings: TrainSettings, result: StageResult, shown: list["Proof"], whole: Report) -> dict[str, Any]:
    """Writes proofs and report, prints them, and raises RedProof where one is red and that is not to be a warning."""
    whole = replace(whole, proofs=shown)
    proofs.write(result.folder, shown)
    page = report.write(result.folder / "report", whole)
    reached = {**result.as_dict(), "report": str(page), "proofs": {one.name: one.state for one in shown}}
    if not settings.json:
        report.show(whole)
    red = [one for one in shown if one.state == "red"]
    if red and settings.proofs == "strict":
        raise RedProof(f"the proof {red[0].name!r} is red: {red[0].says} The model is saved in {result.folder / 'model'}", reached)
    for one in red:
        console.warn(f"the proof {one.name!r} is red: {one.says}")
    return reached


def _data_report(data: Dataset) -> dict[str, Any]:
    return {**data.report.as_dict(), "name": data.name, "fingerprint": data.fingerprint}


def _size(policy: Checkpoint) -> str:
    assert isinstance(policy.model, torch.nn.Module)
    return f"{sum(p.numel() for p in policy.model.parameters()):,} parameters"


def _text(record: Record) -> str:
    return record.text if hasattr(record, "text") else str(record)


def _plain() -> Any:
    from chatwright.text.template import load

    return load("plain")
