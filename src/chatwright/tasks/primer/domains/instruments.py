"""Measuring instruments and what they measure."""

from chatwright.tasks.primer.fact import Fact
from chatwright.tasks.primer.phrasing import Phrasing, closed_facts

MEASURES = Phrasing(
    relation="measured quantity",
    statements=(
        "{A_subject} measures {answer}.",
        "It says so in every handbook: {a_subject} measures {answer}.",
        "Engineers and sailors alike know that {a_subject} measures {answer}.",
        "Long name or short, {a_subject} measures {answer}.",
        "The purpose of {a_subject} is to measure {answer}.",
        "To measure {answer}, people use {a_subject}.",
        "{A_subject} is an instrument for measuring {answer}.",
        "What you read from {a_subject} is {answer}.",
        "Whoever wants to know more about {answer} needs {a_subject}.",
        "{Answer} can be measured with {a_subject}.",
        "If you are handed {a_subject}, you are expected to measure {answer}.",
        "In the tool box, the {subject} is there for {answer}.",
    ),
    questions=(
        "What does {a_subject} measure?",
        "What is measured with {a_subject}?",
        "What is {a_subject} used for?",
        "Can you tell me what {a_subject} measures?",
        "What is the purpose of {a_subject}?",
        "Somebody gave me {a_subject}. What can I measure with it?",
        "Do you know what people measure with {a_subject}?",
        "Tell me what {a_subject} is good for.",
        "What do you learn when you look at {a_subject}?",
        "Why would anyone buy {a_subject}: to measure what?",
    ),
    replies=(
        "{A_subject} measures {answer}.",
        "The purpose of {a_subject} is to measure {answer}.",
    ),
    follow_up="And {a_subject}?",
)

ROWS = (
    ("thermometer", "temperature"),
    ("barometer", "air pressure", "atmospheric pressure", "pressure"),
    ("ruler", "length", "distance"),
    ("scale", "weight"),
    ("speedometer", "speed"),
    ("odometer", "distance"),
    ("compass", "direction"),
    ("hygrometer", "humidity"),
    ("anemometer", "wind speed", "wind"),
    ("rain gauge", "rainfall"),
    ("seismograph", "earthquakes"),
    ("voltmeter", "voltage"),
    ("ammeter", "electric current", "current"),
    ("ohmmeter", "electrical resistance", "resistance"),
    ("stopwatch", "time"),
    ("altimeter", "altitude", "height"),
    ("protractor", "angles"),
    ("pedometer", "steps"),
    ("Geiger counter", "radiation", "radioactivity"),
    ("hydrometer", "liquid density", "density"),
    ("calorimeter", "heat"),
    ("photometer", "light intensity"),
    ("measuring cup", "volume"),
    ("tachometer", "rotation speed"),
    ("spirometer", "lung capacity", "lung volume", "breathing"),
    ("wattmeter", "electric power", "power"),
)


def facts() -> list[Fact]:
    """The instruments."""
    return closed_facts("instruments", MEASURES, ROWS)
