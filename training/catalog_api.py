"""The REST door of everything that can be chosen."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from pydantic import BaseModel, Field
from rest_framework import viewsets
from rest_framework.request import Request
from rest_framework.response import Response

from labeling.catalogs import crowd_models, import_formats, release_formats
from training.catalogs import harvesters, training_methods
from webapp.accounts.tokens import ScopeByMethod
from webapp.catalog import Catalog


class OfferShape(BaseModel):
    name: str
    title: str
    source: str
    options: dict[str, Any] = Field(description="JSON schema of its options")


class CatalogsShape(BaseModel):
    import_formats: list[OfferShape]
    crowd_models: list[OfferShape]
    release_formats: list[OfferShape]
    training_methods: list[OfferShape]
    harvesters: list[OfferShape]


def _rows(catalog: Catalog[Any]) -> list[OfferShape]:
    return [
        OfferShape(name=o.name, title=o.title, source=o.source, options=o.config.model_json_schema()) for o in catalog
    ]


class Catalogs(viewsets.ViewSet):
    permission_classes = [ScopeByMethod]

    @extend_schema(responses=CatalogsShape)
    def list(self, request: Request) -> Response:
        """What can be chosen: import formats, crowd models, release formats, training methods, harvesters, with the options of each."""
        shape = CatalogsShape(
            import_formats=_rows(import_formats),
            crowd_models=_rows(crowd_models),
            release_formats=_rows(release_formats),
            training_methods=_rows(training_methods),
            harvesters=_rows(harvesters),
        )
        return Response(shape.model_dump(mode="json"))
