"""Laws of the graders: what is right is accepted, what is wrong, forged or a list of everything is not."""

import pytest

from chatwright import registry
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


def test_the_folder_of_tasks_lists_the_graders_and_the_primer():
    assert {"contains", "keywords", "number", "numbered_list", "primer", "python_function"} <= set(
        registry.names("tasks")
    )
