"""How labeling's things look in the REST API."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from labeling.models import Campaign, CrowdRun, Dataset, Image, Label, Release, SkeletonRow


class SkeletonShape(serializers.ModelSerializer):
    class Meta:
        model = SkeletonRow
        fields = read_only_fields = ["name", "keypoints", "bones", "root"]


class DatasetShape(serializers.ModelSerializer):
    id = serializers.UUIDField(source="uuid", read_only=True)
    skeleton = serializers.SlugRelatedField("name", read_only=True)
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


class CampaignShape(serializers.ModelSerializer):
    id = serializers.UUIDField(source="uuid", read_only=True)
    dataset = serializers.UUIDField(source="dataset.uuid", read_only=True)

    class Meta:
        model = Campaign
        fields = read_only_fields = [
            "id",
            "name",
            "dataset",
            "state",
            "keypoints",
            "pair_policy",
            "votes_per_pair",
            "delay_ms",
            "session_length",
            "lease_s",
            "allow_same",
            "gold_share",
            "tutorial_pass_share",
            "tutorial_tries",
            "instructions",
            "access",
            "budget_votes",
            "created_at",
        ]


class CrowdRunShape(serializers.ModelSerializer):
    id = serializers.UUIDField(source="uuid", read_only=True)

    class Meta:
        model = CrowdRun
        fields = read_only_fields = ["id", "number", "model", "config", "votes_used", "measures", "created_at"]


class LabelShape(serializers.ModelSerializer):
    image = serializers.CharField(source="pair.first_person.image.name")
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


class ReleaseShape(serializers.ModelSerializer):
    id = serializers.UUIDField(source="uuid", read_only=True)
    campaign = serializers.UUIDField(source="campaign.uuid", read_only=True)

    class Meta:
        model = Release
        fields = read_only_fields = ["id", "title", "campaign", "number", "note", "manifest", "created_at"]
