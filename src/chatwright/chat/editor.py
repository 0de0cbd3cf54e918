"""The line editor: prompt_toolkit reads what is typed, keeps it for next time, and shows how full the window is."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from chatwright import console
from chatwright.chat import completing, settings
from chatwright.chat.session import Session
from chatwright.chat.slash import Ask

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.history import History
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

PROMPT = "You: "
SEPARATOR, SHORTEST = " · ", 12  # of the meter; of a name that is cut to make room
END = "/end"  # alone on the last line, it sends a text of several


class Editor:
    """Enter sends, Esc Enter breaks the line, a paste of many lines comes in whole."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._lines = False  # whether Enter begins a new line
        self._meter: list[str] = []
        self._reader = self._made()

    def read(self) -> str:
        """The next line. Raises EOFError for Ctrl-D and KeyboardInterrupt for Ctrl-C."""
        return self._typed(PROMPT, "", lines=False)

    def ask(self, ask: Ask) -> str:
        """A text that somebody is asked for, ready to be changed. Raises as `read` does."""
        return self._typed(ask.label, ask.text, ask.lines)

    def _typed(self, label: str, text: str, lines: bool) -> str:
        from prompt_toolkit.formatted_text import FormattedText

        self._lines, self._meter = lines, parts(self._session)
        prompt = FormattedText([("bold", label)])
        return self._reader.prompt(prompt, default=text, prompt_continuation=" " * len(label))

    def _made(self) -> "PromptSession[str]":
        from prompt_toolkit import PromptSession
        from prompt_toolkit.application import get_app
        from prompt_toolkit.styles import Style

        return PromptSession(
            multiline=True,
            key_bindings=self._keys(),
            history=_history(),
            completer=completing.completer(),
            complete_while_typing=False,
            bottom_toolbar=lambda: fitted(self._meter, get_app().output.get_size().columns),
            style=Style.from_dict({"bottom-toolbar": "noreverse dim"}),
        )

    def _keys(self) -> "KeyBindings":
        from prompt_toolkit.enums import DEFAULT_BUFFER
        from prompt_toolkit.filters import has_focus
        from prompt_toolkit.key_binding import KeyBindings

        keys = KeyBindings()

        @keys.add("enter", filter=has_focus(DEFAULT_BUFFER))  # not while Ctrl-R searches
        def send(event: "KeyPressEvent") -> None:
            buffer = event.current_buffer
            if self._lines and buffer.document.current_line.strip() != END:
                buffer.insert_text("\n")
                return
            if self._lines:
                buffer.text = buffer.text[: buffer.text.rstrip().rfind(END)].rstrip("\n")
            buffer.validate_and_handle()

        @keys.add("escape", "enter", filter=has_focus(DEFAULT_BUFFER))
        def break_line(event: "KeyPressEvent") -> None:
            event.current_buffer.insert_text("\n")

        return keys


def meter(session: Session) -> str:
    """`runs/q/sft · 312 of 512 tokens (61%) · temperature 0.8`: what answers, how full its window is, and the settings
    that differ from the defaults."""
    return SEPARATOR.join(parts(session))


def fitted(parts: Sequence[str], width: int) -> str:
    """As much of them as there is room for: the end of the name, how full the window is, then the others in turn."""
    name, *others = parts
    while len(others) > 1 and len(SEPARATOR.join([name[-SHORTEST:], *others])) >= width:
        others.pop()
    room = width - 1 - len(SEPARATOR.join(["", *others]))
    return SEPARATOR.join([name if len(name) <= room else "…" + name[-max(1, room - 1) :], *others])


def parts(session: Session) -> list[str]:
    """Those of the meter, which hold no character that a terminal obeys."""
    stats = session.stats()
    active = session.adapters.active
    who = session.name if len(session.adapters.names) == 1 else f"{session.name} ({active})"
    found = [who or "chat", f"{stats.used} of {stats.limit} tokens ({stats.used / stats.limit:.0%})"]
    found += settings.differing(session.sampling)
    if session.beside is not None:
        found.append(f"beside {session.beside.name}")
    return [console.clean(part) for part in found]


def history_path() -> Path:
    """Where the typed lines are kept: in XDG_STATE_HOME, or in ~/.local/state."""
    given = Path(os.environ.get("XDG_STATE_HOME", ""))
    home = given if given.is_absolute() else Path.home() / ".local" / "state"
    return home / "chatwright" / "chat_history"


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
