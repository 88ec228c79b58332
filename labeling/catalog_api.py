"""The REST door of everything that can be chosen in labeling."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import viewsets
from rest_framework.request import Request
from rest_framework.response import Response

from labeling import catalogs
from webapp.accounts.tokens import ScopeByMethod


class Catalogs(viewsets.ViewSet):
    permission_classes = [ScopeByMethod]

    @extend_schema(responses=OpenApiTypes.OBJECT)
    def list(self, request: Request) -> Response:
        """What can be chosen: import formats, crowd models, release formats, with the options of each."""

        def rows(catalog: Any) -> list[dict[str, Any]]:
            return [
                {"name": o.name, "title": o.title, "source": o.source, "options": o.config.model_json_schema()}
                for o in catalog
            ]

        return Response(
            {
                "import_formats": rows(catalogs.import_formats),
                "crowd_models": rows(catalogs.crowd_models),
                "release_formats": rows(catalogs.release_formats),
            }
        )
