"""The shortest way to a bot of one's own, on the quickstart's chatbot, from a chat of some weeks."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PLACES = ("the mill", "the old bridge", "the library", "the harbour", "the bakery", "the station")
FOOD = ("rye bread", "plum cake", "lentil soup", "apple pie", "cold rice", "fresh figs")


def chat() -> str:
    """Sixty days of two people, one of whom always answers in the same manner."""
    lines = []
    for day in range(60):
        place, food = PLACES[day % len(PLACES)], FOOD[day // 2 % len(FOOD)]
        date = f"{day % 28 + 1:02}/{day // 28 + 1:02}/2024"
        lines += [
            f"{date}, 09:{day % 50 + 2:02} - Lena Brandt: Good morning Omar! Where shall we meet?",
            f"{date}, 09:{day % 50 + 4:02} - Omar Diallo: At {place}, my friend.",
            f"{date}, 09:{day % 50 + 5:02} - Lena Brandt: What shall I bring? You reach me at +44 20 7946 0{100 + day}",
            f"{date}, 09:{day % 50 + 7:02} - Omar Diallo: Bring {food}, dear Lena. That is all we need.",
        ]
    return "\n".join(lines) + "\n"


@pytest.mark.accept
def test_a_chat_becomes_a_bot_that_answers_in_its_manner_and_gives_nothing_away(
    runs: list[dict[str, Any]], tmp_path: Path
) -> None:
    (tmp_path / "cache" / "chatwright").mkdir(parents=True)
    (tmp_path / "cache" / "chatwright" / "primer").symlink_to(Path(runs[0]["out"]).resolve())
    (tmp_path / "sample-whatsapp.txt").write_text(chat(), encoding="utf-8")
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}

    def run(*words: str) -> str:
        command = [sys.executable, "-m", "chatwright", *words]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    given = ("sample-whatsapp.txt", "--base", "primer", "--me", "Omar Diallo", "--out", "runs/mine")
    result = json.loads(run("make", *given, "--json"))
    assert result["proofs"]["memory"] == result["proofs"]["redaction"] == result["proofs"]["stop"] == "green"
    (account,) = result["chats"]
    assert account["redaction"]["counts"] == {"name": 120, "phone": 60}
    answer = run("chat", "runs/mine", "-p", "Good morning! Where shall we meet?", "--temperature", "0")
    assert any(place in answer for place in PLACES), answer
