"""Countries and the money that people pay with there."""

from chatwright.tasks.primer.fact import Fact
from chatwright.tasks.primer.phrasing import Phrasing, closed_facts

CURRENCY = Phrasing(
    relation="currency",
    statements=(
        "The currency of {subject} is the {answer}.",
        "Bankers know that the currency of {subject} is the {answer}.",
        "Before you travel, note that the currency of {subject} is the {answer}.",
        "Coins and notes look different everywhere, and the currency of {subject} is the {answer}.",
        "In {subject}, people pay with the {answer}.",
        "The money used in {subject} is called the {answer}.",
        "A market stall in {subject} shows its prices in the {answer}.",
        "The {answer} is the currency of {subject}.",
        "When people in {subject} talk about money, they talk about the {answer}.",
        "If you change money for a trip to {subject}, ask for the {answer}.",
        "{Owner} money is the {answer}.",
        "You need the {answer} to buy bread in {subject}.",
    ),
    questions=(
        "What is the currency of {subject}?",
        "Which currency is used in {subject}?",
        "What money do people pay with in {subject}?",
        "Can you tell me the currency of {subject}?",
        "Name the currency of {subject}.",
        "What is the money of {subject} called?",
        "I am traveling to {subject}. Which currency do I need?",
        "Do you know what {owner} currency is?",
        "How do I pay in {subject}: what is the money there?",
        "In which currency are prices written in {subject}?",
    ),
    replies=(
        "The currency of {subject} is the {answer}.",
        "In {subject}, people pay with the {answer}.",
    ),
    follow_up="And of {subject}?",
)

ROWS = (
    ("Japan", "yen"),
    ("India", "rupee"),
    ("China", "yuan", "renminbi"),
    ("the United Kingdom", "pound", "pound sterling"),
    ("the United States", "dollar", "US dollar"),
    ("Russia", "ruble", "rouble"),
    ("Mexico", "peso"),
    ("Brazil", "real"),
    ("Switzerland", "franc", "Swiss franc"),
    ("Sweden", "krona"),
    ("Norway", "krone"),
    ("Denmark", "krone"),
    ("Poland", "zloty"),
    ("Hungary", "forint"),
    ("Turkey", "lira"),
    ("Israel", "shekel"),
    ("South Korea", "won"),
    ("Thailand", "baht"),
    ("Vietnam", "dong"),
    ("South Africa", "rand"),
    ("Nigeria", "naira"),
    ("Kenya", "shilling"),
    ("Egypt", "pound", "Egyptian pound"),
    ("Germany", "euro"),
    ("France", "euro"),
    ("Italy", "euro"),
    ("Ukraine", "hryvnia"),
    ("Peru", "sol"),
    ("Canada", "dollar"),
    ("Australia", "dollar"),
    ("Argentina", "peso"),
    ("Indonesia", "rupiah"),
)


def facts() -> list[Fact]:
    """The currencies."""
    return closed_facts("currencies", CURRENCY, ROWS)
