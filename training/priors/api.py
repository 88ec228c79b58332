"""REST doors of depth priors."""

from __future__ import annotations

from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from pydantic import BaseModel, ConfigDict, Field
from rest_framework import serializers
from rest_framework.response import Response

from labeling.models import Dataset, DepthPrior, Release
from training.priors import depth_priors
from webapp.accounts.requests import ApiRequest
from webapp.accounts.roles import STAFF, Role, require
from webapp.api import Listed
from webapp.errors import Invalid
from webapp.jobs.api import JobShape
from webapp.typed import read


class PriorShape(serializers.ModelSerializer):
    id = serializers.UUIDField(source="uuid", read_only=True)
    dataset = serializers.UUIDField(source="dataset.uuid", read_only=True)

    class Meta:
        model = DepthPrior
        fields = read_only_fields = ["id", "dataset", "name", "kind", "evidence", "created_at"]


class PriorRequest(BaseModel):
    """A depth prior to be: a release to train lifters on, one per fold of its pictures; or a data set, whose people are expected
    to have the depths of similar authored poses (preset, folds and epochs are then of no use)."""

    model_config = ConfigDict(extra="forbid")
    release: UUID | None = None
    dataset: UUID | None = None
    name: str = Field("", max_length=120)
    preset: str = "nearer"
    folds: int = Field(5, ge=2, le=20)
    epochs: int | None = Field(None, ge=1, le=100_000)
    seed: int = Field(0, ge=0, le=2**31 - 1)


class Priors(Listed):
    request: ApiRequest
    queryset = DepthPrior.objects.none()
    serializer_class = PriorShape

    def get_queryset(self) -> QuerySet[DepthPrior]:
        if not self.request.user.is_one_of(*STAFF):
            return DepthPrior.objects.none()
        return DepthPrior.objects.select_related("dataset").order_by("-created_at", "-pk")

    @extend_schema(request=PriorRequest, responses={202: JobShape})
    def create(self, request: ApiRequest) -> Response:
        """Make a depth prior for campaigns of mode adaptive-prior: cross-fitted lifters of a release, or similar poses."""
        require(request.user, Role.ADMIN)
        asked = read(PriorRequest, request.data)
        if asked.dataset is not None and asked.release is None:
            dataset = Dataset.objects.select_related("skeleton").filter(uuid=asked.dataset).first()
            if dataset is None:
                raise Invalid("No such data set.", field="dataset", value=str(asked.dataset))
            return Response(
                JobShape(depth_priors.start_from_poses(request.user, dataset, asked.name, asked.seed)).data, 202
            )
        if asked.release is None or asked.dataset is not None:
            raise Invalid("Say what to make the prior from.", field="release", fix="send either release or dataset")
        release = Release.objects.select_related("campaign__dataset__skeleton").filter(uuid=asked.release).first()
        if release is None:
            raise Invalid("No such release.", field="release", value=str(asked.release))
        job = depth_priors.start(request.user, release, asked.model_dump(exclude={"release", "dataset"}))
        return Response(JobShape(job).data, 202)
