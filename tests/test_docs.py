"""The docs say what is so: their commands run, their files are the files, their links lead somewhere.

Fenced blocks by their info string: `console` holds commands (`$ chatwright …`, all run, in order, chapter by chapter; a
trailing `# exit 2` says how one ends), `console hub` commands that are only parsed, `python` code that is run,
`LANGUAGE FILE` a file: of the repository (then equal to it), or one that the chapter's commands read.
"""

import io
import os
import re
import shlex
import shutil
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from chatwright import config, registry
from chatwright.chat import slash
from chatwright.commands import _cli
from chatwright.tasks import primer
from chatwright.text.records import Record

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "chatwright"
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
QUOTED = ("src/", "deploy/")  # where files lie that the pages quote
FENCE = re.compile(r"^```(\S[^\n]*)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\(([^)\s]+)\)")
# What makes the runs small: settings that a command gives no value for, and the steps of those that do.
SMALL = {
    "CHATWRIGHT_STEPS": "2",
    "CHATWRIGHT_MAX_SAMPLES": "12",
    "CHATWRIGHT_MAX_PROBLEMS": "1",
    "CHATWRIGHT_MAX_TOKENS": "8",
    "CHATWRIGHT_PROOFS": "warn",
    "CHATWRIGHT_DEVICE": "cpu",
}
READ_PRIMER = primer.records
TINY = '{"model_type": "gpt2", "n_layer": 1, "n_embd": 32, "n_head": 2, "n_positions": 256}'


@dataclass(frozen=True)
class Block:
    """One fenced block: the words after the fence, its text, the line of the page that it begins in."""

    page: Path
    line: int
    info: tuple[str, ...]
    text: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def file(self) -> str:
        """The file that the block is, or ""."""
        return self.info[1] if len(self.info) == 2 and self.info[0] != "console" else ""

    @property
    def commands(self) -> list[tuple[list[str], int]]:
        """The words behind `$ chatwright` of each command, and the exit code that it is to end with."""
        found = []
        for line in self.text.replace("\\\n", " ").splitlines():
            if line.startswith("$ "):
                line, _, remark = line.partition("   # ")  # a lone # belongs to a word: primer#300
                code = re.fullmatch(r"exit (\d+)", remark)
                words = shlex.split(line[2:])
                assert words[0] == "chatwright", f"{self.place}: not a command of chatwright: {line}"
                found.append((words[1:], int(code.group(1)) if code else 0))
        return found


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text.count("\n", 0, found.start()) + 1, tuple((found.group(1) or "").split()), found.group(2))
        for found in FENCE.finditer(text)
    ]


def prose(page: Path) -> str:
    """A page without its blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


ALL = [block for page in PAGES for block in blocks(page)]


def runnable(block: Block) -> bool:
    return block.info in (("console",), ("python",)) or bool(block.file and not block.file.startswith(QUOTED))


CHAPTERS = [page for page in PAGES if any(runnable(block) for block in blocks(page))]


@pytest.fixture(scope="session")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A quickstart of a few steps with a model of one layer on the first texts of the primer, made once.

    A few steps more than the commands get: a start model at chance is a red proof, and rightly so.
    """
    folder = tmp_path_factory.mktemp("docs")
    (folder / "config.json").write_text(TINY)
    with pytest.MonkeyPatch.context() as patch:
        prepare(patch, folder)
        patch.setattr("chatwright.commands._road.DATA", ("primer:documents#400", "primer:conversations#400"))
        patch.setattr("chatwright.commands._road.PREFERENCES", "primer:preferences#100")
        patch.setattr("chatwright.commands._road.REHEARSED", ["primer:clean#100"])
        small = ["--model", "config.json", "--vocab-size", "1000", "--pretrain-steps", "25", "--sft-steps", "10"]
        small += ["--dpo-steps", "2", "--grpo-steps", "1"]
        assert _cli.main(["quickstart", *small, "--lr", "0.02", "--sft-lr", "0.02", "--out", "runs/quickstart"]) == 0
    return folder / "runs" / "quickstart"


@cache
def primer_part(part: str, seed: int) -> list[Record]:
    return list(READ_PRIMER(part, seed))


def prepare(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """The chapter's folder, the small settings, one line on standard input, and a primer that is made only once."""
    patch.setattr(primer, "records", lambda part="conversations", seed=0: iter(primer_part(part, seed)))
    patch.chdir(folder)
    for name in [name for name in os.environ if name.startswith(config.PREFIX)]:
        patch.delenv(name)
    for name, value in SMALL.items():
        patch.setenv(name, value)
    patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"Hello!\n"), encoding="utf-8"))


def smaller(words: list[str]) -> list[str]:
    """The same command with two steps, the model of one layer, and the first texts of the primer."""
    values = {"--steps": "2", "--max-tokens": "8", "--max-samples": "2", "--save-every": "1"}
    changed = []
    for before, word in zip(["", *words], words, strict=False):
        if before == "--model" and word == "tiny":
            word = "config.json"
        elif before != "--task" and re.fullmatch(r"primer(:\w+)?", word):
            word += "#400"
        changed.append(values.get(before, word))
    return changed


@pytest.mark.parametrize("page", CHAPTERS, ids=lambda page: page.stem)
def test_every_command_of_a_chapter_runs(
    page: Path, quickstart: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(quickstart, tmp_path / "runs" / "quickstart")
    (tmp_path / "config.json").write_text(TINY)
    names: dict[str, Any] = {"__name__": page.stem}
    for block in filter(runnable, blocks(page)):
        if block.file:
            (tmp_path / block.file).write_text(block.text, encoding="utf-8")
        elif block.info == ("python",):
            with monkeypatch.context() as patch:
                prepare(patch, tmp_path)
                exec(compile("\n" * block.line + block.text, str(page), "exec"), names)
        for words, code in block.commands if block.info == ("console",) else ():
            with monkeypatch.context() as patch:
                prepare(patch, tmp_path)
                found = _cli.main(smaller(words))
                assert found == code, f"{block.place}: {' '.join(words)}\n{capfd.readouterr().err}"


HUB = [(block, words) for block in ALL if block.info == ("console", "hub") for words, _ in block.commands]


@pytest.mark.parametrize(
    ("block", "words"), HUB, ids=lambda value: value.place if isinstance(value, Block) else value[0]
)
def test_every_command_that_needs_a_hub_is_spelled_right(
    block: Block, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    module = registry.load("commands", words[0])
    given = _cli._parse(words[0], module, words[1:])
    assert given is not None
    path = given.pop("config", None)
    assert config.resolve(module.Settings, Path(path) if path else None, {}, given, words[0])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    wrong = []
    for target in LINK.findall(prose(page)):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        other = (page.parent / path).resolve() if path else page
        if not other.exists():
            wrong.append(f"{page.name}: {target} does not exist")
        elif anchor and anchor not in anchors(other):
            wrong.append(f"{page.name}: {other.name} has no heading #{anchor}")
    assert not wrong, "\n" + "\n".join(wrong)


def anchors(page: Path) -> set[str]:
    """The headings as GitHub links to them."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_block_has_a_known_kind() -> None:
    languages = {"console", "bash", "python", "text", "yaml", "jsonl", "csv", "ini", "nginx", "dockerfile"}
    wrong = [block.place for block in ALL if not block.info or block.info[0] not in languages]
    assert not wrong, wrong


def test_a_block_that_names_a_source_file_is_that_file() -> None:
    quoted = [block for block in ALL if block.file.startswith(QUOTED)]
    assert quoted
    for block in quoted:
        assert block.text == (ROOT / block.file).read_text(encoding="utf-8"), (
            f"{block.place} is no longer {block.file}: python tests/test_docs.py"
        )


def test_every_verb_is_in_the_readme_and_in_the_reference() -> None:
    for page in (ROOT / "README.md", ROOT / "docs" / "reference.md"):
        text = page.read_text(encoding="utf-8")
        missing = [
            verb for verb in registry.names("commands") if verb.replace("_", "-") not in re.findall(r"[\w-]+", text)
        ]
        assert not missing, f"{page.name} does not name {missing}"


def test_every_command_of_the_conversation_is_in_the_reference() -> None:
    text = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    names = [name for name, command in slash.COMMANDS.items() if command.help != "the same"]
    assert not [name for name in names if f"`/{name}`" not in text]


def test_every_verb_is_run_by_some_chapter() -> None:
    """The fixture runs `quickstart`; every other verb stands in some block, so that no page goes stale unseen."""
    run = {words[0] for block in ALL if block.info == ("console",) for words, _ in block.commands if words}
    assert {*registry.names("commands")} - run == {"quickstart"}


def tree() -> list[str]:
    """The paths that the README's tree draws, by their indentation."""
    (drawing,) = [block.text for block in blocks(ROOT / "README.md") if block.text.startswith("src/chatwright/")]
    found: list[str] = []
    folders: list[tuple[int, str]] = []
    for line in drawing.splitlines():
        indent, name = len(line) - len(line.lstrip()), line.split()[0]
        folders = [folder for folder in folders if folder[0] < indent]
        path = "".join(folder for _, folder in folders) + name
        found.append(path)
        if name.endswith("/"):
            folders.append((indent, name))
    return found


def test_everything_in_the_tree_exists() -> None:
    missing = [path for path in tree() if not (ROOT / path).exists()]
    assert not missing, missing


def test_every_folder_and_every_file_of_the_first_two_floors_of_folders_is_in_the_tree() -> None:
    drawn = set(tree())
    folders = {file.parent for file in PACKAGE.rglob("*.py")} - {PACKAGE}
    missing = [path for folder in sorted(folders) if (path := f"{folder.relative_to(ROOT).as_posix()}/") not in drawn]
    # a folder of which one file is drawn is drawn whole: what `__init__` and the entry point are goes without saying
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        beside = any(
            other.startswith(f"{path.parent.relative_to(ROOT).as_posix()}/")
            and other.endswith(".py")
            and Path(other).parent == path.parent.relative_to(ROOT)
            for other in drawn
        )
        if beside and not path.name.startswith("_") and name not in drawn:
            missing.append(name)
    assert not missing, missing


def test_what_the_make_file_is_asked_for_it_has() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    asked = {
        name
        for block in ALL
        if block.info == ("bash",)
        for name in re.findall(r"^make (\S+)", block.text, re.MULTILINE)
    }
    asked |= {name for page in PAGES for name in re.findall(r"`make ([\w-]+)`", prose(page))}
    assert asked <= targets, asked - targets


def paste() -> None:
    """`python tests/test_docs.py` pastes the source files anew that the pages quote."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for block in blocks(page):
            if block.file.startswith(QUOTED):
                fence = f"```{' '.join(block.info)}\n"  # an empty block alone would be found everywhere
                contents = (ROOT / block.file).read_text(encoding="utf-8")
                text = text.replace(f"{fence}{block.text}```", f"{fence}{contents}```")
        if text != page.read_text(encoding="utf-8"):
            page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    paste()
