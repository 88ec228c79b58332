"""Data from outside become a typed configuration, or a refusal that names every wrong field."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from webapp.errors import Invalid

M = TypeVar("M", bound=BaseModel)


def read(kind: type[M], data: Any) -> M:
    """Validate outside data. Raises Invalid, which names the first wrong field and lists all of them."""
    if hasattr(data, "dict") and callable(data.dict):
        data = data.dict()
    if not isinstance(data, dict):
        raise Invalid("The request's body is not an object.", field="body", fix="send a JSON object")
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        errors = error.errors()
        rows = [{"field": ".".join(map(str, e["loc"])) or "body", "detail": e["msg"]} for e in errors]
        # What is missing has no value: there pydantic gives all that was sent, passwords too.
        secret = errors[0]["type"] == "missing" or "password" in rows[0]["field"]
        value = None if secret else errors[0].get("input")
        raise Invalid(rows[0]["detail"], field=rows[0]["field"], value=value, errors=rows) from None
