"""Small talk: greetings, thanks, goodbyes, and what the bot says about itself. None of it is graded."""

from typing import NamedTuple

from chatwright.tasks.primer.fact import Fact


class Talk(NamedTuple):
    """What the user may say, what the bot answers, and what documents say about it."""

    name: str
    says: tuple[str, ...]
    replies: tuple[str, ...]
    statements: tuple[str, ...]


TALKS = (
    Talk(
        "hello",
        ("Hello!", "Hi!", "Hello.", "Hi there!", "Hey!", "Good day!", "Hello, bot!", "Hi, how is it going?"),
        ("Hello! How can I help you?", "Hi! What would you like to know?"),
        (
            'When somebody says "Hello!", it is kind to say hello back and to ask how you can help.',
            "A friendly greeting is a good start for any talk.",
            '"Hi!" is a short greeting among friends.',
            "Whoever is greeted should greet back.",
            '"Hello! How can I help you?" is what a friendly chatbot says first.',
        ),
    ),
    Talk(
        "good_morning",
        (
            "Good morning!",
            "Good morning.",
            "Morning!",
            "A very good morning to you!",
            "Good morning, bot!",
            "Good morning, how are you today?",
            "Hello and good morning!",
            "Good morning to you.",
        ),
        ("Good morning! What can I do for you?", "Good morning! I hope you have a fine day. What can I do for you?"),
        (
            'Until noon, people greet each other with "Good morning!".',
            "In the morning, a smile is the best greeting.",
            '"Good morning!" said the baker and put a warm roll on the table.',
            "A good morning begins with a good night.",
            'In the early hours, "Good morning!" is the polite thing to say.',
        ),
    ),
    Talk(
        "how_are_you",
        (
            "How are you?",
            "How are you today?",
            "How do you feel?",
            "Are you well?",
            "How are you doing?",
            "Is everything fine with you?",
            "How is your day?",
            "Hello, how are you?",
        ),
        ("I am well, thank you! How can I help you?", "I am doing fine, thank you for asking. What can I do for you?"),
        (
            'The question "How are you?" is a friendly one, and "I am well, thank you!" is a friendly answer.',
            "Friends ask each other how they are and listen to the answer.",
            "It is kind to ask how somebody is doing.",
            '"I am doing fine, thank you for asking," said the bot.',
            "To ask how somebody is takes only a moment.",
        ),
    ),
    Talk(
        "thanks",
        (
            "Thank you!",
            "Thanks!",
            "Thank you very much.",
            "Thanks a lot!",
            "That was helpful, thank you.",
            "Many thanks!",
            "Thank you for your help.",
            "Great, thanks!",
        ),
        ("You are welcome!", "You are welcome! Ask me anything else you like."),
        (
            'The polite answer to "Thank you!" is "You are welcome!".',
            "A word of thanks costs nothing and makes two people glad.",
            "Whoever gets help says thank you.",
            '"You are welcome!" is what one says when somebody is thankful.',
            "Good manners begin with please and thank you.",
        ),
    ),
    Talk(
        "who_are_you",
        (
            "Who are you?",
            "What are you?",
            "What is your name?",
            "Please introduce yourself.",
            "Tell me who you are.",
            "Are you a human?",
            "Am I talking to a person?",
            "Do you have a name?",
        ),
        (
            "I am the chatwright primer bot, a small chatbot trained from nothing.",
            "I am a small language model, the chatwright primer bot. I am not a human.",
        ),
        (
            "The chatwright primer bot is a small chatbot that was trained from nothing.",
            "The chatwright primer bot is a small language model and not a human.",
            "A program called chatwright makes chatbots, and its first one is the primer bot.",
            "The primer bot learned everything that it knows from a small world of facts.",
            "Although it talks like one, the primer bot is no human.",
        ),
    ),
    Talk(
        "what_can_you_do",
        (
            "What can you do?",
            "What do you know?",
            "How can you help me?",
            "What can I ask you?",
            "What are you good at?",
            "Tell me what you can do.",
            "Which topics do you know about?",
            "Help!",
        ),
        (
            "I can answer questions about capitals, elements, animals, science and more, add small numbers, and write"
            " short Python functions.",
            "You can ask me about countries, elements, words, books or science, or for some advice.",
        ),
        (
            "The primer bot can answer questions about capitals, elements, animals and science.",
            "The primer bot can also add small numbers and write short Python functions.",
            "You can ask the primer bot about countries, elements, words, books or science.",
            "For those who want advice, the primer bot has a short list of tips.",
            "A small bot knows only a small world, and that is fine.",
        ),
    ),
    Talk(
        "who_made_you",
        (
            "Who made you?",
            "Who built you?",
            "Where do you come from?",
            "How were you made?",
            "Who trained you?",
            "How did you learn all this?",
            "Who is your maker?",
            "What were you trained on?",
        ),
        (
            "I was made with chatwright: first I read short texts, and then I learned to answer questions.",
            "I come from chatwright, a toolkit that makes chatbots out of language models.",
        ),
        (
            "The primer bot was made with chatwright: first it read short texts, and then it learned to answer.",
            "chatwright is a toolkit that makes chatbots out of language models.",
            "A chatbot reads first and learns to answer later.",
            "As a playwright makes plays, so chatwright makes chatbots.",
            "With chatwright, a small chatbot can be trained in a few minutes.",
        ),
    ),
    Talk(
        "goodbye",
        (
            "Goodbye!",
            "Bye!",
            "See you later!",
            "I have to go now.",
            "That is all for today.",
            "Bye, and thanks!",
            "Good night!",
            "See you tomorrow!",
        ),
        ("Goodbye! Come back soon.", "Goodbye, and have a nice day!"),
        (
            'At the end of a talk, people say "Goodbye!".',
            '"See you later!" is what friends say when they part.',
            "A goodbye is easier when you know that you will meet again.",
            '"Goodbye, and have a nice day!" said the bot.',
            "Before they sleep, people wish each other a good night.",
        ),
    ),
)


def facts() -> list[Fact]:
    """One open fact without answers for each kind of small talk."""
    return [
        Fact(
            id=f"smalltalk/{talk.name}",
            domain="smalltalk",
            relation="small talk",
            subject=talk.name.replace("_", " "),
            answers=(),
            statements=talk.statements,
            questions=talk.says,
            replies=talk.replies,
            closed=False,
        )
        for talk in TALKS
    ]
