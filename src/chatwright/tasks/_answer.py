"""What a reply is held against: each grader says, as a model of its own, which answers it can use.

The answer is read whole before the reply is looked at, so one that a grader cannot use fails for every reply alike.
"""

import re
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Field, StringConstraints, ValidationError

from chatwright.errors import DataError
from chatwright.registry import suggestion

Text = Annotated[str, StringConstraints(pattern=r"\S")]  # a blank spelling would be found in every reply
Texts = Annotated[list[Text], Field(min_length=1)]
Groups = Annotated[list[Texts], Field(min_length=1)]
Number = Annotated[float, Field(allow_inf_nan=False)]
AnswerT = TypeVar("AnswerT", bound=BaseModel)


def read(kind: type[AnswerT], answer: dict[str, Any]) -> AnswerT:
    """The answer in its grader's types; raises DataError for what is missing, unknown or of another type."""
    unknown = [name for name in answer if name not in kind.model_fields]
    if unknown:
        near = suggestion(unknown[0], kind.model_fields)
        raise DataError(f"the answer has {unknown[0]!r}{near}; known are {', '.join(kind.model_fields)}")
    try:
        return kind.model_validate(answer)
    except ValidationError as error:
        raise DataError(_sentence(error)) from None


def _sentence(error: ValidationError) -> str:
    """`the answer's 'groups.0' must be a valid list`."""
    first = error.errors(include_url=False, include_input=False)[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "missing":
        return f"the answer has no {name!r}"
    if first["type"] == "string_pattern_mismatch":
        return f"the answer's {name!r} is blank"
    wish = re.sub(r"^(Input|List|Dictionary|String) should ", "must ", first["msg"])
    return f"the answer's {name!r} {wish}" if name else wish
