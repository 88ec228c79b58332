"""REST doors to jobs: list, look, cancel, continue."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers, viewsets
from rest_framework.decorators import action
from rest_framework.response import Response

from webapp.accounts.requests import ApiRequest
from webapp.accounts.roles import STAFF, Role
from webapp.accounts.tokens import ScopeByMethod
from webapp.jobs import run
from webapp.jobs.models import Job


class JobShape(serializers.ModelSerializer):
    id = serializers.UUIDField(source="uuid", read_only=True)
    log = serializers.SerializerMethodField()
    share_done = serializers.FloatField(read_only=True, allow_null=True)

    class Meta:
        model = Job
        fields = read_only_fields = [
            "id",
            "kind",
            "title",
            "state",
            "attempt",
            "created_at",
            "started_at",
            "finished_at",
            "done",
            "total",
            "unit",
            "share_done",
            "result",
            "error",
            "log",
        ]

    def get_log(self, job: Job) -> list[str]:
        return [f"{line.at:%H:%M:%S} {line.text}" for line in job.lines.all()]


class Jobs(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet):
    queryset = Job.objects.none()
    permission_classes = [ScopeByMethod]
    serializer_class = JobShape
    lookup_field = "uuid"
    lookup_url_kwarg = "id"
    lookup_value_converter = "uuid"
    filterset_fields = ["kind", "state"]

    def get_queryset(self) -> QuerySet[Job]:
        return visible_to(self.request.user).prefetch_related("lines")

    @extend_schema(request=None, responses=JobShape)
    @action(detail=True, methods=["post"])
    def cancel(self, request: ApiRequest, id: UUID) -> Response:
        """Ask the job to stop."""
        return Response(JobShape(run.cancel(request.user, self.get_object())).data)

    @extend_schema(request=None, responses=JobShape)
    @action(detail=True, methods=["post"])
    def retry(self, request: ApiRequest, id: UUID) -> Response:
        """Continue a failed or cancelled job from its checkpoint."""
        return Response(JobShape(run.retry(request.user, self.get_object())).data)


def visible_to(account: Any) -> QuerySet[Job]:
    """Admins and reviewers see all jobs, researchers their own, annotators none."""
    if account.is_one_of(*STAFF):
        return Job.objects.all()
    if account.is_one_of(Role.RESEARCHER):
        return Job.objects.filter(created_by=account)
    return Job.objects.none()
