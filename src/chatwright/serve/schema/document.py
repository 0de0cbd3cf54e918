"""The OpenAPI document: what FastAPI is told of each route, and the bodies of requests, which it does not parse."""

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from chatwright.serve.schema import replies
from chatwright.serve.schema.requests import ChatRequest, CompletionRequest, TokenizeRequest

PLACE = "#/components/schemas/{model}"
REQUESTS = (ChatRequest, CompletionRequest, TokenizeRequest)
EVENT = {"type": "object", "properties": {"data": {"type": "string"}}, "required": ["data"]}  # a chunk, or [DONE]
REFUSALS = {
    400: "something in the request is wrong, and its name is in param",
    401: "no API key, or a wrong one",
    403: "asked under the name of a host that is not allowed",
    404: "no such model, or no such path",
    405: "no such method for this path",
    408: "the body did not come in time",
    413: "the body is too large",
    415: "the body is not JSON",
    429: "the queue is full: ask again after Retry-After seconds",
    431: "the headers are too large",
    500: "the server failed",
    503: "loading, shutting down or broken: ask again after Retry-After seconds",
}


def operation(body: type[BaseModel] | None, reply: type[BaseModel] | None, *, stream: bool = False) -> dict[str, Any]:
    """What FastAPI is told of a route: its body, its reply, and how it refuses. None as a reply is plain text."""
    refusals: dict[int | str, dict[str, Any]] = {
        status: {"model": replies.ErrorReply, "description": says} for status, says in REFUSALS.items()
    }
    if reply is None:
        good: dict[str, Any] = {"content": {"text/plain": {"schema": {"type": "string"}}}}
    else:
        good = {"model": reply}
    if stream:
        good["content"] = {"text/event-stream": {"schema": EVENT}}
    told: dict[str, Any] = {"response_model": None, "responses": {200: {**good, "description": "fine"}, **refusals}}
    if body is not None:
        content = {"application/json": {"schema": {"$ref": PLACE.format(model=body.__name__)}}}
        told["openapi_extra"] = {"requestBody": {"required": True, "content": content}}
    return told


def completed(document: dict[str, Any]) -> dict[str, Any]:
    """The document with the schemas of the requests, and without the validation error that nothing here gives."""
    _, found = models_json_schema([(model, "validation") for model in REQUESTS], ref_template=PLACE)
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas.update(found["$defs"])
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for path in document["paths"].values():
        for one in path.values():
            one["responses"].pop("422", None)
    return document
