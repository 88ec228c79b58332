"""REST doors of campaigns. They hold no rules: each calls one verb."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema, inline_serializer
from pydantic import BaseModel, ConfigDict, Field
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.response import Response

from labeling.aggregation import aggregate
from labeling.campaigns import lifecycle, participants
from labeling.campaigns.plan import CampaignChange, CampaignPlan, NewCampaign
from labeling.models import AggregationRun, Campaign, Dataset, Label, Participation
from labeling.quality import forecast
from labeling.releasing import freeze
from webapp.accounts.requests import ApiRequest
from webapp.accounts.roles import READERS, STAFF, Role, require
from webapp.api import Listed, with_old_names
from webapp.errors import Invalid, NotFound
from webapp.jobs.api import JobShape
from webapp.typed import read


class CampaignShape(serializers.ModelSerializer):
    """A campaign as it was planned. What an annotator must not know is for staff and researchers: shares of hidden questions,
    the guard, and addresses that are worth money."""

    id = serializers.UUIDField(source="uuid", read_only=True)
    dataset = serializers.UUIDField(source="dataset.uuid", read_only=True)
    prior = serializers.SerializerMethodField()
    tutorial_questions = serializers.IntegerField(source="tutorial_length", read_only=True)

    STAFF = ("completion_url", "screened_out_url", "no_work_url", "recruiter_parameter")
    HIDDEN = ("gold_share", "probe_share", "control_share", "guard", "prior", "budget_votes", "pay_per_vote", *STAFF)

    class Meta:
        model = Campaign
        fields = read_only_fields = [
            *("id", "name", "dataset", "state", "keypoints", "pair_policy", "votes_per_pair", "delay_ms"),
            *("session_length", "lease_s", "allow_same", "gold_share", "tutorial_questions", "tutorial_pass_share"),
            *("tutorial_tries", "instructions", "access", "recruiter_parameter", "completion_url", "screened_out_url"),
            *(
                "no_work_url",
                "budget_votes",
                "mode",
                "prior",
                "stop_risk",
                "least_votes",
                "most_votes",
                "control_share",
            ),
            *("probe_share", "guard", "pay_per_vote", "currency", "created_at"),
        ]

    def get_prior(self, campaign: Campaign) -> str | None:
        return str(campaign.prior.uuid) if campaign.prior else None

    def to_representation(self, campaign: Campaign) -> dict[str, Any]:
        shown = super().to_representation(campaign)
        reader = self.context["request"].user
        hidden = () if reader.is_one_of(*STAFF) else self.STAFF if reader.is_one_of(Role.RESEARCHER) else self.HIDDEN
        return {name: value for name, value in shown.items() if name not in hidden}


class CrowdRunShape(serializers.ModelSerializer):
    id = serializers.UUIDField(source="uuid", read_only=True)

    class Meta:
        model = AggregationRun
        fields = read_only_fields = ["id", "number", "model", "config", "votes_used", "measures", "created_at"]


class LabelShape(serializers.ModelSerializer):
    image = serializers.CharField(source="pair.person.image.name")
    first = serializers.SerializerMethodField()
    second = serializers.SerializerMethodField()

    class Meta:
        model = Label
        fields = read_only_fields = ["image", "first", "second", "p_first_closer", "risk", "votes_used"]

    def _name(self, index: int) -> str:
        return str(self.context["keypoints"][index])

    def get_first(self, label: Label) -> str:
        return self._name(label.pair.first)

    def get_second(self, label: Label) -> str:
        return self._name(label.pair.second)


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


class NewLink(BaseModel):
    link: str


class AnnotatorRow(BaseModel):
    """One annotator of a campaign. Shares are None where there is nothing to take a share of."""

    participation: UUID
    seat: UUID = Field(description="the old name of `participation`", deprecated=True)
    name: str
    simulated: bool
    standing: str
    reason: str
    participant: str
    study: str
    session: str
    tutorial: str
    answers: int
    votes: int
    response_ms: int | None
    agreement: float | None
    skill: float | None
    gold_answers: int
    gold_accuracy: float | None
    green_share: float | None
    left_share: float | None
    last_vote: datetime | None


class AnnotatorPage(BaseModel):
    count: int
    next: str | None
    previous: str | None
    results: list[AnnotatorRow]


class StandingChange(BaseModel):
    participation: UUID
    seat: UUID = Field(description="the old name of `participation`", deprecated=True)
    standing: str


class GrantedTry(BaseModel):
    participation: UUID
    seat: UUID = Field(description="the old name of `participation`", deprecated=True)
    granted: int


class PlannedCost(BaseModel):
    """None where no number of votes reaches the wanted risk."""

    votes_per_person: int | None
    votes: int | None
    money: float | None


class PlannedRisk(BaseModel):
    votes: int
    risk: float
    sure: float


class BudgetPlan(BaseModel):
    fixed: PlannedCost
    adaptive: PlannedCost
    curve: list[PlannedRisk]


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
    request: ApiRequest
    queryset = Campaign.objects.none()
    serializer_class = CampaignShape
    filterset_fields = ["state", "access"]
    throttle_scope = "heavy"

    def get_throttles(self) -> list[Any]:
        return super().get_throttles() if self.action in ("create", "aggregate", "release") else []

    def get_queryset(self) -> QuerySet[Campaign]:
        return (
            participants.visible_to(self.request.user).select_related("dataset", "prior").order_by("-created_at", "-pk")
        )

    @extend_schema(request=NewCampaign, responses={201: CampaignShape})
    def create(self, request: ApiRequest) -> Response:
        """Make a campaign in draft; a job prepares its pairs, tutorial and gold questions."""
        require(request.user, Role.ADMIN)
        asked = read(NewCampaign, request.data)
        dataset = Dataset.objects.select_related("skeleton").filter(uuid=asked.dataset).first()
        if dataset is None:
            raise Invalid("No such data set.", field="dataset", value=asked.dataset)
        plan = CampaignPlan(**asked.model_dump(exclude={"dataset"}))
        campaign, _ = lifecycle.create(request.user, dataset, plan)
        return Response(self.get_serializer(campaign).data, 201)

    @extend_schema(request=CampaignChange, responses=CampaignShape)
    def partial_update(self, request: ApiRequest, id: UUID) -> Response:
        """Change what is harmless while people work: words, pay, budget, times, the guard, addresses."""
        require(request.user, Role.ADMIN)
        changed = lifecycle.change(request.user, self.get_object(), read(CampaignChange, request.data))
        return Response(self.get_serializer(changed).data)

    @extend_schema(responses={202: JobShape})
    def destroy(self, request: ApiRequest, id: UUID) -> Response:
        """Start the job that deletes a campaign that has no votes."""
        return Response(JobShape(lifecycle.delete(request.user, self.get_object())).data, 202)

    @extend_schema(request=MoveRequest, responses=CampaignShape)
    @action(detail=True, methods=["post"])
    def move(self, request: ApiRequest, id: UUID) -> Response:
        """Open, pause or close."""
        require(request.user, Role.ADMIN)
        moved = lifecycle.move(request.user, self.get_object(), read(MoveRequest, request.data).move)
        return Response(self.get_serializer(moved).data)

    @extend_schema(request=None, responses=NewLink)
    @action(detail=True, methods=["post"], url_path="new-link")
    def new_link(self, request: ApiRequest, id: UUID) -> Response:
        """Another invitation or recruiter's link; the old one opens nothing any more."""
        require(request.user, Role.ADMIN)
        path = lifecycle.renew_link(request.user, self.get_object())
        return Response({"link": request.build_absolute_uri(path)})

    @extend_schema(responses=Progress)
    @action(detail=True)
    def progress(self, request: ApiRequest, id: UUID) -> Response:
        """Pairs and votes, counted and needed."""
        require(request.user, *READERS)
        return Response(aggregate.progress_of(self.get_object()))

    @extend_schema(responses=AnnotatorPage)
    @action(detail=True)
    def annotators(self, request: ApiRequest, id: UUID) -> Response:
        """One row per annotator, page by page: votes, speed, agreement, gold accuracy, bias, tutorial."""
        require(request.user, *STAFF)
        campaign = self.get_object()
        page = self.paginate_queryset(aggregate.annotators(campaign)) or []
        rows = aggregate.annotator_rows(campaign, page)
        return with_old_names(self.get_paginated_response(rows), seat="participation")

    @extend_schema(request=StandingRequest, responses=StandingChange)
    @action(detail=True, methods=["post"], url_path="annotators/(?P<participation>[0-9a-f-]{36})/standing")
    def standing(self, request: ApiRequest, id: UUID, participation: str) -> Response:
        """Pause, block or restore an annotator, with a reason."""
        require(request.user, *STAFF)
        target = self._participation(participation)
        asked = read(StandingRequest, request.data)
        changed = participants.set_standing(request.user, target, asked.standing, asked.reason)
        answer = Response({"participation": str(changed.pseudonym), "standing": changed.standing})
        return with_old_names(answer, seat="participation")

    def _participation(self, participation: str) -> Participation:
        try:
            row = Participation.objects.filter(campaign=self.get_object(), pseudonym=UUID(participation)).first()
        except ValueError:
            row = None
        if row is None:
            raise NotFound("No such annotator in this campaign.", field="participation")
        return row

    @extend_schema(request=None, responses=GrantedTry)
    @action(detail=True, methods=["post"], url_path="annotators/(?P<participation>[0-9a-f-]{36})/grant-try")
    def grant_try(self, request: ApiRequest, id: UUID, participation: str) -> Response:
        """Let an annotator who failed the tutorial try it once more."""
        require(request.user, *STAFF)
        granted = participants.grant_try(request.user, self._participation(participation))
        answer = Response({"participation": str(granted.pseudonym), "granted": granted.tutorial_granted})
        return with_old_names(answer, seat="participation")

    @extend_schema(request=AggregateRequest, responses={202: JobShape})
    @action(detail=True, methods=["post"])
    def aggregate(self, request: ApiRequest, id: UUID) -> Response:
        """Aggregate the votes into labels by a crowd model."""
        require(request.user, *STAFF)
        asked = read(AggregateRequest, request.data)
        job = aggregate.start(request.user, self.get_object(), asked.model, asked.options)
        return Response(JobShape(job).data, 202)

    @extend_schema(
        parameters=[OpenApiParameter("skeleton", str, description="name of a skeleton; lsp-14 if left out")],
        request=forecast.PlanConfig,
        responses=BudgetPlan,
    )
    @action(detail=False, methods=["post"])
    def plan(self, request: ApiRequest) -> Response:
        """What votes will buy and cost before the first one: simulated people and annotators."""
        require(request.user, Role.ADMIN)
        skeleton = request.query_params.get("skeleton", "lsp-14")
        return Response(forecast.plan(read(forecast.PlanConfig, request.data), skeleton))

    @extend_schema(responses=LabelShape(many=True))
    @action(detail=True)
    def labels(self, request: ApiRequest, id: UUID) -> Response:
        """The labels of the last aggregation. Who reads them can no longer answer in the campaign."""
        require(request.user, *STAFF)
        campaign = self.get_object()
        last = campaign.aggregation_runs.first()
        if last is None:
            raise NotFound("There are no labels yet.", field="campaign", fix="aggregate the votes first")
        participants.note_answers_seen(request.user, campaign)
        pairs = self.paginate_queryset(last.labels.order_by("pair_id").values_list("pair_id", flat=True)) or []
        page = last.labels.filter(pair__in=pairs).select_related("pair__person__image").order_by("pair_id")
        context = {"keypoints": campaign.dataset.skeleton.keypoints}
        return self.get_paginated_response(LabelShape(page, many=True, context=context).data)

    @extend_schema(request=ReleaseRequest, responses={202: JobShape})
    @action(detail=True, methods=["post"])
    def release(self, request: ApiRequest, id: UUID) -> Response:
        """Freeze the current labels as the next release."""
        require(request.user, Role.ADMIN)
        job = freeze.start(request.user, self.get_object(), note=read(ReleaseRequest, request.data).note)
        return Response(JobShape(job).data, 202)
