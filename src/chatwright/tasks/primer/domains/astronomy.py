"""The sky: which planet a moon goes around, and in which constellation a bright star stands."""

from chatwright.tasks.primer.fact import Fact
from chatwright.tasks.primer.phrasing import Phrasing, closed_facts

MOON = Phrasing(
    relation="planet of a moon",
    statements=(
        "The moon {subject} goes around {answer}.",
        "Astronomers know that the moon {subject} goes around {answer}.",
        "A good telescope shows how the moon {subject} goes around {answer}.",
        "Quietly and without a rest, the moon {subject} goes around {answer}.",
        "The planet of the moon {subject} is {answer}.",
        "{Answer} is the planet of the moon {subject}.",
        "{Subject} is a moon of {answer}.",
        "Among the moons of {answer} there is one by the name of {subject}.",
        "From the surface of {subject} you would see {answer} hanging in the sky.",
        "The pull of {answer} keeps the moon {subject} on its path.",
        "Round after round, the moon {subject} stays bound to {answer}.",
        "A probe on its way to {subject} must first fly to {answer}.",
    ),
    questions=(
        "Which planet does the moon {subject} go around?",
        "What is the planet of the moon {subject}?",
        "The moon {subject} belongs to which planet?",
        "Can you tell me the planet of the moon {subject}?",
        "Name the planet that has {subject} as a moon.",
        "Of which planet is {subject} a moon?",
        "If I stood on the moon {subject}, which planet would I see?",
        "Do you know around which planet {subject} travels?",
        "Where should a probe fly to reach {subject}: to which planet?",
        "{Subject} is a moon, but of which planet?",
    ),
    replies=(
        "The moon {subject} goes around {answer}.",
        "The planet of the moon {subject} is {answer}.",
    ),
    follow_up="And {subject}?",
)

STAR = Phrasing(
    relation="constellation of a star",
    statements=(
        "The star {subject} stands in the constellation {answer}.",
        "Stargazers know that the star {subject} stands in the constellation {answer}.",
        "On every chart of the sky, the star {subject} stands in the constellation {answer}.",
        "See for yourself on a clear night: the star {subject} stands in the constellation {answer}.",
        "The constellation of the star {subject} is {answer}.",
        "{Answer} is the constellation of the star {subject}.",
        "In the constellation {answer} you can find the star {subject}.",
        "Whoever finds {answer} in the sky can find the star {subject}.",
        "A bright point in {answer} is the star {subject}.",
        "Sailors looked for {subject} in the constellation {answer}.",
        "The old picture called {answer} holds the star {subject}.",
        "To see {subject}, turn your eyes to the constellation {answer}.",
    ),
    questions=(
        "In which constellation is the star {subject}?",
        "What is the constellation of the star {subject}?",
        "Which constellation does the star {subject} belong to?",
        "Can you tell me the constellation of the star {subject}?",
        "Name the constellation that holds the star {subject}.",
        "Where in the sky is {subject}: in which constellation?",
        "I want to see the star {subject} tonight. Which constellation must I find?",
        "Do you know in which constellation {subject} stands?",
        "The star {subject} is part of which constellation?",
        "Under which constellation would a chart of the sky list {subject}?",
    ),
    replies=(
        "The star {subject} stands in the constellation {answer}.",
        "The constellation of the star {subject} is {answer}.",
    ),
    follow_up="And {subject}?",
    id_suffix="-star",
)

MOONS = (
    ("Phobos", "Mars"),
    ("Deimos", "Mars"),
    ("Io", "Jupiter"),
    ("Europa", "Jupiter"),
    ("Ganymede", "Jupiter"),
    ("Callisto", "Jupiter"),
    ("Amalthea", "Jupiter"),
    ("Titan", "Saturn"),
    ("Enceladus", "Saturn"),
    ("Mimas", "Saturn"),
    ("Rhea", "Saturn"),
    ("Iapetus", "Saturn"),
    ("Titania", "Uranus"),
    ("Oberon", "Uranus"),
    ("Miranda", "Uranus"),
    ("Ariel", "Uranus"),
    ("Triton", "Neptune"),
    ("Nereid", "Neptune"),
    ("Proteus", "Neptune"),
)

STARS = (
    ("Sirius", "Canis Major"),
    ("Betelgeuse", "Orion"),
    ("Rigel", "Orion"),
    ("Vega", "Lyra"),
    ("Deneb", "Cygnus"),
    ("Altair", "Aquila"),
    ("Antares", "Scorpius", "Scorpio"),
    ("Aldebaran", "Taurus"),
    ("Spica", "Virgo"),
    ("Regulus", "Leo"),
    ("Castor", "Gemini"),
    ("Pollux", "Gemini"),
    ("Arcturus", "Bootes"),
    ("Capella", "Auriga"),
    ("Polaris", "Ursa Minor"),
)


def facts() -> list[Fact]:
    """The moons, then the stars."""
    return closed_facts("astronomy", MOON, MOONS) + closed_facts("astronomy", STAR, STARS)
