"""What is said of a request that is wrong: one sentence about one fault, however many there are."""

import json
from typing import Any

import pytest
from pydantic import ValidationError
from running_server import chat

from chatwright.serve.errors import Refused
from chatwright.serve.schema.reading import Part, read
from chatwright.serve.schema.requests import ChatRequest, CompletionRequest

MANY_FAULTS: dict[str, tuple[type[Part], dict[str, Any]]] = {
    "numbers as prompts": (CompletionRequest, {"prompt": [1.5] * 10_000}),
    "prompts of nothing": (CompletionRequest, {"prompt": [[]] * 10_000}),
    "a prompt of texts and numbers": (CompletionRequest, {"prompt": [[1.5] * 10_000] * 3}),
    "parts": (ChatRequest, chat() | {"messages": [{"role": "user", "content": [1] * 10_000}]}),
    "messages": (ChatRequest, chat() | {"messages": [1] * 1000}),
    "stops": (ChatRequest, chat(stop=[1] * 10_000)),
    "biases": (ChatRequest, chat(logit_bias={f"a{number}": "b" for number in range(10_000)})),
}


@pytest.mark.parametrize("name", MANY_FAULTS)
def test_the_first_of_many_faults_is_enough(name: str) -> None:
    """An error for each of the million that a body has room for would take gigabytes, and seconds of every stream."""
    model, body = MANY_FAULTS[name]
    with pytest.raises(ValidationError) as wrong:
        model.model_validate_json(json.dumps({"model": "m", **body}))
    assert wrong.value.error_count() < 10


@pytest.mark.parametrize(
    ("model", "body", "says"),
    [
        (ChatRequest, chat(stop=list("abcde")), "stop: List should have at most 4 items"),
        (ChatRequest, chat(stop="x" * 1001), "stop: String should have at most 1000 characters"),
        (CompletionRequest, {"prompt": ["a"] * 129}, "prompt: List should have at most 128 items"),
        (CompletionRequest, {"prompt": [1, "a"]}, "prompt[1]: must be a valid integer"),
        (CompletionRequest, {"prompt": [[1], [-1]]}, "prompt[1][0]: must be greater than or equal to 0"),
        (ChatRequest, {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0]"),
    ],
)
def test_where_a_field_may_be_of_several_kinds_the_sentence_is_about_the_one_that_was_meant(
    model: type[Part], body: dict[str, Any], says: str
) -> None:
    with pytest.raises(Refused) as refused:
        read(model, json.dumps({"model": "m", **body}).encode())
    assert refused.value.message.startswith(says)
