"""The model's own answers, learned beside corrections so that it keeps giving them.

For `sft` they are conversations. For `dpo` each is preferred to a corrected answer to something else: without that a
model that was taken from "I am a bot" to "My name is Robin" says its name to whoever greets it.
"""

from collections.abc import Iterator, Sequence
from itertools import islice

from chatwright.chat.feedback import Feedback
from chatwright.chat.session import Session
from chatwright.evals.faults import fault
from chatwright.generate.chatbot import Chatbot
from chatwright.generate.completion import Completion
from chatwright.generate.sampling import Sampling
from chatwright.tasks import primer
from chatwright.text.records import Conversation, Message

EVERYDAY = (
    "Hello!",
    "Hi, how are you?",
    "Good morning.",
    "Thank you!",
    "Goodbye.",
    "Who are you?",
    "What can you do?",
    "Can you help me?",
    "Tell me a joke.",
    "Give me a short tip for today.",
    "What is two plus two?",
    "What is water?",
    "Name three colours.",
    "What day comes after Monday?",
    "Write a short sentence about the sea.",
    "Why is the sky blue?",
)
OTHERS = 16  # questions of the primer beside them
EVERY = 97  # so many of its conversations lie between two of these
MOST_TOKENS = 64  # of an answer


def prepare(session: Session, feedback: Feedback) -> int:
    """Writes the files of what is rehearsed, and returns how many tokens the longest row of all has.

    The answers are asked for once, of the model before it was corrected, and found in their file after that.
    """
    fixed = feedback.rows(feedback.fixes)
    corrected = [*fixed, *feedback.rows(feedback.preferences)]
    taught = {row.messages[:-1] for row in corrected}
    known = feedback.rows(feedback.kept) or _own(session.chatbot)
    kept = [talk for talk in known if talk.messages[:-1] not in taught]
    feedback.keep(kept)
    feedback.contrast(list(_contrasts([*kept, *fixed], [row.messages[-1] for row in corrected])))
    checkpoint = session.chatbot.checkpoint
    longest = max(len(checkpoint.render(talk).ids) for talk in [*kept, *corrected])
    return min(checkpoint.model.config.context_length, longest)


def answers(chatbot: Chatbot, prompts: Sequence[Conversation]) -> list[Completion]:
    """What the model says to each, at its likeliest."""
    return chatbot.replies(prompts, Sampling(max_tokens=MOST_TOKENS))


def _own(chatbot: Chatbot) -> list[Conversation]:
    """Everyday questions and some of the primer's, with the answers in which there is no fault."""
    records = (one for one in primer.records() if isinstance(one, Conversation))
    others = [one.first_user for one in islice(records, 0, OTHERS * EVERY, EVERY)]
    prompts = [Conversation((Message("user", text),)) for text in dict.fromkeys([*EVERYDAY, *others])]
    said = zip(prompts, answers(chatbot, prompts), strict=True)
    return [prompt.add("assistant", one.text.strip()) for prompt, one in said if not fault(one)]


def _contrasts(talks: Sequence[Conversation], others: Sequence[Message]) -> Iterator[tuple[Conversation, Message]]:
    """Each answer with a corrected one to something else, in turn."""
    for number, talk in enumerate(talks):
        elsewhere = [other for other in others if other != talk.messages[-1]]
        if elsewhere:
            yield talk, elsewhere[number % len(elsewhere)]
