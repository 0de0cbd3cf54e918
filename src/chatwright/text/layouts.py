"""The three templates written here: where the text and the control tokens of each message go, in Python and in Jinja.

In: a Conversation. Out: Pieces, which `text/template.py` joins into runs and turns into ids. Contents are stripped, as
by `|trim`. Each Jinja text must place every character as its function does; tests hold the two against each other.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from chatwright.text.records import Conversation, Message

END_OF_TEXT = "<|endoftext|>"  # stands for the vocabulary's own end of text, whatever that one is spelled


@dataclass(frozen=True)
class Piece:
    """Some text, or one control token, of a rendered conversation."""

    text: str
    learned: bool = False
    control: bool = False  # `text` is the spelling of one token and becomes its id
    cut: bool = False  # a run of text starts here, because an assistant's answer does


@dataclass(frozen=True)
class Layout:
    """One way to write a conversation: `pieces(conversation)`, then `header` where the assistant speaks next."""

    pieces: Callable[[Conversation], Iterator[Piece]]
    header: tuple[Piece, ...]
    end: str  # the control token that ends an assistant's turn
    roles: tuple[str, ...]
    jinja: str
    special_tokens: tuple[str, ...] = ()
    stop_strings: tuple[str, ...] = ()


# ---- plain: [S\n\n]User: U\nAssistant: A<|endoftext|>, next turn \nUser: U\nAssistant: A<|endoftext|>

PLAIN_HEADER = (Piece("\nAssistant:"),)


def plain(conversation: Conversation) -> Iterator[Piece]:
    """The space after `Assistant:` opens the answer, because byte-level regexes keep a space with the word after it."""
    after_answer = ""
    for message in conversation.messages:
        if message.role == "system":
            yield Piece(message.content.strip(), message.learned)
            yield Piece("\n\n")
        elif message.role == "user":
            yield Piece(f"{after_answer}User:")
            yield Piece(f" {message.content.strip()}", message.learned)
        else:
            yield from PLAIN_HEADER
            yield from _answer(f" {message.content.strip()}", message, END_OF_TEXT)
            after_answer = "\n"


PLAIN_JINJA = r"""
{%- for message in messages -%}
    {%- if message['role'] == 'system' -%}
        {{- message['content'] | trim + '\n\n' -}}
    {%- elif message['role'] == 'user' -%}
        {{- ('\n' if loop.previtem is defined and loop.previtem['role'] == 'assistant' else '') + 'User:' -}}
        {{- ' ' + message['content'] | trim -}}
    {%- elif message['role'] == 'assistant' and not message['tool_calls'] -%}
        {{- '\nAssistant:' -}}
        {%- generation -%}{{- ' ' + message['content'] | trim + eos_token -}}{%- endgeneration -%}
    {%- else -%}
        {{- raise_exception('the plain template has no place for tools') -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '\nAssistant:' -}}{%- endif -%}
""".strip()


# ---- chatml: <|im_start|>role\ncontent<|im_end|>\n for every message

IM_START, IM_END = "<|im_start|>", "<|im_end|>"
CHATML_HEADER = (Piece(IM_START, control=True), Piece("assistant\n"))


def chatml(conversation: Conversation) -> Iterator[Piece]:
    """The newline after an answer's `<|im_end|>` is not learned: the model has stopped by then."""
    for message in conversation.messages:
        yield Piece(IM_START, control=True)
        yield Piece(f"{message.role}\n")
        if message.role == "assistant":
            yield from _answer(message.content.strip(), message, IM_END)
        else:
            yield Piece(message.content.strip(), message.learned)
            yield Piece(IM_END, message.learned, control=True)
        yield Piece("\n")


CHATML_JINJA = r"""
{%- for message in messages -%}
    {{- '<|im_start|>' + message['role'] + '\n' -}}
    {%- if message['tool_calls'] -%}
        {{- raise_exception('this chatml template has no place for tool calls') -}}
    {%- elif message['role'] == 'assistant' -%}
        {%- generation -%}{{- message['content'] | trim + '<|im_end|>' -}}{%- endgeneration -%}
    {%- else -%}
        {{- message['content'] | trim + '<|im_end|>' -}}
    {%- endif -%}
    {{- '\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}
""".strip()


# ---- alpaca: preamble, ### Instruction:, [### Input:,] ### Response:, as in https://github.com/tatsu-lab/stanford_alpaca

PREAMBLE = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request."
)  # fmt: skip
PREAMBLE_WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request."
)
INPUT = "\n\n### Input:\n"  # a user's text that holds this heading is an instruction and its input
ALPACA_HEADER = (Piece("\n\n### Response:\n"),)


def alpaca(conversation: Conversation) -> Iterator[Piece]:
    """A system text stands in the preamble's place; later turns repeat the two headings without a preamble."""
    if conversation.messages[0].role != "system":
        yield Piece(PREAMBLE_WITH_INPUT if INPUT in conversation.first_user else PREAMBLE)
    for message in conversation.messages:
        if message.role == "system":
            yield Piece(message.content.strip(), message.learned)
        elif message.role == "user":
            yield Piece("\n\n### Instruction:\n")
            yield Piece(message.content.strip(), message.learned)
        else:
            yield from ALPACA_HEADER
            yield from _answer(message.content.strip(), message, END_OF_TEXT)


ALPACA_JINJA = (
    r"""
{%- for message in messages -%}
    {%- if message['role'] == 'system' -%}
        {{- message['content'] | trim -}}
    {%- elif message['role'] == 'user' -%}
        {%- if loop.first and '\n\n### Input:\n' in message['content'] -%}
            {{- 'PREAMBLE_WITH_INPUT' -}}
        {%- elif loop.first -%}
            {{- 'PREAMBLE' -}}
        {%- endif -%}
        {{- '\n\n### Instruction:\n' + message['content'] | trim -}}
    {%- elif message['role'] == 'assistant' and not message['tool_calls'] -%}
        {{- '\n\n### Response:\n' -}}
        {%- generation -%}{{- message['content'] | trim + eos_token -}}{%- endgeneration -%}
    {%- else -%}
        {{- raise_exception('the alpaca template has no place for tools') -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '\n\n### Response:\n' -}}{%- endif -%}
""".strip()
    .replace("PREAMBLE_WITH_INPUT", PREAMBLE_WITH_INPUT)
    .replace("PREAMBLE", PREAMBLE)
)


def _answer(text: str, message: Message, end: str) -> Iterator[Piece]:
    """An assistant's turn: its text in a run of its own, then the control token that ends it."""
    yield Piece(text, message.learned, cut=True)
    yield Piece(end, message.learned, control=True)


LAYOUTS = {
    "plain": Layout(
        plain, PLAIN_HEADER, END_OF_TEXT, ("system", "user", "assistant"), PLAIN_JINJA, stop_strings=("\nUser:",)
    ),
    "chatml": Layout(
        chatml, CHATML_HEADER, IM_END, ("system", "user", "assistant", "tool"), CHATML_JINJA, (IM_START, IM_END)
    ),
    "alpaca": Layout(alpaca, ALPACA_HEADER, END_OF_TEXT, ("system", "user", "assistant"), ALPACA_JINJA),
}
