"""What every list of the REST API shares."""

from __future__ import annotations

from rest_framework import mixins, viewsets

from webapp.accounts.tokens import ScopeByMethod


class Listed(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet):
    """A list and its single things, addressed by UUID."""

    permission_classes = [ScopeByMethod]
    lookup_field = "uuid"
    lookup_url_kwarg = "id"
    lookup_value_converter = "uuid"
