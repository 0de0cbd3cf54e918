"""Ideas of machine learning, one true sentence each."""

from typing import NamedTuple

from chatwright.tasks.primer.fact import Fact


class Idea(NamedTuple):
    """A word, what it is (after "X is …"), one sentence more, and the keywords a right reply has."""

    name: str
    what: str
    more: str
    keywords: tuple[str, ...]
    questions: tuple[str, ...] = ()  # besides QUESTIONS
    article: str = ""


QUESTIONS = (
    "What does {name} mean?",
    "Can you explain {name}?",
    "Explain {name} in one sentence.",
    "Tell me what {name} is.",
    "Do you know what {name} is?",
    "What is meant by {name}?",
    "How would you describe {name}?",
    "I keep reading about {name}. What is it?",
    "Please explain to me what {name} is.",
)
PLAIN = "What is {name}?"  # for every idea but machine learning, whose plain question is a classic prompt

IDEAS = (
    Idea(
        "machine learning",
        "a way to make computer programs that learn from data instead of following fixed rules",
        "The more good examples they see, the better they get.",
        ("learn", "data|examples|patterns", "computer|program"),
        (
            "What is machine learning about?",
            "What exactly is machine learning?",
            "So what is this machine learning?",
            "In simple words, what is machine learning about?",
            "Explain machine learning.",
            "Tell me about machine learning.",
            "Describe machine learning in a few words.",
            "What does the term machine learning mean?",
        ),
    ),
    Idea(
        "deep learning",
        "machine learning with neural networks that have many layers",
        "Each layer finds richer patterns than the layer before.",
        ("layers", "network"),
    ),
    Idea(
        "neural network",
        "a model made of many simple units that pass numbers to each other and learn the strength of their links",
        "It is loosely inspired by the cells of a brain.",
        ("units|cells|links|layers", "numbers|learn"),
        article="a ",
    ),
    Idea(
        "language model",
        "a program that learns from text to guess which word comes next",
        "By guessing word after word, it can write whole answers.",
        ("word|token", "next|guess|predict"),
        article="a ",
    ),
    Idea(
        "training data",
        "the set of examples from which a model learns",
        "Good examples make a good model.",
        ("examples", "learn"),
    ),
    Idea(
        "overfitting",
        "what happens when a model learns its examples by heart and fails on new ones",
        "More data and simpler models help against it.",
        ("by heart|memor", "new|fails"),
    ),
    Idea(
        "fine-tuning",
        "training a finished model a little more on new examples, so that it learns a special task",
        "It needs far less data than training from nothing.",
        ("training|train", "task|new"),
    ),
    Idea(
        "tokenizer",
        "a tool that cuts text into small pieces and gives each piece a number",
        "A model reads these numbers, not the letters.",
        ("pieces|tokens", "number|text"),
        article="a ",
    ),
    Idea(
        "gradient descent",
        "a method that makes the error of a model smaller by many small steps downhill",
        "After each step the model fits the data a little better.",
        ("steps|step", "error|loss"),
    ),
    Idea(
        "reinforcement learning",
        "learning by trying things out and getting rewards for what works",
        "It is a little like training a dog with treats.",
        ("reward", "try"),
    ),
    Idea(
        "chatbot",
        "a program that talks with people by answering their messages",
        "A good one is helpful and knows when to stop.",
        ("program", "talk|answer|messages"),
        article="a ",
    ),
)


def facts() -> list[Fact]:
    """One open fact for each idea."""
    return [_fact(idea) for idea in IDEAS]


def _fact(idea: Idea) -> Fact:
    """The idea with all its wordings."""
    name = idea.article + idea.name
    start = name[0].upper() + name[1:]
    forms = QUESTIONS if idea.name == "machine learning" else (PLAIN, *QUESTIONS)
    return Fact(
        id=f"machine_learning/{idea.name.replace(' ', '_').replace('-', '_')}",
        domain="machine_learning",
        relation="idea of machine learning",
        subject=idea.name,
        answers=idea.keywords,
        statements=(
            f"{start} is {idea.what}.",
            f"{start} is {idea.what}. {idea.more}",
            f"People who work with computers know that {name} is {idea.what}.",
            f"In one sentence: {name} is {idea.what}.",
            f"{idea.more} That is worth knowing about {name}, which is {idea.what}.",
            f"By {name} we mean {idea.what}.",
            f"The book explains that {name} is {idea.what}.",
        ),
        questions=(*(form.format(name=name) for form in forms), *idea.questions),
        replies=(f"{start} is {idea.what}.", f"{start} is {idea.what}. {idea.more}"),
        follow_up=f"And {name}?",
        closed=False,
    )
