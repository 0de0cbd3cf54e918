"""The page of a check says what is learned and how surprising it is, and nothing that a row holds can run in it."""

import base64
import hashlib
import json
import math
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from byte_tokenizer import ByteTokenizer
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import theirs, tiny_checkpoint, tiny_model

from chatwright import commands
from chatwright.data import check, source, spelled
from chatwright.data.lessons import Text
from chatwright.data.quality.look import Asked
from chatwright.data.quality.tally import Summary
from chatwright.errors import ConfigError, DataError
from chatwright.evals import check_page, check_parts, check_rows, check_shapes, token_losses
from chatwright.evals.check_page import About
from chatwright.evals.check_rows import PageRow
from chatwright.models.gpt2 import GPT2
from chatwright.text.pieces import Example
from chatwright.text.records import Conversation, Document, Preference, Problem, Source, conversation

HOSTILE = (
    '</script><script>window.owned = 1</script><img src=x onerror="window.owned = 2">\u2028{{ 7 * 7 }} ]]> <!-- \x1b[2J'
)
CHATS = tiny_checkpoint("chatml")
TEXT = Text(CHATS.tokenizer, CHATS.template)
LENGTHS = (5, 1, 64, 0, 2, 33, 65, 100, 7, 7)  # of 64 in the window


def examples(vocab_size: int = 300) -> list[Example]:
    generator = torch.Generator().manual_seed(3)
    ids = [torch.randint(vocab_size, (length,), generator=generator).tolist() for length in LENGTHS]
    return [Example(one, [0] * len(one)) for one in ids]


def talk(question: str, answer: str, line: int, file: str = "chats.jsonl") -> Conversation:
    return Conversation(conversation(question, answer).messages, Source(file, line))


# ---- the loss of each token


def test_the_loss_of_each_token_is_the_cross_entropy_of_the_whole_logits() -> None:
    model = tiny_model()
    found = token_losses.token_losses(model, examples())
    assert [len(one.nats) for one in found] == list(LENGTHS)
    for example, one in zip(examples(), found, strict=True):
        ids = torch.tensor(example.ids[:65])
        if len(ids) < 2:
            assert not one.ranks.any()
            continue
        with torch.no_grad():
            logits = model.head(model.trunk(ids[None, :-1]))[0]
        expected = F.cross_entropy(logits, ids[1:], reduction="none")
        last = len(ids)
        assert torch.allclose(torch.from_numpy(one.nats[1:last]), expected, atol=1e-5)
        assert torch.equal(torch.from_numpy(one.likeliest[1:last]).long(), logits.argmax(1))
        best = F.cross_entropy(logits, logits.argmax(1), reduction="none")
        assert torch.allclose(torch.from_numpy(one.likeliest_nats[1:last]), best, atol=1e-5)
        order = logits.argsort(dim=1, descending=True)
        assert one.ranks[1:last].tolist() == [row.tolist().index(i) + 1 for row, i in zip(order, ids[1:], strict=True)]


def test_nothing_is_said_of_the_first_token_and_of_those_beyond_the_window() -> None:
    for example, one in zip(examples(), token_losses.token_losses(tiny_model(), examples()), strict=True):
        said = [1 <= place <= 64 for place in range(len(example.ids))]
        assert [not math.isnan(nats) for nats in one.nats.tolist()] == said
        assert [rank > 0 for rank in one.ranks.tolist()] == said
        assert [number >= 0 for number in one.likeliest.tolist()] == said


def test_the_losses_are_those_of_transformers() -> None:
    model = tiny_model()
    other = theirs(model)
    for example, one in zip(examples(), token_losses.token_losses(model, examples()), strict=True):
        ids = torch.tensor([example.ids[:64]])
        if ids.shape[1] < 2:
            continue
        with torch.no_grad():
            logits = other(ids).logits[0, :-1]
        expected = F.cross_entropy(logits, ids[0, 1:], reduction="none")
        assert torch.allclose(torch.from_numpy(one.nats[1 : ids.shape[1]]), expected, atol=1e-4)


def test_neither_batches_nor_pieces_of_logits_change_a_loss_and_both_keep_their_bounds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes: list[tuple[int, int]] = []

    class Counting(GPT2):
        def trunk(self, ids: Any, **given: Any) -> Any:
            sizes.append((ids.numel(), 0))
            return super().trunk(ids, **given)

        def head(self, hidden: Any) -> Any:
            sizes.append((0, hidden.shape[0] * self.config.vocab_size))
            return super().head(hidden)

    model = Counting(tiny_model().config)
    model.load_state_dict(tiny_model().state_dict())
    whole = token_losses.token_losses(tiny_model(), examples())
    monkeypatch.setattr(token_losses, "MOST_LOGITS", 128 * 300)
    parts = token_losses.token_losses(model, examples(), batch_tokens=200)
    assert 128 < max(tokens for tokens, _ in sizes) <= 200
    assert max(logits for _, logits in sizes) <= 128 * 300
    for one, other in zip(whole, parts, strict=True):
        assert torch.allclose(torch.from_numpy(one.nats), torch.from_numpy(other.nats), atol=1e-5, equal_nan=True)


def test_the_model_stays_in_its_mode_and_progress_goes_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    for training in (True, False):
        model = tiny_model().train(training)
        token_losses.token_losses(model, examples())
        assert model.training is training
    captured = capfd.readouterr()
    assert captured.out == ""
    assert f"token losses: row {len(LENGTHS)}/{len(LENGTHS)}" in captured.err


# ---- what a person sees of an example


@given(st.text(max_size=40), st.text(max_size=40))
@settings(max_examples=60, deadline=None)
def test_the_ids_of_the_pieces_are_the_ids_of_the_example_and_the_mask_is_theirs(question: str, answer: str) -> None:
    for tokenizer in (CHATS.tokenizer, ByteTokenizer(("<|endoftext|>", "<|im_start|>", "<|im_end|>"))):
        example = CHATS.template.render(conversation(question.strip() or "?", answer.strip() or "!"), tokenizer)
        pieces = spelled.tokens(example, tokenizer)  # type: ignore[arg-type]
        assert [number for piece in pieces for number in piece.ids] == example.ids
        assert [int(piece.learned) for piece in pieces for _ in piece.ids] == example.mask
        specials = set(tokenizer.special_tokens.values())
        assert [piece.special for piece in pieces for _ in piece.ids] == [number in specials for number in example.ids]
        assert "".join(piece.text for piece in pieces) == tokenizer.decode(example.ids)


def test_a_character_of_several_tokens_is_one_piece_and_a_cut_one_is_shown_as_cut() -> None:
    tokenizer: Any = ByteTokenizer()
    ids = [*"☃".encode(), 256, *"☃".encode()[:2]]
    pieces = spelled.tokens(Example(ids, [0, 0, 0, 1, 1, 1]), tokenizer)
    assert [(piece.text, len(piece.ids), piece.learned) for piece in pieces] == [
        ("☃", 3, False),
        ("<|endoftext|>", 1, True),
        ("\N{REPLACEMENT CHARACTER}", 2, True),
    ]
    split = spelled.tokens(Example([*"☃".encode()], [0, 0, 1]), tokenizer)  # by what is learned
    assert [(len(piece.ids), piece.learned) for piece in split] == [(2, False), (1, True)]


def test_each_part_of_a_record_is_a_row_with_its_place_and_what_truncation_did() -> None:
    at = Source("a.jsonl", 3)
    pair = Preference(conversation("Hi", "Hello!"), conversation("Hi", "Go away."), at)
    found = check_rows.rows(
        [pair, talk("Hi", "x" * 90, 4), Problem(conversation("Why?"), "contains", {}, at)], TEXT, 40
    )
    assert [row.part for row in found[:2]] == ["the better answer", "the worse answer"]
    assert {row.place for row in found[:2]} == {"a.jsonl:3"}
    assert found[2].note.startswith("the first answer does not fit")
    assert len(found[2].example.ids) == 41  # type: ignore[union-attr]
    assert found[3].example is None
    assert found[3].learned == 0
    book = check_rows.rows([Document("word " * 3000)], TEXT, 40)[0]
    assert len(book.example.ids) == check_rows.LONGEST  # type: ignore[union-attr]
    assert "its first 2,048 tokens" in book.part
    assert check_rows.rows([talk("one two", "three", 1)], None, 0)[0].tokens == 5  # the roles are words too


def test_a_histogram_counts_every_value_once() -> None:
    for counts in ([], [0], [3], [1, 2, 2, 700], list(range(100))):
        assert sum(Summary.of(counts).histogram) == max(1, len(counts))
    assert Summary.of([0, 1, 2, 2]).histogram == (1, 1, 2)


# ---- the page


class Elements(HTMLParser):
    """What a browser would find in the page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.handlers: list[str] = []
        self.policy = ""
        self.text = ""
        self.inside: dict[str, list[str]] = {"script": [], "style": []}
        self._open = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._open = tag
        found = dict(attrs)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action", "style")]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        if found.get("http-equiv") == "Content-Security-Policy":
            self.policy = found["content"] or ""

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open in self.inside:
            self.inside[self._open].append(data)
        else:
            self.text += data + " "


def report_of(tmp_path: Path, rows: list[str], seq_len: int = 60) -> check.CheckReport:
    path = tmp_path / "chats.jsonl"
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return check.analyse(source.open(str(path)), Asked(TEXT, seq_len))


def row(question: str, answer: str) -> str:
    return json.dumps({"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]})


def scored(records: list[Conversation]) -> tuple[list[PageRow], About]:
    rows = check_rows.scored(check_rows.rows(records, TEXT, 600), CHATS.model)
    names = check_rows.likeliest_names(rows, CHATS.tokenizer)
    return rows, About("chats.jsonl", "runs/mine", CHATS.model.config.vocab_size, names)


def test_hostile_text_is_text_wherever_it_stands() -> None:
    rows, about = scored([talk(HOSTILE, HOSTILE, 1, HOSTILE)])
    about = replace(about, data=HOSTILE, model=HOSTILE, names={1: HOSTILE, **about.names})
    report = {"bad": [f"a:1: {HOSTILE}"], HOSTILE: {HOSTILE: HOSTILE}, "notes": [HOSTILE], "format": HOSTILE}
    text = check_page.html(report, [replace(rows[0], note=HOSTILE, part=HOSTILE)], about)
    page = Elements(text)
    assert page.tags.count("script") == 2
    assert page.tags.count("style") == 1
    assert "img" not in page.tags
    assert page.handlers == []
    assert "window.owned = 1</script><img" in page.text
    assert "\x1b" not in text
    assert page.inside["script"][0].isascii()
    data = json.loads(page.inside["script"][0])
    assert "".join(data["rows"][0]["pieces"]).count(HOSTILE.strip()) == 2
    assert data["names"]["1"] == HOSTILE


def test_the_policy_lets_the_page_s_own_style_and_script_run_and_nothing_else(tmp_path: Path) -> None:
    report = report_of(tmp_path, [row("Hi", "Hello!")] * 3)
    page = Elements(check_page.html(report.as_dict(), *scored([talk("Hi", "Hello!", 1)])))

    def named(text: str) -> str:
        return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"

    rules = dict(rule.split(" ", 1) for rule in page.policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == named(page.inside["script"][1])
    assert rules["style-src"] == named(page.inside["style"][0])
    assert set(page.links) == {"data:,", "#browse"}
    assert not {"link", "iframe", "img", "object", "form"} & set(page.tags) - {"link"}
    assert "http" not in page.inside["script"][1] + page.inside["style"][0]
    assert "@import" not in page.inside["style"][0]


def test_every_figure_of_the_report_is_on_the_page(tmp_path: Path) -> None:
    lines = [row(f"Question {k}?", "Because " + "so " * k) for k in range(30)] + [row("Hi", "x" * 300), "oops"]
    report = report_of(tmp_path, lines)
    text = " ".join(Elements(check_page.html(report.as_dict(), [], About("mine"))).text.split())
    for part in (
        f"rows 32 {report.kept} can be used",
        "bad rows 1 3.12 %",
        f"learned tokens {report.learned.total:,}",
        "Rows that the window cuts",
        f"{tmp_path}/chats.jsonl:31 the first answer does not fit",
        f"{tmp_path}/chats.jsonl:32 is not JSON",
        f"Turns {report.turns.total:,}",
        f"train {report.splits['train']}",
        "near_duplicate",
        "Length of each, in tokens",
    ):
        assert part in text


def test_a_key_that_the_page_does_not_know_is_drawn_by_its_shape() -> None:
    unknown = {
        "new_share": 0.25,
        "new_counts": {"one": 3, "two": 1},
        "new_rows": [{"file": "a", "line": 7, "reason": "odd"}],
        "new_grid": {"left": {"is_on": True}, "right": {"is_on": False}},
        "new_list": ["something", None, [1, 2]],
        "empty": {},
    }
    found = {part.title: part for part in check_parts.parts(unknown)}
    assert [row.cells for row in found["Settings"].rows] == [("New share", "0.25")]
    assert [(row.cells, row.share) for row in found["New counts"].rows] == [(("one", "3"), 1), (("two", "1"), 1 / 3)]
    assert found["New rows (1)"].rows[0].cells == ("a:7", "odd")
    assert found["New grid"].rows[1].cells == ("right", "no")
    assert [row.cells for row in found["New list"].rows] == [("something",), ("–",), ("[1, 2]",)]
    assert len(found) == 5
    many = check_parts.parts({"bad": [f"a:{k}: no" for k in range(2000)]})[0]
    assert many.rows[-1].cells[0].startswith("… and 1,500 more")
    assert Elements(check_page.html(unknown, [], About("x"))).policy


def test_figures_are_written_with_few_digits() -> None:
    assert [check_shapes.percent(share) for share in (0, 0.0025, 0.394, 1)] == ["0 %", "0.25 %", "39 %", "100 %"]
    assert [check_shapes.text(value) for value in (1234, 0.04405, 12345.6, None)] == ["1,234", "0.044", "12,346", "–"]
    assert check_shapes.chart([1.0, 1.0], "nats") is None
    assert max(check_shapes.chart([0.0, 1.0, 1.0], "nats").heights) == 1  # type: ignore[union-attr]


def test_a_model_without_numbers_still_gives_a_page() -> None:
    model = tiny_model(vocab_size=CHATS.tokenizer.vocab_size)
    with torch.no_grad():
        model.output_weight.fill_(math.nan)
    found = check_rows.scored(check_rows.rows([talk("Hi", "Hello!", 1)], TEXT, 60), model)
    page = Elements(check_page.html({}, found, About("x", "broken", 300)))
    assert set(json.loads(page.inside["script"][0])["rows"][0]["nats"]) == {None}


def test_where_a_model_expects_little_the_scale_reaches_further() -> None:
    rows, about = scored([talk("Hi", "Hello!", 1)])
    losses = rows[0].losses
    assert losses is not None
    surprised = replace(rows[0], losses=replace(losses, nats=losses.nats + 12))
    assert "longer than usual" in check_page.html({}, [surprised], about)
    assert "longer than usual" not in check_page.html({}, rows, about)


def test_the_page_says_that_what_lies_beyond_the_window_has_no_loss() -> None:
    for answer, beyond in (("Hello!", False), ("x" * 200, True)):
        assert (
            "beyond the model’s window" in Elements(check_page.html({}, *scored([talk("Hi", answer, 1)]))).text
        ) is beyond


def test_without_a_model_the_page_shows_masks_and_without_a_tokenizer_turns() -> None:
    talks = [talk("Question?", "Answer.", 1)]
    page = Elements(check_page.html({}, check_rows.rows(talks, TEXT, 60), About("x")))
    first = json.loads(page.inside["script"][0])["rows"][0]
    assert "nats" not in first
    assert len(first["ids"]) == first["tokens"]
    assert "loss first" not in page.text
    found = Elements(check_page.html({"unit": "words"}, check_rows.rows(talks, None, 60), About("x")))
    assert json.loads(found.inside["script"][0])["rows"][0]["pieces"][:2] == ["user: ", "Question?"]
    assert "the pieces are turns" in found.text


# ---- the verb


@pytest.fixture
def chats(tmp_path: Path) -> str:
    path = tmp_path / "chats.jsonl"
    path.write_text("\n".join(row(f"Question {k}?", f"Answer {k}.") for k in range(60)) + "\n", encoding="utf-8")
    return str(path)


def test_the_verb_writes_the_page_with_the_losses_of_the_model_also_where_it_ends_with_2(
    tmp_path: Path, chats: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with open(chats, "a", encoding="utf-8") as file:
        file.write("oops\n")
    CHATS.save(tmp_path / "model")
    page = tmp_path / "out" / "deep" / "check.html"
    given: dict[str, Any] = {"data": chats, "model": str(tmp_path / "model"), "seq_len": 60, "html": str(page)}
    with pytest.raises(DataError, match="is not JSON") as error:
        commands.run("check", given)
    assert error.value.args[1]["html"] == str(page)
    assert f"{page} shows the report" in capsys.readouterr().err
    found = Elements(page.read_text(encoding="utf-8"))
    data = json.loads(found.inside["script"][0])
    assert len(data["rows"]) == 60
    assert all("mean" in one for one in data["rows"])
    assert f"{chats}:61 is not JSON" in " ".join(found.text.split())
    assert [file.name for file in page.parent.iterdir()] == ["check.html"]


def test_a_path_that_cannot_be_a_page_is_one_sentence_and_exit_code_2(tmp_path: Path, chats: str) -> None:
    for path in (tmp_path, Path(chats) / "check.html", tmp_path / ("x" * 300 + ".html"), tmp_path / "x\0y.html"):
        with pytest.raises(ConfigError, match="--html") as error:
            commands.run("check", {"data": chats, "html": str(path)})
        assert "\n" not in str(error.value)
        assert ("is a folder" in str(error.value)) is (path == tmp_path)
    assert ConfigError.exit_code == 2
    with pytest.raises(ConfigError, match="cannot be written"):
        check_page.write(Path("/dev/null/check.html"), {}, [], About("x"))


# ---- in a browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed, so no browser can be driven")
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    program = next((path for path in map(shutil.which, names) if path), None)
    if program is None:
        pytest.skip("there is no Chromium on this machine to open the page in")
    with api.sync_playwright() as playwright:
        args = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        opened = playwright.chromium.launch(executable_path=program, args=args)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """46 rows under a model, of which two are hostile, one in pieces and one whole; a report that has bad rows."""
    talks = [talk(f"Question number {k}?", f"The answer is {'yes' if k % 2 else 'no ' * k}.", k + 1) for k in range(44)]
    rows, about = scored([*talks, talk(HOSTILE, "\u202eabc\u200b\n\t" + HOSTILE + " ☃", 45, HOSTILE)])
    rows = [
        replace(one, losses=replace(one.losses, nats=one.losses.nats * np.float32(0.05 + 0.04 * k)))
        for k, one in enumerate(rows)
        if one.losses is not None
    ]
    rows += check_rows.rows([talk(HOSTILE, HOSTILE, 46)], None, 600)
    report = {"read": 46, "kept": 45, "bad": [f"chats.jsonl:46: {HOSTILE}"], "seq_len": 200, "truncated": {}}
    folder = tmp_path_factory.mktemp("page")
    return check_page.write(folder / "check.html", report, [replace(rows[0], note="it is cut"), *rows[1:]], about)


@pytest.fixture
def opened(browser: Any, page_file: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    """The page in a fresh context; afterwards: nothing was asked of any network, nothing complained, nothing ran."""
    context = browser.new_context(**getattr(request, "param", {"viewport": {"width": 1200, "height": 900}}))
    page = context.new_page()
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda one: asked.append(one.url))
    page.on("console", lambda one: said.append(one.text))
    page.on("pageerror", lambda one: said.append(str(one)))
    page.set_default_timeout(5000)
    page.goto(page_file.as_uri())
    yield page
    assert page.evaluate("window.owned === undefined")
    assert [url for url in asked if not url.startswith("data:")] == [page_file.as_uri()]
    assert said == []
    context.close()


def means(page: Any) -> list[float]:
    return [float(text) for text in page.locator(".row .mean b").all_text_contents()]


def places(page: Any) -> list[str]:
    return list(page.locator(".row h3").all_text_contents())


def test_rows_stand_worst_first_and_sort_otherwise_when_asked(opened: Any) -> None:
    worst = means(opened)
    assert len(worst) == 20
    assert worst == sorted(worst, reverse=True)
    opened.select_option("#sort", "lowest")
    lowest = means(opened)
    assert lowest == sorted(lowest)
    assert lowest[0] < worst[-1]
    opened.select_option("#sort", "file")
    assert places(opened)[:3] == ["chats.jsonl:1", "chats.jsonl:2", "chats.jsonl:3"]
    opened.select_option("#sort", "longest")
    longest = [int(text.split()[0]) for text in opened.locator(".facts span:nth-child(3)").all_text_contents()]
    assert longest == sorted(longest, reverse=True)


def test_the_filter_leaves_what_holds_its_text_and_pages_turn(opened: Any) -> None:
    opened.select_option("#sort", "file")
    assert opened.inner_text("#status") == "Rows 1–20 of 46"
    opened.click(".tools .on")
    assert places(opened)[0] == "chats.jsonl:21"
    opened.click(".tools .on")
    assert opened.inner_text("#status") == "Rows 41–46 of 46"
    assert opened.is_disabled(".tools .on")
    opened.fill("#filter", "NUMBER 7")
    assert places(opened) == ["chats.jsonl:8"]
    assert opened.is_hidden(".tools .pager")
    opened.fill("#filter", "nowhere to be found")
    assert places(opened) == []
    assert opened.inner_text("#status") == "No row here matches."
    opened.fill("#filter", "")
    opened.select_option("#only", "cut")
    assert places(opened) == ["chats.jsonl:1"]


def test_a_hostile_row_is_shown_as_it_is_and_hidden_characters_are_named(opened: Any) -> None:
    opened.fill("#filter", "window.owned")
    assert len(places(opened)) == 2
    assert '<img src=x onerror="window.owned = 2">' in opened.inner_text(".row .tokens >> nth=1")
    shown = opened.inner_text(".row .tokens >> nth=0")
    assert '</script><script>window.owned = 1</script><img src=x onerror="window.owned = 2">' in shown
    for name in ("⟨U+202E⟩", "⟨U+200B⟩", "⟨U+2028⟩", "⟨U+001B⟩", "↵\n", "→\t", "☃"):
        assert name in shown
    assert opened.locator("img").count() == 0


def test_the_mask_and_the_loss_are_seen_by_two_channels(opened: Any) -> None:
    style = (
        "(all) => all.map((one) => [getComputedStyle(one).borderBottomColor, getComputedStyle(one).backgroundColor])"
    )
    learned = opened.locator(".row .t.learned").evaluate_all(style)
    prompt = opened.locator(".row .t:not(.learned)").evaluate_all(style)
    assert {line for line, _ in prompt} == {"rgba(0, 0, 0, 0)"}
    assert {colour for _, colour in prompt} == {"rgba(0, 0, 0, 0)"}
    assert "rgba(0, 0, 0, 0)" not in {line for line, _ in learned}
    opened.select_option("#sort", "lowest")
    learned += opened.locator(".row .t.learned").evaluate_all(style)
    assert len({colour for _, colour in learned}) > 4
    text = opened.inner_text("#browse")
    for words in ("What the colours mean", "What to look for", "often a wrong label", "is learned", "never learned"):
        assert words in text


def test_a_token_says_its_numbers_to_the_mouse_and_to_the_keyboard(opened: Any) -> None:
    opened.hover(".row .t.learned >> nth=2")
    assert re.search(r"id \d+ · learned\nloss \d+\.\d\d nats · probability", opened.inner_text("#detail"))
    opened.mouse.move(2, 2)
    assert opened.is_hidden("#detail")
    opened.focus(".row .tokens >> nth=0")
    opened.keyboard.press("ArrowRight")
    assert "No loss: nothing stands before it." in opened.inner_text("#detail")
    opened.keyboard.press("End")
    opened.keyboard.press("ArrowLeft")
    assert re.search(r"loss \d", opened.inner_text("#detail"))
    assert opened.text_content("#spoken").startswith("“<|im_end|>”. id ")
    opened.keyboard.press("Escape")
    assert opened.is_hidden("#detail")


def test_the_same_stands_in_a_table_that_a_screen_reader_can_walk_through(opened: Any) -> None:
    opened.select_option("#sort", "file")
    opened.click(".row summary >> nth=0")
    lines = opened.locator(".row >> nth=0").locator("tbody tr")
    tokens = int(opened.inner_text(".row .facts span:has-text(' tokens') >> nth=0").split()[0])
    assert lines.count() == tokens
    last = lines.nth(tokens - 2).locator("td").all_text_contents()
    assert last[1] == "<|im_end|>"
    assert last[3] == "yes"
    assert float(last[4]) > 0


@pytest.mark.parametrize(
    "opened", [{"viewport": {"width": 400, "height": 800}, "color_scheme": "dark", "has_touch": True}], indirect=True
)
def test_the_page_fits_a_telephone_and_is_dark_at_night(opened: Any) -> None:
    assert opened.evaluate("document.documentElement.scrollWidth") <= 400
    background = opened.evaluate("getComputedStyle(document.body).backgroundColor")
    assert sum(map(int, re.findall(r"\d+", background))) < 120
    opened.tap(".row .t.learned >> nth=2")
    assert "nats" in opened.inner_text("#detail")
