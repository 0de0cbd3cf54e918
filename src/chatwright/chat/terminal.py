"""Talking to a chatbot in a terminal: prompt_toolkit reads the lines, answers are streamed to stdout as they come.

What a model wrote is cleaned of escape sequences before it is shown. Ctrl-C stops an answer, never the conversation.
"""

import os
import signal
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, TextIO

from chatwright import console
from chatwright.chat import slash
from chatwright.chat.session import Session
from chatwright.errors import ChatwrightError

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.history import History
    from prompt_toolkit.key_binding import KeyBindings

PROMPT = "You: "


def converse(session: Session) -> None:
    """Reads and answers until the person leaves; returns normally then."""
    reader = _reader()
    _quiet(_banner(session))
    interrupts = 0
    while True:
        try:
            line = reader.prompt()
            interrupts = 0
            outcome = slash.enter(session, line)
            if outcome.leave:
                return
            if outcome.text:
                _quiet(console.clean(outcome.text))
            if outcome.answer is not None:
                _answer(session, outcome.answer)
        except EOFError:
            return
        except KeyboardInterrupt:
            interrupts += 1
            if interrupts == 2:
                return
            _quiet("Ctrl-C again, Ctrl-D or /exit leaves.")
        except (ChatwrightError, RuntimeError, MemoryError) as error:
            # whatever an answer fails of (a full graphics card), what was said so far can still be saved
            console.error(" ".join(str(error).split()) or type(error).__name__)


def write(pieces: Iterable[str], stream: TextIO) -> None:
    """Streams an answer: cleaned, without white space at its ends, and with one line end behind it."""
    for piece in spoken(pieces):
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


def history_path() -> Path:
    """Where the typed lines are kept: in XDG_STATE_HOME, or in ~/.local/state."""
    given = Path(os.environ.get("XDG_STATE_HOME", ""))
    home = given if given.is_absolute() else Path.home() / ".local" / "state"
    return home / "chatwright" / "chat_history"


def _answer(session: Session, answer: Generator[str, None, None]) -> None:
    """Shows one answer; Ctrl-C ends it after the token that is being made, and a second one at once."""
    hidden = session.hidden
    with closing(answer), _stoppable() as stopped:

        def until_stopped() -> Iterator[str]:
            for piece in answer:
                yield piece
                if stopped():
                    answer.close()

        try:
            write(until_stopped(), sys.stdout)
        except KeyboardInterrupt:
            print()
    for remark in remarks(session, hidden):
        _quiet(f"({remark})")


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


def _quiet(text: str) -> None:
    """Words of the program, told apart from the model's."""
    console.out().print(text, style="dim", markup=False)


def _reader() -> "PromptSession[str]":
    """The line editor: Enter sends, Esc Enter breaks the line, a paste of many lines comes in whole."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter
    from prompt_toolkit.formatted_text import FormattedText

    return PromptSession(
        FormattedText([("bold", PROMPT)]),
        multiline=True,
        prompt_continuation=" " * len(PROMPT),
        key_bindings=_keys(),
        history=_history(),
        completer=WordCompleter([f"/{name}" for name in slash.COMMANDS], sentence=True),
        complete_while_typing=False,
    )


def _keys() -> "KeyBindings":
    from prompt_toolkit.enums import DEFAULT_BUFFER
    from prompt_toolkit.filters import has_focus
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

    keys = KeyBindings()

    @keys.add("enter", filter=has_focus(DEFAULT_BUFFER))  # not while Ctrl-R searches
    def send(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    @keys.add("escape", "enter", filter=has_focus(DEFAULT_BUFFER))
    def break_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return keys


def _history() -> "History":
    """The lines of earlier conversations, in a file that only its owner may read."""
    from prompt_toolkit.history import FileHistory, InMemoryHistory

    class Utf8History(FileHistory):
        def store_string(self, string: str) -> None:
            """A byte that is no UTF-8 (or a full disk) must not end the conversation."""
            try:
                super().store_string(string.encode("utf-8", "replace").decode("utf-8"))
            except OSError:
                pass

    try:
        path = history_path()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
        os.fchmod(descriptor, 0o600)
        os.close(descriptor)
    except (OSError, RuntimeError) as error:
        console.note(f"the lines that you type are not kept for next time ({error})")
        return InMemoryHistory()
    return Utf8History(str(path))
