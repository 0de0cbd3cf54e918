"""Laws of the graders: what is right is accepted, what is wrong, forged or a list of everything is not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatwright import registry
from chatwright.errors import DataError
from chatwright.tasks.primer.classic import fibonacci_suites


@pytest.mark.parametrize(
    ("grader", "answer", "right", "wrong"),
    [
        (
            "contains",
            {"accepted": ["Paris"], "others": ["Rome", "Lyon"], "max_words": 12},
            ["Paris", "It is paris.", "The capital of France is Paris!"],
            ["", "Rome", "Parisian food", "Paris or Rome", "Paris " * 13],
        ),
        (
            "contains",
            {"accepted": ["He"], "others": ["H", "Ne"]},
            ["The symbol of helium is He.", "He"],
            ["I think he knows.", "H", "It is H or He."],
        ),
        ("contains", {"accepted": ["New Delhi"], "others": ["Delhi"]}, ["It is New  Delhi."], ["It is Delhi."]),
        (
            "keywords",
            {"groups": [["learn"], ["data", "examples"]], "others": ["teacher"]},
            ["Programs that are learning from many examples."],
            ["learn data", "A program that learns by itself, alone.", "The teacher learns data by heart today.", ""],
        ),
        (
            "number",
            {"value": 19, "given": [7, 12]},
            ["7 + 12 = 19.", "19", "It is 19!", "7 plus 12 is 19."],
            [
                "",
                "7 + 12 = ?",
                "7 + 12 = 18.",
                "7 + 12 = 18. 7 + 12 = 19.",
                "17, 18, 19",
                "= 19 + 1",
                "7 + 12 = 190",
                "19.5",
                "7",
            ],
        ),
        ("number", {"value": -3}, ["4 - 7 = -3."], ["4 - 7 = 3."]),
        (
            "final_number",
            {"value": 18},
            [
                "18",
                "She sells 9 eggs at $2, so 9 * 2 = $18 every day.",
                "First 3 + 4 = 7, then 20.\n#### 18",
                "The answer is 18.",
                "The answer is 9 * 2 = 18 dollars. There are 7 days in a week.",
                "The answer is:\n\n18 eggs, 2 of them brown",
                "I think 17, no: the answer is 17. Wait. The answer is **18**",
                "It is \\boxed{18}, of 20",
                "18.00 €",
            ],
            ["", "eighteen", "81", "18 or 19", "17\n#### 17 (or 18)", "The answer is 17. 18", "1,18", "18.5", "-18"],
        ),
        (
            "final_number",
            {"value": -1234.5},
            ["-1,234.5", "-$1,234.50", "$-1234.5", "The answer is −1234.50 pounds"],
            ["1,234.5", "9-1234.5", "-12,34.5", "-1,234", "1,234 and 5"],
        ),
        (
            "choice",
            {"letter": "A", "options": {"A": "a dog", "B": "Delhi", "C": "New Delhi", "D": "Paris"}},
            [
                "A",
                "a",
                "(A)",
                "A.",
                "A. a dog",
                "**A**",
                "It's A.",
                "The answer is A",
                "Answer: A",
                "A) it barks",
                "I think that it is a dog.",
                "Option A, because it barks.",
            ],
            [
                "",
                "B",
                "A or B",
                "A dog, not Delhi",
                "Everybody likes a cat.",
                "All of A, B, C, D",
                "A. Paris",
                "E",
                "I cannot say.",
            ],
        ),
        (
            "choice",
            {"letter": "C", "options": {"A": "a dog", "B": "Delhi", "C": "New Delhi", "D": "Paris"}},
            ["C", "c", "It is New Delhi.", "The correct option is C: New Delhi.", "A friend told me: New Delhi"],
            ["Delhi", "B", "New Delhi and Delhi", "New Delhi (D)", "New York", "Can it be?", "C. Paris"],
        ),
        (
            "shape",
            {"sentences": 2, "groups": [["blue", "azure"], ["light"]]},
            ["The sky is blue. Light does it.", "Look: azure! H. G. Wells saw the light.", "Blue.\nThe light."],
            [
                "",
                "The sky is blue, and light does it.",
                "The sky is blue. Light does it. So there.",
                "The sky is blue. Light does",
                "The sky is grey. Light does it.",
                "Blue light. Blue light.",
            ],
        ),
        (
            "shape",
            {"points": 2, "items": [["Spain"], ["Italy"], ["the Netherlands", "Holland"]], "others": ["Peru"]},
            ["1. Spain\n2. Italy", "Here you are:\n1) Holland\n2) Spain, in the south"],
            [
                "Spain and Italy",
                "1. Spain",
                "1. Spain\n2. Italy\n3. Holland",
                "1. Spain\n2. Spain",
                "1. Spain\n2. In Spain",
                "1. Spain\n3. Italy",
                "1. Spain\n2. Narnia",
                "1. Spain\n2. Italy and Peru",
                "1. Spain and Italy\n2. Nothing",
            ],
        ),
        ("shape", {"points": 1, "items": [["Io"]]}, ["1. Io"], ["1. io", "1) I, or so"]),
        ("shape", {"max_words": 2, "items": [["Spain"]]}, ["Spain", "In Spain."], ["", "It is Spain.", "In Peru."]),
        (
            "numbered_list",
            {"items": 3, "about": ["sleep"]},
            [
                "1. Eat well.\n2. Sleep long.\n3. Walk daily.",
                "Here you are:\n1) Go out.\n2) Go in.\n3) Sleeping helps.",
            ],
            [
                "1. Eat well.\n2. Sleep long.",
                "1. Eat well.\n3. Sleep long.\n4. Walk daily.",
                "1. Sleep long.\n2. Sleep long.\n3. Sleep long.",
                "1. Eat well.\n2. Drink well.\n3. Walk well.",
                "Sleep long, eat well, walk daily.",
                "1.\n2.\n3.",
            ],
        ),
    ],
)
def test_a_grader_accepts_what_is_right_and_refuses_the_rest(grader, answer, right, wrong):
    task = registry.load("tasks", grader)
    assert [reply for reply in right if task.grade(reply, answer) != 1.0] == []
    assert [reply for reply in wrong if task.grade(reply, answer) != 0.0] == []


RIGHT_FIBONACCI = (
    "Sure!\n```python\ndef fib(n):\n    return n if n < 2 else fib(n - 1) + fib(n - 2)\n```\nIt calls itself.",
    "def f(n):\n    a, b = 0, 1\n    r = []\n    for _ in range(n):\n        r.append(a)\n        a, b = b, a + b\n"
    "    return r\nThis works.",
    "```\ndef f(n):\n    a, b = 0, 1\n    for _ in range(n):\n        print(a, end=' ')\n        a, b = b, a + b\n```",
    "```python\ndef f(n):\n    a, b = 1, 1\n    while a <= n:\n        yield a\n        a, b = b, a + b\n```",
)
WRONG_FIBONACCI = (
    "",
    "0, 1, 1, 2, 3, 5, 8",
    "def f(n):\n    return n",
    "def f(n:\n    return n",
    "def f(n):\n    return 'x' * n + g(n)",
    "def f(n):\n    raise SystemExit(0)",
    "import os, sys\nsys.__stdout__.write('[[{\"value\": 1}]]')\nsys.__stdout__.flush()\nos._exit(0)\ndef f(n): pass",
    "def f(n):\n    return bytearray(1 << 40)",
)


def test_fibonacci_is_right_as_a_number_or_a_list_and_whatever_its_name():
    task, answer = registry.load("tasks", "python_function"), {"accept": fibonacci_suites()}
    assert [reply for reply in RIGHT_FIBONACCI if task.grade(reply, answer) != 1.0] == []
    assert [reply for reply in WRONG_FIBONACCI if task.grade(reply, answer) != 0.0] == []


def test_code_that_never_ends_is_stopped_and_true_is_not_one(monkeypatch):
    task = registry.load("tasks", "python_function")
    monkeypatch.setattr(task, "SECONDS", 0.5)
    assert task.grade("def f(n):\n    while True:\n        pass", {"accept": [[[[1], 1]]]}) == 0.0
    assert task.grade("def f(n):\n    return 1", {"accept": [[[[1], True]]]}) == 0.0
    assert task.grade("def f(n):\n    return n > 0", {"accept": [[[[1], True]]]}) == 1.0


GRADERS = [name for name in registry.names("tasks") if "Answer" in vars(registry.load("tasks", name))]


@pytest.mark.parametrize(
    ("grader", "answer", "why"),
    [
        ("contains", {}, "the answer has no 'accepted'"),
        (
            "contains",
            {"accepted": ["Paris"], "other": []},
            "has 'other', did you mean 'others'?; known are accepted, others",
        ),
        ("contains", {"accepted": ["Paris", ""]}, "the answer's 'accepted.1' is blank"),
        ("keywords", {"groups": []}, "the answer's 'groups' must have at least 1 item"),
        ("keywords", {"groups": ["learn"]}, "the answer's 'groups.0' must be a valid list"),
        ("number", {"value": "many"}, "the answer's 'value' must be a valid number"),
        ("number", {"value": float("nan")}, "the answer's 'value' must be a finite number"),
        ("final_number", {"value": None}, "the answer's 'value' must be a valid number"),
        ("numbered_list", {"items": "three"}, "the answer's 'items' must be a valid integer"),
        ("python_function", {"accept": [[]]}, "the answer's 'accept.0' must have at least 1 item"),
        ("python_function", {"accept": [[[1]]]}, "the answer's 'accept.0.0"),
        ("choice", {"letter": "C", "options": {"A": "x", "B": "y"}}, "'letter' is C; the options are A, B"),
        ("choice", {"letter": "A", "options": {"A": "x"}}, "the answer's 'options' must have at least 2 items"),
        ("shape", {"groups": [["x"]]}, "asks for no form; give 'sentences', 'points' or 'max_words'"),
        ("shape", {"points": 0}, "the answer's 'points' must be greater than or equal to 1"),
    ],
)
@pytest.mark.parametrize("reply", ["", "Paris is 1. def f(): pass"])
def test_an_answer_that_a_grader_cannot_use_is_refused_for_every_reply(grader, answer, why, reply):
    with pytest.raises(DataError) as caught:
        registry.load("tasks", grader).grade(reply, answer)
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("grader", "answer", "counts"),
    [
        ("contains", {"accepted": ["pound", "pound sterling"], "others": ["euro"], "max_words": 2}, {
            "The pound sterling, or simply the pound": 1, "The pound or the euro": 0, "": 0}),
        ("keywords", {"groups": [["learn"], ["data", "examples"]]}, {"Learning from data and examples": 2, "data": 1, "": 0}),
        ("numbered_list", {"about": ["sleep"]}, {
            "1. Sleep long.\n2. Eat well.": 2, "1. Sleep long.\n2. Sleep long.\n3. Yes.": 1, "1. Eat well.": 0}),
        ("number", {"value": 19, "given": [7, 12]}, {"7 + 12 = 19.": 1, "18": 0}),
        ("final_number", {"value": 19}, {"18, no: 19": 1, "18": 0}),
        ("choice", {"letter": "B", "options": {"A": "x", "B": "yes"}}, {"yes": 1, "A": 0}),
        ("shape", {"points": 2, "items": [["Spain"], ["Italy"], ["Peru"]]}, {"Spain, Italy, Peru, Narnia": 3, "": 0}),
        ("shape", {"sentences": 1, "groups": [["blue"], ["light"]]}, {"Blue. Blue. Light.": 2, "blue": 1}),
    ],
)  # fmt: skip
def test_facts_are_counted_whatever_their_form(grader, answer, counts):
    count = registry.load("tasks", grader).facts
    assert {reply: count(reply, answer) for reply in counts} == counts


WORDS = st.sampled_from(
    ["A", "B.", "1.", "2)", "Paris", "is", "18", "=", "####", "def f(n):", "\n", "-$1,2", "```", "(", "."]
)
ANSWERS = {
    "contains": {"accepted": ["Paris"], "others": ["B"]},
    "keywords": {"groups": [["Par"], ["is"]], "min_words": 1},
    "number": {"value": 18, "given": [1]},
    "final_number": {"value": 18},
    "numbered_list": {"items": 2},
    "choice": {"letter": "A", "options": {"A": "Paris", "B": "is"}},
    "shape": {"points": 2, "items": [["Paris"], ["18"]]},
    "python_function": {"accept": [[[[1], 1]]]},
}


@given(st.lists(WORDS, max_size=12) | st.text(max_size=30))
def test_every_grader_gives_0_or_1_whatever_the_reply(words):
    reply = words if isinstance(words, str) else " ".join(words)
    assert set(GRADERS) == set(ANSWERS)
    for name, answer in ANSWERS.items():
        module = registry.load("tasks", name)
        if name == "python_function" and module.extract_code(reply):
            continue  # a process for each would take long; test_sandbox.py has those
        assert module.grade(reply, answer) in (0.0, 1.0)
        assert vars(module).get("facts", lambda *_: 0)(reply, answer) >= (
            module.grade(reply, answer) if "facts" in vars(module) else 0
        )


def test_the_folder_of_tasks_lists_the_graders_and_the_primer():
    assert {*GRADERS, "primer", "arithmetic", "facts", "formats"} <= set(registry.names("tasks"))
