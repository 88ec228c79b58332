"""REST doors to training runs and models."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import QuerySet
from django.http import FileResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from pydantic import BaseModel, ConfigDict, Field
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from labeling.api.views import Listed
from labeling.models import Release
from training import runs
from training.models import Model, Run
from webapp.accounts.roles import STAFF, Role, require
from webapp.refusal import Invalid
from webapp.typed import read


class RunShape(serializers.ModelSerializer):
    id = serializers.UUIDField(source="uuid", read_only=True)
    release = serializers.UUIDField(source="release.uuid", read_only=True)
    job = serializers.UUIDField(source="job.uuid", read_only=True)
    state = serializers.CharField(source="job.state", read_only=True)
    model = serializers.SerializerMethodField()

    class Meta:
        model = Run
        fields = read_only_fields = [
            "id",
            "name",
            "release",
            "method",
            "config",
            "state",
            "job",
            "metrics",
            "model",
            "created_at",
        ]

    def get_model(self, run: Run) -> str | None:
        return str(run.model.uuid) if hasattr(run, "model") else None


class ModelShape(serializers.ModelSerializer):
    id = serializers.UUIDField(source="uuid", read_only=True)
    run = serializers.UUIDField(source="run.uuid", read_only=True)

    class Meta:
        model = Model
        fields = read_only_fields = ["id", "name", "version", "run", "sha256", "bytes", "keypoints", "created_at"]


class RunRequest(BaseModel):
    """A run to be: a release, a preset, and what to change of it."""

    model_config = ConfigDict(extra="forbid")
    release: UUID
    name: str = Field("", max_length=120)
    method: str = "lifter"
    preset: str = "nearer"
    options: dict[str, Any] = Field(default_factory=dict)
    start_from: UUID | None = Field(None, description="a model to fine-tune")


class Runs(Listed):
    queryset = Run.objects.none()
    serializer_class = RunShape
    throttle_scope = "heavy"

    def get_throttles(self) -> list[Any]:
        return super().get_throttles() if self.action == "create" else []

    def get_queryset(self) -> QuerySet[Run]:
        if not self.request.user.is_one_of(*STAFF, Role.RESEARCHER):
            return Run.objects.none()
        return Run.objects.select_related("release", "job", "model").order_by("-created_at", "-pk")

    @extend_schema(request=RunRequest, responses={201: RunShape})
    def create(self, request: Request) -> Response:
        """Start training on a release."""
        require(request.user, Role.ADMIN, Role.RESEARCHER)
        asked = read(RunRequest, request.data)
        release = Release.objects.select_related("campaign__dataset__skeleton").filter(uuid=asked.release).first()
        if release is None:
            raise Invalid("No such release.", field="release", value=asked.release)
        run = runs.start(request.user, release, **asked.model_dump(exclude={"release"}))
        return Response(RunShape(run).data, 201)

    @extend_schema(responses=OpenApiTypes.OBJECT)
    @action(detail=True)
    def curves(self, request: Request, id: UUID) -> Response:
        """Losses and held-out order errors after each epoch."""
        run = self.get_object()
        return Response(curves_of(run))


def curves_of(run: Run, most: int = 600) -> dict[str, Any]:
    """Epochs and one list per value; thinned evenly to at most `most` points."""
    rows = list(run.points.order_by("epoch").values_list("epoch", "values"))
    rows = rows[:: max(1, -(-len(rows) // most))] if len(rows) > most else rows
    names = sorted({name for _, values in rows for name in values})
    return {"epoch": [e for e, _ in rows], "series": {n: [v.get(n) for _, v in rows] for n in names}}


class Models(Listed):
    queryset = Model.objects.none()
    serializer_class = ModelShape

    def get_queryset(self) -> QuerySet[Model]:
        if not self.request.user.is_one_of(*STAFF, Role.RESEARCHER):
            return Model.objects.none()
        return Model.objects.select_related("run").order_by("-created_at", "-pk")

    @extend_schema(responses={(200, "application/octet-stream"): OpenApiTypes.BINARY})
    @action(detail=True)
    def weights(self, request: Request, id: UUID) -> FileResponse:
        """The model as a safetensors file."""
        model = self.get_object()
        path = Path(settings.MEDIA_ROOT) / model.path
        return FileResponse(path.open("rb"), as_attachment=True, filename=f"{model.uuid}.safetensors")
