"""REST doors of data sets: skeletons, data sets, their pictures, imports. They hold no rules: each calls one verb."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import Count, QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import mixins, serializers, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from labeling import catalogs
from labeling.importing import storing
from labeling.models import Dataset, Image, SkeletonRow
from webapp.accounts.requests import ApiRequest
from webapp.accounts.roles import STAFF, Role, require
from webapp.accounts.tokens import ScopeByMethod
from webapp.api import Listed
from webapp.jobs.api import JobShape
from webapp.typed import read


class SkeletonShape(serializers.ModelSerializer):
    class Meta:
        model = SkeletonRow
        fields = read_only_fields = ["name", "keypoints", "bones", "root"]


class DatasetShape(serializers.ModelSerializer):
    id = serializers.UUIDField(source="uuid", read_only=True)
    skeleton: serializers.SlugRelatedField[SkeletonRow] = serializers.SlugRelatedField("name", read_only=True)
    images = serializers.IntegerField(source="image_count", read_only=True)

    class Meta:
        model = Dataset
        fields = read_only_fields = [
            "id",
            "name",
            "description",
            "skeleton",
            "licence",
            "attribution",
            "images",
            "created_at",
        ]


class ImageShape(serializers.ModelSerializer):
    id = serializers.UUIDField(source="uuid", read_only=True)
    people = serializers.SerializerMethodField()

    class Meta:
        model = Image
        fields = read_only_fields = [
            "id",
            "name",
            "sha256",
            "bytes",
            "width",
            "height",
            "split",
            "source",
            "licence",
            "attribution",
            "people",
        ]

    def get_people(self, image: Image) -> list[dict[str, Any]]:
        return [{"id": str(p.uuid), "bbox": p.bbox, "keypoints": p.keypoints} for p in image.people.all()]


@extend_schema_view(list=extend_schema(summary="Skeletons in use and built in"))
class Skeletons(mixins.ListModelMixin, viewsets.GenericViewSet):
    permission_classes = [ScopeByMethod]
    queryset = SkeletonRow.objects.order_by("name")
    serializer_class = SkeletonShape


class Datasets(Listed):
    request: ApiRequest
    queryset = Dataset.objects.none()
    serializer_class = DatasetShape
    filterset_fields = ["name"]

    def get_queryset(self) -> QuerySet[Dataset]:
        datasets = Dataset.objects.select_related("skeleton").annotate(image_count=Count("images")).order_by("name")
        if self.request.user.is_one_of(*STAFF):
            return datasets
        if self.request.user.is_one_of(Role.RESEARCHER):
            return datasets.filter(campaigns__releases__isnull=False).distinct()
        return datasets.none()

    @extend_schema(responses=ImageShape(many=True))
    @action(detail=True, filterset_fields=[])
    def images(self, request: Request, id: UUID) -> Response:
        """Pictures and people of a data set, page by page."""
        dataset = self.get_object()
        page = self.paginate_queryset(Image.objects.filter(dataset=dataset).prefetch_related("people").order_by("pk"))
        return self.get_paginated_response(ImageShape(page, many=True).data)


class ImportShape(serializers.Serializer):
    """A multipart upload."""

    dataset = serializers.CharField(max_length=120)
    format = serializers.ChoiceField(choices=[o.name for o in catalogs.import_formats])
    licence = serializers.CharField(max_length=200, required=False, allow_blank=True, default="")
    attribution = serializers.CharField(max_length=400, required=False, allow_blank=True, default="")
    description = serializers.CharField(max_length=5000, required=False, allow_blank=True, default="")
    bad_rows = serializers.ChoiceField(choices=["refuse", "leave-out"], required=False, default="refuse")
    annotations = serializers.FileField()
    pictures = serializers.FileField(help_text="a .zip archive of pictures")


class Imports(viewsets.GenericViewSet):
    permission_classes = [ScopeByMethod]
    throttle_scope = "heavy"
    serializer_class = ImportShape

    @extend_schema(request={"multipart/form-data": ImportShape}, responses={202: JobShape})
    def create(self, request: ApiRequest) -> Response:
        """Upload annotations and pictures. Looked through at once; then a job imports them, all or nothing."""
        require(request.user, Role.ADMIN)
        upload = ImportShape(data=request.data)
        upload.is_valid(raise_exception=True)
        data = dict(upload.validated_data)
        annotations, pictures = data.pop("annotations"), data.pop("pictures")
        job = storing.receive(request.user, read(storing.ImportConfig, data), annotations, pictures)
        return Response(JobShape(job).data, 202)
