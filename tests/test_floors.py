"""The house stands as docs/decisions.md and the README draw it: who may import whom, and how long things may be."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "chatwright"
ROOM_FLOORS = {
    **dict.fromkeys(["text", "models"], 1),
    **dict.fromkeys(["data", "checkpoint"], 2),
    **dict.fromkeys(["generate", "tasks"], 3),
    "objectives": 4,
    "evals": 5,
    "train": 6,
    **dict.fromkeys(["chat", "convert", "serve", "export"], 7),
    **dict.fromkeys(["commands", "__init__", "__main__"], 8),
}
GROUND = {"errors", "registry", "config", "console", "yaml_file", "disk", "hub"}  # floor 0
DOORS = {"__init__", "__main__"}  # they only lead to commands/
LONGEST_FILE, LONGEST_FUNCTION, MOST_PARAMETERS = 300, 40, 6
# An import that only one file may make.
ONLY = {
    "cyclopts": {"commands/_cli.py"},
    "torch.distributed": {"train/distributed.py"},
    "fastapi": {"serve/app.py"},
}
# A file on disk that only some modules know by name.
NAMES = {
    # exported.py plays the foreign program that reads what we wrote, for the parity proof.
    "tokenizer.json": ("text/tokenizer", "evals/exported.py"),
    "model.safetensors": ("checkpoint/",),
    "adapter_model.safetensors": ("checkpoint/adapter.py",),
}
JUDGES = {"transformers", "trl", "peft"}


@dataclass(frozen=True)
class Import:
    """One import statement: `name` is dotted; `typing_only` means that it stands under `if TYPE_CHECKING:`."""

    file: str
    line: int
    name: str
    typing_only: bool
    top_level: bool

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: imports {self.name}"


FILES = sorted(PACKAGE.rglob("*.py"))


def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), filename=str(file))


def shown(file: Path) -> str:
    return file.relative_to(PACKAGE).as_posix()


def room(name: str) -> str:
    """`chatwright.text.records` and `text/records.py` both live in `text`; a file of the top folder is its own room."""
    return (
        name.removeprefix("chatwright").strip(".").replace("/", ".").removesuffix(".py").partition(".")[0] or "__init__"
    )


def floor(name: str) -> int | None:
    return 0 if name in GROUND else ROOM_FLOORS.get(name)


def imports(file: Path) -> list[Import]:
    module = tree(file)
    typing = {
        id(inner)
        for node in ast.walk(module)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for inner in ast.walk(node)
    }
    found = []
    for node in ast.walk(module):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{shown(file)}:{node.lineno}: a relative import; write chatwright.… in full"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        found += [Import(shown(file), node.lineno, name, id(node) in typing, node in module.body) for name in names]
    return found


IMPORTS = {file: imports(file) for file in FILES}
ALL_IMPORTS = [one for some in IMPORTS.values() for one in some]


def inner(one: Import) -> bool:
    return one.name == "chatwright" or one.name.startswith("chatwright.")


def under(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def reached(one: Import) -> str:
    """The room that an import of our own leads to; `from chatwright import config` leads to config."""
    return room(one.name)


def check(wrong: list[str]) -> None:
    assert not wrong, "\n" + "\n".join(wrong)


def test_every_file_and_folder_has_a_floor() -> None:
    check([f"{shown(file)}: has no floor" for file in FILES if floor(room(shown(file))) is None])


def test_a_file_imports_only_from_lower_floors_or_its_own_folder() -> None:
    wrong = []
    for one in filter(inner, ALL_IMPORTS):
        here, there = room(one.file), reached(one)
        if here == "__init__" and one.typing_only:
            continue
        mine, theirs = floor(here), floor(there)
        if theirs is None:
            wrong.append(f"{one}, which has no floor")
        elif here != there and not (theirs < mine or mine == theirs == 0 or (here in DOORS and there == "commands")):
            wrong.append(f"{one}: floor {mine} may not import floor {theirs}")
    check(wrong)


def module_graph() -> dict[str, set[str]]:
    """Module -> the modules that it imports while it is being imported itself."""
    modules = {".".join(["chatwright", *file.relative_to(PACKAGE).with_suffix("").parts]): file for file in FILES}
    names = {name.removesuffix(".__init__"): file for name, file in modules.items()}
    graph: dict[str, set[str]] = {}
    for name, file in names.items():
        targets = {one.name for one in IMPORTS[file] if inner(one) and not one.typing_only}
        graph[name] = {target if target in names else target.rpartition(".")[0] for target in targets} - {name}
    return graph


def cycles(graph: dict[str, set[str]]) -> Iterator[list[str]]:
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> Iterator[list[str]]:
        if name in path:
            yield [*path[path.index(name) :], name]
        elif name not in done:
            for target in sorted(graph.get(name, ())):
                yield from visit(target, [*path, name])
            done.add(name)

    for name in sorted(graph):
        yield from visit(name, [])


def test_no_modules_import_each_other_in_a_circle() -> None:
    check([" -> ".join(circle) for circle in cycles(module_graph())])


def test_a_circle_would_be_found() -> None:
    assert list(cycles({"a": {"b"}, "b": {"c"}, "c": {"b"}})) == [["b", "c", "b"]]


def test_text_and_the_ground_floor_know_no_torch() -> None:
    light = {"text", *GROUND, *DOORS}
    check([str(one) for one in ALL_IMPORTS if under(one.name, "torch") and room(one.file) in light])


def test_the_judges_are_never_imported() -> None:
    check([str(one) for one in ALL_IMPORTS if one.name.partition(".")[0] in JUDGES])


@pytest.mark.parametrize("package", sorted(ONLY))
def test_only_its_own_module_imports(package: str) -> None:
    check([str(one) for one in ALL_IMPORTS if under(one.name, package) and one.file not in ONLY[package]])


def code_strings(file: Path) -> Iterator[ast.Constant]:
    """The string constants of a file, docstrings apart."""
    module = tree(file)
    docstrings = {id(node.value) for node in ast.walk(module) if isinstance(node, ast.Expr)}
    for node in ast.walk(module):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node


@pytest.mark.parametrize("name", sorted(NAMES))
def test_only_one_place_knows_the_file(name: str) -> None:
    check(
        [
            f"{shown(file)}:{node.lineno}: names {name}"
            for file in FILES
            for node in code_strings(file)
            if node.value == name and not shown(file).startswith(NAMES[name])
        ]
    )


def test_no_file_is_longer_than_three_hundred_lines() -> None:
    lengths = {shown(file): len(file.read_text(encoding="utf-8").splitlines()) for file in FILES}
    check([f"{name}:{length}: {length} lines" for name, length in lengths.items() if length > LONGEST_FILE])


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for file in FILES:
        for node in ast.walk(tree(file)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{shown(file)}:{node.lineno}: {node.name}", node


def test_no_function_is_longer_than_forty_lines() -> None:
    lengths = {place: (node.end_lineno or 0) - node.lineno + 1 for place, node in functions()}
    check([f"{place} has {length} lines" for place, length in lengths.items() if length > LONGEST_FUNCTION])


def test_no_function_takes_more_than_six_parameters() -> None:
    counts = {}
    for place, node in functions():
        given = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
        counts[place] = len([argument for argument in given if argument.arg not in ("self", "cls")])
    check([f"{place} takes {count} parameters" for place, count in counts.items() if count > MOST_PARAMETERS])


def test_every_module_says_in_a_few_lines_what_it_is() -> None:
    wrong = []
    for file in FILES:
        if not file.read_text(encoding="utf-8").strip():
            continue
        docstring = ast.get_docstring(tree(file))
        if docstring is None:
            wrong.append(f"{shown(file)}:1: has no docstring")
    check(wrong)
