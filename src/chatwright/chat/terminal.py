"""Talking to a chatbot in a terminal: lines from the editor, answers streamed to stdout as they come.

What a model wrote is cleaned of escape sequences before it is shown. Ctrl-C stops an answer, never the conversation.
"""

import shutil
import signal
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from types import FrameType
from typing import TextIO

from chatwright import console
from chatwright.chat import echo, markdown, slash, wrapping
from chatwright.chat.editor import Editor
from chatwright.chat.session import Session
from chatwright.chat.slash import Outcome
from chatwright.errors import ChatwrightError
from chatwright.generate.completion import Completion
from chatwright.train.signals import Interrupted


def converse(session: Session) -> None:
    """Reads and answers until the person leaves; returns normally then."""
    editor = Editor(session)
    _quiet(_banner(session))
    interrupts = 0
    while True:
        try:
            line = editor.read()
            interrupts = 0
            with echo.off():  # a training takes its time
                outcome = slash.enter(session, line)
            if _leaves(session, editor, outcome):
                return
        except EOFError:
            return
        except KeyboardInterrupt:
            interrupts += 1
            if interrupts == 2:
                return
            _quiet("Ctrl-C again, Ctrl-D or /exit leaves.")
        except (ChatwrightError, RuntimeError, MemoryError) as error:
            if isinstance(error, Interrupted):  # SIGTERM while training: the program is to end
                raise
            # whatever an answer fails of (a full graphics card), what was said so far can still be saved
            _failed(" ".join(str(error).split()) or type(error).__name__)


def _leaves(session: Session, editor: Editor, outcome: Outcome) -> bool:
    """Shows what a line led to, and whether it was to leave."""
    if outcome.text:
        _quiet(console.clean(outcome.text))
    if outcome.ask is not None:
        try:
            text = editor.ask(outcome.ask)
        except (EOFError, KeyboardInterrupt):
            _quiet("Nothing is changed.")
        else:
            return _leaves(session, editor, outcome.ask.then(text))
    if outcome.answer is not None:
        _answer(session, outcome.answer)
    return outcome.leave


def write(pieces: Iterable[str], stream: TextIO, *, as_markdown: bool = False) -> None:
    """Streams an answer: cleaned, without white space at its ends, and with one line end behind it. Where `stream` is a
    person's terminal, lines end between words, and Markdown is drawn."""
    if as_markdown and stream.isatty():
        markdown.show(spoken(pieces))
        return
    said = spoken(pieces)
    for piece in wrapping.wrapped(said, _columns) if stream.isatty() else said:
        stream.write(piece)
        stream.flush()
    stream.write("\n")
    stream.flush()


def spoken(pieces: Iterable[str]) -> Iterator[str]:
    """The pieces as they may be shown; joined they are `console.clean` of the whole, stripped. For each piece that
    comes in one goes out, empty where nothing is certain yet, and one more at the end."""
    cleaner = console.CleanStream()
    begun, space = False, ""
    for piece in pieces:
        text = space + cleaner.push(piece) if begun else cleaner.push(piece).lstrip()
        shown = text.rstrip()
        space = text[len(shown) :]
        begun = begun or bool(shown)
        yield shown
    rest = (space + cleaner.flush()).rstrip()
    yield rest if begun else rest.lstrip()


def remarks(session: Session, hidden: int) -> list[str]:
    """What has to be said about the last answer: how it ended when not by itself, and turns that left the window,
    where `hidden` had left it before."""
    limit = session.chatbot.checkpoint.model.config.context_length
    found = []
    if session.last is not None:
        if not session.last.text.strip():
            found.append("no words came, so the message and its answer are not kept")
        ends = {
            "length": f"the answer was cut at max_tokens {session.sampling.max_tokens}",
            "context": f"the answer was cut where the window of {limit} tokens is full",
            "cancelled": "stopped",
        }
        found += [ends[session.last.finish]] if session.last.finish in ends else []
    if session.hidden > hidden:
        found.append(
            f"the conversation is longer than the window of {limit} tokens: the model no longer sees the oldest "
            f"{session.hidden} messages"
        )
    return found


def _answer(session: Session, answer: Generator[str, None, None]) -> None:
    """Shows one answer, and under its name what the model beside says to the same."""
    hidden = session.hidden
    if session.beside is not None:
        _quiet(f"{session.name}:")
    _streamed(session, answer)
    if session.beside is not None and session.last is not None:
        _quiet(f"({_speed(session.last, session.seconds)})")
    for remark in remarks(session, hidden):
        _quiet(f"({remark})")
    if session.beside is not None:
        _quiet(f"{session.beside.name}:")
        _streamed(session, session.second())
        if session.beside.last is not None:
            _quiet(f"({_speed(session.beside.last, session.beside.seconds)})")


def _streamed(session: Session, answer: Generator[str, None, None]) -> None:
    """Ctrl-C ends an answer after the token that is being made, and a second one at once."""
    with closing(answer), _stoppable() as stopped, echo.off():

        def until_stopped() -> Iterator[str]:
            for piece in answer:
                yield piece
                if stopped():
                    answer.close()

        try:
            write(until_stopped(), sys.stdout, as_markdown=session.markdown)
        except KeyboardInterrupt:
            print()


def _speed(said: Completion, seconds: float) -> str:
    return f"{len(said.ids)} tokens, {len(said.ids) / seconds if seconds else 0:.0f} tokens/s"


@contextmanager
def _stoppable() -> Iterator[Callable[[], bool]]:
    """Ctrl-C is noted instead of raised, so that it never hits the engine half-way through a step; a second one is
    raised, for a step that takes too long."""
    pressed: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        pressed.append(number)
        if len(pressed) > 1:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)


def _banner(session: Session) -> str:
    checkpoint = session.chatbot.checkpoint
    window = checkpoint.model.config.context_length
    return f"{session.name}: template {checkpoint.template.name}, window {window} tokens. /help lists the commands."


def _columns() -> int:
    return shutil.get_terminal_size().columns


def _quiet(text: str) -> None:
    """Words of the program, told apart from the model's."""
    console.out().print(wrapping.folded(text, _columns()), style="dim", markup=False)


def _failed(text: str) -> None:
    """One sentence, like that of `console.error`, on lines that end between words."""
    from rich.text import Text

    first, _, rest = wrapping.folded(f"error: {console.clean(text)}", _columns()).partition(" ")
    console.err().print(Text.assemble((first, "bold red"), " ", rest))
