"""The replies as models: what a whole answer is made of, and what the served OpenAPI document says of all of them."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

Reason = Literal["stop", "length"]
# The engine's five ways to end, as OpenAI's two. A cancelled sequence has nobody left who would read why.
REASONS: dict[str, Reason] = {
    "stop": "stop",
    "string": "stop",
    "length": "length",
    "context": "length",
    "cancelled": "stop",
}


class Reply(BaseModel):
    """A part of a reply."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())


class CachedTokens(Reply):
    """How much of the prompt had been read before."""

    cached_tokens: int


class Usage(Reply):
    """Tokens: a prompt counts once, its n answers all."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: CachedTokens


class Truncated(Reply):
    """What was left out of a prompt that was too long, because the request allowed it: ours, no field of OpenAI's."""

    messages: int = 0
    tokens: int = 0


class TopLogprob(Reply):
    """A token that was likely in a place. `bytes` are the token's own, where `token` has U+FFFD for a part of a character."""

    token: str
    logprob: float
    bytes: list[int]


class TokenLogprob(TopLogprob):
    """The token that was chosen, and the likeliest in its place."""

    top_logprobs: list[TopLogprob]


class ChatLogprobs(Reply):
    """One entry for each token of the answer."""

    content: list[TokenLogprob]
    refusal: None = None


class ChatAnswer(Reply):
    """The message of a choice."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class ChatChoice(Reply):
    """One of the n answers."""

    index: int
    message: ChatAnswer
    finish_reason: Reason
    logprobs: ChatLogprobs | None = None


class ChatCompletion(Reply):
    """The reply of /v1/chat/completions."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage
    truncated: Truncated | None = None


class TextLogprobs(Reply):
    """Four lists, one entry of each for a token; offsets are characters from the start of the text."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class TextChoice(Reply):
    """One continuation."""

    index: int
    text: str
    finish_reason: Reason
    logprobs: TextLogprobs | None = None


class Completion(Reply):
    """The reply of /v1/completions."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[TextChoice]
    usage: Usage
    truncated: Truncated | None = None


class ModelCard(Reply):
    """One model that is served."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "chatwright"


class ModelList(Reply):
    """The reply of /v1/models."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


class Tokens(Reply):
    """The reply of /tokenize."""

    tokens: list[int]
    count: int
    context_length: int


class Health(Reply):
    """The reply of /health: ok, or why no work is taken."""

    status: str


class Version(Reply):
    """The reply of /version."""

    version: str


class ErrorObject(Reply):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorReply(Reply):
    """The reply of every request that is not answered."""

    error: ErrorObject


def usage_of(prompt: int, generated: int, reused: int) -> dict[str, Any]:
    """The counts of a request as Usage has them."""
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=generated,
        total_tokens=prompt + generated,
        prompt_tokens_details=CachedTokens(cached_tokens=reused),
    ).model_dump()
