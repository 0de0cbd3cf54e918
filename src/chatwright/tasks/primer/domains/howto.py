"""How-to advice, answered as a numbered list of three short items."""

from typing import NamedTuple

from chatwright.tasks.primer.fact import Fact


class Advice(NamedTuple):
    """What the advice is for, in three wordings, its items, and words that tell that a list is about it."""

    name: str
    doing: str  # "sleeping well"
    do: str  # "sleep well"
    items: tuple[str, ...]
    about: tuple[str, ...]
    questions: tuple[str, ...] = ()  # besides QUESTIONS


QUESTIONS = (
    "Give me some tips for {doing}.",
    "Give me three tips for {doing}.",
    "How can I {do}?",
    "What should I do to {do}?",
    "Can you give me tips for {doing}?",
    "What helps me to {do}?",
    "I want to {do}. What do you suggest?",
    "Do you have any advice on {doing}?",
    "List three tips for {doing}.",
    "Tell me how to {do}.",
    "What are good tips for {doing}?",
)

ADVICE = (
    Advice(
        "staying_healthy",
        "staying healthy",
        "stay healthy",
        (
            "Eat plenty of fruit and vegetables.",
            "Move every day, for example with a long walk.",
            "Sleep seven to eight hours each night.",
        ),
        ("eat", "move", "sleep", "walk", "fruit", "vegetables"),
        (
            "Give me a few tips for staying healthy.",
            "Please give me some tips for staying healthy.",
            "Give me three tips on how to stay healthy.",
            "Name three tips for staying healthy.",
            "Can you give me three tips to stay healthy?",
            "What can I do for my health?",
            "Give me three ideas for staying healthy.",
            "Could you share three tips for staying healthy?",
        ),
    ),
    Advice(
        "sleeping_well",
        "sleeping well",
        "sleep well",
        (
            "Go to bed at the same time each night.",
            "Put away your phone an hour before bed.",
            "Keep your bedroom dark and quiet.",
        ),
        ("bed", "phone", "bedroom", "dark", "quiet"),
    ),
    Advice(
        "saving_money",
        "saving money",
        "save money",
        (
            "Write down what you spend.",
            "Put a small sum aside each month.",
            "Wait a day before you buy something big.",
        ),
        ("spend", "aside", "buy", "month"),
    ),
    Advice(
        "learning_a_language",
        "learning a language",
        "learn a language",
        (
            "Practise a little every day.",
            "Listen to songs and stories in the language.",
            "Speak with people and do not fear mistakes.",
        ),
        ("practise", "listen", "speak", "language"),
    ),
    Advice(
        "preparing_for_an_exam",
        "preparing for an exam",
        "prepare for an exam",
        (
            "Start early and study in short blocks.",
            "Test yourself with old questions.",
            "Rest well the night before the exam.",
        ),
        ("study", "test", "exam", "questions"),
    ),
    Advice(
        "writing_a_letter",
        "writing a good letter",
        "write a good letter",
        (
            "Begin with a friendly greeting.",
            "Say clearly why you write.",
            "Read the letter once more before you send it.",
        ),
        ("greeting", "write", "letter", "send"),
    ),
    Advice(
        "growing_tomatoes",
        "growing tomatoes",
        "grow tomatoes",
        (
            "Plant them in a warm and sunny place.",
            "Water the soil often, but not the leaves.",
            "Tie the stems to a stick.",
        ),
        ("sunny", "water", "stems", "soil", "plant"),
    ),
    Advice(
        "making_tea",
        "making good tea",
        "make good tea",
        (
            "Boil fresh water.",
            "Pour it over the tea leaves.",
            "Wait three minutes and take out the leaves.",
        ),
        ("boil", "water", "leaves", "pour"),
    ),
    Advice(
        "cooking_rice",
        "cooking rice",
        "cook rice",
        (
            "Wash the rice in cold water.",
            "Add two cups of water for each cup of rice.",
            "Cook it slowly with the lid on.",
        ),
        ("rice", "water", "lid", "cup"),
    ),
    Advice(
        "making_friends",
        "making new friends",
        "make new friends",
        (
            "Smile and say hello first.",
            "Ask questions and listen well.",
            "Join a club or a class that you enjoy.",
        ),
        ("smile", "ask", "listen", "club", "class"),
    ),
    Advice(
        "staying_calm",
        "staying calm",
        "stay calm",
        (
            "Take slow and deep breaths.",
            "Go outside for some fresh air.",
            "Talk with a friend about your worries.",
        ),
        ("breath", "outside", "friend", "talk"),
    ),
    Advice(
        "saving_energy",
        "saving energy at home",
        "save energy at home",
        (
            "Switch off the lights when you leave a room.",
            "Wash your clothes in cold water.",
            "Heat only the rooms that you use.",
        ),
        ("lights", "clothes", "heat", "room"),
    ),
    Advice(
        "caring_for_a_dog",
        "caring for a dog",
        "care for a dog",
        (
            "Walk the dog at least twice a day.",
            "Give it fresh water and good food.",
            "Visit the vet once a year.",
        ),
        ("walk", "dog", "vet", "food"),
    ),
    Advice(
        "riding_safely",
        "riding a bicycle safely",
        "ride a bicycle safely",
        (
            "Wear a helmet that fits.",
            "Use lights in the dark.",
            "Show with your hand where you want to turn.",
        ),
        ("helmet", "lights", "hand", "turn"),
    ),
    Advice(
        "giving_a_talk",
        "giving a good talk",
        "give a good talk",
        (
            "Know the one thing you want to say.",
            "Practise aloud in front of a friend.",
            "Speak slowly and look at your listeners.",
        ),
        ("say", "practise", "speak", "listeners"),
    ),
    Advice(
        "reading_more",
        "reading more books",
        "read more books",
        (
            "Always carry a book with you.",
            "Read a few pages before you fall asleep.",
            "Choose books that you really enjoy.",
        ),
        ("book", "pages", "read"),
    ),
)


def facts() -> list[Fact]:
    """One open fact for each piece of advice."""
    return [_fact(advice) for advice in ADVICE]


def _fact(advice: Advice) -> Fact:
    """The advice with all its wordings."""
    numbered = "\n".join(f"{number}. {item}" for number, item in enumerate(advice.items, start=1))
    first, second, third = (item[0].lower() + item[1:].rstrip(".") for item in advice.items)
    heading = advice.doing[0].upper() + advice.doing[1:]
    return Fact(
        id=f"howto/{advice.name}",
        domain="howto",
        relation="advice",
        subject=advice.doing,
        answers=advice.about,
        statements=(
            f"There are three good tips for {advice.doing}:\n{numbered}",
            f"{heading} is not hard:\n{numbered}",
            f"This is how to {advice.do}:\n{numbered}",
            f"If you want to {advice.do}, {first}. Also, {second}. And {third}.",
            f"Whoever wants to {advice.do} should remember this:\n{numbered}",
        ),
        questions=(*(form.format(do=advice.do, doing=advice.doing) for form in QUESTIONS), *advice.questions),
        replies=(numbered, f"Here are three tips for {advice.doing}:\n{numbered}"),
        follow_up=f"And for {advice.doing}?",
        closed=False,
    )
