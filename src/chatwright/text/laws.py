"""Laws 1, 2 and 4 held against a Jinja template that was written elsewhere, on probe conversations.

In: the template and a vocabulary. Out: nothing, or `Unfit` with the law that is broken. (1) a prompt is a prefix of what
is trained, and an answer stays as it was when the conversation goes on; (2) the end of each answer is learned and is
always the same token; (4) no content spells a special token; and no token reaches from a prompt into its answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from chatwright.text.pieces import PROBES, WHITE_SPACE, Example
from chatwright.text.records import Conversation, conversation
from chatwright.text.tracing import Refused, Unfit, named, trace

if TYPE_CHECKING:
    from chatwright.text.jinja_template import JinjaTemplate
    from chatwright.text.tokenizer import Tokenizer

SHORT = conversation("Hi", "Hello!")
TALKS = (
    SHORT,
    conversation("Hi", "Hello!", "Bye", "See you!"),
    conversation(
        "**Q** <b>1</b>\n\n- {{ x }}", "```py\nprint('é 東京 🙂')\n```", " padded \n", "\n answer \n", "a", "b"
    ),
)
WITH_SYSTEM = conversation("Hi", "Hello!", "Bye", "See you!", system="Be kind.")


def check(template: JinjaTemplate, tokenizer: Tokenizer) -> None:
    """All of them. A probe that the template refuses in its own words proves nothing against it, but for the first."""
    for talk in TALKS:
        try:
            whole = template.example(talk, tokenizer)
        except Refused:
            if talk is SHORT:
                raise
            continue
        _check_talk(template, talk, whole, tokenizer)
    _check_seams(template, tokenizer)
    _check_system(template, tokenizer)


def _check_talk(template: JinjaTemplate, talk: Conversation, whole: Example, tokenizer: Tokenizer) -> None:
    end = template.id_of(template.end(tokenizer), tokenizer)
    for k, message in enumerate(talk.messages):
        if message.role != "assistant":
            continue
        prompt = template.example(talk[:k], tokenizer, reply=True)
        until = template.example(talk[: k + 1], tokenizer)
        last = len(until.mask) - until.mask[::-1].index(1)
        if whole.ids[: len(prompt.ids)] != prompt.ids or whole.mask[len(prompt.ids)] != 1:
            raise Unfit(f"asks for {named(k)} with a prompt that is not how the conversation begins")
        if (whole.ids[:last], whole.mask[:last]) != (until.ids[:last], until.mask[:last]):
            raise Unfit(f"writes {named(k)} differently once the conversation goes on")
        if until.ids[last - 1] != end:
            raise Unfit(f"ends {named(k)} with another token than the first answer")
    controls = template.controls(tokenizer)
    special = {template.id_of(token, tokenizer) for token in controls}
    spelled = template.example(_spelling(talk, [template.end(tokenizer), *controls[:8]]), tokenizer)
    if [i for i in spelled.ids if i in special] != [i for i in whole.ids if i in special]:
        raise Unfit("lets a message spell special tokens")


def _check_seams(template: JinjaTemplate, tokenizer: Tokenizer) -> None:
    """Whatever an answer starts with, no token reaches from its prompt into it."""
    traced = trace(template.write, SHORT, template.pattern(tokenizer))
    start, content = traced.answers[1], traced.contents[1][0]
    before = [segment for segment in traced.segments if segment.control and segment.stop <= start]
    left = traced.text[before[-1].stop if before else 0 : start]
    if before and tokenizer.strips(before[-1].text)[1]:
        left = left.lstrip(WHITE_SPACE)
    for probe in PROBES:
        answer = traced.text[start:content] + probe
        if not tokenizer.splits_before(left, answer):
            raise Unfit(f"lets this tokenizer join {left[-12:]!r} and the start of an answer, got {answer!r}")


def _check_system(template: JinjaTemplate, tokenizer: Tokenizer) -> None:
    """A system text is in the first prompt, or is refused; where it breaks law 1 later, only its rows are refused."""
    try:
        trace(template.write, WITH_SYSTEM[:2], reply=True)
        if template.system_fault:
            return
        whole = template.example(WITH_SYSTEM, tokenizer)
    except Refused:
        return
    _check_talk(template, WITH_SYSTEM, whole, tokenizer)


def _spelling(talk: Conversation, tokens: Sequence[str]) -> Conversation:
    """The same talk with these tokens in every message."""
    messages = [replace(message, content=f"{message.content} {' '.join(tokens)}") for message in talk.messages]
    return Conversation(tuple(messages), talk.source)
