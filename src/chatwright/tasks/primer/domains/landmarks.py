"""Sights of the world and the cities they stand in."""

from chatwright.tasks.primer.fact import Fact
from chatwright.tasks.primer.phrasing import Phrasing, closed_facts

CITY = Phrasing(
    relation="city of a landmark",
    statements=(
        "{Subject} is in {answer}.",
        "Postcards show it plainly: {subject} is in {answer}.",
        "It is well known that {subject} is in {answer}.",
        "Plan your trip with care, because {subject} is in {answer}.",
        "You can visit {subject} in {answer}.",
        "{Answer} is the city where you find {subject}.",
        "Visitors to {answer} seldom leave without seeing {subject}.",
        "{Subject} is a famous sight in {answer}.",
        "In {answer}, everyone can show you the way to {subject}.",
        "To see {subject} with your own eyes, travel to {answer}.",
        "Among the sights of {answer}, {subject} is one of the best known.",
        "The people who live closest to {subject} live in {answer}.",
    ),
    questions=(
        "In which city is {subject}?",
        "Where can you visit {subject}?",
        "Which city can call {subject} its own?",
        "Can you tell me in which city I find {subject}?",
        "Name the city that is home to {subject}.",
        "Where in the world is {subject}?",
        "I would love to see {subject}. To which city should I travel?",
        "Do you know where {subject} is?",
        "A postcard shows {subject}. From which city was it sent?",
        "What city must a visitor go to for {subject}?",
    ),
    replies=(
        "{Subject} is in {answer}.",
        "You can visit {subject} in {answer}.",
    ),
    follow_up="And {subject}?",
)

ROWS = (
    ("the Eiffel Tower", "Paris"),
    ("the Louvre", "Paris"),
    ("the Colosseum", "Rome"),
    ("the Trevi Fountain", "Rome"),
    ("Big Ben", "London"),
    ("Tower Bridge", "London"),
    ("the Brandenburg Gate", "Berlin"),
    ("the Acropolis", "Athens"),
    ("the Prado", "Madrid"),
    ("the Sagrada Familia", "Barcelona"),
    ("the Alhambra", "Granada"),
    ("the Rijksmuseum", "Amsterdam"),
    ("the Atomium", "Brussels"),
    ("Schonbrunn Palace", "Vienna"),
    ("Charles Bridge", "Prague"),
    ("Fisherman's Bastion", "Budapest"),
    ("the Little Mermaid", "Copenhagen"),
    ("the Vasa Museum", "Stockholm"),
    ("Belem Tower", "Lisbon"),
    ("the Rialto Bridge", "Venice"),
    ("the Ponte Vecchio", "Florence"),
    ("La Scala", "Milan"),
    ("Wawel Castle", "Krakow", "Cracow"),
    ("Red Square", "Moscow"),
    ("Hagia Sophia", "Istanbul"),
    ("Burj Khalifa", "Dubai"),
    ("the Gateway of India", "Mumbai", "Bombay"),
    ("the Taj Mahal", "Agra"),
    ("the Forbidden City", "Beijing"),
    ("the Bund", "Shanghai"),
    ("Gyeongbokgung Palace", "Seoul"),
    ("the Golden Pavilion", "Kyoto"),
    ("Wat Arun", "Bangkok"),
    ("Table Mountain", "Cape Town"),
    ("the CN Tower", "Toronto"),
    ("the Statue of Liberty", "New York", "New York City"),
    ("Central Park", "New York", "New York City"),
    ("the Golden Gate Bridge", "San Francisco"),
    ("the Hollywood Sign", "Los Angeles"),
    ("the Space Needle", "Seattle"),
    ("the White House", "Washington, D.C.", "Washington, DC", "Washington"),
    ("the Liberty Bell", "Philadelphia"),
    ("Christ the Redeemer", "Rio de Janeiro", "Rio"),
)


def facts() -> list[Fact]:
    """The landmarks."""
    return closed_facts("landmarks", CITY, ROWS)
