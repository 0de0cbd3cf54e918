"""The page without a browser: what it sends, to whom, and what becomes of a vote."""

import json
import os
import random
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from served_page import Page, eventually, saying

from chatwright.data import source
from chatwright.errors import ConfigError, DiskFull
from chatwright.serve.auth import Keys
from chatwright.serve.limits import Limits
from chatwright.serve.server import Door
from chatwright.serve.web import face
from chatwright.serve.web.arena import MOST_ROUNDS, Arena
from chatwright.serve.web.votes import Answered, Choice, Votes
from chatwright.text.records import Conversation, Message, Preference

WEB = Path(face.__file__).parent
ASK = {"messages": [{"role": "user", "content": "Which?"}], "seed": 3}


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    models = {"red": saying(["I am one."] * 9), "blue": saying(["I am two."] * 9)}
    with Page(models, tmp_path / "v" / "votes-preferences.jsonl") as opened:
        yield opened


def rules(policy: str) -> dict[str, str]:
    return {name: rest for name, _, rest in (rule.partition(" ") for rule in policy.split("; "))}


def said(web: httpx2.Client, round_: str, side: str) -> str:
    """One side's answer, from its stream."""
    with web.stream("POST", "/web/side", json={"round": round_, "side": side}) as response:
        assert response.status_code == 200, response.read()
        lines = [line[6:] for line in response.iter_lines() if line.startswith("data: {")]
    return "".join(json.loads(line)["choices"][0]["delta"]["content"] for line in lines)


def played(web: httpx2.Client, vote: str) -> tuple[dict[str, Any], dict[str, str]]:
    """A whole round: what the vote was answered with, and what was said on each side."""
    number = web.post("/web/arena", json=ASK).json()["round"]
    texts = {side: said(web, number, side) for side in ("left", "right")}
    return web.post("/web/vote", json={"round": number, "vote": vote}).json(), texts


# ---- the files of the page


def test_every_file_of_the_page_comes_with_the_policy(page: Page) -> None:
    with page.web() as web:
        for path, name in face.PAGE.items():
            response = web.get(path)
            assert response.status_code == 200
            assert response.content == (WEB / name).read_bytes()
            assert response.headers["x-content-type-options"] == "nosniff"
            policy = rules(response.headers["content-security-policy"])
            assert policy["default-src"] == "'none'"
            assert policy["script-src"] == policy["connect-src"] == policy["style-src"] == "'self'"
            assert policy["img-src"] == "'self' data:"
            assert policy["frame-ancestors"] == "'none'"
            assert not any("unsafe" in value or "*" in value for value in policy.values())


def test_all_files_are_served_and_none_names_another_host_or_makes_markup_of_text() -> None:
    served = set(face.PAGE.values())
    assert served == {file.name for file in WEB.iterdir() if file.suffix in (".html", ".css", ".js")}
    for name in served:
        text = (WEB / name).read_text(encoding="utf-8")
        assert not re.search(r"https?://[\w.]", text), name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", text), (
            name
        )
        assert "@import" not in text
        assert "url(" not in text, name
    html = (WEB / "page.html").read_text(encoding="utf-8")
    assert not re.search(r"<script(?![^>]* src=)|<style|\son\w+=|\sstyle=", html)


def test_only_get_and_head_are_for_the_files_and_no_other_file_is_there(page: Page) -> None:
    with page.web() as web:
        assert web.head("/").content == b""
        assert web.post("/", json={}).status_code in (404, 405)
        for path in ("/face.py", "/../face.py", "/web/../face.py", "/%2e%2e/face.py", "/page.js/", "/votes.py"):
            assert web.get(path).status_code == 404, path


# ---- who may ask


def test_a_page_of_another_site_and_a_foreign_name_are_refused(page: Page) -> None:
    with page.web() as web:
        for path in ("/web/arena", "/web/vote", "/v1/chat/completions"):
            refused = web.post(path, json=ASK, headers={"Origin": "https://evil.example"})
            assert refused.status_code == 403
            assert web.post(path, json=ASK, headers={"Origin": "null"}).status_code == 403
            plain = web.post(path, content=json.dumps(ASK), headers={"Content-Type": "text/plain"})
            assert plain.status_code == 415
        assert web.post("/web/arena", json=ASK, headers={"Origin": page.url}).status_code == 200
        for path in ("/", "/page.js", "/web/info"):
            answer = web.get(path, headers={"Host": "evil.example"})
            assert answer.status_code == 403
            assert "access-control-allow-origin" not in answer.headers
        assert "access-control-allow-origin" not in web.get("/", headers={"Origin": "https://evil.example"}).headers


def test_with_a_key_the_page_is_open_and_everything_behind_it_is_not(tmp_path: Path) -> None:
    models = {"red": saying(["I am one."]), "blue": saying(["I am two."])}
    door = Door(Keys(["open-sesame"]), drain_seconds=0.0)
    with Page(models, tmp_path / "votes.jsonl", door=door) as page, page.web() as web:
        assert web.get("/").status_code == web.get("/page.js").status_code == 200
        assert web.get("/web/info").status_code == 401
        for path in ("/web/arena", "/web/side", "/web/vote", "/v1/chat/completions"):
            assert web.post(path, json=ASK).status_code == 401
        assert web.get("/web/info", headers={"Authorization": "Bearer open-sesame"}).status_code == 200


def test_too_large_a_body_and_a_wrong_one_are_a_sentence(page: Page) -> None:
    with page.web() as web:
        large = {"messages": [{"role": "user", "content": "x" * (Limits().body + 1)}]}
        assert web.post("/web/arena", json=large).status_code == 413
        wrong: list[tuple[str, Any]] = [
            ("/web/arena", {"messages": []}),
            ("/web/arena", {**ASK, "temperature": 9}),
            ("/web/side", {"round": "x"}),
            ("/web/vote", {"round": 7, "vote": "left"}),
            ("/web/vote", {"round": "x", "vote": "both"}),
        ]
        for path, body in wrong:
            answer = web.post(path, json=body)
            assert answer.status_code == 400, (path, body)
            assert answer.json()["error"]["message"]
        for path, body in (("/web/side", {"round": "x", "side": "left"}), ("/web/vote", {"round": "x", "vote": "tie"})):
            assert web.post(path, json=body).status_code == 404


# ---- the arena


def test_nothing_that_is_sent_before_the_vote_tells_who_answers(page: Page) -> None:
    with page.web() as web:
        begun = web.post("/web/arena", json=ASK)
        number = begun.json()["round"]
        assert set(begun.json()) == {"round"}
        with web.stream("POST", "/web/side", json={"round": number, "side": "left"}) as stream:
            seen = "".join(stream.iter_lines()) + str(stream.headers)
        assert "red" not in seen
        assert "blue" not in seen
        assert "usage" not in seen
        assert "model" not in seen
        said(web, number, "right")
        told = web.post("/web/vote", json={"round": number, "vote": "tie"}).json()
        assert {told["left"], told["right"]} == {"red", "blue"}


def test_a_vote_is_a_row_that_dpo_reads_and_only_its_owner_may(page: Page) -> None:
    with page.web() as web:
        for vote in ("left", "right"):
            told, texts = played(web, vote)
            assert told["pair"] is True
            other = {"left": "right", "right": "left"}[vote]
            row = json.loads(page.votes.path.read_text(encoding="utf-8").splitlines()[-1])
            assert row["prompt"] == ASK["messages"]
            assert row["chosen"] == [{"role": "assistant", "content": texts[vote]}]
            assert row["rejected"] == [{"role": "assistant", "content": texts[other]}]
            assert (row["chosen_model"], row["rejected_model"]) == (told[vote], told[other])
    assert stat.S_IMODE(page.votes.path.stat().st_mode) == 0o600
    read = source.read(str(page.votes.path), kind="preferences")
    assert len(read.records) == 2
    assert not read.report.bad
    first = read.records[0]
    assert isinstance(first, Preference)
    assert first.chosen.messages[0].content == "Which?"
    assert {first.chosen.messages[-1].content, first.rejected.messages[-1].content} == {"I am one.", "I am two."}


def test_ties_and_two_bad_answers_are_kept_apart(page: Page) -> None:
    with page.web() as web:
        for vote in ("tie", "bad"):
            told, _ = played(web, vote)
            assert told["pair"] is False
    assert not page.votes.path.exists()
    rows = [json.loads(line) for line in page.votes.others.read_text(encoding="utf-8").splitlines()]
    assert [row["vote"] for row in rows] == ["tie", "bad"]
    assert {tuple(sorted(row["models"])) for row in rows} == {("blue", "red")}
    assert stat.S_IMODE(page.votes.others.stat().st_mode) == 0o600


def test_a_round_is_voted_on_once_and_answered_once_and_not_before_it_is_answered(page: Page) -> None:
    with page.web() as web:
        number = web.post("/web/arena", json=ASK).json()["round"]
        assert web.post("/web/vote", json={"round": number, "vote": "left"}).status_code == 400
        said(web, number, "left")
        said(web, number, "right")
        assert web.post("/web/side", json={"round": number, "side": "left"}).status_code == 400
        first = web.post("/web/vote", json={"round": number, "vote": "left"}).json()
        second = web.post("/web/vote", json={"round": number, "vote": "right"}).json()
        assert second == first
    assert len(page.votes.path.read_text(encoding="utf-8").splitlines()) == 1


def test_one_model_has_no_arena(tmp_path: Path) -> None:
    with Page({"red": saying([])}, tmp_path / "votes.jsonl") as page, page.web() as web:
        assert web.get("/web/info").json()["arena"] is False
        assert "give two" in web.post("/web/arena", json=ASK).json()["error"]["message"]


def test_each_side_is_as_likely_for_each_model(tmp_path: Path) -> None:
    arena = Arena(["red", "blue", "green"], Votes(tmp_path / "votes.jsonl"), random.Random(0))
    drawn = [tuple(arena._coin.sample(arena.names, 2)) for _ in range(600)]
    counts = {pair: drawn.count(pair) for pair in set(drawn)}
    assert len(counts) == 6
    assert min(counts.values()) > 60


def test_old_rounds_are_forgotten(page: Page) -> None:
    with page.web() as web:
        first = web.post("/web/arena", json=ASK).json()["round"]
        for _ in range(MOST_ROUNDS):
            web.post("/web/arena", json=ASK)
        assert web.post("/web/side", json={"round": first, "side": "left"}).status_code == 404


def test_whoever_leaves_an_answer_frees_its_place(tmp_path: Path) -> None:
    models = {"red": saying(["a" * 3000], pause=0.01), "blue": saying(["b" * 3000], pause=0.01)}
    with Page(models, tmp_path / "votes.jsonl") as page, page.web() as web:
        number = web.post("/web/arena", json=ASK).json()["round"]
        with web.stream("POST", "/web/side", json={"round": number, "side": "left"}) as stream:
            next(stream.iter_lines())
            assert page.figures().active == 1
        eventually(lambda: page.figures().active == 0)
        assert page.figures().cancelled == 1


# ---- the votes' files


def answered(left: str = "yes", right: str = "no", *, ended: bool = True) -> Answered:
    prompt = Conversation((Message("system", "Be brief."), Message("user", "Is it so?")))
    answers = (Message("assistant", left, ended=ended), Message("assistant", right))
    return Answered(prompt, ("blue", "red"), answers)


def test_win_rates_are_counted_from_the_files_and_whoever_stood_where(tmp_path: Path) -> None:
    votes = Votes(tmp_path / "votes-preferences.jsonl")
    for choice in ("left", "left", "right", "tie"):
        votes.add(answered(), choice)  # type: ignore[arg-type]
    swapped = Answered(answered().prompt, ("red", "blue"), answered().answers)
    votes.add(swapped, "left")
    (rate,) = votes.rates()
    assert (rate["first"], rate["second"]) == ("blue", "red")
    assert (rate["votes"], rate["first_wins"], rate["second_wins"], rate["tie"], rate["bad"]) == (5, 2, 2, 1, 0)
    assert rate["rate"] == 0.5
    assert 0.1 < rate["low"] < 0.5 < rate["high"] < 0.9
    assert Votes(votes.path).rates() == votes.rates()


def test_an_answer_that_was_cut_is_no_end_to_learn(tmp_path: Path) -> None:
    votes = Votes(tmp_path / "votes-preferences.jsonl")
    votes.add(answered(ended=False), "left")
    (row,) = map(json.loads, votes.path.read_text(encoding="utf-8").splitlines())
    assert row["chosen"][0]["finish_reason"] == "length"
    (pair,) = source.read(str(votes.path), kind="preferences").records
    assert isinstance(pair, Preference)
    assert not pair.chosen.messages[-1].ended


@pytest.mark.parametrize(
    ("left", "right", "choice"), [("same", "same", "left"), ("", "no", "right"), ("yes", "", "left")]
)
def test_equal_or_empty_answers_teach_no_preference(tmp_path: Path, left: str, right: str, choice: Choice) -> None:
    votes = Votes(tmp_path / "votes-preferences.jsonl")
    assert votes.add(answered(left, right), choice) is False
    assert not votes.path.exists()
    assert votes.rates()[0]["votes"] == 1


def test_a_file_that_a_person_changed_is_kept_and_what_is_no_vote_is_not_counted(tmp_path: Path) -> None:
    path = tmp_path / "votes-preferences.jsonl"
    mine = '{"prompt": "a", "chosen": "b", "rejected": "c"}\nno json\n[]\n{"chosen": "x"}'
    path.write_text(mine, encoding="utf-8")
    votes = Votes(path)
    assert votes.rates() == []
    votes.add(answered(), "left")
    text = path.read_text(encoding="utf-8")
    assert text.startswith(mine + "\n")
    assert len(text.splitlines()) == 5


def test_a_vote_that_cannot_be_kept_is_said_and_can_be_given_again(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    with page.web() as web:
        number = web.post("/web/arena", json=ASK).json()["round"]
        said(web, number, "left")
        said(web, number, "right")
        real = os.replace

        def full(*paths: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "replace", full)
        refused = web.post("/web/vote", json={"round": number, "vote": "left"})
        assert refused.status_code == 500
        assert "no room left" in refused.json()["error"]["message"]
        assert list(page.votes.path.parent.iterdir()) == []
        monkeypatch.setattr(os, "replace", real)
        assert web.post("/web/vote", json={"round": number, "vote": "left"}).json()["pair"] is True
    assert DiskFull.exit_code == 5


def test_a_place_for_votes_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "votes.jsonl"):
        with pytest.raises(ConfigError, match="--votes") as error:
            Votes(path).check()
        assert "\n" not in str(error.value)
