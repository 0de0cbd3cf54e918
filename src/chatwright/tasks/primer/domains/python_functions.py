"""Short Python functions: the reply is runnable code, and `suites` says what a right function gives."""

from typing import Any, NamedTuple

from chatwright.tasks.primer.classic import fibonacci_suites
from chatwright.tasks.primer.fact import Fact

DOMAIN = "python_functions"


class Task(NamedTuple):
    """A function to write: what it does, said in three ways, its code, an example, and calls with right values."""

    name: str
    does: str  # "adds two numbers"
    do: str  # "add two numbers"
    code: str
    example: str
    calls: tuple[tuple[tuple[Any, ...], Any], ...]
    questions: tuple[str, ...] = ()  # besides QUESTIONS


QUESTIONS = (
    "Write a Python function that {does}.",
    "Write a Python function to {do}.",
    "Write a function in Python that {does}.",
    "Can you write a Python function to {do}?",
    "Show me a Python function that {does}.",
    "Show me Python code to {do}.",
    "How do I {do} in Python?",
    "How can I {do} with Python?",
    "Please write Python code that {does}.",
    "I need a Python function to {do}.",
    "Give me a Python function that {does}.",
)

TASKS = (
    Task(
        "fibonacci",
        "calculates the Fibonacci numbers",
        "calculate the Fibonacci numbers",
        "def fibonacci(n):\n    a, b = 0, 1\n    for _ in range(n):\n        a, b = b, a + b\n    return a",
        "fibonacci(7) gives 13",
        (),
        (
            "Write a Python function for the Fibonacci sequence.",
            "Write a Python function that calculates the Fibonacci sequence.",
            "Write Python code to calculate the Fibonacci sequence.",
            "Show me a Python function for the Fibonacci numbers.",
            "Can you write a Fibonacci function in Python?",
            "How do I calculate the Fibonacci sequence in Python?",
            "Give me Python code for the Fibonacci sequence.",
            "Write a function in Python to compute Fibonacci numbers.",
        ),
    ),
    Task(
        "factorial",
        "calculates the factorial of a number",
        "calculate the factorial of a number",
        "def factorial(n):\n    result = 1\n    for i in range(2, n + 1):\n        result *= i\n    return result",
        "factorial(5) gives 120",
        (((0,), 1), ((1,), 1), ((5,), 120)),
    ),
    Task(
        "add",
        "adds two numbers",
        "add two numbers",
        "def add(a, b):\n    return a + b",
        "add(2, 3) gives 5",
        (((2, 3), 5), ((-1, 4), 3)),
    ),
    Task(
        "multiply",
        "multiplies two numbers",
        "multiply two numbers",
        "def multiply(a, b):\n    return a * b",
        "multiply(4, 5) gives 20",
        (((4, 5), 20), ((3, 0), 0)),
    ),
    Task(
        "square",
        "returns the square of a number",
        "square a number",
        "def square(x):\n    return x * x",
        "square(6) gives 36",
        (((6,), 36), ((-2,), 4)),
    ),
    Task(
        "is_even",
        "checks whether a number is even",
        "check whether a number is even",
        "def is_even(n):\n    return n % 2 == 0",
        "is_even(4) gives True",
        (((4,), True), ((7,), False), ((0,), True)),
    ),
    Task(
        "is_odd",
        "checks whether a number is odd",
        "check whether a number is odd",
        "def is_odd(n):\n    return n % 2 == 1",
        "is_odd(7) gives True",
        (((7,), True), ((4,), False)),
    ),
    Task(
        "is_prime",
        "checks whether a number is prime",
        "check whether a number is prime",
        "def is_prime(n):\n    if n < 2:\n        return False\n    return all(n % d for d in range(2, n))",
        "is_prime(13) gives True",
        (((13,), True), ((12,), False), ((1,), False), ((2,), True)),
    ),
    Task(
        "maximum",
        "finds the largest number in a list",
        "find the largest number in a list",
        "def maximum(numbers):\n    return max(numbers)",
        "maximum([3, 9, 4]) gives 9",
        ((([3, 9, 4],), 9), (([-5, -2],), -2)),
    ),
    Task(
        "minimum",
        "finds the smallest number in a list",
        "find the smallest number in a list",
        "def minimum(numbers):\n    return min(numbers)",
        "minimum([3, 9, 4]) gives 3",
        ((([3, 9, 4],), 3), (([-5, -2],), -5)),
    ),
    Task(
        "total",
        "adds up all numbers in a list",
        "add up all numbers in a list",
        "def total(numbers):\n    result = 0\n    for number in numbers:\n        result += number\n    return result",
        "total([1, 2, 3]) gives 6",
        ((([1, 2, 3],), 6), (([],), 0)),
    ),
    Task(
        "average",
        "calculates the average of a list of numbers",
        "calculate the average of a list of numbers",
        "def average(numbers):\n    return sum(numbers) / len(numbers)",
        "average([2, 4, 6]) gives 4.0",
        ((([2, 4, 6],), 4.0), (([1, 2],), 1.5)),
    ),
    Task(
        "reverse",
        "reverses a string",
        "reverse a string",
        "def reverse(text):\n    return text[::-1]",
        'reverse("star") gives "rats"',
        ((("star",), "rats"), (("",), "")),
    ),
    Task(
        "is_palindrome",
        "checks whether a word is a palindrome",
        "check whether a word is a palindrome",
        "def is_palindrome(word):\n    return word == word[::-1]",
        'is_palindrome("level") gives True',
        ((("level",), True), (("table",), False)),
    ),
    Task(
        "count_vowels",
        "counts the vowels in a text",
        "count the vowels in a text",
        'def count_vowels(text):\n    return sum(letter in "aeiou" for letter in text.lower())',
        'count_vowels("banana") gives 3',
        ((("banana",), 3), (("Echo",), 2), (("sky",), 0)),
    ),
    Task(
        "to_fahrenheit",
        "changes Celsius to Fahrenheit",
        "change Celsius to Fahrenheit",
        "def to_fahrenheit(celsius):\n    return celsius * 9 / 5 + 32",
        "to_fahrenheit(100) gives 212.0",
        (((100,), 212.0), ((0,), 32.0)),
    ),
)


def facts() -> list[Fact]:
    """One open fact for each function."""
    return [_fact(task) for task in TASKS]


def suites(name: str) -> list[list[list[Any]]]:
    """What the grader `python_function` accepts for the fact of this id."""
    task = next(task for task in TASKS if f"{DOMAIN}/{task.name}" == name)
    if task.name == "fibonacci":
        return fibonacci_suites()
    return [[[list(arguments), value] for arguments, value in task.calls]]


def _fact(task: Task) -> Fact:
    """The task with all its wordings."""
    fenced = f"```python\n{task.code}\n```"
    return Fact(
        id=f"{DOMAIN}/{task.name}",
        domain=DOMAIN,
        relation="python function",
        subject=task.name,
        answers=(task.code.split("(")[0],),
        statements=(
            f"This Python function {task.does}:\n{fenced}",
            f"In Python, you can {task.do} like this:\n{fenced}",
            f"The function {task.name} {task.does}. This is its code:\n{fenced}",
            f"{fenced}\nThis function {task.does}. For example, {task.example}.",
            f"To {task.do} in Python, write this function:\n{fenced}\nThen {task.example}.",
        ),
        questions=(*(form.format(does=task.does, do=task.do) for form in QUESTIONS), *task.questions),
        replies=(fenced, f"Here is a Python function that {task.does}:\n{fenced}"),
        follow_up=f"And one that {task.does}?",
        closed=False,
    )
