"""REST doors of releases and their files."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

from django.conf import settings
from django.db.models import QuerySet
from django.http import FileResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound as RestNotFound

from labeling.campaigns import participants
from labeling.models import Release
from webapp.accounts.models import Account
from webapp.accounts.requests import ApiRequest
from webapp.accounts.roles import READERS
from webapp.api import Listed


class ReleaseShape(serializers.ModelSerializer):
    id = serializers.UUIDField(source="uuid", read_only=True)
    campaign = serializers.UUIDField(source="campaign.uuid", read_only=True)

    class Meta:
        model = Release
        fields = read_only_fields = ["id", "title", "campaign", "number", "note", "manifest", "created_at"]


class Releases(Listed):
    request: ApiRequest
    queryset = Release.objects.none()
    serializer_class = ReleaseShape

    def get_queryset(self) -> QuerySet[Release]:
        if not self.request.user.is_one_of(*READERS):
            return Release.objects.none()
        return Release.objects.select_related("campaign").order_by("-created_at", "-pk")

    @extend_schema(responses={(200, "application/octet-stream"): OpenApiTypes.BINARY})
    @action(detail=True, url_path=r"files/(?P<name>[a-z_]+\.[a-z]+)")
    def files(self, request: ApiRequest, id: UUID, name: str) -> FileResponse:
        """One file of a release."""
        return release_file(request.user, self.get_object(), name)


def release_file(actor: Account, release: Release, name: str) -> FileResponse:
    """A file of a release. Who takes one has seen the campaign's answers and can no longer answer in it."""
    if name not in release.manifest["files"] and name != "manifest.json":
        raise RestNotFound
    if name != "manifest.json":
        participants.note_answers_seen(actor, release.campaign)
    path = Path(settings.MEDIA_ROOT) / release.folder / name
    return FileResponse(path.open("rb"), as_attachment=True, filename=name)
