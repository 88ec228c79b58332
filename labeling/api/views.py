"""REST doors for admins, reviewers and researchers. They hold no rules: each calls one verb."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import Count, QuerySet
from django.http import FileResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view, inline_serializer
from pydantic import BaseModel, ConfigDict, Field
from rest_framework import mixins, serializers, viewsets
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound as RestNotFound
from rest_framework.request import Request
from rest_framework.response import Response

from labeling import access, aggregation, campaigns, catalogs, quality
from labeling.api import shapes
from labeling.importing import storing
from labeling.models import Campaign, Dataset, Image, Participation, Release, SkeletonRow
from labeling.releasing import freeze
from webapp.accounts.models import Account
from webapp.accounts.roles import STAFF, Role, require
from webapp.accounts.tokens import ScopeByMethod
from webapp.jobs.api import JobShape
from webapp.refusal import Invalid, NotFound
from webapp.typed import read


class Listed(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet):
    """A list and its single things, addressed by UUID."""

    permission_classes = [ScopeByMethod]
    lookup_field = "uuid"
    lookup_url_kwarg = "id"
    lookup_value_converter = "uuid"


@extend_schema_view(list=extend_schema(summary="Skeletons in use and built in"))
class Skeletons(mixins.ListModelMixin, viewsets.GenericViewSet):
    permission_classes = [ScopeByMethod]
    queryset = SkeletonRow.objects.order_by("name")
    serializer_class = shapes.SkeletonShape


class Datasets(Listed):
    queryset = Dataset.objects.none()
    serializer_class = shapes.DatasetShape
    filterset_fields = ["name"]

    def get_queryset(self) -> QuerySet[Dataset]:
        datasets = Dataset.objects.select_related("skeleton").annotate(image_count=Count("images")).order_by("name")
        if self.request.user.is_one_of(*STAFF):
            return datasets
        if self.request.user.is_one_of(Role.RESEARCHER):
            return datasets.filter(campaigns__releases__isnull=False).distinct()
        return datasets.none()

    @extend_schema(responses=shapes.ImageShape(many=True))
    @action(detail=True, filterset_fields=[])
    def images(self, request: Request, id: UUID) -> Response:
        """Pictures and people of a data set, page by page."""
        dataset = self.get_object()
        page = self.paginate_queryset(Image.objects.filter(dataset=dataset).prefetch_related("people").order_by("pk"))
        return self.get_paginated_response(shapes.ImageShape(page, many=True).data)


class ImportShape(serializers.Serializer):
    """A multipart upload."""

    dataset = serializers.CharField(max_length=120)
    format = serializers.ChoiceField(choices=[o.name for o in catalogs.import_formats])
    licence = serializers.CharField(max_length=200, required=False, allow_blank=True, default="")
    attribution = serializers.CharField(max_length=400, required=False, allow_blank=True, default="")
    description = serializers.CharField(max_length=5000, required=False, allow_blank=True, default="")
    annotations = serializers.FileField()
    pictures = serializers.FileField(help_text="a .zip archive of pictures")


class Imports(viewsets.GenericViewSet):
    permission_classes = [ScopeByMethod]
    throttle_scope = "heavy"
    serializer_class = ImportShape

    @extend_schema(request={"multipart/form-data": ImportShape}, responses={202: JobShape})
    def create(self, request: Request) -> Response:
        """Upload annotations and pictures. Looked through at once; then a job imports them, all or nothing."""
        require(request.user, Role.ADMIN)
        upload = ImportShape(data=request.data)
        upload.is_valid(raise_exception=True)
        data = dict(upload.validated_data)
        annotations, pictures = data.pop("annotations"), data.pop("pictures")
        job = storing.receive(request.user, read(storing.ImportConfig, data), annotations, pictures)
        return Response(JobShape(job).data, 202)


class CampaignRequest(campaigns.CampaignPlan):
    """A campaign to be, and the data set it asks about."""

    dataset: UUID


class MoveRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")
    move: str = Field(description="open, pause or close")


class AggregateRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")
    model: str = Field(
        "", description="name of a crowd model; empty: paper for fixed campaigns, depth for adaptive ones"
    )
    options: dict[str, Any] = Field(default_factory=dict)


class ReleaseRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")
    note: str = Field("", max_length=5000)


class StandingRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")
    standing: str = Field(description="active, paused or blocked")
    reason: str = Field("", max_length=400)


Progress = inline_serializer(
    "CampaignProgress",
    {
        "pairs": serializers.IntegerField(),
        "pairs_finished": serializers.IntegerField(),
        "votes_counted": serializers.IntegerField(),
        "votes_needed": serializers.IntegerField(),
        "leased": serializers.IntegerField(),
        "share_done": serializers.FloatField(),
    },
)


class Campaigns(Listed):
    queryset = Campaign.objects.none()
    serializer_class = shapes.CampaignShape
    filterset_fields = ["state", "access"]
    throttle_scope = "heavy"

    def get_throttles(self) -> list[Any]:
        return super().get_throttles() if self.action in ("create", "aggregate", "release") else []

    def get_queryset(self) -> QuerySet[Campaign]:
        return access.visible_to(self.request.user).select_related("dataset", "prior").order_by("-created_at", "-pk")

    @extend_schema(request=CampaignRequest, responses={201: shapes.CampaignShape})
    def create(self, request: Request) -> Response:
        """Make a campaign in draft; a job prepares its pairs, tutorial and gold questions."""
        require(request.user, Role.ADMIN)
        asked = read(CampaignRequest, request.data)
        dataset = Dataset.objects.select_related("skeleton").filter(uuid=asked.dataset).first()
        if dataset is None:
            raise Invalid("No such data set.", field="dataset", value=asked.dataset)
        plan = campaigns.CampaignPlan(**asked.model_dump(exclude={"dataset"}))
        campaign, _ = campaigns.create(request.user, dataset, plan)
        return Response(self.get_serializer(campaign).data, 201)

    @extend_schema(request=campaigns.CampaignChange, responses=shapes.CampaignShape)
    def partial_update(self, request: Request, id: UUID) -> Response:
        """Change what is harmless while people work: words, pay, budget, times, the guard, addresses."""
        require(request.user, Role.ADMIN)
        changed = campaigns.change(request.user, self.get_object(), read(campaigns.CampaignChange, request.data))
        return Response(self.get_serializer(changed).data)

    @extend_schema(responses={202: JobShape})
    def destroy(self, request: Request, id: UUID) -> Response:
        """Start the job that deletes a campaign that has no votes."""
        return Response(JobShape(campaigns.delete(request.user, self.get_object())).data, 202)

    @extend_schema(request=MoveRequest, responses=shapes.CampaignShape)
    @action(detail=True, methods=["post"])
    def move(self, request: Request, id: UUID) -> Response:
        """Open, pause or close."""
        require(request.user, Role.ADMIN)
        moved = campaigns.move(request.user, self.get_object(), read(MoveRequest, request.data).move)
        return Response(self.get_serializer(moved).data)

    @extend_schema(request=None, responses=OpenApiTypes.OBJECT)
    @action(detail=True, methods=["post"], url_path="new-link")
    def new_link(self, request: Request, id: UUID) -> Response:
        """Another invitation or recruiter's link; the old one opens nothing any more."""
        require(request.user, Role.ADMIN)
        path = campaigns.renew_link(request.user, self.get_object())
        return Response({"link": request.build_absolute_uri(path)})

    @extend_schema(responses=Progress)
    @action(detail=True)
    def progress(self, request: Request, id: UUID) -> Response:
        """Pairs and votes, counted and needed."""
        require(request.user, *STAFF, Role.RESEARCHER)
        return Response(aggregation.progress_of(self.get_object()))

    @extend_schema(responses=OpenApiTypes.OBJECT)
    @action(detail=True)
    def annotators(self, request: Request, id: UUID) -> Response:
        """One row per annotator, page by page: votes, speed, agreement, gold accuracy, bias, tutorial."""
        require(request.user, *STAFF)
        campaign = self.get_object()
        page = self.paginate_queryset(aggregation.annotators(campaign)) or []
        return self.get_paginated_response(aggregation.annotator_rows(campaign, page))

    @extend_schema(request=StandingRequest, responses=OpenApiTypes.OBJECT)
    @action(detail=True, methods=["post"], url_path="annotators/(?P<seat>[0-9a-f-]{36})/standing")
    def standing(self, request: Request, id: UUID, seat: str) -> Response:
        """Pause, block or restore an annotator, with a reason."""
        require(request.user, *STAFF)
        found = self._seat(seat)
        asked = read(StandingRequest, request.data)
        changed = access.set_standing(request.user, found, asked.standing, asked.reason)
        return Response({"seat": str(changed.pseudonym), "standing": changed.standing})

    def _seat(self, seat: str) -> Participation:
        try:
            found = Participation.objects.filter(campaign=self.get_object(), pseudonym=UUID(seat)).first()
        except ValueError:
            found = None
        if found is None:
            raise NotFound("No such annotator in this campaign.", field="seat")
        return found

    @extend_schema(request=None, responses=OpenApiTypes.OBJECT)
    @action(detail=True, methods=["post"], url_path="annotators/(?P<seat>[0-9a-f-]{36})/grant-try")
    def grant_try(self, request: Request, id: UUID, seat: str) -> Response:
        """Let an annotator who failed the tutorial try it once more."""
        require(request.user, *STAFF)
        granted = access.grant_try(request.user, self._seat(seat))
        return Response({"seat": str(granted.pseudonym), "granted": granted.tutorial_granted})

    @extend_schema(request=AggregateRequest, responses={202: JobShape})
    @action(detail=True, methods=["post"])
    def aggregate(self, request: Request, id: UUID) -> Response:
        """Merge the votes into labels by a crowd model."""
        require(request.user, *STAFF)
        asked = read(AggregateRequest, request.data)
        job = aggregation.start(request.user, self.get_object(), asked.model, asked.options)
        return Response(JobShape(job).data, 202)

    @extend_schema(
        parameters=[OpenApiParameter("skeleton", str, description="name of a skeleton; lsp-14 if left out")],
        request=quality.PlanConfig,
        responses=OpenApiTypes.OBJECT,
    )
    @action(detail=False, methods=["post"])
    def plan(self, request: Request) -> Response:
        """What votes will buy and cost before the first one: simulated people and annotators."""
        require(request.user, Role.ADMIN)
        skeleton = request.query_params.get("skeleton", "lsp-14")
        return Response(quality.plan(read(quality.PlanConfig, request.data), skeleton))

    @extend_schema(responses=shapes.LabelShape(many=True))
    @action(detail=True)
    def labels(self, request: Request, id: UUID) -> Response:
        """The labels of the last merge. Who reads them can no longer answer in the campaign."""
        require(request.user, *STAFF)
        campaign = self.get_object()
        last = campaign.crowd_runs.first()
        if last is None:
            raise NotFound("There are no labels yet.", field="campaign", fix="merge the votes first")
        access.note_answers_seen(request.user, campaign)
        pairs = self.paginate_queryset(last.labels.order_by("pair_id").values_list("pair_id", flat=True)) or []
        page = last.labels.filter(pair__in=pairs).select_related("pair__first_person__image").order_by("pair_id")
        context = {"keypoints": campaign.dataset.skeleton.keypoints}
        return self.get_paginated_response(shapes.LabelShape(page, many=True, context=context).data)

    @extend_schema(request=ReleaseRequest, responses={202: JobShape})
    @action(detail=True, methods=["post"])
    def release(self, request: Request, id: UUID) -> Response:
        """Freeze the current labels as the next release."""
        require(request.user, Role.ADMIN)
        job = freeze.start(request.user, self.get_object(), note=read(ReleaseRequest, request.data).note)
        return Response(JobShape(job).data, 202)


class Releases(Listed):
    queryset = Release.objects.none()
    serializer_class = shapes.ReleaseShape

    def get_queryset(self) -> QuerySet[Release]:
        if not self.request.user.is_one_of(*STAFF, Role.RESEARCHER):
            return Release.objects.none()
        return Release.objects.select_related("campaign").order_by("-created_at", "-pk")

    @extend_schema(responses={(200, "application/octet-stream"): OpenApiTypes.BINARY})
    @action(detail=True, url_path=r"files/(?P<name>[a-z_]+\.[a-z]+)")
    def files(self, request: Request, id: UUID, name: str) -> FileResponse:
        """One file of a release."""
        return release_file(request.user, self.get_object(), name)


def release_file(actor: Account, release: Release, name: str) -> FileResponse:
    """A file of a release. Who takes one has seen the campaign's answers and can no longer answer in it."""
    if name not in release.manifest["files"] and name != "manifest.json":
        raise RestNotFound
    if name != "manifest.json":
        access.note_answers_seen(actor, release.campaign)
    path = Path(settings.MEDIA_ROOT) / release.folder / name
    return FileResponse(path.open("rb"), as_attachment=True, filename=name)


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
