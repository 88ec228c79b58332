"""REST doors to training runs and models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

from django.conf import settings
from django.db.models import QuerySet
from django.http import FileResponse, HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from labeling.models import Release
from training.models import Model, Run
from training.runs import launch, lifts
from webapp.accounts.requests import ApiRequest
from webapp.accounts.roles import READERS, Role, require
from webapp.api import Listed
from webapp.errors import Conflict, Invalid, NotFound
from webapp.jobs.api import JobShape
from webapp.jobs.models import Job
from webapp.typed import read

_UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"


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


_POINT = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2, "nullable": True}
# The schema of what `training.lifter.keypoints` reads, which names the wrong person and keypoint by itself.
PersonToLift = Annotated[
    Any,
    WithJsonSchema(
        {
            "type": "object",
            "required": ["keypoints"],
            "properties": {
                "name": {"type": "string"},
                "keypoints": {
                    "description": "in the model's order, or by name; px, null where absent",
                    "anyOf": [
                        {"type": "array", "items": _POINT},
                        {"type": "object", "additionalProperties": _POINT},
                    ],
                },
                "focal_px": _POINT | {"description": "of this person's camera: fx, fy"},
                "principal_px": _POINT | {"description": "of this person's camera: cx, cy"},
            },
        }
    ),
]


class PredictRequest(BaseModel):
    """People to lift: 2D keypoints in px, in the model's order or by name, null where absent; the camera where known."""

    model_config = ConfigDict(extra="forbid")
    people: list[PersonToLift] = Field(min_length=1, max_length=lifts.MOST)
    focal_px: tuple[float, float] | None = Field(None, description="fx, fy in px")
    principal_px: tuple[float, float] | None = Field(None, description="cx, cy in px")


class RunCurves(BaseModel):
    """`series`: one list per value, in the order of `epoch`."""

    epoch: list[int]
    series: dict[str, list[float | None]]


class ExamplePerson(BaseModel):
    """A person of the held-out pictures: predicted and true pose (mm, root at 0)."""

    model_config = ConfigDict(extra="allow")
    name: str
    error_mm: float | None
    pose_mm: list[tuple[float, float, float]]
    truth_mm: list[tuple[float, float, float]] | None


class RunDetails(BaseModel):
    """What a run's page draws. Empty before the first epoch is measured; errors only where the truth is known."""

    model_config = ConfigDict(extra="allow")
    joints: list[str] = []
    bones: list[tuple[int, int]] = []
    examples: list[ExamplePerson] = []
    worst: list[ExamplePerson] = []
    per_joint: dict[str, list[float]] = {}
    per_action: dict[str, float] = {}


class LiftedPerson(BaseModel):
    name: str
    pose_mm: list[tuple[float, float, float]]


class Lifted(BaseModel):
    """3D poses (mm, camera frame, root at 0) in the order of `joints`."""

    model: UUID
    joints: list[str]
    people: list[LiftedPerson]


class Runs(Listed):
    request: ApiRequest
    queryset = Run.objects.none()
    serializer_class = RunShape
    throttle_scope = "heavy"

    def get_throttles(self) -> list[Any]:
        return super().get_throttles() if self.action == "create" else []

    def get_queryset(self) -> QuerySet[Run]:
        if not self.request.user.is_one_of(*READERS):
            return Run.objects.none()
        runs = Run.objects.select_related("release", "job", "model").order_by("-created_at", "-pk")
        return runs if self.action == "details" else runs.defer("details")

    @extend_schema(request=RunRequest, responses={201: RunShape})
    def create(self, request: ApiRequest) -> Response:
        """Start training on a release."""
        require(request.user, Role.ADMIN, Role.RESEARCHER)
        asked = read(RunRequest, request.data)
        release = Release.objects.select_related("campaign__dataset__skeleton").filter(uuid=asked.release).first()
        if release is None:
            raise Invalid("No such release.", field="release", value=asked.release)
        run = launch.start(request.user, release, **asked.model_dump(exclude={"release", "dataset"}))
        return Response(RunShape(run).data, 201)

    @extend_schema(responses=RunCurves)
    @action(detail=True)
    def curves(self, request: Request, id: UUID) -> Response:
        """Losses and held-out order errors after each epoch."""
        run = self.get_object()
        return Response(curves_of(run))

    @extend_schema(responses=RunDetails)
    @action(detail=True)
    def details(self, request: Request, id: UUID) -> Response:
        """Error per keypoint and action, histogram, example poses and worst cases, on held-out pictures."""
        return Response(self.get_object().details or {})


def curves_of(run: Run, most: int = 600) -> dict[str, Any]:
    """Epochs and one list per value; thinned evenly to at most `most` points."""
    rows = list(run.points.order_by("epoch").values_list("epoch", "values"))
    rows = rows[:: max(1, -(-len(rows) // most))] if len(rows) > most else rows
    names = sorted({name for _, values in rows for name in values})
    return {"epoch": [e for e, _ in rows], "series": {n: [v.get(n) for _, v in rows] for n in names}}


class Models(Listed):
    request: ApiRequest
    queryset = Model.objects.none()
    serializer_class = ModelShape

    def get_queryset(self) -> QuerySet[Model]:
        if not self.request.user.is_one_of(*READERS):
            return Model.objects.none()
        return Model.objects.select_related("run").order_by("-created_at", "-pk")

    @extend_schema(responses={(200, "application/octet-stream"): OpenApiTypes.BINARY})
    @action(detail=True)
    def weights(self, request: Request, id: UUID) -> FileResponse:
        """The model as a safetensors file."""
        return self._file(".safetensors")

    @extend_schema(responses={(200, "application/octet-stream"): OpenApiTypes.BINARY})
    @action(detail=True)
    def onnx(self, request: Request, id: UUID) -> FileResponse:
        """The model as an ONNX file, checked against torch when it was made."""
        return self._file(".onnx")

    @extend_schema(responses={(200, "application/octet-stream"): OpenApiTypes.BINARY})
    @action(detail=True)
    def events(self, request: Request, id: UUID) -> FileResponse:
        """The run's curves as a TensorBoard event file."""
        return self._file(".tfevents")

    @extend_schema(responses={(200, "application/octet-stream"): OpenApiTypes.BINARY})
    @action(detail=True)
    def pseudo(self, request: ApiRequest, id: UUID) -> FileResponse:
        """The pseudo-labels that a fine-tuned model learned, as npz. For admins, as harvests are."""
        require(request.user, Role.ADMIN)
        return self._file(".npz")

    def _file(self, suffix: str) -> FileResponse:
        model = self.get_object()
        path = (Path(settings.MEDIA_ROOT) / model.path).with_suffix(suffix)
        if not path.exists():
            raise NotFound("This model has no such file.", field="id", value=str(model.uuid))
        name = f"events.out.tfevents.{model.uuid}" if suffix == ".tfevents" else f"{model.uuid}{suffix}"
        return FileResponse(path.open("rb"), as_attachment=True, filename=name)

    @extend_schema(responses={(200, "text/markdown"): OpenApiTypes.STR})
    @action(detail=True)
    def card(self, request: Request, id: UUID) -> HttpResponse:
        """The model's card: what it is, how it was made, how good it is, what to beware of."""
        return HttpResponse(self.get_object().card, content_type="text/markdown; charset=utf-8")

    @extend_schema(request=PredictRequest, responses={200: Lifted, 202: JobShape})
    @action(detail=True, methods=["post"])
    def predict(self, request: ApiRequest, id: UUID) -> Response:
        """Lift 2D keypoints to 3D: up to 256 people at once, up to 10,000 as a job."""
        asked = read(PredictRequest, request.data)
        result = lifts.lift(request.user, self.get_object(), asked.model_dump(exclude_none=True))
        if isinstance(result, Job):
            return Response(JobShape(result).data, 202)
        return Response(result)

    @extend_schema(responses={(200, "application/json"): Lifted})
    @action(detail=True, url_path=f"predictions/(?P<job>{_UUID})")
    def predictions(self, request: ApiRequest, id: UUID, job: str) -> FileResponse:
        """The poses of a finished lifting job: for the one who asked, and for admins."""
        model = self.get_object()
        row = Job.objects.filter(uuid=job, kind="lift", config__model=str(model.uuid)).first()
        if row is None or (row.created_by_id != request.user.pk and not request.user.is_one_of(Role.ADMIN)):
            raise NotFound("No such lifting job of this model.", field="job", value=job)
        if row.state != "done":
            raise Conflict(f"The job is {row.state}.", field="state")
        return FileResponse(lifts.result_of(row).open("rb"), content_type="application/json")
