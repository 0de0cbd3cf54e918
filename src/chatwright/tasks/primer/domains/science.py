"""Why things are as they are: everyday science in a sentence or two."""

from typing import NamedTuple

from chatwright.tasks.primer.fact import Fact


class Why(NamedTuple):
    """A question, the same as a clause, its cause (after "because"), one sentence more, and keywords."""

    name: str
    question: str  # "Why is the sky blue?"
    clause: str  # "the sky is blue"
    cause: str  # "air scatters blue light more than red light"
    more: str
    keywords: tuple[str, ...]


QUESTIONS = (
    "Can you tell me why {clause}?",
    "Please explain why {clause}.",
    "Do you know why {clause}?",
    "I would like to know why {clause}.",
    "What is the reason that {clause}?",
    "How come {clause}?",
    "My little sister asks why {clause}. What should I say?",
    "Tell me why {clause}.",
    "Explain in simple words why {clause}.",
)

WHYS = (
    Why(
        "blue_sky",
        "Why is the sky blue?",
        "the sky is blue",
        "the air scatters blue light more than red light",
        "So blue light reaches our eyes from every side.",
        ("scatter", "blue|light"),
    ),
    Why(
        "red_sunset",
        "Why is the sunset red?",
        "the sunset is red",
        "the light of the low sun travels a long way through the air and loses its blue part",
        "What is left is red and orange.",
        ("blue|air", "light|way"),
    ),
    Why(
        "salty_sea",
        "Why is the sea salty?",
        "the sea is salty",
        "rivers carry salt from the rocks into it and the water leaves again without the salt",
        "This has gone on for millions of years.",
        ("rivers|rocks", "salt"),
    ),
    Why(
        "seasons",
        "Why do we have seasons?",
        "we have seasons",
        "the axis of the Earth is tilted, so each half leans towards the sun for a part of the year",
        "When it is summer in the north, it is winter in the south.",
        ("tilt|lean", "axis|sun"),
    ),
    Why(
        "day_and_night",
        "Why do we have day and night?",
        "we have day and night",
        "the Earth turns around itself once in about 24 hours",
        "The side that faces the sun has day.",
        ("turn|spin|rotat", "Earth"),
    ),
    Why(
        "tides",
        "Why does the sea have tides?",
        "the sea has tides",
        "the moon, and a little the sun, pull on the water with their gravity",
        "On most coasts the water rises and falls twice a day.",
        ("moon", "pull|gravity"),
    ),
    Why(
        "floating_ice",
        "Why does ice float on water?",
        "ice floats on water",
        "frozen water takes up more room and is less dense than liquid water",
        "That is why lakes freeze from the top.",
        ("dense|lighter|room",),
    ),
    Why(
        "rain",
        "Why does it rain?",
        "it rains",
        "tiny drops in the clouds join and grow until they are too heavy to stay up",
        "The water first rose from seas and lakes as vapour.",
        ("drops", "heavy|grow|cloud"),
    ),
    Why(
        "rainbow",
        "Why do we see rainbows?",
        "we see rainbows",
        "drops of rain bend the sunlight and split it into its colours",
        "You see one when the sun is behind you.",
        ("drops|rain", "split|bend|colour"),
    ),
    Why(
        "thunder",
        "Why does thunder follow lightning?",
        "thunder follows lightning",
        "light reaches us at once, while the sound of the hot, bursting air is much slower",
        "Three seconds between them mean about one kilometre.",
        ("sound|slow", "light"),
    ),
    Why(
        "green_leaves",
        "Why are leaves green?",
        "leaves are green",
        "they hold chlorophyll, which uses red and blue light and sends back green light",
        "Plants use that light to make sugar.",
        ("chlorophyll",),
    ),
    Why(
        "autumn_leaves",
        "Why do leaves change colour in autumn?",
        "leaves change colour in autumn",
        "the trees break down the green chlorophyll, and yellow and red colours show",
        "Soon after, the leaves fall.",
        ("chlorophyll|green",),
    ),
    Why(
        "falling",
        "Why do things fall down?",
        "things fall down",
        "the gravity of the Earth pulls everything towards its centre",
        "The same force keeps the moon near us.",
        ("gravity", "pull|Earth"),
    ),
    Why(
        "moon_phases",
        "Why does the moon change its shape?",
        "the moon changes its shape",
        "we see different parts of its sunlit half while it goes around the Earth",
        "From one full moon to the next it takes about a month.",
        ("sunlit|light|half", "around|part"),
    ),
    Why(
        "boiling",
        "Why does water boil faster on a mountain?",
        "water boils faster on a mountain",
        "the air presses less up there, so water boils at a lower temperature",
        "Cooking takes longer, though, as the water is less hot.",
        ("air|press", "lower|less"),
    ),
    Why(
        "breathing",
        "Why do we breathe?",
        "we breathe",
        "our cells need oxygen to get energy from food and have to get rid of carbon dioxide",
        "The lungs bring the one in and the other out.",
        ("oxygen",),
    ),
    Why(
        "sweating",
        "Why do we sweat?",
        "we sweat",
        "drying sweat takes heat away from the skin and cools the body",
        "Drink enough water on hot days.",
        ("cool|heat",),
    ),
    Why(
        "sleeping",
        "Why do we sleep?",
        "we sleep",
        "the body repairs itself and the brain sorts its memories while we rest",
        "Without sleep, we learn badly.",
        ("brain|memor", "body|rest|repair"),
    ),
    Why(
        "rust",
        "Why does iron rust?",
        "iron rusts",
        "it joins with oxygen when it is wet",
        "A coat of paint protects it.",
        ("oxygen", "wet|water|joins"),
    ),
    Why(
        "bread_rises",
        "Why does bread dough rise?",
        "bread dough rises",
        "yeast eats sugar in it and makes bubbles of gas",
        "The gas makes the bread soft and light.",
        ("yeast", "gas|bubbles"),
    ),
    Why(
        "magnet",
        "Why does a compass point north?",
        "a compass points north",
        "its needle is a small magnet that follows the magnetic field of the Earth",
        "Sailors have used this for many centuries.",
        ("magnet", "field|needle|Earth"),
    ),
    Why(
        "stars_twinkle",
        "Why do stars twinkle?",
        "stars twinkle",
        "moving air bends their light a little this way and that way",
        "Seen from space, stars shine steadily.",
        ("air", "light|bend"),
    ),
    Why(
        "echo",
        "Why do we hear an echo in the mountains?",
        "we hear an echo in the mountains",
        "sound bounces off the rocks and comes back to us",
        "The farther the rock, the later the echo.",
        ("sound", "bounce|back"),
    ),
    Why(
        "airplanes",
        "Why do airplanes fly?",
        "airplanes fly",
        "their wings push air down, and so the air pushes the wings up",
        "The engines keep the airplane moving forward.",
        ("wings", "air|push"),
    ),
    Why(
        "bees",
        "Why are bees important?",
        "bees are important",
        "they carry pollen from flower to flower, so that fruits and seeds can grow",
        "Many of our foods depend on them.",
        ("pollen", "flower|fruit|seed"),
    ),
    Why(
        "soap",
        "Why does soap clean our hands?",
        "soap cleans our hands",
        "one end of each soap molecule holds on to fat and the other end to water",
        "So the water can wash the fat and dirt away.",
        ("fat", "water"),
    ),
)


def facts() -> list[Fact]:
    """One open fact for each why."""
    return [_fact(why) for why in WHYS]


def _fact(why: Why) -> Fact:
    """The why with all its wordings."""
    clause = why.clause[0].upper() + why.clause[1:]
    return Fact(
        id=f"science/{why.name}",
        domain="science",
        relation="why",
        subject=why.clause,
        answers=why.keywords,
        statements=(
            f"{clause} because {why.cause}.",
            f"{clause} because {why.cause}. {why.more}",
            f"{clause}. And why? Because {why.cause}.",
            f"Children like to ask why {why.clause}. It is because {why.cause}.",
            f"Science has an answer to why {why.clause}: {why.cause}.",
            f"If you wonder why {why.clause}, remember that {why.cause}.",
            f"{clause}, and here is the reason: {why.cause}. {why.more}",
        ),
        questions=(why.question, *(form.format(clause=why.clause) for form in QUESTIONS)),
        replies=(f"{clause} because {why.cause}.", f"{clause} because {why.cause}. {why.more}"),
        follow_up=f"And why {_inverted(why.question)}",
        closed=False,
    )


def _inverted(question: str) -> str:
    """`Why is the sky blue?` -> `is the sky blue?`"""
    return question.removeprefix("Why ")
