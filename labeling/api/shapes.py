"""How labeling's things look in the REST API."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from labeling.models import Campaign, CrowdRun, Dataset, Image, Label, Release, SkeletonRow
from webapp.accounts.roles import STAFF, Role


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
