"""Jinja for chat templates of strangers: the settings that they are written for, and a limit to what they may take.

In: the text of a template. Out: what it writes for a list of messages. The settings are those of `transformers`; the
limits (`meter.py`) are ours, because jinja's sandbox keeps a template from the machine but not from its time and memory.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import wraps
from threading import Lock
from types import BuiltinMethodType, FunctionType
from typing import Any, NoReturn

from jinja2 import TemplateError, nodes
from jinja2.exceptions import SecurityError, TemplateSyntaxError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from chatwright.text.meter import Meter, Overrun

LONGEST_SOURCE = 2**16  # characters; the longest published templates have a third of it, and compiling takes memory

Messages = Sequence[Mapping[str, Any]]


class Sandbox:
    """One template, compiled. Raises TemplateError for a text that is no Jinja, with the line.

    now: the time that `strftime_now` tells, in every render, so that one conversation never holds two dates.
    """

    def __init__(self, source: str, *, now: datetime | None = None) -> None:
        if len(source) > LONGEST_SOURCE:
            raise Overrun(f"it has {len(source):,} characters, and {LONGEST_SOURCE:,} are the most")
        self.now = now or datetime.now()
        self._environment = _Environment(self.now)
        self._one_at_a_time = Lock()  # the environment counts for one render
        try:
            tree = self._environment.parse(source)
            _hand_to_the_meter(tree)
            self._template = self._environment.from_string(tree)
        except TemplateSyntaxError as error:
            raise TemplateError(f"line {error.lineno}: {error.message}") from None
        except Exception as error:  # deep nesting ends in RecursionError, MemoryError or Python's own SyntaxError
            raise TemplateError(f"{type(error).__name__}: {error}") from None

    def render(self, messages: Messages, *, add_generation_prompt: bool, tokens: Mapping[str, str]) -> str:
        """The text. `tokens` are the variables bos_token and so on; tools and documents are None.

        Raises TemplateError whatever goes wrong: the template's own refusal, a mistake in it, or an `Overrun`.
        """
        size = sum(len(str(value)) for message in messages for value in message.values())
        variables = {"messages": messages, "tools": None, "documents": None, **tokens}
        with self._one_at_a_time:
            meter = self._environment.meter = Meter(size)
            pieces = []
            try:
                for piece in self._template.generate(variables, add_generation_prompt=add_generation_prompt):
                    meter.step()
                    meter.spend(len(piece))
                    pieces.append(piece)
            except TemplateError:
                raise
            except Exception as error:  # jinja lets every exception of Python through
                raise TemplateError(f"{type(error).__name__}: {error}") from None
        return "".join(pieces)


class _Generation(Extension):
    """`{% generation %}…{% endgeneration %}`, which marks what is learned, renders its contents and nothing else."""

    tags = {"generation"}  # noqa: RUF012  (declared so by the base class)

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_contents"), [], [], body).set_lineno(line)

    def _contents(self, caller: Any) -> Any:
        return caller()


class _Environment(ImmutableSandboxedEnvironment):
    """What can make much out of little asks the meter of the render first."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self, now: datetime) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[_Generation, loopcontrols],
            finalize=self.weighed,
        )
        self.meter = Meter(0)
        self.filters["tojson"] = _to_json
        self.filters = {name: self._metered(name, function) for name, function in self.filters.items()}
        self.filters |= {COUNTED: self._counted, JOINED: self._joined, WEIGHED: self.weighed, PAID: self._paid}
        del self.globals["lipsum"]  # noise at random, as long as one likes
        self.globals |= {"raise_exception": _refuse, "strftime_now": now.strftime}
        self.globals |= {"dict": _Dict(), "namespace": _Namespace}

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        self.meter.admit_operator(operator, left, right)
        made = super().call_binop(context, operator, left, right)
        return self.meter.taken(made) if operator == "%" else made

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """The names are jinja's: those of the template's own keyword arguments must stay free."""
        if isinstance(__obj, LoopContext):  # a recursive loop
            args = (__self._counted(args[0]), *args[1:])
        elif __obj is not _Namespace:
            name, owner = _name_and_owner(__obj)
            __self.meter.admit(name, (owner, *args), kwargs)
        return __self.meter.taken(super().call(__context, __obj, *args, **kwargs))

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        wrapped = super().wrap_str_format(value)
        if wrapped is not None:
            self.meter.admit_braces(value.__self__)
        return wrapped

    def weighed(self, value: Any) -> Any:
        """What is written out or compared."""
        return self.meter.weighed(value)

    def _metered(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)  # keeps jinja's mark for filters that are handed the context
        def run(*args: Any, **kwargs: Any) -> Any:
            self.meter.admit(name, args, kwargs)
            return self.meter.taken(function(*args, **kwargs))

        return run

    def _counted(self, values: Any) -> Iterator[Any]:
        for value in values:
            self.meter.step()
            yield value

    def _joined(self, values: tuple[Any, ...]) -> str:
        return self.concat([str(self.meter.weighed(value)) for value in values])

    def concat(self, texts: Iterable[str]) -> str:
        """What a macro, a call or a `set` block wrote, joined."""
        texts = list(texts)
        self.meter.spend(sum(map(len, texts)))
        return "".join(texts)

    def _paid(self, value: Any) -> Any:
        return self.meter.taken(value)


# Names that no template can spell.
COUNTED, JOINED, WEIGHED, PAID = "counted by meter", "joined by meter", "weighed by meter", "paid to meter"


def _hand_to_the_meter(tree: nodes.Template) -> None:
    """Loops, `~`, slices and comparisons are compiled to plain Python; their operands pass through a filter here."""
    found = (nodes.For, nodes.Concat, nodes.Compare, nodes.Getitem)
    for node in list(tree.find_all(found)):
        if isinstance(node, nodes.For):
            node.iter = _filtered(node.iter, COUNTED)
        elif isinstance(node, nodes.Concat):
            node.nodes = [_filtered(nodes.Tuple(node.nodes, "load", lineno=node.lineno), JOINED)]
        elif isinstance(node, nodes.Compare):
            node.expr = _filtered(node.expr, WEIGHED)
        elif isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Slice):
            node.node = _filtered(node.node, PAID)
    assert tree.environment is not None
    tree.set_environment(tree.environment)


def _filtered(node: nodes.Node, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


class _Dict:
    """`dict(…)` without the attributes of Python's class."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args)


class _Namespace(Namespace):
    """`namespace(…)`, in which no name begins with an underscore."""

    def __init__(*args: Any, **kwargs: Any) -> None:  # jinja's signature: `self` is a name like any other
        self, *others = args
        attributes = dict(*others, **kwargs)
        for name in attributes:
            _check_name(name)
        Namespace.__init__(self, attributes)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)

    def __repr__(self) -> str:
        return "<Namespace>"  # jinja's tells the contents, which may be anything


def _check_name(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a namespace may not hold {name!r}, because it begins with an underscore")


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Jinja's own `tojson` escapes for HTML, which prompts are not."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)


def _name_and_owner(function: Any) -> tuple[str, Any]:
    """`replace` and the text, for `text.replace`; "" for what has no name, as jinja's macros and cyclers."""
    if isinstance(function, BuiltinMethodType):
        return function.__name__, function.__self__
    return (function.__name__ if isinstance(function, FunctionType) else ""), None
