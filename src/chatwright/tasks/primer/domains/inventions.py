"""Inventions and discoveries, each with the one person who is everywhere named for it."""

from chatwright.tasks.primer.fact import Fact
from chatwright.tasks.primer.phrasing import Phrasing, closed_facts

INVENTOR = Phrasing(
    relation="inventor",
    statements=(
        "The inventor of {subject} is {answer}.",
        "Every book on technology says that the inventor of {subject} is {answer}.",
        "A name worth knowing: the inventor of {subject} is {answer}.",
        "In the museum you can read that the inventor of {subject} is {answer}.",
        "{Subject} was invented by {answer}.",
        "{Answer} invented {subject}.",
        "{Answer} is remembered as the inventor of {subject}.",
        "Once there was no such thing as {subject}; then came {answer}.",
        "The idea for {subject} came from {answer}.",
        "For {subject} we can thank {answer}.",
        "It took the patience of {answer} to give the world {subject}.",
        "{Subject} began as an idea in the head of {answer}.",
    ),
    questions=(
        "Who is the inventor of {subject}?",
        "Who invented {subject}?",
        "By whom was {subject} invented?",
        "Can you tell me who invented {subject}?",
        "Name the inventor of {subject}.",
        "Which person gave the world {subject}?",
        "Whose idea was {subject}?",
        "Do you know the inventor of {subject}?",
        "Whom can we thank for {subject}?",
        "I am reading about {subject}. Who invented it?",
    ),
    replies=(
        "The inventor of {subject} is {answer}.",
        "{Subject} was invented by {answer}.",
    ),
    follow_up="And {subject}?",
)

DISCOVERER = Phrasing(
    relation="discoverer",
    statements=(
        "{Subject} was discovered by {answer}.",
        "Every history of science says that {subject} was discovered by {answer}.",
        "The story is a famous one: {subject} was discovered by {answer}.",
        "Students still read how {subject} was discovered by {answer}.",
        "The discoverer of {subject} is {answer}.",
        "{Answer} is the discoverer of {subject}.",
        "The world knew little of {subject} before the work of {answer}.",
        "The first to report {subject} was {answer}.",
        "Careful work led {answer} to {subject}.",
        "Science owes its knowledge of {subject} to {answer}.",
        "With {subject}, {answer} surprised the whole learned world.",
        "In the life story of {answer} there is a chapter on {subject}.",
    ),
    questions=(
        "Who is the discoverer of {subject}?",
        "Who discovered {subject}?",
        "By whom was {subject} discovered?",
        "Can you tell me who discovered {subject}?",
        "Name the discoverer of {subject}.",
        "Which person found {subject}?",
        "Who was the first to report {subject}?",
        "Do you know the discoverer of {subject}?",
        "To whom does science owe its knowledge of {subject}?",
        "I am reading about {subject}. Who found it?",
    ),
    replies=(
        "{Subject} was discovered by {answer}.",
        "The discoverer of {subject} is {answer}.",
    ),
    follow_up="And {subject}?",
)

INVENTIONS = (
    ("dynamite", "Alfred Nobel", "Nobel"),
    ("the World Wide Web", "Tim Berners-Lee", "Berners-Lee"),
    ("the Linux kernel", "Linus Torvalds", "Torvalds"),
    ("the mercury thermometer", "Daniel Fahrenheit", "Fahrenheit"),
    ("the phonograph", "Thomas Edison", "Edison"),
    ("the lightning rod", "Benjamin Franklin", "Franklin"),
    ("the electric battery", "Alessandro Volta", "Volta"),
    ("the saxophone", "Adolphe Sax"),
    ("the stethoscope", "Rene Laennec", "Laennec"),
    ("the pendulum clock", "Christiaan Huygens", "Huygens"),
    ("the smallpox vaccine", "Edward Jenner", "Jenner"),
    ("the rabies vaccine", "Louis Pasteur", "Pasteur"),
    ("the cotton gin", "Eli Whitney", "Whitney"),
    ("the safety elevator", "Elisha Otis", "Otis"),
    ("Kevlar", "Stephanie Kwolek", "Kwolek"),
    ("Velcro", "George de Mestral", "de Mestral"),
    ("Tetris", "Alexey Pajitnov", "Pajitnov"),
    ("basketball", "James Naismith", "Naismith"),
    ("the game of Scrabble", "Alfred Butts", "Alfred Mosher Butts", "Butts"),
    ("the Python language", "Guido van Rossum", "van Rossum"),
    ("the language Esperanto", "Ludwik Zamenhof", "L. L. Zamenhof", "Zamenhof"),
)

DISCOVERIES = (
    ("penicillin", "Alexander Fleming", "Fleming"),
    ("the electron", "J. J. Thomson", "J.J. Thomson", "Thomson"),
    ("the neutron", "James Chadwick", "Chadwick"),
    ("the atomic nucleus", "Ernest Rutherford", "Rutherford"),
    ("the planet Uranus", "William Herschel", "Herschel"),
    ("the dwarf planet Pluto", "Clyde Tombaugh", "Tombaugh"),
    ("the law of gravitation", "Isaac Newton", "Newton"),
    ("the law of buoyancy", "Archimedes"),
    ("radioactivity", "Henri Becquerel", "Becquerel"),
    ("infrared light", "William Herschel", "Herschel"),
    ("the circulation of the blood", "William Harvey", "Harvey"),
    ("electromagnetic induction", "Michael Faraday", "Faraday"),
    ("the tomb of Tutankhamun", "Howard Carter", "Carter"),
    ("the element hydrogen", "Henry Cavendish", "Cavendish"),
)


def facts() -> list[Fact]:
    """The inventors, then the discoverers."""
    return closed_facts("inventions", INVENTOR, INVENTIONS) + closed_facts("inventions", DISCOVERER, DISCOVERIES)
