"""A second model beside the conversation: it answers the same questions, and the conversation goes on without its answers."""

import time
from collections.abc import Generator

from chatwright.generate.chatbot import Chatbot
from chatwright.generate.completion import Completion
from chatwright.generate.sampling import Sampling
from chatwright.text.records import Conversation


class Beside:
    """`last` and `seconds` are of its newest answer; None and 0 before there is one."""

    def __init__(self, name: str, chatbot: Chatbot) -> None:
        self.name = name
        self.chatbot = chatbot
        self.last: Completion | None = None
        self.seconds = 0.0

    def answer(self, asked: Conversation, sampling: Sampling) -> Generator[str, None, None]:
        """Its answer, piece by piece; closing it stops the answer."""
        start = time.perf_counter()
        self.last, self.seconds = None, 0.0
        try:
            yield from self.chatbot.reply(asked, sampling)
        finally:
            self.last, self.seconds = self.chatbot.last, time.perf_counter() - start
