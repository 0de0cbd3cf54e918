"""The requests: chat completions, completions, tokenize. Each becomes an `Asked`, in our own words."""

from typing import Annotated, Any, Literal

from pydantic import Field

from chatwright.errors import DataError
from chatwright.serve import errors
from chatwright.serve.asked import Asked, Prompt
from chatwright.serve.schema.reading import Part, Unserved, check_unsupported, unknown
from chatwright.text.records import Conversation, Message, Role

MOST_PROMPTS = 128  # sequences of one request to /v1/completions
LIKELIEST_ONLY = 1e-9  # OpenAI's top_p may be 0
NO_TOOLS = "this server calls no tools or functions"

Stop = Annotated[str, Field(min_length=1, max_length=1000)]
TokenId = Annotated[int, Field(ge=0, lt=2**31)]
TokenKey = Annotated[str, Field(pattern=r"^[0-9]{1,9}$")]
# fail_fast: of a million wrong entries the first is enough; an error for each would take gigabytes.
Ids = Annotated[list[TokenId], Field(min_length=1, fail_fast=True)]
Bias = Annotated[float, Field(ge=-100, le=100)]

# Known and not served: name -> what is missing, and the values that ask for nothing and pass.
UNSUPPORTED: dict[str, Unserved] = {
    "audio": ("answers are text, never sound", ()),
    "best_of": ("only n answers are written, and all are sent", (1,)),
    "function_call": (NO_TOOLS, ("none", "auto")),
    "functions": (NO_TOOLS, ([],)),
    "modalities": ("answers are text and nothing else", (["text"],)),
    "moderation": ("nothing here moderates", ()),
    "prediction": ("answers cannot be predicted in a request", ()),
    "reasoning_effort": ("no model here reasons apart from its answer", ("none",)),
    "response_format": ("answers are free text and cannot be held to JSON", ({"type": "text"},)),
    "service_tier": ("there is one tier", ("auto", "default")),
    "store": ("nothing is stored", (False,)),
    "suffix": ("texts are continued at their end, and no gap is filled", ("",)),
    "tool_choice": (NO_TOOLS, ("none", "auto")),
    "tools": (NO_TOOLS, ([],)),
    "verbosity": ("how long an answer is, max_tokens and the prompt say", ("medium",)),
    "web_search_options": ("nothing here searches the web", ()),
}
IN_MESSAGES: dict[str, Unserved] = {
    "tool_calls": (NO_TOOLS, ([],)),
    "function_call": (NO_TOOLS, ()),
    "audio": ("messages are text, never sound", ()),
    "tool_call_id": (NO_TOOLS, ()),
}
# Known, and without any effect here.
WITHOUT_EFFECT = {"metadata", "parallel_tool_calls", "safety_identifier", "user"} | {
    f"prompt_cache_{name}" for name in ("key", "options", "retention")
}
IN_OPTIONS = {"include_obfuscation"}  # of streams: what would be added against eavesdroppers


class StreamOptions(Part):
    """What a stream tells beside the answer."""

    include_usage: bool | None = None


class Knobs(Part):
    """The fields that both kinds of completion share. top_k, min_p, repetition_penalty and truncate are extensions."""

    model: str
    n: int | None = Field(default=None, ge=1, le=8)
    max_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, ge=0, le=1)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    logit_bias: Annotated[dict[TokenKey, Bias], Field(max_length=300, fail_fast=True)] | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=4, fail_fast=True)] | None = None
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    top_k: int | None = Field(default=None, ge=-1, lt=2**31)
    min_p: float | None = Field(default=None, ge=0, le=1)
    repetition_penalty: float | None = Field(default=None, ge=0.01, le=100)
    truncate: bool | None = None

    def wanted(self) -> Asked:
        """The request in our words. Raises Refused."""
        raise NotImplementedError

    def check(self) -> None:
        """Raises Refused for what no server could do, or this one does not."""
        check_unsupported(self, UNSUPPORTED | {"best_of": (UNSUPPORTED["best_of"][0], (1, self.n))})
        if self.stream_options is not None and not self.stream:
            raise errors.wrong('stream_options is only for a stream; send "stream": true', "stream_options")

    def knobs(self, logprobs: int | None) -> dict[str, Any]:
        """The fields of Sampling that are given, by its names."""
        stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        given: dict[str, Any] = {
            "temperature": self.temperature,
            "top_p": None if self.top_p is None else max(self.top_p, LIKELIEST_ONLY),
            "top_k": None if self.top_k is None else max(self.top_k, 0),
            "min_p": self.min_p,
            "repetition_penalty": self.repetition_penalty,
            "presence_penalty": self.presence_penalty,
            "frequency_penalty": self.frequency_penalty,
            "logit_bias": tuple((int(number), bias) for number, bias in (self.logit_bias or {}).items()) or None,
            "stop": stop or None,
            "seed": self.seed,
            "logprobs": logprobs,
        }
        return {name: value for name, value in given.items() if value is not None}

    def asked(self, prompts: tuple[Prompt, ...], most: int | None, logprobs: int | None, echo: bool = False) -> Asked:
        """The request in our words."""
        usage = self.stream_options is not None and bool(self.stream_options.include_usage)
        return Asked(
            model=self.model,
            prompts=prompts,
            n=self.n or 1,
            max_tokens=most,
            knobs=self.knobs(logprobs),
            stream=bool(self.stream),
            usage=usage,
            truncate=bool(self.truncate),
            echo=echo,
            ignored=tuple(sorted(self.unknown())),
        )

    def unknown(self) -> set[str]:
        """The names of the fields that nobody knows, those inside others with their place."""
        found = unknown(self, UNSUPPORTED.keys() | WITHOUT_EFFECT)
        return (
            found
            if self.stream_options is None
            else found | unknown(self.stream_options, IN_OPTIONS, "stream_options.")
        )


class TextPart(Part):
    """A piece of a message; pictures, sounds and files are not read."""

    type: Literal["text"]
    text: str


class ChatMessage(Part):
    """One message; `developer` is the newer name of `system`."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | Annotated[list[TextPart], Field(fail_fast=True)]
    name: str | None = None

    def message(self) -> Message:
        """The message in our words; the texts of several parts are lines."""
        role: Role = "system" if self.role == "developer" else self.role
        parts = [self.content] if isinstance(self.content, str) else [part.text for part in self.content]
        return Message(role, "\n".join(parts), name=self.name)


Messages = Annotated[list[ChatMessage], Field(min_length=1, max_length=1024, fail_fast=True)]


class ChatRequest(Knobs):
    """The body of /v1/chat/completions."""

    messages: Messages
    max_completion_tokens: int | None = Field(default=None, ge=1)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)

    def wanted(self) -> Asked:
        """The request in our words. Raises Refused."""
        self.check()
        if self.top_logprobs is not None and not self.logprobs:
            raise errors.wrong('top_logprobs needs "logprobs": true', "top_logprobs")
        most = self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens
        logprobs = (self.top_logprobs or 0) if self.logprobs else None
        return self.asked((conversation_of(self.messages),), most, logprobs)

    def unknown(self) -> set[str]:
        """Of all messages together, what one of them has."""
        inside = (unknown(message, IN_MESSAGES, "messages[].") for message in self.messages)
        return super().unknown().union(*inside)


class CompletionRequest(Knobs):
    """The body of /v1/completions: a text, or ids, or several of either, each continued on its own."""

    prompt: (
        str
        | Annotated[list[str], Field(min_length=1, max_length=MOST_PROMPTS, fail_fast=True)]
        | Ids
        | Annotated[list[Ids], Field(min_length=1, max_length=MOST_PROMPTS, fail_fast=True)]
    )
    echo: bool | None = None
    logprobs: int | None = Field(default=None, ge=0, le=20)

    def wanted(self) -> Asked:
        """The request in our words. Raises Refused."""
        self.check()
        if self.echo and self.logprobs is not None:
            raise errors.unsupported("echo", "log-probabilities of the prompt are not computed")
        prompts = self._prompts()
        if len(prompts) * (self.n or 1) > MOST_PROMPTS:
            raise errors.wrong(f"prompts times n is more than {MOST_PROMPTS}; send several requests", "prompt")
        return self.asked(prompts, self.max_tokens, self.logprobs, bool(self.echo))

    def _prompts(self) -> tuple[Prompt, ...]:
        if isinstance(self.prompt, str):
            return (self.prompt,)
        if isinstance(self.prompt[0], int):
            return (tuple(number for number in self.prompt if isinstance(number, int)),)
        return tuple(
            part if isinstance(part, str) else tuple(part) for part in self.prompt if not isinstance(part, int)
        )


class TokenizeRequest(Part):
    """The body of /tokenize: a text as it stands, or messages as a model reads them."""

    model: str
    text: str | None = None
    messages: Messages | None = None

    def wanted(self) -> Asked:
        """The request in our words. Raises Refused."""
        if (self.text is None) == (self.messages is None):
            raise errors.wrong("send either text or messages", "text")
        prompt = conversation_of(self.messages) if self.messages is not None else self.text or ""
        return Asked(self.model, (prompt,))


def conversation_of(messages: list[ChatMessage]) -> Conversation:
    """The messages as a conversation that waits for an answer. Raises Refused naming the one that is wrong."""
    for number, message in enumerate(messages):
        check_unsupported(message, IN_MESSAGES, f"messages[{number}].")
    try:
        return Conversation(tuple(message.message() for message in messages))
    except DataError as error:
        raise errors.wrong(str(error), "messages") from None
