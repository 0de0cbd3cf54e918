"""Typed commands: `/name argument` in, a method of the Session called, and what to tell the person out.

A command is one function here and one line in COMMANDS.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

from chatwright import console
from chatwright.chat import learning, settings
from chatwright.chat.adapters import NONE
from chatwright.chat.session import Session
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
LEARN = "; /train learns it."
SAME = "the same"  # help of a second name for the command before it
WORDS_THAT_LEAVE = ("exit", "quit", "/exit", "/quit")


@dataclass(frozen=True)
class Ask:
    """A text that the person is to type or change; `then` is what comes of it. Several `lines` end with one that says
    /end."""

    label: str
    then: Callable[[str], "Outcome"]
    text: str = ""
    lines: bool = False


@dataclass(frozen=True)
class Outcome:
    """What a line led to: words for the person, an answer to show, a text to be typed, or the end."""

    text: str = ""
    answer: Generator[str, None, None] | None = None
    ask: Ask | None = None
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
        return _sent(session, line)
    name, argument = [*line[1:].split(maxsplit=1), "", ""][:2]
    command = COMMANDS.get(name)
    if command is None:
        near = suggestion(name, COMMANDS).replace("mean '", "mean '/")
        raise ConfigError(f"there is no command '/{name}'{near}; /help lists them, a space before it sends it as text")
    argument = argument.strip()
    if argument and not command.argument:
        raise ConfigError(f"/{name} takes no argument, got {argument!r}")
    return command.run(session, argument)


def _sent(session: Session, text: str) -> Outcome:
    return Outcome(answer=session.ask(text)) if text.strip() else Outcome()


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
    chosen = [name.replace("-", "_")] if name else settings.SETTINGS
    return Outcome("\n".join(f"{one} = {settings.shown(session.sampling, one)}" for one in chosen))


def _adapter(session: Session, argument: str) -> Outcome:
    if argument:
        used = session.use_adapter(argument)
        return Outcome("The base alone answers." if used == NONE else f"The adapter {used} answers.")
    lines = [f"{'*' if name == session.adapters.active else ' '} {name}" for name in session.adapters.names]
    return Outcome("\n".join(lines))


def _model(session: Session, argument: str) -> Outcome:
    if argument:
        session.open(argument)
        return Outcome(f"{argument} answers from now on; the conversation is as it was.")
    return Outcome(f"{session.name} answers.")


def _compare(session: Session, argument: str) -> Outcome:
    if argument:
        session.compare("" if argument == "-" else argument)
    if session.beside is None:
        return Outcome("One model answers; /compare MODEL lets a second one answer beside it.")
    return Outcome(
        f"{session.beside.name} answers beside {session.name}, with the same seed; the conversation goes on with what "
        f"{session.name} says. /compare - ends it."
    )


def _markdown(session: Session, argument: str) -> Outcome:
    if argument not in ("", "on", "off"):
        raise ConfigError(f"/markdown is on or off, got {argument!r}")
    session.markdown = argument == "on" if argument else session.markdown
    return Outcome("Answers are shown as Markdown." if session.markdown else "Answers are shown as they come.")


def _undo(session: Session, argument: str) -> Outcome:
    words = " ".join(session.undo().content.split())
    return Outcome(f"Taken back: {words[:60]}{'…' * (len(words) > 60)}")


def _regenerate(session: Session, argument: str) -> Outcome:
    whole = session.last is not None and session.last.finish != "cancelled"  # not loaded, and not stopped
    same = whole and session.sampling.temperature == 0
    note = "Temperature 0 gives the same answer again; /set temperature 0.8 for others." if same else ""
    return Outcome(note, session.regenerate())


def _edit(session: Session, argument: str) -> Outcome:
    if session.question is None:
        raise ConfigError("there is no message to edit yet; type one")

    def then(text: str) -> Outcome:
        return Outcome(answer=session.edit(text)) if text.strip() else Outcome("Nothing is changed.")

    return then(argument) if argument else Outcome(ask=Ask("You: ", then, session.question.content))


def _multi(session: Session, argument: str) -> Outcome:
    said = "Enter begins a new line; a line with /end alone sends it all, Ctrl-C sends nothing."
    return Outcome(said, ask=Ask("You: ", lambda text: _sent(session, text), lines=True))


def _fix(session: Session, argument: str) -> Outcome:
    def then(text: str) -> Outcome:
        session.fix(text)
        return Outcome(f"The conversation goes on with your answer, kept in {session.feedback.fixes}{LEARN}")

    return then(argument) if argument else Outcome(ask=Ask("Fixed: ", then, console.clean(session.answer)))


def _better(session: Session, argument: str) -> Outcome:
    def then(text: str) -> Outcome:
        session.prefer(text)
        return Outcome(f"Kept beside the model's own in {session.feedback.preferences}{LEARN}")

    return then(argument) if argument else Outcome(ask=Ask("Better: ", then, console.clean(session.answer)))


def _train(session: Session, argument: str) -> Outcome:
    if argument and not (argument.isdecimal() and int(argument)):
        raise ConfigError(f"/train takes a number of steps, got {argument!r}")
    return Outcome(learning.train(session, int(argument or learning.STEPS)))


def _save(session: Session, argument: str) -> Outcome:
    path = _path("save", argument)
    session.save(path)
    return Outcome(f"Saved {len(session.turns)} messages in {path}")


def _load(session: Session, argument: str) -> Outcome:
    path = _path("load", argument)
    session.load(path)
    waiting = "; the last one has no answer yet, /regen asks for it" if session.unanswered else ""
    return Outcome(f"Loaded {len(session.turns)} messages from {path}{waiting}")


def _export(session: Session, argument: str) -> Outcome:
    path = _path("export", argument, "chat.md")
    session.export(path)
    return Outcome(f"Wrote {len(session.turns)} messages to {path}")


def _path(command: str, argument: str, example: str = "chat.json") -> Path:
    if not argument:
        raise ConfigError(f"/{command} needs a file: /{command} {example}")
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
        rate = f"{len(stats.last.ids)} tokens in {stats.seconds:.2f} s ({stats.tokens_per_second:,.0f} tokens/s)"
        lines.append(f"answer    {rate}; {FINISHED[stats.last.finish]}")
    return Outcome("\n".join(lines))


def _help(session: Session, argument: str) -> Outcome:
    rows: list[tuple[str, str]] = []
    for name, command in COMMANDS.items():
        if command.help == SAME:
            rows[-1] = (f"{rows[-1][0]}, /{name}", rows[-1][1])
        else:
            rows.append((f"/{name} {command.argument}".rstrip(), command.help))
    rows += [
        ("Enter", "sends; Esc Enter or Alt-Enter begins a new line"),
        ("Tab", "completes a command, a setting or the name of a file"),
        ("Ctrl-R", "searches what was typed before"),
        ("Ctrl-C", "stops an answer and keeps what was said; twice at the prompt, it leaves"),
        ("Ctrl-D", "leaves"),
    ]
    first = max(len(left) for left, _ in rows) + 2
    return Outcome("\n".join(f"{left:<{first}}{right}" for left, right in rows))


def _leave(session: Session, argument: str) -> Outcome:
    return Outcome(leave=True)


COMMANDS: dict[str, Command] = {
    "regen": Command(_regenerate, "", "answer the newest message again"),
    "edit": Command(_edit, "[TEXT]", "send the newest message again in other words"),
    "undo": Command(_undo, "", "take back the newest message and its answer"),
    "multi": Command(_multi, "", "type a message of several lines; a line with /end sends it"),
    "reset": Command(_reset, "", "forget the conversation"),
    "clear": Command(_reset, "", SAME),
    "fix": Command(
        _fix, "[TEXT]", "put the answer right; the conversation goes on with yours, and it is kept to learn"
    ),
    "better": Command(_better, "[TEXT]", "give a better answer, kept beside the model's own to learn from both"),
    "train": Command(_train, "[STEPS]", "learn what was fixed and bettered: a short run, then the new adapter answers"),
    "system": Command(_system, "[TEXT]", "show or set the system text; - removes it"),
    "set": Command(_set, "[NAME VALUE]", "show or set how tokens are picked: temperature, max_tokens, seed, …"),
    "model": Command(_model, "[MODEL]", "show the model, or go on with another"),
    "adapter": Command(
        _adapter, "[NAME]", "show the adapters, or switch: a name, a run folder, or none for the base alone"
    ),
    "compare": Command(_compare, "[MODEL]", "a second model answers the same; - ends that"),
    "save": Command(_save, "FILE", "write the conversation as JSON"),
    "load": Command(_load, "FILE", "go on with a saved conversation"),
    "export": Command(_export, "FILE", "write it to be read: .md, .txt or .json"),
    "markdown": Command(_markdown, "[on|off]", "show answers as Markdown, or as they come"),
    "stats": Command(_stats, "", "tokens used, speed, and why the last answer ended"),
    "help": Command(_help, "", "this list"),
    "exit": Command(_leave, "", "leave"),
    "quit": Command(_leave, "", SAME),
}
