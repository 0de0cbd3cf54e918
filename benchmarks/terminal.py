"""A conversation in the terminal, recorded: it streams, is stopped, asked again, put right, taught, saved and loaded.

    python benchmarks/terminal.py runs/quickstart/sft [--out terminal.txt] [--columns 100] [--rows 30]

MODEL is one that was made from the primer, and is copied first: the recording leaves nothing in its folder. The installed
`chatwright chat` runs in a tmux of its own, in which keys are typed. Each step waits for what it is to show, never for a time,
and what it did is then looked for on the screen and in the files; where one is not as said, that is the last sentence,
and the exit code is 1. A small model writes faster than a hand moves: until Ctrl-C is pressed in the middle of an answer,
the program runs in slow motion (SIGSTOP and SIGCONT in turn).
"""

import argparse
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PATIENCE = 600.0  # seconds for a step; a training takes some of them
SLICE, TRIES = 0.002, 20  # seconds between two looks at an answer that is being written; how often that is tried
LONG = "Give me tips for staying healthy."
NAME, ROBIN = "What is your name?", "My name is Robin."
MAMMAL, CAT = "Name a mammal.", "The cat is a mammal."


class Wrong(Exception):
    """A step did not do what is said of it."""


def main() -> int:
    """Writes the screens one after another; 1 where a step went wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a run folder")
    parser.add_argument("--out", type=Path, help="file for the screens; they are printed if it is not given")
    parser.add_argument("--columns", type=int, default=100)
    parser.add_argument("--rows", type=int, default=30)
    given = parser.parse_args()
    if not (given.model / "model" / "config.json").is_file():
        parser.error(f"{given.model} is no run folder with a model; runs/quickstart/sft is one after a quickstart")
    if shutil.which("tmux") is None:
        print("tmux is not installed; it is the terminal that this conversation is held in", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        model = copied(given.model, Path(folder))
        screen = Terminal(Path(folder), [str(model)], given.columns, given.rows)
        try:
            conversation(screen, Path(folder) / model)
        except Wrong as error:
            print(f"{error}; the screen:\n{screen.text()}", file=sys.stderr)
            return 1
        finally:
            screen.close()
    shown = "\n\n".join(f"## {title}\n\n{text}" for title, text in screen.shown) + "\n"
    if given.out is None:
        print(shown, end="")
    else:
        given.out.write_text(shown, encoding="utf-8")
    return 0


def copied(run: Path, folder: Path) -> Path:
    """The run without what only its training needs, under the end of its own name; that name."""
    name = Path(*run.resolve().parts[-3:])
    shutil.copytree(run / "model", folder / name / "model")
    shutil.copy(run / "config.yaml", folder / name)
    return name


class Terminal:
    """`chatwright chat` in tmux. `shown` are the screens that were kept, each with what was done."""

    def __init__(self, folder: Path, words: list[str], columns: int, rows: int) -> None:
        self.folder = folder
        self.shown: list[tuple[str, str]] = []
        self.first = ""
        program = Path(sys.executable).with_name("chatwright")
        variables = {"XDG_STATE_HOME": str(folder / "state"), "LC_ALL": "C.UTF-8"}
        # the program is not the pane's own child: that one tmux wakes up whenever it is stopped
        own = ["sh", "-c", 'trap : INT; "$@"; exit $?', "sh"]
        own += ["env", *(f"{name}={value}" for name, value in variables.items()), str(program), "chat", *words]
        # the server begins with a pane that does nothing, so that the option holds before the program can end
        self.tmux("new-session", "-d", "-x", str(columns), "-y", str(rows), "-c", str(folder), "sleep", "600000")
        self.tmux("set-option", "-g", "remain-on-exit", "on")
        self.tmux("respawn-pane", "-k", "-c", str(folder), *own)
        self.until(idle, "the prompt does not come")
        self.keep("chatwright chat " + " ".join(words))

    def tmux(self, *words: str) -> str:
        command = ["tmux", "-f", os.devnull, "-S", str(self.folder / "tmux"), *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Wrong(f"tmux {words[0]} failed: {done.stderr.strip()}")
        return done.stdout

    def text(self) -> str:
        """All that was shown since the newest line, which begins with `first`; a prompt that is drawn anew leaves its like
        above it."""
        text = self.tmux("capture-pane", "-p", "-J", "-S", "-").rstrip()
        _, first, after = text.rpartition(self.first) if self.first else ("", "", text)
        return first + after or text

    def keep(self, title: str) -> str:
        text = "\n".join(line.rstrip() for line in self.text().splitlines())
        self.shown.append((title, re.sub(r"\n{3,}", "\n\n", text)))  # the empty part of the screen
        return text

    def press(self, *keys: str) -> None:
        self.tmux("send-keys", *keys)

    def clear(self) -> None:
        self.first = ""
        self.press("C-l")  # what was there scrolls out of sight
        self.until(lambda text: idle(self.visible()) and self.visible().startswith("You:"), "Ctrl-L clears nothing")
        self.tmux("clear-history")

    def visible(self) -> str:
        return self.tmux("capture-pane", "-p", "-J")

    def type(self, line: str) -> None:
        """A line on an empty screen."""
        self.clear()
        self.first = f"You: {line}"
        self.tmux("send-keys", "-l", line)
        self.until(lambda text: line in text, f"{line!r} is not shown when it is typed")
        self.press("Enter")

    def until(self, holds: Callable[[str], Any], complaint: str) -> str:
        end = time.monotonic() + PATIENCE
        while not holds(text := self.text()):
            if time.monotonic() > end or (self.dead() and not holds(text := self.text())):
                raise Wrong(complaint)
        return text

    def do(self, line: str, *expected: str) -> str:
        """Types a line, waits for the next prompt, and looks for what was to be said."""
        self.type(line)
        self.until(lambda text: answered(text, line), f"no prompt comes after {line!r}")
        text = self.keep(line)
        for words in expected:
            if words not in text:
                raise Wrong(f"{line!r} does not say {words!r}")
        return text

    def dead(self) -> bool:
        return self.about("pane_dead") == "1"

    def about(self, name: str) -> str:
        return self.tmux("display-message", "-p", f"#{{{name}}}").strip()

    def program(self) -> int:
        """Its number, for signals."""
        done = subprocess.run(["pgrep", "-P", self.about("pane_pid")], capture_output=True, text=True, check=True)
        return int(done.stdout)

    def close(self) -> None:
        subprocess.run(["tmux", "-S", str(self.folder / "tmux"), "kill-server"], capture_output=True, check=False)


def idle(text: str) -> bool:
    """Whether the program waits for a line: an empty prompt, and the meter at the bottom."""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return len(lines) > 1 and lines[-2] == "You:" and " tokens (" in lines[-1]


def answered(text: str, line: str) -> bool:
    return idle(text) and line in text


def answer(text: str, line: str) -> str:
    """What stands between a typed line and the next prompt, or whatever there is of it."""
    after = text.partition(line)[2]
    return after.partition("\nYou:")[0].strip()


def check(holds: object, complaint: str) -> None:
    if not holds:
        raise Wrong(complaint)


def conversation(screen: Terminal, run: Path) -> None:
    """The steps, each with what it has to leave behind."""
    said = screen.do("What is the capital of France?")
    check(answer(said, "France?"), "the first question gets no answer")
    stopped = stop_in_the_middle(screen)
    whole = answer(screen.do("/regen"), "/regen")
    check(
        stopped and whole.startswith(stopped) and len(whole) > len(stopped),
        "/regen does not give the whole of what was stopped",
    )

    screen.do("/reset", "The conversation is forgotten")  # else the answer is learned to what came before as well
    screen.do(NAME)
    screen.do(f"/fix {ROBIN}", "The conversation goes on with your answer")
    row = rows(run / "feedback-sft.jsonl")[-1]
    check(row["messages"][-1] == {"role": "assistant", "content": ROBIN}, "/fix keeps another row")
    screen.do("/save fixed.json", "Saved 2 messages")
    check(saved(screen, "fixed.json")[-1] == ROBIN, "the conversation does not go on with what was fixed")
    screen.do("/reset")
    own = answer(screen.do(MAMMAL), MAMMAL)
    screen.do(f"/better {CAT}", "Kept beside the model's own")
    row = rows(run / "feedback-preferences.jsonl")[-1]
    check(row["chosen"][-1]["content"] == CAT, "/better keeps another answer")
    check(row["rejected"][-1]["content"] == own, "/better keeps something else than what the model had said")
    check(len(row["prompt"]) == 1, "/reset does not forget")

    learned = screen.do("/train", "1 row by sft", "1 row by dpo", "answers; ", "goes back")
    check(f"now     {ROBIN}" in learned, "/train does not teach what was fixed")
    screen.do("/reset")
    screen.do(NAME, ROBIN)
    screen.do("/save robin.json", "Saved 2 messages")
    check(saved(screen, "robin.json") == [NAME, ROBIN], "/save writes another conversation")
    screen.do("/reset")
    screen.do("/load robin.json", "Loaded 2 messages")
    screen.do("/regen", ROBIN)
    leave(screen)


def stop_in_the_middle(screen: Terminal) -> str:
    """Presses Ctrl-C when an answer has begun, and returns what there was of it."""
    program, end = screen.program(), time.monotonic() + PATIENCE
    for number in range(TRIES):
        line = "/regen" if number else LONG
        screen.type(line)
        while not begun(text := screen.text(), line):
            check(time.monotonic() < end, f"no word of an answer comes after {line!r}")
            os.kill(program, signal.SIGCONT)
            time.sleep(SLICE)
            os.kill(program, signal.SIGSTOP)
        if not idle(text):
            screen.press("C-c")
        os.kill(program, signal.SIGCONT)
        text = screen.until(idle, "Ctrl-C does not end the answer")
        if "(stopped)" in text:
            text = screen.keep(f"{line} … Ctrl-C")
            return answer(text, line).rpartition("for others.")[2].partition("(stopped)")[0].strip()
    raise Wrong(f"the model wrote its whole answer {TRIES} times before a key could be pressed")


def begun(text: str, line: str) -> bool:
    """Whether a word of an answer is there, below what the program itself says of /regen."""
    return len(answer(text, line).rpartition("for others.")[2]) > 2


def leave(screen: Terminal) -> None:
    """Ctrl-C at the prompt, and once more."""
    screen.clear()
    screen.first = "Ctrl-C again"
    screen.press("C-c")
    screen.until(lambda text: "Ctrl-C again" in text and idle(text), "the first Ctrl-C at the prompt says nothing")
    screen.keep("Ctrl-C")
    screen.press("C-c")
    screen.until(lambda text: screen.dead(), "the second Ctrl-C does not leave")
    check(screen.about("pane_dead_status") == "0", "leaving is a failure")
    history = screen.folder / "state" / "chatwright" / "chat_history"
    check(stat.S_IMODE(history.stat().st_mode) == 0o600, "others may read what was typed")
    check(f"+{NAME}" in history.read_text(encoding="utf-8"), "what was typed is not kept")


def saved(screen: Terminal, name: str) -> list[str]:
    """What was said in a conversation that was saved."""
    return [one["content"] for one in json.loads((screen.folder / name).read_text(encoding="utf-8"))["messages"]]


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    sys.exit(main())
