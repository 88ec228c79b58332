"""What the crowd model made of the votes, and the frozen releases built from it."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q

from labeling.models.campaign import Campaign, Participation
from labeling.models.dataset import Pair


class FinishedRuns(models.Manager["AggregationRun"]):
    """Runs whose labels are all written: nobody else is shown."""

    def get_queryset(self) -> models.QuerySet[AggregationRun]:
        return super().get_queryset().filter(number__isnull=False)


class AggregationRun(models.Model):
    """One run of a crowd model over all counted votes of a campaign.

    It has no `number` while its labels are being written, by attempt `attempt` of `job`; what a dead attempt leaves is
    swept. `labels_kept`: False once the labels of an old run that no release needs were deleted; its measures stay.
    """

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    campaign = models.ForeignKey(Campaign, models.CASCADE, related_name="aggregation_runs")
    number = models.PositiveIntegerField(null=True)
    job = models.ForeignKey("jobs.Job", models.SET_NULL, null=True, related_name="+")
    attempt = models.PositiveIntegerField(default=0)
    labels_kept = models.BooleanField(default=True)
    model = models.CharField(max_length=40)
    config = models.JSONField(default=dict)
    votes_used = models.PositiveIntegerField()
    last_vote = models.BigIntegerField()
    measures = models.JSONField(default=dict)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = FinishedRuns()
    every = models.Manager()  # noqa: DJ012

    class Meta:
        ordering = ["-number"]
        base_manager_name = "every"
        constraints = [models.UniqueConstraint(fields=["campaign", "number"], name="aggregation_run_number_once")]


class Label(models.Model):
    """P(first keypoint is closer) of one pair by one crowd run, the risk of the likelier answer, and votes used.

    `p_first_closer_without_prior`: the same from the votes without a lifter's prior, where the run used one.
    """

    # Only aggregations and imports write labels, millions at a time, and checking each against run and pair again at commit takes longer than
    # all the rest (12 us each on PostgreSQL). The keys are joined and cascade as everywhere.
    run = models.ForeignKey(AggregationRun, models.CASCADE, related_name="labels", db_index=False, db_constraint=False)
    pair = models.ForeignKey(Pair, models.CASCADE, related_name="labels", db_constraint=False)
    p_first_closer = models.FloatField()
    risk = models.FloatField()
    votes_used = models.PositiveSmallIntegerField()
    p_first_closer_without_prior = models.FloatField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["run", "pair"], name="label_once_per_run"),
            models.CheckConstraint(
                condition=Q(p_first_closer__gte=0, p_first_closer__lte=1, risk__gte=0, risk__lte=0.5),
                name="label_is_a_probability",
            ),
        ]
        indexes = [models.Index(fields=["run", "-risk", "pair"], name="label_by_risk")]


class AnnotatorScore(models.Model):
    """What one crowd run says of one annotator."""

    run = models.ForeignKey(AggregationRun, models.CASCADE, related_name="scores")
    participation = models.ForeignKey(Participation, models.CASCADE)
    votes = models.PositiveIntegerField()
    skill = models.FloatField(null=True)
    agreement = models.FloatField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "participation"], name="score_once_per_run")]


class Release(models.Model):
    """A frozen, numbered, checksummed data set of labels. Its files never change."""

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    campaign = models.ForeignKey(Campaign, models.PROTECT, related_name="releases")
    number = models.PositiveIntegerField()
    aggregation_run = models.OneToOneField(AggregationRun, models.PROTECT)
    note = models.TextField(blank=True, default="")
    manifest = models.JSONField(default=dict)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [models.UniqueConstraint(fields=["campaign", "number"], name="release_number_once")]

    @property
    def title(self) -> str:
        return f"{self.campaign.name} v{self.number}"

    @property
    def folder(self) -> str:
        """Where the files are, below MEDIA_ROOT."""
        return f"releases/{self.uuid}"
