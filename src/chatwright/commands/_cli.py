"""The command line: the only module that knows cyclopts. Words come in, an exit code goes out.

A verb's flags are read off its Settings, so that they exist once. cyclopts splits the words and draws the help; values
go to config.resolve as text, so that a wrong one is told in the same words wherever it stands. Only the verb that is
asked for is imported: the overview reads docstrings with `ast`.
"""

import ast
import contextlib
import errno
import importlib.util
import inspect
import json
import math
import os
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, get_args, get_origin

import cyclopts
from pydantic.fields import FieldInfo

from chatwright import config, console, hub, registry
from chatwright.errors import ChatwrightError, ConfigError, DiskFull

PROGRAM = "chatwright"
INTERRUPTED = 130
STDIN = "\0"  # what "-" is called while cyclopts reads the words, because it takes that for an option
FULL = {errno.ENOSPC, errno.EDQUOT}
TOKEN_HELP = "token for the hub; better set HF_TOKEN or use `hf auth login`, because other users see what stands on a command line"


def main(words: Sequence[str]) -> int:
    """Runs one command line and returns its exit code; never lets a stack through (CHATWRIGHT_TRACEBACK=1 shows it)."""
    wants_json = "--json" in words
    try:
        _dispatch(list(words))
        sys.stdout.flush()
        return 0
    except BrokenPipeError:  # whoever read our output has gone: `chatwright check … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        if os.environ.get("CHATWRIGHT_TRACEBACK", "0") not in ("", "0"):
            traceback.print_exc()
        failure = _failure(error)
        sentence = str(failure.args[0])
        console.error(sentence)
        if wants_json:
            # A verb that fails after it has results (a red proof) gives them as the error's second argument.
            reached = failure.args[1] if len(failure.args) > 1 and isinstance(failure.args[1], dict) else {}
            _print_json({**reached, "error": sentence, "exit_code": failure.exit_code})
        return failure.exit_code


def _failure(error: Exception) -> ChatwrightError:
    """Any exception as the one sentence and exit code that the user gets."""
    if isinstance(error, ChatwrightError) and error.args:
        return error
    if isinstance(error, OSError) and error.errno in FULL:
        where = f" while writing {str(error.filename)!r}" if error.filename else ""
        return DiskFull(f"the disk (or its quota) is full{where}; free some space and run the same command again")
    if isinstance(error, OSError) and error.filename and error.strerror:
        return ChatwrightError(f"{error.filename}: {error.strerror}")
    text = " ".join(str(error).split()) or "no message"
    return ChatwrightError(f"{type(error).__name__}: {text} (CHATWRIGHT_TRACEBACK=1 shows where)")


def _dispatch(words: list[str]) -> None:
    """The first word chooses the verb; without one, the overview."""
    if not words or words[0] in ("--help", "-h"):
        _overview().help_print([])
        return
    if words[0] == "--version":
        from importlib.metadata import version

        print(f"{PROGRAM} {version('chatwright')}")
        return
    verb = words[0].replace("-", "_")
    known = registry.names("commands")
    if verb not in known:
        near = registry.suggestion(verb, known) or f"; the verbs are {', '.join(known)}"
        kind = "option" if words[0].startswith("-") else "verb"
        raise ConfigError(f"{words[0]!r} is no {kind} of {PROGRAM}{near}")
    _run(verb, registry.load("commands", verb), words[1:])


def _run(verb: str, module: ModuleType, words: list[str]) -> None:
    """Parses one verb's words, resolves its settings and runs it."""
    given = _parse(verb, module, words)
    if given is None:  # --help
        return
    path, token = given.pop("config", None), given.pop("token", None)
    yaml_path = Path(path) if path is not None else None
    settings = config.resolve(module.Settings, yaml_path, os.environ, given, verb, _names_of_all_verbs)
    with hub.token_of(token):
        if not settings.json:
            module.run(settings)
            return
        with contextlib.redirect_stdout(sys.stderr):  # whatever a library prints, stdout holds one object
            result = module.run(settings)
    _print_json(result)


def _parse(verb: str, module: ModuleType, words: list[str]) -> dict[str, Any] | None:
    """What the words give, by dotted name; None when they asked for help, which is printed."""
    app, names = _app(verb, module)
    flags = {config.flag(name) for name in names.values()}
    try:
        _, bound, _ = app.parse_args([_dashed(word, flags) for word in words], print_error=False, exit_on_error=False)
    except cyclopts.CycloptsError as error:
        raise ConfigError(f"{_sentence(error, flags)}; see {PROGRAM} {verb} --help") from None
    if not bound.signature.parameters.keys() & names.keys():  # cyclopts' own command that prints the help
        app.help_print([])
        return None
    given = bound.arguments.items()
    return {names[parameter]: "-" if value == STDIN else value for parameter, value in given}


def _sentence(error: cyclopts.CycloptsError, flags: set[str]) -> str:
    """What is wrong with the words, in our form."""
    if isinstance(error, cyclopts.UnknownOptionError):
        option = (error.token.keyword or error.token.value).partition("=")[0]
        return f"{option} is no option of this verb{registry.suggestion(option, flags).replace(chr(39), '')}"
    if isinstance(error, cyclopts.UnusedCliTokensError):
        words = " ".join(error.unused_tokens or []).replace(STDIN, "-")
        return f"{words!r} is one word too many; quote a text that has spaces"
    sentence = " ".join(str(error).split()).rstrip(".")
    return sentence[:1].lower() + sentence[1:]


def _dashed(word: str, flags: set[str]) -> str:
    """`--seq_len` is `--seq-len`, and `-` a word; what only looks like a flag is left alone."""
    if word == "-":
        return STDIN
    head, equals, rest = word.partition("=")
    dashed = head.replace("_", "-")
    return dashed + equals + rest if dashed in flags else word


def _app(verb: str, module: ModuleType) -> tuple[cyclopts.App, dict[str, str]]:
    """The cyclopts command of a verb, and the dotted name behind each of its parameters."""
    positional: tuple[str, ...] = module.POSITIONAL
    fields = dict(config.names(module.Settings))
    order = [*positional, *(name for name in fields if name not in positional and name != "json")]
    parameters = [_parameter(name, fields[name], positional) for name in order]
    parameters += [
        _keyword("config", "--config", str, help="a YAML file of settings, or a run to repeat", metavar="FILE"),
        _keyword("json", "--json", bool, help=fields["json"].description, negative=""),
        _keyword("token", "--token", str, help=TOKEN_HELP, metavar="TEXT"),
    ]

    def given() -> None:
        """cyclopts only reads the signature."""

    given.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    usage = " ".join(["Usage:", PROGRAM, verb.replace("_", "-"), *(name.upper() for name in positional), "[OPTIONS]"])
    app = cyclopts.App(
        name=f"{PROGRAM} {verb}",
        help=inspect.getdoc(module),
        help_format="plaintext",
        help_epilogue="\n".join(["Examples:", *(f"  {example}" for example in module.EXAMPLES)]),
        usage=usage + "\n",
        version_flags=[],
    )
    app.default(given)
    names = dict(zip((parameter.name for parameter in parameters), [*order, "config", "json", "token"], strict=True))
    return app, names


def _parameter(name: str, field: FieldInfo, positional: tuple[str, ...]) -> inspect.Parameter:
    """One setting as a parameter that takes text (or several, or a switch)."""
    group, _, last = name.rpartition(".")
    options: dict[str, Any] = {"help": _described(field), "show_default": False}
    kind = _kind(field.annotation)
    if kind is bool:
        options["negative"] = config.flag(f"{group}.no_{last}" if group else f"no_{last}")
    else:
        options |= {"negative": "", "metavar": _metavar(field.annotation), "consume_multiple": kind is list}
    if group:
        options["group"] = group
    spellings = [config.flag(name), *_short(field)]
    annotation = list[str] if kind is list else kind
    if name not in positional:
        return _keyword(name.replace(".", "__"), spellings, annotation, **options)
    return _keyword(name, spellings, annotation, **options).replace(kind=inspect.Parameter.POSITIONAL_OR_KEYWORD)


def _keyword(name: str, spellings: str | list[str], kind: Any, **options: Any) -> inspect.Parameter:
    """A parameter that is only given by its flag; cyclopts checks the default too, so None has to be allowed."""
    annotation = Annotated[kind | None, cyclopts.Parameter(name=spellings, **options)]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _short(field: FieldInfo) -> list[str]:
    """Further spellings of a setting's flag: `Field(json_schema_extra={"short": "-p"})`, or a list of them."""
    extra = field.json_schema_extra
    short = extra.get("short", []) if isinstance(extra, dict) else []
    return [str(one) for one in (short if isinstance(short, list) else [short])]


def _choices(annotation: Any) -> list[Any]:
    """The types of a union without None, or the one type that it is."""
    if get_args(annotation) and get_origin(annotation) not in (list, tuple, dict) and not _literals(annotation):
        return [choice for choice in get_args(annotation) if choice is not type(None)]
    return [annotation]


def _literals(annotation: Any) -> list[str]:
    """The words that a Literal allows."""
    words = [] if isinstance(annotation, type) or get_origin(annotation) in (list, tuple) else get_args(annotation)
    return [str(word) for word in words] if words and all(isinstance(word, str | int) for word in words) else []


def _kind(annotation: Any) -> Any:
    """How many words a flag takes: bool none, list several, str one."""
    choices = _choices(annotation)
    if choices == [bool]:
        return bool
    return list if any(get_origin(choice) in (list, tuple) or choice in (list, tuple) for choice in choices) else str


def _metavar(annotation: Any) -> str:
    """What the help calls the value: INT, PATH, a|b."""
    names = []
    for choice in _choices(annotation):
        inner = get_args(choice)[0] if get_origin(choice) in (list, tuple) else choice
        words = _literals(inner)
        names.append("|".join(words) if words else {"str": "TEXT"}.get(inner.__name__, inner.__name__.upper()))
    return "|".join(dict.fromkeys(names))


def _described(field: FieldInfo) -> str:
    """A setting's sentence, and its default as one would type it, or that it has to be given."""
    if field.is_required():
        return f"{field.description or ''} (required)"
    value = field.get_default(call_default_factory=True)
    if value is None or value in ("", (), []):
        return field.description or ""
    words = value if isinstance(value, list | tuple) else [str(value).lower() if isinstance(value, bool) else value]
    return f"{field.description or ''} (default: {' '.join(map(str, words))})"


def _overview() -> cyclopts.App:
    """The help of the program: each verb with the first line of its docstring, none of them imported."""
    app = cyclopts.App(
        name=PROGRAM,
        help="From raw text to a chatbot that you can talk to, serve, export and trust.",
        help_format="plaintext",
        help_epilogue=f"{PROGRAM} VERB --help shows the settings of a verb. To begin: {PROGRAM} quickstart",
        usage=f"Usage: {PROGRAM} VERB [OPTIONS]\n",
    )
    for verb, line in _first_lines():
        app.command(cyclopts.App(name=verb, help=line))
    return app


def _first_lines() -> Iterator[tuple[str, str]]:
    """Each verb and the first line of its file's docstring."""
    for verb in registry.names("commands"):
        spec = importlib.util.find_spec(f"chatwright.commands.{verb}")  # finds the file, imports nothing
        source = Path(spec.origin).read_text(encoding="utf-8") if spec is not None and spec.origin else ""
        yield verb.replace("_", "-"), (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


def _names_of_all_verbs() -> Iterator[str]:
    """Every dotted name that some verb knows; imports them all, so it is only asked about an unknown variable."""
    for verb in registry.names("commands"):
        yield from (name for name, _ in config.names(registry.load("commands", verb).Settings))


def _print_json(result: Mapping[str, Any]) -> None:
    """One JSON object on stdout; NaN and infinity, which JSON does not have, become null."""
    print(json.dumps(_finite(result), ensure_ascii=False, allow_nan=False, default=str))


def _finite(value: Any) -> Any:
    """The same value with every float that is no number replaced by None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(inner) for key, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, list | tuple) else value
