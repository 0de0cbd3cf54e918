"""What is measured on a chatbot's answers means what it says: intervals, chat health, grades, comparisons, proofs."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from chatwright import commands
from chatwright.checkpoint import Checkpoint
from chatwright.data.ends import answers_without_end
from chatwright.errors import ConfigError, DataError
from chatwright.evals import benchmark, compare, health, intervals, prompts, proofs
from chatwright.evals.exported import Exported
from chatwright.generate.chatbot import Chatbot
from chatwright.generate.completion import Completion, Finish
from chatwright.generate.sampling import Sampling
from chatwright.models import gpt2
from chatwright.text import template as templates
from chatwright.text.records import Conversation, Message, Problem, conversation
from chatwright.text.template import Example
from chatwright.text.tokenizer import Tokenizer

SHORT = Sampling(max_tokens=6)
TALKS = [
    conversation("Hi", "Hello there!"),
    conversation("What is the capital of France?", "Paris.", "And of Spain?", "Madrid.", system="Be brief."),
]


def tiny(template: str = "chatml", seed: int = 0) -> Checkpoint:
    """An untrained GPT-2 of one layer with a small vocabulary of its own."""
    torch.manual_seed(seed)
    tokenizer = Tokenizer.train(
        ["the capital of France is Paris and the capital of Spain is Madrid " * 3],
        300,
        ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
    )
    shape = {"vocab_size": tokenizer.vocab_size, "n_layer": 1, "n_embd": 16, "n_head": 2, "n_positions": 384}
    return Checkpoint(gpt2.MODEL.build(shape), tokenizer, templates.load(template))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "model"
    tiny().save(path)
    return path


class Scripted(Chatbot):
    """A chatbot whose answers are written down: it says what its function makes of the conversation."""

    def __init__(self, says, finish: Finish = "stop") -> None:  # type: ignore[no-untyped-def]
        self.says, self.finish, self.heard = says, finish, []

    def replies(self, conversations, sampling=SHORT):  # type: ignore[no-untyped-def]
        self.heard += conversations
        texts = [self.says(one) for one in conversations]
        return [Completion(tuple(range(len(text.split()))), text, self.finish) for text in texts]


def completions(*texts: str, finish: Finish = "stop") -> list[Completion]:
    return [Completion((), text, finish) for text in texts]


# ---- intervals


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [(95, 100, 0.8882, 0.9785), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (0, 0, 0, 1)],
)
def test_wilsons_interval_is_the_published_one(right: int, n: int, low: float, high: float) -> None:
    assert intervals.wilson(right, n) == pytest.approx((low, high), abs=1e-4)


def test_a_paired_difference_is_seeded_and_contains_its_mean() -> None:
    first, second = [0, 0, 1, 0, 1, 0, 0, 1], [1, 1, 1, 0, 1, 1, 0, 1]
    found = intervals.paired_bootstrap(first, second)
    assert found == intervals.paired_bootstrap(first, second)
    assert found.low < found.value < found.high
    assert found.value == pytest.approx(3 / 8)


def test_pairing_cancels_what_makes_a_prompt_hard() -> None:
    first = [float(i) for i in range(50)]
    found = intervals.paired_bootstrap(first, [value + 1 for value in first])
    assert (found.value, found.low, found.high) == pytest.approx((1, 1, 1))


def test_the_bootstrap_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = torch.Generator().manual_seed(1)
    covered = 0
    for _ in range(60):
        values = torch.randn(40, generator=generator).tolist()
        found = intervals.paired_bootstrap([0.0] * 40, values, resamples=400)
        covered += found.low <= 0 <= found.high
    assert 50 <= covered <= 60


def test_one_pair_has_a_difference_but_no_interval_and_nan_pairs_are_left_out() -> None:
    found = intervals.paired_bootstrap([0.0, math.nan], [1.0, 1.0])
    assert (found.value, found.n) == (1.0, 1)
    assert math.isnan(found.low)
    assert not found.certain
    with pytest.raises(ValueError, match="as many on both sides"):
        intervals.paired_bootstrap([1.0], [])


# ---- chat health

CODE = """Here it is:

```python
def table(rows):
    rows.append((1, 2))
    rows.append((1, 2))
    rows.append((1, 2))
    return rows
```"""
UNFENCED = """def draw(t):
    t.forward(100, pen)
    t.forward(100, pen)
    t.forward(100, pen)
"""
FLUSH = "```sh\nmake clean all tests\nmake clean all tests\nmake clean all tests\n```"
TIPS = "1. Sleep seven hours a night.\n2. Walk for half an hour a day.\n3. Eat vegetables with every meal."
QUESTIONS = "1. What is the capital of France?\n2. What is the capital of Spain?\n3. What is the capital of Italy?"

LOOPS = [
    "I am a bot. I am a bot. I am a bot.",
    "the capital of the capital of the capital of the",
    "Paris is big and Paris is big and Paris is big and",
    "no no no no no no no no no no",
    "1. Eat more fresh fruit.\n2. Eat more fresh fruit.\n3. Eat more fresh fruit.",
    "It lies on the Seine.\nYes.\nIt lies on the Seine.\nNo.\nIt lies on the Seine.",
    "hahahahahahahahahahahahahaha",
    "aaaaaaaaaaaaaaaaaaaaaaaaaa",
    "我们去学校我们去学校我们去学校我们去学校",
    "```python\n" + "x = x + 1\n" * 30 + "```",
    "- Drink a glass of water\n- Drink a glass of water\n- Drink a glass of water",
    "0 " * 60,
]
NO_LOOPS = [
    "",
    "Paris.",
    "It is very, very, very good.",
    "Ha ha ha!",
    TIPS,
    QUESTIONS,
    CODE,
    FLUSH,
    UNFENCED,
    "def fibonacci(n):\n    if n < 2:\n        return n\n    return fibonacci(n - 1) + fibonacci(n - 2)",
    "[[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]",
    "| a | b |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |",
    "Title\n=====================\n---------------------",
    "1 / 3 = 0.333333333333333333333333",
    "She said that he said that she said it.",
    "Wait................................ what?",
]


@pytest.mark.parametrize("text", LOOPS)
def test_a_reply_that_repeats_itself_loops(text: str) -> None:
    assert health.loops(text)


@pytest.mark.parametrize("text", NO_LOOPS)
def test_lists_code_tables_and_style_are_no_loops(text: str) -> None:
    assert not health.loops(text)


def test_a_long_reply_is_searched_for_loops_in_little_time() -> None:
    assert not health.loops(" ".join(f"word{i * i % 997}x{i}" for i in range(4000)))
    assert health.loops(" ".join(f"word{i}" for i in [*range(500)] * 3))


@pytest.mark.parametrize(
    "text",
    [
        "Paris.\nUser: And Spain?",
        "Assistant: Paris.",
        "Paris.\n\n### Instruction:\nNext",
        "Paris.\nHuman: thanks",
        "Paris.<|im_start|>user",
        "Paris.\n**User:** more",
        "Paris <|endoftext|> Lyon",
    ],
)
def test_a_role_marker_is_speaking_for_the_user(text: str) -> None:
    assert health.leaks_role(text)


@pytest.mark.parametrize(
    "text",
    [
        "The user: a person who uses a program.",
        "A human is a mammal.",
        "Users: many",
        "## Response times\nThey are short.",
        "```yaml\nUser: root\n```",
        "Ask your assistant: she knows.",
    ],
)
def test_words_about_roles_are_not_speaking_for_the_user(text: str) -> None:
    assert not health.leaks_role(text)


def test_health_counts_each_way_to_end_apart() -> None:
    found = health.measure(
        [
            *completions("Paris it is.", "  "),
            *completions("cut", finish="string"),
            *completions("a b a b", finish="length"),
            *completions("full", finish="context"),
        ]
    )
    assert (found.n, found.stopped, found.by_string, found.empty) == (5, 2, 1, 1)
    assert found.stop_rate == pytest.approx(0.4)
    assert found.mean_words == pytest.approx(9 / 5)
    assert found.distinct_2 == pytest.approx((1 + 2 / 3) / 2)  # three replies are too short for word pairs
    assert found.unfinished == 2
    assert found.n == found.stopped + found.by_string + found.unfinished
    assert found.rep_4 == 0  # of "a b a b", the only reply that has four words


def test_repeated_4_grams_are_the_share_of_a_reply_that_was_there_before() -> None:
    # "a b c d a b c d a" has six of them, and four differ
    assert health.measure(completions("a b c d a b c d a")).rep_4 == pytest.approx(1 / 3)
    assert health.measure(completions("a b c d a b c d a", "a b c d", "short")).rep_4 == pytest.approx(1 / 6)
    assert math.isnan(health.measure(completions("a b c")).rep_4)


def test_no_replies_have_no_rates() -> None:
    assert math.isnan(health.measure([]).stop_rate)


# ---- grading


def test_problems_are_graded_by_their_own_grader_and_set() -> None:
    ask = [
        Problem(conversation(q), "contains", {"accepted": [a]}) for q, a in (("France?", "Paris"), ("Spain?", "Madrid"))
    ]
    bot = Scripted(lambda one: "It is Paris.")
    scores = benchmark.grade(bot, {"easy": ask[:1], "all": ask, "none": []}, SHORT)
    assert [(score.name, score.n, score.correct) for score in scores.values()] == [
        ("easy", 1, 1),
        ("all", 2, 1),
        ("none", 0, 0),
    ]
    assert (scores["all"].low, scores["all"].high) == intervals.wilson(1, 2)
    assert [row.grade for row in scores["all"].rows] == [1.0, 0.0]


def test_a_grader_without_questions_is_no_task_and_an_unknown_one_is_named() -> None:
    with pytest.raises(ConfigError, match="asks no questions"):
        benchmark.problem_sets("contains")
    with pytest.raises(ConfigError, match="did you mean 'primer'"):
        benchmark.problem_sets("primmer")


# ---- prompts and comparison


def test_the_default_prompts_are_the_classic_ones_in_their_exact_words() -> None:
    said = [tuple(message.content for message in one.messages) for one in prompts.default()]
    assert said == [
        ("What is the capital of France?",),
        ("What is machine learning?",),
        ("Write a Python function to calculate the Fibonacci sequence.",),
        ("Give me three tips for staying healthy.",),
        ("What does a Data Scientist do?", "What about a Machine Learning Engineer?"),
    ]


def test_a_prompt_file_may_hold_lines_or_whole_conversations(tmp_path: Path) -> None:
    text, rows = tmp_path / "p.txt", tmp_path / "p.jsonl"
    text.write_text("\ufeffHi\n\n  And you? \n", encoding="utf-8")
    assert [one.messages[0].content for one in prompts.read(text)] == ["Hi", "And you?"]
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    lines = [{"prompt": "one\u2028line"}, {"messages": turns}, {"messages": [*turns, {"role": "user", "content": "d"}]}]
    rows.write_text("\n".join(json.dumps(line, ensure_ascii=False) for line in lines), encoding="utf-8")
    one, given, more = prompts.read(rows)
    assert len(one.segments) == len(given.segments) == 1
    assert given.history([]) == Conversation(given.messages)
    assert [len(segment) for segment in more.segments] == [3, 1]
    assert [message.content for message in more.history(["x"]).messages] == ["a", "b", "c", "x", "d"]


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("p.jsonl", b'{"prompt": "a"}\n{"prompt"', r"p\.jsonl:2: is no JSON"),
        ("p.jsonl", b'{"text": "a"}', r"p\.jsonl:1: is an object with text; write"),
        ("p.jsonl", b'["a"]', r"p\.jsonl:1: is list; write"),
        (
            "p.jsonl",
            b'{"messages": [{"role": "assistant", "content": "a"}]}',
            r"p\.jsonl:1: a prompt ends with the user",
        ),
        ("p.jsonl", b'{"messages": [{"role": "bot", "content": "a"}]}', r"p\.jsonl:1: the role is 'bot'"),
        ("p.jsonl", b'{"messages": ["a"]}', r"p\.jsonl:1: message 1 is no"),
        ("p.jsonl", b'{"messages": []}', r"p\.jsonl:1: a prompt ends with the user's turn, got no messages"),
        ("p.jsonl", b'{"prompt": "\\ud800"}', r"p\.jsonl:1: .*surrogate"),
        ("p.txt", b"a\nb\xff", r"p\.txt:2: is not UTF-8"),
        ("p.txt", b"\n \n", r"p\.txt: holds no prompts"),
        ("p.csv", b"a", r"p\.csv: prompts come as"),
    ],
)
def test_a_bad_prompt_file_is_refused_by_file_and_line(
    tmp_path: Path, name: str, content: bytes, complaint: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=complaint):
        prompts.read(tmp_path / name)
    with pytest.raises(DataError, match="cannot be read"):
        prompts.read(tmp_path / "absent.txt")


def test_follow_ups_are_asked_after_the_models_own_answer() -> None:
    first, second = Scripted(lambda one: f"A{len(one)}"), Scripted(lambda one: "")
    two_turns = prompts.prompt([Message("user", "Who?"), Message("user", "And then?")])
    found = compare.compare({"a": first, "b": second}, [two_turns, conversation("Hi")], SHORT)
    assert [message.content for message in first.heard[-1].messages] == ["Who?", "A1", "And then?"]
    assert [message.content for message in second.heard[-1].messages] == ["Who?", prompts.NO_ANSWER, "And then?"]
    assert [[c.text for c in answers] for answers in found.evaluations[0].answers] == [["A1", "A3"], ["A1"]]


def test_a_comparison_gives_the_differences_to_the_first_model() -> None:
    ask = [Problem(conversation(f"{i}?"), "contains", {"accepted": [f"number{i}"]}) for i in range(12)]
    right = Scripted(lambda one: f"It is number{one.first_user[:-1]}.")
    wrong = Scripted(lambda one: "the end of the end of the end of the end of", finish="length")
    found = compare.compare({"wrong": wrong, "right": right}, [conversation("Hi")], SHORT, {"numbers": ask})
    changes = {change.what: change for change in found.changes}
    assert changes["numbers"].difference == intervals.Difference(1.0, 1.0, 1.0, 12)
    assert changes["stops by itself"].difference.value == 1.0
    assert changes["loops"].difference.value == -1.0
    assert not any(change.worse for change in found.changes)
    back = compare.changes(found.evaluations[1], found.evaluations[0])
    assert {change.what for change in back if change.worse} == {"numbers", "stops by itself", "loops"}


def test_the_fingerprint_of_an_examination_changes_with_all_that_is_in_it() -> None:
    asked = (prompts.prompt([Message("user", "Hi")]),)
    ask = Problem(conversation("?"), "contains", {"accepted": ["a"]})
    base = compare.Examination(asked, SHORT, {"x": [ask]})
    others = [
        replace(base, prompts=(prompts.prompt([Message("user", "Ho")]),)),
        replace(base, sampling=replace(SHORT, seed=1)),
        replace(base, problems={"x": []}),
        replace(base, problems={"x": [replace(ask, answer={"accepted": ["b"]})]}),
    ]
    assert base.fingerprint == compare.Examination(asked, Sampling(max_tokens=6), {"x": [ask]}).fingerprint
    assert len({one.fingerprint for one in [base, *others]}) == 5


# ---- proofs


def test_proofs_come_back_as_they_were_written_and_a_red_one_is_seen(tmp_path: Path) -> None:
    made = [proofs.Proof("mask", "green", "Fine.", {"rows": 2}), proofs.Proof("stop", "red", "Not fine.")]
    proofs.write(tmp_path, made)
    assert proofs.load(tmp_path) == made
    assert proofs.any_red(made)
    assert not proofs.any_red(made[:1])
    assert proofs.load(tmp_path / "absent") == []
    for broken in (
        "{",
        "[]",
        '{"proofs": [{"name": "x"}]}',
        '{"proofs": [{"name": "x", "state": "blue", "says": ""}]}',
    ):
        (tmp_path / proofs.FILE).write_text(broken)
        with pytest.raises(DataError, match=r"proofs\.json: "):
            proofs.load(tmp_path)


def test_the_mask_proof_is_red_without_learned_tokens_or_with_a_row_that_is_not_listed() -> None:
    assert proofs.mask_proof([3, 3], [2, 2]).state == "green"
    assert proofs.mask_proof([2, 2], [0, 0], listed={0, 1}).state == "red"
    assert proofs.mask_proof([], []).state == "red"
    found = proofs.mask_proof([3, 2], [2, 0])
    assert (found.state, found.figures["rows_without_not_listed"]) == ("red", [1])
    listed = proofs.mask_proof([3, 2], [2, 0], listed={1})
    assert (listed.state, listed.figures["learned"], listed.figures["rows_without"]) == ("green", 2, 1)


class Forgetful:
    """A template that does not teach the end of an answer, which is what makes a model that never stops."""

    def __init__(self, inner: templates.ChatTemplate, tokenizer: Tokenizer) -> None:
        self.inner, self.stops = inner, set(inner.stop_ids(tokenizer))

    def stop_ids(self, tokenizer: Tokenizer) -> tuple[int, ...]:
        return self.inner.stop_ids(tokenizer)

    def render(self, conversation: Conversation, tokenizer: Tokenizer, *, reply: bool = False) -> Example:
        example = self.inner.render(conversation, tokenizer, reply=reply)
        mask = [0 if token in self.stops else bit for token, bit in zip(example.ids, example.mask, strict=True)]
        return Example(example.ids, mask)


@pytest.mark.parametrize("name", ["plain", "chatml", "alpaca"])
def test_the_stop_proof_is_red_where_the_end_of_an_answer_is_not_learned(name: str) -> None:
    tokenizer, template = tiny().tokenizer, templates.load(name)
    forgetful: Any = Forgetful(template, tokenizer)

    def counted(writing: Any) -> tuple[int, list[str]]:
        found = [answers_without_end(one, writing.render(one, tokenizer), writing, tokenizer) for one in TALKS]
        return sum(answers for answers, _ in found), ["talks.jsonl:1" for _, without in found for _ in range(without)]

    good = proofs.stop_proof(*counted(template))
    assert (good.state, good.figures["turns"]) == ("green", 3)
    bad = proofs.stop_proof(*counted(forgetful))
    assert (bad.state, bad.figures["turns_without"]) == ("red", 3)
    assert "talks.jsonl:1" in bad.says
    cut = proofs.stop_proof(0, [], truncated=2)
    assert (cut.state, cut.figures["truncated_rows"]) == ("not run", 2)


def test_a_model_that_seldom_stops_is_a_warning_not_a_red_proof() -> None:
    often = health.measure(completions(*["x"] * 9) + completions("y", finish="length"))
    seldom = health.measure(completions("x") + completions(*["y"] * 9, finish="length"))
    assert proofs.stop_proof(3, [], measured=often).state == "green"
    found = proofs.stop_proof(3, [], measured=seldom)
    assert (found.state, found.figures["stop_rate"]) == ("warning", 0.1)


@pytest.mark.parametrize("name", ["plain", "chatml", "alpaca"])
def test_parity_holds_for_a_saved_model_and_its_own_template(tmp_path: Path, name: str) -> None:
    tiny(name).save(tmp_path / "model")
    found = proofs.parity_proof(tmp_path, TALKS)
    assert (found.state, found.figures["answers"]) == ("green", 3)
    spelled = [*TALKS, conversation("Say <|endoftext|> please", "No.", "Why?", "Because.")]
    again = proofs.parity_proof(tmp_path, spelled)
    assert (again.state, again.figures["spell_a_token"]) == ("green", 2)


def test_parity_is_red_when_training_saw_other_ids(folder: Path) -> None:
    checkpoint = Checkpoint.load(folder)
    seen = [checkpoint.render(one) for one in TALKS]
    assert proofs.parity_proof(folder, TALKS, seen).state == "green"
    seen[1] = Example(seen[1].ids[:3] + seen[1].ids[4:], seen[1].mask[1:])
    found = proofs.parity_proof(folder, TALKS, seen)
    assert found.state == "red"
    assert found.says.startswith("Row 1 (from 0), message 3: the chatbot feeds id ")


def test_parity_is_red_when_the_exported_folder_makes_other_ids(tmp_path: Path) -> None:
    tiny("plain").save(tmp_path)
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({**settings, "eos_token": "<|im_end|>"}))
    found = proofs.parity_proof(tmp_path, TALKS)
    assert found.state == "red"
    assert "the exported template feeds id" in found.says


# Its line ends and indents vanish only under the settings that chat templates are written for.
INDENTED_TEMPLATE = """{% for m in messages %}
    {% if m.role == 'user' %}
Q: {{ m | tojson }}
    {% else %}
A: {% generation %}{{ m.content }}{{ eos_token }}{% endgeneration %}

    {% endif %}
    {% if loop.index > 1 %}{% continue %}{% endif %}
{% endfor %}
"""


@pytest.mark.parametrize("source", ["", INDENTED_TEMPLATE])
def test_the_second_opinion_is_what_transformers_does(tmp_path: Path, source: str) -> None:
    from transformers import AutoTokenizer

    folder = tmp_path / "model"
    tiny().save(folder)
    if source:
        (folder / "chat_template.jinja").write_text(source, encoding="utf-8")
    theirs = AutoTokenizer.from_pretrained(folder)
    for talk in [*TALKS, conversation("  spaced\n\n", " out ", "日本語 🙂 <|im_end|>?", "ok")]:
        before = talk[:-1]
        messages = [{"role": message.role, "content": message.content} for message in before.messages]
        wanted = theirs.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]
        assert Exported(folder).prompt(before) == list(wanted)


def test_an_exported_template_that_cannot_be_read_is_named(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(DataError, match="chat template cannot be read"):
        Exported(tmp_path)
    for name in ("tokenizer_config.json", "tokenizer.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "chat_template.jinja").write_text("{% if %}")
    with pytest.raises(DataError, match="no valid Jinja"):
        Exported(tmp_path)
    (tmp_path / "chat_template.jinja").write_text("{{ ''.__class__.__mro__ }}{{ raise_exception('no tools') }}")
    with pytest.raises(DataError, match="refuses"):
        Exported(tmp_path).prompt(TALKS[0][:1])


def evaluated(name: str, finish: Finish, sampling: Sampling = SHORT, count: int = 20) -> compare.Evaluation:
    asked = tuple(prompts.prompt([Message("user", f"{i}?")]) for i in range(count))
    bot = Scripted(lambda one: "Some words.", finish)
    return compare.evaluate(name, bot, compare.Examination(asked, sampling))


def test_before_and_after_is_red_when_a_stage_was_examined_otherwise_or_not_at_all() -> None:
    base, sft = evaluated("base", "length"), evaluated("sft", "stop")
    assert proofs.before_after_proof({"base": base, "sft": sft}).state == "green"
    other = evaluated("sft", "stop", Sampling(max_tokens=6, seed=1))
    for later in (None, other):
        found = proofs.before_after_proof({"base": base, "sft": later})
        assert found.state == "red"
        assert "sft" in found.says
    assert proofs.before_after_proof({"base": base}).state == "not run"


def test_stages_are_listed_as_people_list_them() -> None:
    names = ("base", "sft", "dpo", "grpo")
    found = proofs.before_after_proof({name: evaluated(name, "stop", count=2) for name in names})
    assert found.says.startswith("base, sft, dpo and grpo gave 2 replies each")
    found = proofs.before_after_proof({**dict.fromkeys(names[1:]), "base": evaluated("base", "stop", count=2)})
    assert found.says == "sft, dpo and grpo were not evaluated."


def test_a_stage_that_became_worse_is_said_in_words() -> None:
    found = proofs.before_after_proof({"base": evaluated("base", "stop"), "sft": evaluated("sft", "length")})
    assert found.state == "warning"
    assert "worse: stops by itself (sft: -100.0 points" in found.says


# ---- the commands, with real models


def test_eval_measures_loss_grades_and_health_of_a_real_model(tmp_path: Path, folder: Path) -> None:
    data = tmp_path / "chats.jsonl"
    rows = [
        {"messages": [{"role": "user", "content": f"{i}?"}, {"role": "assistant", "content": f"{i}!"}]}
        for i in range(8)
    ]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = commands.run(
        "eval",
        {
            "model": str(folder),
            "data": (str(data),),
            "task": ("primer",),
            "max_samples": 1,
            "max_tokens": 3,
            "out": tmp_path,
        },
    )
    (stage,) = found["stages"]
    loss = stage["losses"][str(data)]
    assert loss["loss"] == pytest.approx(math.log(296), rel=0.05)
    assert loss["tokens"] == 3  # of one row: digit, exclamation mark, end of turn
    assert loss["bits_per_byte"] == pytest.approx(loss["loss"] * 3 / math.log(2) / 2)
    assert set(stage["evaluation"]["scores"]) >= {"phrasings", "never_asked", "follow_ups", "classic"}
    alike = set(stage["evaluation"]["scores"]) - {"open"}  # which is answered by chance, and counted apart
    assert stage["evaluation"]["health"]["n"] == 6 + len(alike)
    assert Path(found["report"]).read_text().startswith("<!doctype html>")
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_eval_grades_problems_among_the_data_and_splits_as_training_does(tmp_path: Path, folder: Path) -> None:
    found = commands.run("eval", {"model": str(folder), "data": ("primer:problems/classic",), "max_tokens": 2})
    assert found["stages"][0]["evaluation"]["scores"]["primer:problems/classic"]["n"] == 5
    data = tmp_path / "text.jsonl"
    data.write_text("".join(json.dumps({"text": f"line {i} of the text"}) + "\n" for i in range(40)))
    settings = {"model": str(folder), "data": (str(data),), "max_tokens": 2}
    sizes = {
        part: commands.run("eval", {**settings, "split": part})["stages"][0]["losses"][str(data)]["tokens"]
        for part in ("all", "train", "validation", "test")
    }
    assert sizes["all"] == sizes["train"] + sizes["validation"] + sizes["test"]


def test_compare_shows_two_real_models_side_by_side_and_repeats_itself(tmp_path: Path, folder: Path) -> None:
    other = tmp_path / "other"
    tiny(seed=1).save(other)
    settings = {
        "models": (str(folder), str(other)),
        "max_tokens": 5,
        "temperature": 1.0,
        "seed": 3,
        "out": tmp_path / "out",
    }
    first = commands.run("compare", settings)
    assert [len(sample["answers"]) for sample in first["samples"]] == [2] * 6
    assert [proof.name for proof in proofs.load(tmp_path / "out")] == ["before/after"]
    assert commands.run("compare", settings)["samples"] == first["samples"]
    with pytest.raises(ConfigError, match="given twice"):
        commands.run("compare", {**settings, "models": (str(folder), str(folder))})
    with pytest.raises(ConfigError, match="models"):
        commands.run("compare", {**settings, "models": (str(folder),)})


def pairs_file(path: Path, count: int = 60) -> Path:
    """Labelled pairs whose better answer is the longer one."""
    rows = [{"prompt": f"Number {i}?", "chosen": f"It is {i}, I think.", "rejected": f"{i}"} for i in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_compare_judges_by_a_reward_model_and_names_it_with_its_agreement(tmp_path: Path, folder: Path) -> None:
    for seed, name in ((1, "other"), (2, "judge")):
        made = tiny(seed=seed)
        (made.with_score(0) if name == "judge" else made).save(tmp_path / name)
    judge, data = str(tmp_path / "judge"), str(pairs_file(tmp_path / "pairs.jsonl"))
    asked: dict[str, Any] = {"models": (str(folder), str(tmp_path / "other")), "max_tokens": 5, "judge": judge}
    found = commands.run("compare", {**asked, "judge_data": data, "judge_split": "all", "out": tmp_path / "all"})
    (rate,) = found["win_rates"]
    assert (rate["first"], rate["second"], rate["n"]) == (str(folder), str(tmp_path / "other"), 6)
    assert rate["judge"]["name"] == judge
    assert (rate["judge"]["agreement"]["n"], rate["judge"]["agreement"]["data"]) == (60, data)
    assert 0 <= rate["controlled"]["low"] <= rate["controlled"]["value"] <= rate["controlled"]["high"] <= 1
    assert [sheet["title"] for sheet in found["sheets"]] == ["Win rates"]
    assert f"Judge: {judge}, which agrees with " in Path(found["report"]).read_text(encoding="utf-8")
    part = commands.run("compare", {**asked, "judge_data": data, "out": tmp_path / "part"})["win_rates"][0]["judge"]
    assert 0 < part["agreement"]["n"] < 60
    assert part["agreement"]["data"].endswith("pairs.jsonl, test")


def test_compare_without_a_judge_has_no_win_rates_and_a_wrong_judge_is_refused_before_any_answer(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny(seed=1).save(tmp_path / "other")
    asked: dict[str, Any] = {"models": (str(folder), str(tmp_path / "other")), "max_tokens": 2, "out": tmp_path / "out"}
    assert commands.run("compare", asked)["win_rates"] == []
    chats = tmp_path / "chats.jsonl"
    chats.write_text('{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n')
    data = {"judge_data": str(chats)}
    capsys.readouterr()
    for wrong, complaint in (
        ({"judge": "grader"}, "needs graded questions; give --task primer"),
        ({"judge": "grader", **data}, "give its folder with --judge"),
        (data, "give its folder with --judge"),
        ({"judge": str(folder)}, "is a language model, which scores no answers"),
        ({"judge": str(tmp_path / "nowhere")}, "nowhere"),
        ({"judge": str(folder), **data}, "has no pairs of a better and a worse answer"),
        ({"judge": str(folder), "judge_data": str(pairs_file(tmp_path / "few.jsonl", 1))}, "its test split is empty"),
    ):
        with pytest.raises((ConfigError, DataError), match=complaint):
            commands.run("compare", {**asked, **wrong})
    assert "answering" not in capsys.readouterr().err


def test_compare_shows_by_its_own_graders_who_wins_and_what_the_answers_say(tmp_path: Path, folder: Path) -> None:
    tiny(seed=1).save(tmp_path / "other")
    asked: dict[str, Any] = {"models": (str(folder), str(tmp_path / "other")), "max_tokens": 2, "out": tmp_path / "out"}
    found = commands.run("compare", {**asked, "task": ("primer",), "max_samples": 1, "judge": "grader"})
    (rate,) = found["win_rates"]
    assert rate["judge"] == {"name": "held-out grader", "agreement": None}
    scores = [stage["evaluation"]["scores"].values() for stage in found["stages"]]
    first, second = ([row["grade"] for score in each for row in score["rows"]] for each in scores)
    wins = [(1 + (b > a) - (b < a)) / 2 for a, b in zip(first, second, strict=True)]
    assert (rate["n"], rate["ties"]) == (len(wins), wins.count(0.5))
    assert rate["plain"]["value"] == pytest.approx(sum(wins) / len(wins))
    assert [sheet["title"] for sheet in found["sheets"]] == ["Win rates", "What the answers say"]
    assert "Judge: held-out grader." in Path(found["report"]).read_text(encoding="utf-8")
