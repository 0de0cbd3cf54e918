"""A request that is not answered: the status and the error object, in OpenAI's form, each kind made in one place.

422 is never among them. What may be asked again says when (Retry-After, small: clients give up on long ones).
"""

from typing import Any


class Refused(Exception):
    """The request ends with this. `param` names the field that is wrong; `retry_after` are whole seconds."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.kind = status, message, kind
        self.param, self.code, self.retry_after = param, code, retry_after

    @property
    def body(self) -> dict[str, Any]:
        """The error object that every client of this API reads."""
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}

    @property
    def headers(self) -> dict[str, str]:
        """What goes beside the error object."""
        headers = {} if self.retry_after is None else {"retry-after": str(self.retry_after)}
        return headers | ({"www-authenticate": "Bearer"} if self.status == 401 else {})


def wrong(message: str, param: str | None = None, code: str | None = None) -> Refused:
    """Something in the request is not as it must be."""
    return Refused(400, message, param=param, code=code)


def unsupported(param: str, what: str) -> Refused:
    """A field that is known and that this server has nothing behind."""
    return wrong(f"{param}: {what}; leave it out", param, "unsupported_parameter")


def too_long(prompt: int, context: int, param: str, *, at_least: bool = False) -> Refused:
    """The prompt leaves no room for an answer."""
    count = f"at least {prompt}" if at_least else str(prompt)
    return wrong(
        f"the prompt has {count} tokens, but the context of this model is {context} with its answer; "
        'shorten it, or send "truncate": true to leave out what is oldest',
        param,
        "context_length_exceeded",
    )


def unknown_model(name: str, known: list[str]) -> Refused:
    """A model that was not named when the server started."""
    shown = name if len(name) <= 80 else name[:77] + "..."
    message = f"the model {shown!r} is not served here; there is {', '.join(known)}"
    return Refused(404, message, param="model", code="model_not_found")


def misdirected(method: str, path: str, status: int) -> Refused:
    """A path that is none (404), or a method that is not for it (405)."""
    shown = path if len(path) <= 80 else path[:77] + "..."
    if status == 405:
        return Refused(status, f"{method} is not for {shown}; the header Allow says what is")
    message = (
        f"there is no {shown} here; OpenAI's API is at /v1/chat/completions, /v1/completions and /v1/models, "
        "so the base URL of a client ends with /v1"
    )
    return Refused(status, message, code="unknown_path")


def bad_key(given: bool) -> Refused:
    """No key, or none that is known: the sentence never shows what was sent."""
    what = "the API key is wrong" if given else "there is no API key"
    message = f"{what}; send the header Authorization: Bearer KEY"
    return Refused(401, message, kind="authentication_error", code="invalid_api_key")


def forbidden(message: str) -> Refused:
    """Asked under a name that this server does not answer to."""
    return Refused(403, message, kind="permission_error", code="host_not_allowed")


def too_large(message: str, status: int = 413) -> Refused:
    """More bytes than are read; 431 where they are headers."""
    return Refused(status, message, code="request_too_large")


def late(message: str) -> Refused:
    """The body did not come in time."""
    return Refused(408, message, code="request_timeout")


def busy(retry_after: float) -> Refused:
    """Every place and the whole queue are taken."""
    seconds = min(30, max(1, round(retry_after)))
    message = f"the queue is full; ask again in {seconds} s"
    return Refused(429, message, kind="rate_limit_error", code="slow_down", retry_after=seconds)


def unavailable(why: str, retry_after: int = 2) -> Refused:
    """Loading, draining, or broken."""
    message = f"the server {why}; ask again later"
    return Refused(503, message, kind="server_error", code="server_is_overloaded", retry_after=retry_after)


def failed() -> Refused:
    """Ours, not the caller's; what went wrong stands in the server's log."""
    return Refused(500, "the server failed at this request", kind="server_error", code="internal_error")
