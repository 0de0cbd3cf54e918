"""Typed commands: `/name argument` in, a method of the Session called, and what to tell the person out.

A command is one function here and one line in COMMANDS.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

from chatwright.chat.adapters import NONE
from chatwright.chat.session import SETTINGS, Session
from chatwright.errors import ConfigError
from chatwright.generate.completion import Finish
from chatwright.registry import suggestion

FINISHED: dict[Finish, str] = {
    "stop": "it ended by itself",
    "string": "it was ended by a stop text",
    "length": "it was cut at max_tokens",
    "context": "the window was full",
    "cancelled": "you stopped it",
}
WORDS_THAT_LEAVE = ("exit", "quit", "/exit", "/quit")


@dataclass(frozen=True)
class Outcome:
    """What a line led to: words for the person, an answer to show, or the end."""

    text: str = ""
    answer: Generator[str, None, None] | None = None
    leave: bool = False


@dataclass(frozen=True)
class Command:
    """`argument` is how the help writes it, "" for none."""

    run: Callable[[Session, str], Outcome]
    argument: str
    help: str


def enter(session: Session, line: str) -> Outcome:
    """What a typed line does. Raises ConfigError for an unknown command or one that cannot be done now."""
    if line.strip() in WORDS_THAT_LEAVE:
        return Outcome(leave=True)
    if not line.startswith("/"):
        return Outcome(answer=session.ask(line)) if line.strip() else Outcome()
    name, argument = [*line[1:].split(maxsplit=1), "", ""][:2]
    command = COMMANDS.get(name)
    if command is None:
        near = suggestion(name, COMMANDS).replace("mean '", "mean '/")
        raise ConfigError(f"there is no command '/{name}'{near}; /help lists them, a space before it sends it as text")
    argument = argument.strip()
    if argument and not command.argument:
        raise ConfigError(f"/{name} takes no argument, got {argument!r}")
    return command.run(session, argument)


def _reset(session: Session, argument: str) -> Outcome:
    session.reset()
    return Outcome("The conversation is forgotten; the system text and the settings stay.")


def _system(session: Session, argument: str) -> Outcome:
    if not argument:
        return Outcome(f"System text: {session.system}" if session.system else "There is no system text.")
    session.set_system("" if argument == "-" else argument)
    return Outcome("The system text is " + ("set." if session.system else "removed."))


def _set(session: Session, argument: str) -> Outcome:
    name, _, value = argument.partition(" ")
    if name:
        session.set(name, value.strip())
    chosen = [name.replace("-", "_")] if name else SETTINGS
    return Outcome("\n".join(f"{one} = {_value(vars(session.sampling)[one])}" for one in chosen))


def _value(value: object) -> str:
    return " ".join(map(repr, value)) or "none" if isinstance(value, tuple) else str(value)


def _adapter(session: Session, argument: str) -> Outcome:
    if argument:
        used = session.use_adapter(argument)
        return Outcome("The base alone answers." if used == NONE else f"The adapter {used} answers.")
    lines = [f"{'*' if name == session.adapters.active else ' '} {name}" for name in session.adapters.names]
    return Outcome("\n".join(lines))


def _undo(session: Session, argument: str) -> Outcome:
    words = " ".join(session.undo().content.split())
    return Outcome(f"Taken back: {words[:60]}{'…' * (len(words) > 60)}")


def _regenerate(session: Session, argument: str) -> Outcome:
    same = session.sampling.temperature == 0
    note = "Temperature 0 gives the same answer again; /set temperature 0.8 for others." if same else ""
    return Outcome(note, session.regenerate())


def _save(session: Session, argument: str) -> Outcome:
    path = _path("save", argument)
    session.save(path)
    return Outcome(f"Saved {len(session.turns)} messages in {path}")


def _load(session: Session, argument: str) -> Outcome:
    path = _path("load", argument)
    session.load(path)
    waiting = "; the last one has no answer yet, /regen asks for it" if session.unanswered else ""
    return Outcome(f"Loaded {len(session.turns)} messages from {path}{waiting}")


def _path(command: str, argument: str) -> Path:
    if not argument:
        raise ConfigError(f"/{command} needs a file: /{command} chat.json")
    try:
        return Path(argument).expanduser()
    except RuntimeError:
        raise ConfigError(f"{argument} names the home of nobody known; give the whole path") from None


def _stats(session: Session, argument: str) -> Outcome:
    stats = session.stats()
    hidden = f", the oldest {stats.hidden} no longer in the window" if stats.hidden else ""
    lines = [
        f"window    {stats.used} of {stats.limit} tokens used ({stats.used / stats.limit:.0%})",
        f"messages  {stats.messages}{hidden}",
    ]
    if stats.last is not None:
        rate = f"{len(stats.last.ids)} tokens in {stats.seconds:.1f} s ({stats.tokens_per_second:.0f} tokens/s)"
        lines.append(f"answer    {rate}; {FINISHED[stats.last.finish]}")
    return Outcome("\n".join(lines))


def _help(session: Session, argument: str) -> Outcome:
    rows = [(f"/{name} {command.argument}".rstrip(), command.help) for name, command in COMMANDS.items()]
    rows += [
        ("Enter", "sends; Esc Enter or Alt-Enter begins a new line"),
        ("Ctrl-C", "stops an answer and keeps what was said; twice at the prompt, it leaves"),
        ("Ctrl-D", "leaves"),
    ]
    return Outcome("\n".join(f"{left:<18}{right}" for left, right in rows))


def _leave(session: Session, argument: str) -> Outcome:
    return Outcome(leave=True)


COMMANDS: dict[str, Command] = {
    "reset": Command(_reset, "", "forget the conversation"),
    "clear": Command(_reset, "", "the same"),
    "system": Command(_system, "[TEXT]", "show or set the system text; - removes it"),
    "set": Command(_set, "[NAME VALUE]", "show or set how tokens are picked: temperature, max_tokens, seed, …"),
    "adapter": Command(
        _adapter, "[NAME]", "show the adapters, or switch: a name, a run folder, or none for the base alone"
    ),
    "undo": Command(_undo, "", "take back the newest message and its answer"),
    "regen": Command(_regenerate, "", "answer the newest message again"),
    "save": Command(_save, "FILE", "write the conversation as JSON"),
    "load": Command(_load, "FILE", "go on with a saved conversation"),
    "stats": Command(_stats, "", "tokens used, speed, and why the last answer ended"),
    "help": Command(_help, "", "this list"),
    "exit": Command(_leave, "", "leave"),
    "quit": Command(_leave, "", "the same"),
}
