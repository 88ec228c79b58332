"""REST doors to harvests of recordings and videos, and their review. They hold no rules: each calls one verb."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

from django.conf import settings
from django.db.models import QuerySet
from django.http import FileResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_serializer
from pydantic import BaseModel, ConfigDict, Field
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from training.catalogs import HarvesterOffer, harvesters
from training.harvest.harvester import FILES
from training.harvests import corrections, frames, publication, review, uploads
from training.models import Harvest, Review
from training.runs import fine_tunes
from training.runs.api import RunShape
from webapp.accounts.requests import ApiRequest
from webapp.accounts.roles import STAFF, Role, require
from webapp.api import Listed
from webapp.errors import Invalid, NotFound
from webapp.jobs.api import JobShape
from webapp.typed import read


class HarvestShape(serializers.ModelSerializer):
    id = serializers.UUIDField(source="uuid", read_only=True)
    job = serializers.UUIDField(source="job.uuid", read_only=True)
    state = serializers.CharField(source="job.state", read_only=True)

    class Meta:
        model = Harvest
        fields = read_only_fields = [
            *(
                "id",
                "name",
                "source",
                "state",
                "job",
                "config",
                "cameras",
                "skeleton",
                "frames",
                "fps",
                "lengths_mm",
                "report",
            ),
            "created_at",
        ]


@cache
def upload_shape(offer: HarvesterOffer) -> type[serializers.Serializer]:
    """The form of a harvester's upload, made of its plan and its parts."""
    fields: dict[str, Any] = {}
    for name, info in offer.plan.model_fields.items():
        text = info.description or ""
        if name == "options":
            text = f"JSON object: options of {offer.config.__name__}"
        elif name == "models":
            text = f"ids, separated by commas: {text}"
        kind = _FIELDS.get(info.annotation, serializers.CharField)
        usual: dict[str, Any] = (
            {}
            if info.is_required()
            else {"required": False, "default": "" if kind is serializers.CharField else info.default}
        )
        blank: dict[str, Any] = {"allow_blank": not info.is_required()} if kind is serializers.CharField else {}
        fields[name] = kind(help_text=text, **usual, **blank)
    for part in offer.parts:
        fields[part.field] = serializers.FileField(help_text=part.help, required=part.required)
    shape = type(f"{offer.name.title()}Upload", (serializers.Serializer,), {"__doc__": offer.about, **fields})
    return extend_schema_serializer(component_name=shape.__name__)(shape)


_FIELDS: dict[Any, type[serializers.Field]] = {int: serializers.IntegerField, float: serializers.FloatField}


class ReviewShape(serializers.ModelSerializer):
    id = serializers.UUIDField(source="uuid", read_only=True)
    reviewer = serializers.CharField(source="reviewer.username", default=None, read_only=True, allow_null=True)
    rule = serializers.DictField(read_only=True)
    undone_by = serializers.CharField(source="undone_by.username", default=None, read_only=True, allow_null=True)

    class Meta:
        model = Review
        fields = read_only_fields = ["id", "reviewer", "verdict", "rule", "labels", "at", "undone_at", "undone_by"]


class Decision(BaseModel):
    """A verdict on all pseudo-labels that a rule is about."""

    model_config = ConfigDict(extra="forbid")
    verdict: str = Field(description="accepted, rejected or waiting")
    rule: review.Rule = Field(default_factory=review.Rule)


class Clip(BaseModel):
    """Rows of the harvest that show one person, and which frame of the recording the first of them is."""

    model_config = ConfigDict(extra="allow")
    row: int
    rows: int
    person: int
    first_frame: int
    outcome: str


class HarvestTimeline(BaseModel):
    """`at`: the first frame of each bin; `curves`: the mean of each bin, by name of the curve."""

    frames: int
    fps: float
    clips: list[Clip]
    at: list[int]
    curves: dict[str, list[float]]


class HarvestJoint(BaseModel):
    """A joint of one frame, in the world's frame (mm). `before_mm`: as lifted at first."""

    name: str
    outcome: str
    position_mm: tuple[float, float, float]
    before_mm: tuple[float, float, float] | None
    spread_mm: float
    there: bool
    kept: bool
    verdict: Literal["waiting", "accepted", "rejected"] | None
    error_px: float | None


class ProjectedJoint(BaseModel):
    """A joint as a view shows it (px): reprojection, its covariance (px^2), and the detection it came from."""

    at: tuple[float, float]
    covariance: tuple[tuple[float, float], tuple[float, float]]
    detected: tuple[float, float] | None


class HarvestView(BaseModel):
    camera: str
    size: tuple[int, int]
    picture: bool
    joints: list[ProjectedJoint | None]


class HarvestFrame(BaseModel):
    frame: int
    frames: int
    person: int | None
    picture: int
    joints: list[HarvestJoint]
    views: list[HarvestView]


class HarvestStretch(BaseModel):
    frames: list[HarvestFrame]


class HarvestStrip(BaseModel):
    """Per frame with pseudo-labels: frame, waiting, accepted, rejected."""

    frames: list[tuple[int, int, int, int]]


class Counted(BaseModel):
    labels: int


def options_of(text: str) -> dict[str, Any]:
    """The options of an upload's form field. Raises Invalid."""
    try:
        options = json.loads(text or "{}")
    except (ValueError, RecursionError):
        options = None
    if not isinstance(options, dict):
        raise Invalid("The options are no JSON object.", field="options", fix='for example {"grid": 32}')
    return options


def models_of(text: str) -> list[str]:
    """Ids in a form's text field."""
    return [part.strip() for part in text.split(",") if part.strip()]


def _whole(request: Request, name: str, usual: int) -> int:
    text = request.query_params.get(name, "")
    if text and not text.isdecimal():
        raise Invalid("This is no whole number.", field=name, value=text[:20])
    return int(text[:9]) if text else usual


class Harvests(Listed):
    request: ApiRequest
    queryset = Harvest.objects.none()
    serializer_class = HarvestShape
    throttle_scope = "heavy"

    def get_throttles(self) -> list[Any]:
        return super().get_throttles() if (self.action or "").startswith(("create", "upload_")) else []

    def get_queryset(self) -> QuerySet[Harvest]:
        if not self.request.user.is_one_of(*STAFF):
            return Harvest.objects.none()
        return Harvest.objects.select_related("job").order_by("-created_at", "-pk")

    @extend_schema(
        request={"multipart/form-data": upload_shape(harvesters["multiview"])}, responses={202: HarvestShape}
    )
    def create(self, request: ApiRequest) -> Response:
        """Upload a recording of several cameras and start its harvest; the same as `multiview/`."""
        return self.receive(request, harvesters["multiview"])

    def receive(self, request: ApiRequest, offer: HarvesterOffer) -> Response:
        require(request.user, Role.ADMIN)
        upload = upload_shape(offer)(data=request.data)
        upload.is_valid(raise_exception=True)
        data = dict(upload.validated_data)
        files = {part.field: data.pop(part.field, None) for part in offer.parts}
        data["options"] = options_of(data["options"])
        if "models" in data:
            data["models"] = models_of(data["models"])
        plan = read(offer.plan, data)
        return Response(HarvestShape(uploads.receive(request.user, offer.name, plan, files)).data, 202)

    @extend_schema(
        parameters=[OpenApiParameter("points", int, description="bins of the curves, 600 where not said")],
        responses=HarvestTimeline,
    )
    @action(detail=True)
    def timeline(self, request: Request, id: UUID) -> Response:
        """A video's clips and curves over time: error, expected error, shaking before and after."""
        return Response(frames.timeline(self.get_object(), _whole(request, "points", 600)))

    @extend_schema(
        parameters=[
            OpenApiParameter("first", int, description="frame to begin with"),
            OpenApiParameter("count", int, description="how many, at most 120"),
            OpenApiParameter("step", int, description="every so-many-th"),
        ],
        responses=HarvestStretch,
    )
    @action(detail=True)
    def stretch(self, request: Request, id: UUID) -> Response:
        """Several frames at once, each as `frames/N/` has it: for playing."""
        asked = {name: _whole(request, name, usual) for name, usual in (("first", 0), ("count", 30), ("step", 1))}
        return Response({"frames": frames.stretch_of(self.get_object(), **asked)})

    @extend_schema(responses=HarvestFrame)
    @action(detail=True, url_path=r"frames/(?P<frame>\d{1,7})")
    def frame(self, request: Request, id: UUID, frame: str) -> Response:
        """Joints and views of one frame: positions, covariances, reprojections, verdicts."""
        return Response(frames.frame_of(self.get_object(), int(frame)))

    @extend_schema(responses=HarvestStrip)
    @action(detail=True)
    def strip(self, request: Request, id: UUID) -> Response:
        """Frames that have pseudo-labels: [frame, waiting, accepted, rejected]."""
        return Response({"frames": frames.strip(self.get_object())})

    @extend_schema(request=Decision, responses={200: ReviewShape(many=True), 201: ReviewShape})
    @action(detail=True, methods=["get", "post"])
    def reviews(self, request: ApiRequest, id: UUID) -> Response:
        """Who decided what (the newest 100), or one more decision."""
        harvest = self.get_object()
        if request.method == "POST":
            asked = read(Decision, request.data)
            return Response(ReviewShape(review.decide(request.user, harvest, asked.verdict, asked.rule)).data, 201)
        reviews = harvest.reviews.select_related("reviewer", "undone_by")[:100]
        return Response(ReviewShape(reviews, many=True).data)

    @extend_schema(request=review.Rule, responses=Counted)
    @action(detail=True, methods=["post"])
    def count(self, request: Request, id: UUID) -> Response:
        """How many pseudo-labels a rule is about, before it is used."""
        return Response({"labels": review.matching(self.get_object(), read(review.Rule, request.data)).count()})

    @extend_schema(request=corrections.Placing, responses={201: ReviewShape})
    @action(detail=True, methods=["post"])
    def place(self, request: ApiRequest, id: UUID) -> Response:
        """Put a joint where it is seen in one view: it is triangulated again and accepted."""
        placing = read(corrections.Placing, request.data)
        return Response(ReviewShape(corrections.place(request.user, self.get_object(), placing)).data, 201)

    @extend_schema(request=corrections.Exchange, responses={201: ReviewShape})
    @action(detail=True, methods=["post"])
    def exchange(self, request: ApiRequest, id: UUID) -> Response:
        """Exchange two people over a stretch of frames."""
        asked = read(corrections.Exchange, request.data)
        return Response(ReviewShape(corrections.exchange(request.user, self.get_object(), asked)).data, 201)

    @extend_schema(request=review.Undo, responses=ReviewShape)
    @action(detail=True, methods=["post"])
    def undo(self, request: ApiRequest, id: UUID) -> Response:
        """Take back the newest decision that stands."""
        asked = read(review.Undo, request.data)
        return Response(ReviewShape(review.undo(request.user, self.get_object(), asked)).data)

    @extend_schema(request=publication.PublishPlan, responses={202: JobShape})
    @action(detail=True, methods=["post"])
    def publish(self, request: ApiRequest, id: UUID) -> Response:
        """Make a data set of accepted pseudo-labels."""
        job = publication.publish(request.user, self.get_object(), read(publication.PublishPlan, request.data))
        return Response(JobShape(job).data, 202)

    @extend_schema(request=fine_tunes.TunePlan, responses={201: RunShape})
    @action(detail=True, methods=["post"])
    def tune(self, request: ApiRequest, id: UUID) -> Response:
        """Fine-tune a lifter on this harvest's pseudo-labels, beside the labels of its own release."""
        run = fine_tunes.start(request.user, self.get_object(), read(fine_tunes.TunePlan, request.data))
        return Response(RunShape(run).data, 201)

    @extend_schema(responses={(200, "application/octet-stream"): OpenApiTypes.BINARY})
    @action(detail=True, url_path=r"files/(?P<name>[a-z0-9.]{1,30})")
    def files(self, request: Request, id: UUID, name: str) -> FileResponse:
        """poses.trc, poses.c3d, poses.npz or poses.coco.json."""
        path = Path(settings.MEDIA_ROOT) / self.get_object().folder / name
        if name not in FILES.values() or not path.exists():
            raise NotFound("This harvest has no such file.", field="name", value=name)
        return FileResponse(path.open("rb"), as_attachment=True, filename=name)

    @extend_schema(responses={(200, "image/jpeg"): OpenApiTypes.BINARY})
    @action(detail=True, url_path=r"views/(?P<view>\d{1,3})/(?P<frame>\d{1,7})")
    def view(self, request: Request, id: UUID, view: str, frame: str) -> FileResponse:
        """The picture of one view of one frame."""
        harvest = self.get_object()
        folder = Path(settings.MEDIA_ROOT) / harvest.folder / "views"
        path = folder / str(int(view)) / f"{frames.picture_of(harvest, int(frame)):06d}.jpg"
        if not path.exists():
            raise NotFound("There is no picture of this frame.", field="frame", value=frame)
        response = FileResponse(path.open("rb"), content_type="image/jpeg")
        response["Cache-Control"] = "private, max-age=86400"
        return response


def _door(offer: HarvesterOffer) -> Any:
    """POST `harvests/NAME/`: an upload for one harvester."""

    def upload(self: Harvests, request: ApiRequest) -> Response:
        return self.receive(request, offer)

    upload.__name__ = f"upload_{offer.name.replace('-', '_')}"
    upload.__doc__ = f"Start a harvest. {offer.title}. {offer.about}"
    door = action(detail=False, methods=["post"], url_path=offer.name)(upload)
    request = {"multipart/form-data": upload_shape(offer)}
    return extend_schema(request=request, responses={202: HarvestShape})(door)


for _offer in harvesters:
    setattr(Harvests, f"upload_{_offer.name.replace('-', '_')}", _door(_offer))
