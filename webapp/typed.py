"""Typed input and output of the API: pydantic models checked at the door and shown in the OpenAPI schema."""

from __future__ import annotations

from typing import Any, TypeVar

from drf_spectacular.extensions import OpenApiSerializerExtension
from drf_spectacular.plumbing import ResolvedComponent
from pydantic import BaseModel, ValidationError

from webapp.refusal import Invalid

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
        found = [{"field": ".".join(map(str, e["loc"])) or "body", "detail": e["msg"]} for e in error.errors()]
        raise Invalid(
            found[0]["detail"], field=found[0]["field"], value=error.errors()[0].get("input"), errors=found
        ) from None


class PydanticComponent(OpenApiSerializerExtension):
    """Lets a pydantic model stand wherever drf-spectacular takes a serializer."""

    target_class = "pydantic.BaseModel"
    match_subclasses = True

    def get_name(self, auto_schema: Any, direction: str) -> str:
        return str(self.target.__name__)

    def map_serializer(self, auto_schema: Any, direction: str) -> dict[str, Any]:
        mode = "validation" if direction == "request" else "serialization"
        schema = self.target.model_json_schema(ref_template="#/components/schemas/{model}", mode=mode)
        for name, inner in schema.pop("$defs", {}).items():
            component = ResolvedComponent(name=name, type=ResolvedComponent.SCHEMA, object=name, schema=inner)
            auto_schema.registry.register_on_missing(component)
        return dict(schema)
