"""What the doors of the REST API share."""

from __future__ import annotations

from typing import Any

from rest_framework import mixins, viewsets
from rest_framework.response import Response

from webapp.accounts.tokens import ScopeByMethod


class Listed(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet):
    """A list and its single things, addressed by UUID."""

    permission_classes = [ScopeByMethod]
    lookup_field = "uuid"
    lookup_url_kwarg = "id"
    lookup_value_converter = "uuid"


def with_old_names(response: Response, **new_of: str) -> Response:
    """The same answer, its object or each object of its page also under old names, for one release: `new_of[old] = new`.

    The header says since when they are deprecated. Source: RFC 9745.
    """
    rows: list[dict[str, Any]] = response.data.get("results", [response.data])
    for row in rows:
        row.update({old: row[new] for old, new in new_of.items()})
    response["Deprecation"] = DEPRECATED_SINCE
    return response


DEPRECATED_SINCE = "@1795737600"  # 2026-11-27
