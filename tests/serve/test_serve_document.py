"""Requests made from the served OpenAPI document, good and bad ones: never a 5xx, and every reply is as it says.

Not asked of the server: that whatever fits the schema is answered. A conversation has an order, a prompt has to fit, a
model has to be there; no schema says so.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import one_of
from running_server import WAIT, Running, paced
from schemathesis import GenerationMode, checks
from tiny_models import tiny_checkpoint

CHECKS = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
    checks.unsupported_method,
]


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with Running({"m": tiny_checkpoint("chatml", n_positions=64), "endless": paced(window=64, tame=True)}) as server:
        yield server


OPERATIONS = (
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/completions"),
    ("POST", "/tokenize"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/{name}"),
    ("GET", "/health"),
    ("GET", "/metrics"),
    ("GET", "/version"),
)
HEALTH = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]


@pytest.fixture(scope="module")
def document(running: Running) -> Any:
    return schemathesis.openapi.from_url(f"{running.url}/openapi.json")


def conform(document: Any, method: str, path: str, how: settings) -> None:
    """Requests that fit the document and requests that do not, half and half."""
    operation = document[path][method]
    modes = [operation.as_strategy(generation_mode=GenerationMode.POSITIVE).map(answerable)]
    if method != "GET":  # without a body there is not much that could be wrong
        modes.append(operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))

    @how
    @given(case=one_of(modes))
    def each(case: Any) -> None:
        check(case)

    each()


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_a_hundred_requests_get_what_the_document_says(document: Any, method: str, path: str) -> None:
    how = settings(max_examples=100, deadline=None, derandomize=True, database=None, suppress_health_check=HEALTH)
    conform(document, method, path, how)


@pytest.mark.long
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_a_thousand_requests_get_what_the_document_says(document: Any, method: str, path: str) -> None:
    conform(document, method, path, settings(max_examples=1000, deadline=None, suppress_health_check=HEALTH))


def answerable(case: Any) -> Any:
    """A request whose model is there and, as often as not, whose prompt fits: else few would get as far as an answer."""
    body = case.body
    if isinstance(body, dict) and isinstance(body.get("model"), str):
        case.body = {**body, "model": ("m", "endless")[len(body["model"]) % 2]}
        if len(body) % 2:
            short = {"messages": [{"role": "user", "content": "hi"}], "prompt": "hi"}
            case.body |= {name: value for name, value in short.items() if name in body}
    return case


def check(case: Any) -> None:
    case.call_and_validate(checks=CHECKS, timeout=WAIT)  # ten seconds are few on a busy machine


def test_the_document_names_every_path_and_no_422(running: Running) -> None:
    with running.web() as web:
        document = web.get("/openapi.json").json()
    assert set(document["paths"]) == {
        "/v1/chat/completions", "/v1/completions", "/v1/models", "/v1/models/{name}",
        "/health", "/metrics", "/version", "/tokenize",
    }  # fmt: skip
    assert "422" not in str(document["paths"])
    assert "ValidationError" not in str(document)
