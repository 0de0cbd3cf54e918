"""What the training verbs share: data read, screened and split, a new model, and a stage's proofs and report."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from chatwright import checkpoint, console, registry
from chatwright.checkpoint import Checkpoint, LoadIn
from chatwright.data import source
from chatwright.data.check import screen
from chatwright.data.files import BadRow
from chatwright.data.source import Dataset
from chatwright.data.split import Splits, split
from chatwright.data.truncate import Fit, Fitted, fit_record
from chatwright.errors import ConfigError, RedProof
from chatwright.evals import proofs, report
from chatwright.evals.compare import Comparison, Evaluation, Examination, evaluate
from chatwright.evals.machine import machine
from chatwright.evals.plots import read_metrics
from chatwright.evals.prompts import default as default_prompts
from chatwright.evals.prompts import prompt
from chatwright.evals.proofs import Proof
from chatwright.evals.results import Report, Stage
from chatwright.generate.chatbot import Chatbot
from chatwright.generate.sampling import Sampling
from chatwright.text import template as templates
from chatwright.text.records import Conversation, Record
from chatwright.text.tokenizer import Tokenizer
from chatwright.train.settings import TrainSettings, TuneSettings
from chatwright.train.stage import StageResult

S = TypeVar("S", bound=TrainSettings)
OWN_PROMPTS = 4  # held-out prompts of the user's own data that start and result are asked too
PARITY_ROWS = 200  # conversations whose ids are compared, from the start of the data


def window(settings: TrainSettings, policy: Checkpoint) -> int:
    """--seq-len, or the model's window where that is shorter and nobody asked for more."""
    room = policy.model.config.context_length
    if settings.seq_len > room:
        if "seq_len" in settings.model_fields_set:
            raise ConfigError(
                f"--seq-len is {settings.seq_len}, but this model has {room} positions; give {room} or less"
            )
        return room
    return settings.seq_len


def new_model(name: str, tokenizer: Tokenizer, *, seed: int, dropout: float | None) -> Checkpoint:
    """A model of a size or a config.json with random weights, fixed by the seed, for this vocabulary."""
    family, config = _config(name)
    kind = registry.load("models", family).MODEL
    no_dropout = {name: 0.0 for name in kind.CONFIG.SHARES if "drop" in name}
    torch.manual_seed(seed)
    model = kind.build({**config, "vocab_size": tokenizer.vocab_size, **no_dropout})
    if dropout is not None:
        model.set_dropout(dropout)
    return Checkpoint(model, tokenizer, templates.load("plain"), own_template=False)


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
        raise ConfigError(
            f"{path}: the model_type is {config['model_type']!r}; supported are {', '.join(registry.names('models'))}"
        )
    return config.get("model_type", "gpt2"), config


def quick(settings: S) -> S:
    """100 samples and 20 steps, unless they were given."""
    given = settings.model_fields_set
    wanted = {"max_samples": 100, "steps": 20}
    return settings.model_copy(update={name: value for name, value in wanted.items() if name not in given})


def splits(data: Dataset, settings: TrainSettings) -> Splits:
    """Train, validation and test; --max-samples is taken before the cut."""
    records = data.records[: settings.max_samples] if settings.max_samples else data.records
    held_out = settings.validation_share, settings.test_share
    cut = split(records, (1 - sum(held_out), *held_out))
    for line in cut.notes:
        console.note(line)
    return cut


@dataclass(frozen=True)
class Screened:
    """Data of which every row teaches something, with what became of each row in the window."""

    data: Dataset
    fitted: dict[int, Fitted]  # by the id() of a record


def screened(data: Dataset, policy: Checkpoint, seq_len: int, settings: TrainSettings) -> Screened:
    """Leaves out rows from which nothing can be learned, if --skip-bad-rows says so; otherwise DataError lists them."""

    def render(record: Record) -> list[Fitted]:
        return fit_record(record, policy.tokenizer, policy.template, seq_len + 1)

    kept: list[Record] = []
    bad: list[BadRow] = []
    fitted: dict[int, Fitted] = {}
    for found in screen(data.records, render):
        if isinstance(found, BadRow):
            bad.append(found)
        else:
            kept.append(found[0])
            fitted[id(found[0])] = found[1][0]
    report = replace(data.report, kept=len(kept), skipped=(*data.report.skipped, *bad))
    source.judge(report, settings.skip_bad_rows, settings.max_bad_share)
    if bad:
        console.warn(f"{len(bad):,} rows teach nothing and are left out, the first being {bad[0]}")
    return Screened(replace(data, records=kept, report=report), fitted)


def text_proofs(policy: Checkpoint, found: Screened, trained: Sequence[Conversation], folder: Path) -> list[Proof]:
    """mask, stop and parity, from the examples that were trained on."""
    fitted = [found.fitted[id(one)] for one in trained]
    cut = [row for row, one in enumerate(fitted) if one.fit is Fit.ANSWER_CUT]
    kept = [one.conversation for one in fitted if one.conversation is not None]
    whole = [row for row, one in enumerate(fitted) if one.fit is Fit.WHOLE][:PARITY_ROWS]
    examples = [policy.render(kept[row]) for row in whole]
    return [
        proofs.mask_proof([one.example for one in fitted if one.example is not None]),
        proofs.stop_proof(kept, policy.template, policy.tokenizer, truncated=cut),
        proofs.parity_proof(folder, [kept[row] for row in whole], examples),
    ]


def with_start(whole: Report, settings: TuneSettings, held_out: Sequence[Record], load_in: LoadIn | None) -> Report:
    """The report with start and result asked the same: the classic prompts, and some of the user's own held-out ones.

    Both are read anew, one after the other, their weights held as `load_in` says.
    """
    own = [prompt(_question(record).messages) for record in held_out if isinstance(record, Conversation)]
    examination = Examination((*default_prompts(), *own[:OWN_PROMPTS]), Sampling(max_tokens=64))
    after = whole.stages[-1]

    def examined(name: str, place: str, template: str | None = None) -> Evaluation:
        checkpoint = Checkpoint.load(place, template=template, quiet=True, load_in=load_in)
        return evaluate(name, Chatbot(checkpoint, device=settings.device), examination)

    try:
        before = examined("start", settings.model)
    except ConfigError:  # its own template is one that cannot be used, which is why another was given
        before = examined("start", settings.model, settings.template)
    evaluations = (before, examined(after.name, str(Path(settings.out) / "model")))
    stages = (Stage("start", evaluations[0]), replace(after, evaluation=evaluations[1]))
    return replace(whole, stages=stages, examination=examination, changes=Comparison(examination, evaluations).changes)


def _question(conversation: Conversation) -> Conversation:
    """Up to the first user turn."""
    end = next(i for i, m in enumerate(conversation.messages) if m.role == "user") + 1
    return conversation[:end]


def stage_report(settings: TrainSettings, result: StageResult, name: str) -> Report:
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


def conclude(settings: TrainSettings, result: StageResult, shown: list[Proof], whole: Report) -> dict[str, Any]:
    """Writes proofs and report, prints them, and raises RedProof where one is red and that is not to be a warning."""
    whole = replace(whole, proofs=shown)
    proofs.write(result.folder, shown)
    page = report.write(result.folder / "report", whole)
    reached = {**result.as_dict(), "report": str(page), "proofs": {one.name: one.state for one in shown}}
    if not settings.json:
        report.show(whole)
    red = [one for one in shown if one.state == "red"]
    if red and settings.proofs == "strict":
        raise RedProof(
            f"the proof {red[0].name!r} is red: {red[0].says} The model is saved in {result.folder / 'model'}", reached
        )
    for one in red:
        console.warn(f"the proof {one.name!r} is red: {one.says}")
    return reached


def data_report(data: Dataset) -> dict[str, Any]:
    return {**data.report.as_dict(), "name": data.name, "fingerprint": data.fingerprint}


def size_of(policy: Checkpoint) -> str:
    trained = f", {policy.model.trained_size:,} of them in the adapter are trained" if policy.adapter else ""
    return f"{policy.model.size:,} parameters{trained}"
