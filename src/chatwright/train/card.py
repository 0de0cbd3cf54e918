"""The model card (README.md) that a hub shows: what a model is, what it was trained on, what was measured, how to load it.

In come the facts of a run, out comes Markdown with YAML before it. What is not known is left out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chatwright import hub, yaml_file
from chatwright.checkpoint import read_json
from chatwright.console import clean
from chatwright.data import spec
from chatwright.errors import DataError
from chatwright.evals import tables
from chatwright.evals.proofs import Proof

MARK = (
    "<!-- chatwright wrote this card, and `chatwright push` writes it anew; without this line it is left as it is -->"
)
METADATA = "training_metadata.json"
COLOURS = {"green": "🟢", "red": "🔴", "warning": "🟡"}
RATES = {"stop_rate": "stops by itself", "loop_rate": "loops", "leak_rate": "speaks for the user"}
FRONT = ("language", "license")  # of the metadata, as the hub calls them
UNSHOWN = (*FRONT, "base_fingerprint")
LONGEST_ROAD = 20  # runs between a model and the hub


@dataclass(frozen=True)
class Card:
    """What is known of the model in `folder`. `repo` is its hub id, once it has one; `chat`: it has a chat template;
    `scores`: it is a reward model.

    `metadata` is what training_metadata.json holds, `report` what report.json does.
    """

    title: str
    folder: Path
    metadata: Mapping[str, Any]
    chat: bool = True
    adapter: bool = False
    scores: bool = False
    repo: str = ""
    proofs: Sequence[Proof] = ()
    report: Mapping[str, Any] | None = None


def text(card: Card) -> str:
    """The whole README.md."""
    base, datasets = base_of(card.metadata, card.folder), datasets_of(card.metadata, card.folder)
    parts = [
        f"---\n{yaml_file.write(_front(card, base, datasets))}---",
        MARK,
        f"# {_plain(card.title)}",
        _summary(card, base, datasets),
        "\n\n".join(["## How to load it", *_loading(card)]),
        _section("Before and after", _comparison(card.report or {})),
        _section("Proofs", _proofs(card.proofs)),
        _section("Training", _training(card.metadata)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def is_ours(readme: str) -> bool:
    """Whether nobody has made the card their own."""
    return MARK in readme


def without_paths(value: Any) -> Any:
    """What metadata says, without the folders of somebody's machine: of a path that leaves this folder only its end."""
    if isinstance(value, Mapping):
        return {name: without_paths(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [without_paths(one) for one in value]
    if not isinstance(value, str):
        return value
    path = Path(value)
    leaves = path.is_absolute() or ".." in path.parts or value.startswith("~")
    return path.name if leaves else value


def base_of(metadata: Mapping[str, Any], folder: Path) -> str:
    """The hub id that a model goes back to, through all runs between; "" where there is none, or nobody knows."""
    origin = str(metadata.get("base_model") or "")
    for _ in range(LONGEST_ROAD):
        runs = [
            place for place in _places(origin, folder) if (place / "model").is_dir() or (place / METADATA).is_file()
        ]
        if not origin or not runs:
            break
        written = [path for path in (runs[0] / METADATA, runs[0] / "model" / METADATA) if path.is_file()]
        origin = str(read_json(written[0]).get("base_model") or "") if written else ""
    return hub.split(origin)[0] if hub.is_repo_id(origin) and not Path(origin).exists() else ""


def datasets_of(metadata: Mapping[str, Any], folder: Path) -> list[str]:
    """The hub ids among the data."""
    name = str(metadata.get("dataset") or "")
    try:
        found = spec.parse(name)
    except DataError:  # none at all, or a file that was here when the model was trained
        return []
    return [found.name] if found.place == "hub" and not _places(found.name, folder) else []


def _places(name: str, folder: Path) -> list[Path]:
    """Where a path leads that was typed in another folder: from here, and from each folder above the model."""
    places = (place / name for place in (Path(), *folder.absolute().parents))
    return [place for place in places if place.exists()]


def _front(card: Card, base: str, datasets: Sequence[str]) -> dict[str, Any]:
    """The YAML by which a hub sorts and links."""
    stage = str(card.metadata.get("stage") or "")
    known = {
        **{name: card.metadata.get(name) for name in FRONT},
        "library_name": "peft" if card.adapter else "transformers",
        "pipeline_tag": "text-classification" if card.scores else "text-generation",
        "base_model": base,
        "datasets": list(datasets),
        "tags": ["chatwright", *([stage] if stage else []), *(["lora"] if card.adapter else [])],
    }
    return {name: value for name, value in known.items() if value}


def _summary(card: Card, base: str, datasets: Sequence[str]) -> str:
    """One sentence: what it is, made how, from what, on which data."""
    stage, data = card.metadata.get("stage"), card.metadata.get("dataset")
    what = "A LoRA adapter" if card.adapter else "A reward model" if card.scores else "A language model"
    made = f", made by `chatwright {_plain(stage)}`" if stage else ""
    on = " and ".join(datasets) or (_shown("dataset", data) if data else "")
    return f"{what}{made}{f' from {base}' if base else ''}{f', trained on {_plain(on)}' if on else ''}."


def _loading(card: Card) -> list[str]:
    """Code for other programs, and for this one."""
    name = card.repo or "path/to/this/folder"
    if card.scores:
        return _scoring(name)
    question = '[{"role": "user", "content": "Who are you?"}]' if card.chat else '"Once upon a time"'
    answer = '["generated_text"][-1]["content"]' if card.chat else '["generated_text"]'
    if card.adapter:
        lines = [
            "from peft import AutoPeftModelForCausalLM",
            "from transformers import AutoTokenizer",
            "",
            f'model = AutoPeftModelForCausalLM.from_pretrained("{name}")',
            f'tokenizer = AutoTokenizer.from_pretrained("{name}")',
        ]
    else:
        lines = [
            "from transformers import pipeline",
            "",
            f'generate = pipeline("text-generation", model="{name}")',
            f"print(generate({question}, max_new_tokens=64)[0]{answer})",
        ]
    words = f"chatwright chat {name}" if card.chat else f'chatwright generate {name} "Once upon a time"'
    return ["```python\n" + "\n".join(lines) + "\n```", f"```console\n$ {words}\n```"]


def _scoring(name: str) -> list[str]:
    """The same for a reward model. White space that a template writes after a turn is no part of what is scored."""
    lines = [
        "from transformers import AutoModelForSequenceClassification, AutoTokenizer",
        "",
        f'model = AutoModelForSequenceClassification.from_pretrained("{name}")',
        f'tokenizer = AutoTokenizer.from_pretrained("{name}")',
        'chat = [{"role": "user", "content": "Who are you?"}, {"role": "assistant", "content": "A chatbot."}]',
        "text = tokenizer.apply_chat_template(chat, tokenize=False).rstrip()",
        'print(model(**tokenizer(text, add_special_tokens=False, return_tensors="pt")).logits.item())',
    ]
    words = f"chatwright compare path/to/one path/to/another --judge {name} --out judged"
    return ["```python\n" + "\n".join(lines) + "\n```", f"```console\n$ {words}\n```"]


def _comparison(report: Mapping[str, Any]) -> list[list[str]]:
    """A column a stage that was evaluated: graded questions with their 95 % intervals, then the health of the chat."""
    try:
        stages = [(stage["name"], stage["evaluation"]) for stage in report.get("stages", []) if stage["evaluation"]]
        if not stages:
            return []
        rows = [["", "n", *(name for name, _ in stages)]]
        for name in dict.fromkeys(name for _, one in stages for name in one["scores"]):
            scores = [one["scores"].get(name) for _, one in stages]
            count = max(score["n"] for score in scores if score)
            rows.append([tables.label(name), f"{count:,}", *map(_score, scores)])
        count = max(one["health"]["n"] for _, one in stages)
        for name, label in RATES.items():
            rows.append([label, f"{count:,}", *(tables.percent(one["health"][name]) for _, one in stages)])
        return rows
    except (KeyError, TypeError, ValueError, AttributeError):  # a report of another version
        return []


def _score(score: Mapping[str, Any] | None) -> str:
    if not score or not score["n"]:
        return tables.NOTHING
    return f"{tables.percent(score['accuracy'])} ({tables.interval(score['low'], score['high'])})"


def _proofs(proofs: Sequence[Proof]) -> list[list[str]]:
    rows = [[proof.name, f"{COLOURS.get(proof.state, '⚪')} {proof.state}", proof.says] for proof in proofs]
    return [["", "", "what was shown"], *rows] if rows else []


def _training(metadata: Mapping[str, Any]) -> list[list[str]]:
    known = {name: value for name, value in metadata.items() if value not in (None, "") and name not in UNSHOWN}
    return [["", ""], *([tables.label(name), _shown(name, value)] for name, value in known.items())] if known else []


def _shown(name: str, value: Any) -> str:
    """A figure, or a name; of a path on somebody's machine only its end."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(without_paths(value))
    return f"{value:,}" if isinstance(value, int) and name != "seed" else f"{value:.6g}"


def _section(title: str, rows: Sequence[Sequence[str]]) -> str:
    """A heading and a table, its first row being the head; nothing where there is nothing to show."""
    if not rows:
        return ""
    head, *body = ["| " + " | ".join(map(_plain, row)) + " |" for row in rows]
    return "\n".join([f"## {title}", "", head, "|" + "---|" * len(rows[0]), *body])


def _plain(value: object) -> str:
    """Text that can neither end a cell nor start HTML."""
    return " ".join(clean(str(value)).replace("<", "&lt;").replace("|", "\\|").split())
