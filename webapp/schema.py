"""What the REST framework needs of typed input: a strict JSON parser, and pydantic models in the OpenAPI schema."""

from __future__ import annotations

import re
from typing import Any, get_args

from drf_spectacular.extensions import OpenApiSerializerExtension
from drf_spectacular.plumbing import ResolvedComponent
from pydantic import BaseModel
from rest_framework.parsers import JSONParser

from webapp.errors import Invalid


class Json(JSONParser):
    """JSON whose text a database can hold, and that is no deeper than anything we ask for."""

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        try:
            data = super().parse(stream, media_type, parser_context)
        except RecursionError:
            raise Invalid("The JSON is nested too deeply.", field="body") from None
        check_text(data)
        return data


DEEPEST = 60


def check_text(data: Any) -> None:
    """Raises Invalid for a NUL or half a character in any text, and for nesting that nobody needs."""
    level, depth = [data], 0
    while level:
        depth += 1
        if depth > DEEPEST:
            raise Invalid(f"The JSON is nested more than {DEEPEST} deep.", field="body")
        inner: list[Any] = []
        for value in level:
            if isinstance(value, str):
                if UNTEXT.search(value):
                    raise Invalid("Text holds a character that is none (NUL or half a surrogate pair).", field="body")
            elif isinstance(value, dict):
                inner += [*value.keys(), *value.values()]
            elif isinstance(value, list):
                inner += value
        level = inner


UNTEXT = re.compile("[\0\ud800-\udfff]")


class PydanticComponent(OpenApiSerializerExtension):  # type: ignore[no-untyped-call]
    """Lets a pydantic model stand wherever drf-spectacular takes a serializer."""

    target_class = "pydantic.BaseModel"
    match_subclasses = True

    def get_name(self, auto_schema: Any, direction: str) -> str:
        return str(self.target.__name__)

    def map_serializer(self, auto_schema: Any, direction: str) -> dict[str, Any]:
        mode = "validation" if direction == "request" else "serialization"
        schema = self.target.model_json_schema(ref_template="#/components/schemas/{model}", mode=mode)
        for name, inner in schema.pop("$defs", {}).items():
            kind = _inside(self.target).get(name, name)
            component = ResolvedComponent(  # type: ignore[no-untyped-call]
                name=name, type=ResolvedComponent.SCHEMA, object=kind, schema=inner
            )
            auto_schema.registry.register_on_missing(component)
        return dict(schema)


def _inside(kind: Any) -> dict[str, type[BaseModel]]:
    """The models that a model is made of, by name."""
    models: dict[str, type[BaseModel]] = {}
    waiting = [field.annotation for field in kind.model_fields.values()]
    while waiting:
        part = waiting.pop()
        waiting += get_args(part)
        if isinstance(part, type) and issubclass(part, BaseModel) and part.__name__ not in models:
            models[part.__name__] = part
            waiting += [field.annotation for field in part.model_fields.values()]
    return models
