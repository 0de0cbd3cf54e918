"""What the training verbs share: data read, screened and split, a new model, and a stage's proofs and report."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from chatwright import checkpoint, console, registry
from chatwright.checkpoint import Checkpoint, LoadIn
from chatwright.data import report as reports
from chatwright.data import source
from chatwright.data.examples import Examples, joined
from chatwright.data.prepare import Prepared, prepare
from chatwright.data.source import Stream
from chatwright.data.split import NAMES, SplitRule
from chatwright.data.tokenise import How, TextKey
from chatwright.data.truncate import Fit
from chatwright.errors import ConfigError, DataError, RedProof
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
from chatwright.text.records import Conversation
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


@dataclass(frozen=True)
class Data:
    """What a verb trains on: all of its sources, prepared, and their examples by split, mixed as their weights say."""

    sources: tuple[Prepared, ...]
    examples: dict[str, Examples]

    @property
    def report(self) -> dict[str, Any]:
        """What became of every row, for data_report.json."""
        return reports.as_dict([one.report for one in self.sources], self.fingerprint)

    @property
    def fingerprint(self) -> str:
        each = [(one.report.fingerprint, one.report.weight) for one in self.sources]
        return each[0][0] if len(each) == 1 else hashlib.sha256(repr(each).encode()).hexdigest()

    def samples(self, *splits: str) -> list[Conversation]:
        """Some conversations of these splits, as they are trained on."""
        return [one.conversation for source in self.sources for one in source.samples.of(*splits)]


def opened(settings: TrainSettings, names: Sequence[str], kind: str) -> list[Stream]:
    """The sources of a verb, found and not yet read: what is not there is said before a model is loaded."""
    options = settings.read_options()
    held_out = settings.validation_share + settings.test_share  # of own chats as well, though by time
    options = replace(options, chats=replace(options.chats, held_out=held_out))
    return [source.open(name, kind, options, settings.max_samples) for name in names]


def prepared(settings: TrainSettings, policy: Checkpoint, streams: Sequence[Stream], rule: str) -> Data:
    """Rows as ids, by the rule of an objective. DataError where more of them would be lost than the settings allow."""
    held_out = settings.validation_share, settings.test_share
    split = SplitRule((1 - sum(held_out), *held_out))
    how = How(TextKey.of(policy.tokenizer, policy.template), rule, settings.seq_len, split)
    found: list[Prepared] = []
    for stream in streams:
        left = (
            None
            if settings.max_samples is None
            else settings.max_samples - sum(one.report.account.records for one in found)
        )
        if left == 0:
            console.note(f"{stream.source.text} is not read: --max-samples {settings.max_samples} are there without it")
            continue
        most = [limit for limit in (stream.most, left) if limit is not None]
        found.append(_one(settings, replace(stream, most=min(most, default=None)), how))
    return _mixed(found)


def rehearsal(settings: TrainSettings, policy: Checkpoint, names: Sequence[str], rule: str) -> Data:
    """Data to rehearse, by a rule of the lessons; none of it is held out."""
    how = How(TextKey.of(policy.tokenizer, policy.template), rule, settings.seq_len, SplitRule((1.0, 0.0, 0.0)))
    kind = "documents" if rule == "documents" else "conversations"
    return _mixed([_one(settings, source.open(name, kind, settings.read_options()), how) for name in names])


def with_rehearsal(data: Data, documents: Data) -> dict[str, Any]:
    """The report of both; a resumed run needs both to be what they were."""
    both = hashlib.sha256(f"{data.fingerprint} {documents.fingerprint}".encode()).hexdigest()
    return {**data.report, "fingerprint": both, "rehearsed": documents.report}


def _one(settings: TrainSettings, stream: Stream, how: How) -> Prepared:
    found = prepare(stream, how, root=settings.prepared, workers=settings.workers)
    found.report.judge(settings.skip_bad_rows, settings.max_bad_share, settings.max_truncated_share)
    found.report.tell()
    if "train" not in found.examples:
        raise DataError(f"{found.report.name}: there is nothing to train on: its training split is empty")
    return found


def _mixed(sources: Sequence[Prepared]) -> Data:
    """Of several sources, those without a weight count 1 where another has one; without any, every row comes once."""
    examples = {}
    for split in NAMES:
        some = [(one.examples[split], one.report.weight) for one in sources if split in one.examples]
        weighted = split == "train" and any(weight is not None for _, weight in some)
        weights = [1.0 if weight is None else weight for _, weight in some] if weighted else []
        if some:
            examples[split] = joined([part for part, _ in some], weights)
    return Data(tuple(sources), examples)


def text_proofs(policy: Checkpoint, data: Data, folder: Path) -> list[Proof]:
    """mask, stop and parity, from what was trained on."""
    train = data.examples["train"]
    accounts = [one.report.account for one in data.sources]
    cut = sum(row.reason in (Fit.ANSWER_CUT, Fit.PART_CUT) for account in accounts for row in account.truncated)
    without = [place for account in accounts for place in account.without_end]
    samples = [one for source in data.sources for one in source.samples.of("train") if one.whole]
    whole = [one.conversation for one in samples[:PARITY_ROWS]]
    return [
        proofs.mask_proof((train.lengths + 1).tolist(), train.learned.tolist()),
        proofs.stop_proof(sum(account.answers for account in accounts), without, truncated=cut),
        proofs.parity_proof(folder, whole, [policy.render(one) for one in whole], now=policy.template.now),
    ]


def with_start(
    whole: Report, settings: TuneSettings, held_out: Sequence[Conversation], load_in: LoadIn | None
) -> Report:
    """The report with start and result asked the same: the classic prompts, and some of the user's own held-out ones."""
    own = [prompt(_question(one).messages) for one in held_out]
    examination = Examination((*default_prompts(), *own[:OWN_PROMPTS]), Sampling(max_tokens=64))
    return asked_twice(whole, settings, examination, load_in)


def asked_twice(whole: Report, settings: TuneSettings, examination: Examination, load_in: LoadIn | None) -> Report:
    """The report with start and result in one examination.

    Both are read anew, one after the other, their weights held as `load_in` says.
    """
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


def metrics(result: StageResult) -> list[dict[str, Any]]:
    """What the run measured, step after step."""
    return read_metrics(result.folder / "metrics.jsonl")


def stage_report(settings: TrainSettings, result: StageResult, name: str) -> Report:
    one = Stage(
        name,
        losses=result.losses,
        metrics=metrics(result),
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


def size_of(policy: Checkpoint) -> str:
    trained = f", {policy.model.trained_size:,} of them in the adapter are trained" if policy.adapter else ""
    return f"{policy.model.size:,} parameters{trained}"
