"""What the crowd model made of the votes, and the frozen releases built from it."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q

from labeling.models.campaign import Campaign, Participation
from labeling.models.dataset import Pair


class CrowdRun(models.Model):
    """One run of a crowd model over all counted votes of a campaign."""

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    campaign = models.ForeignKey(Campaign, models.CASCADE, related_name="crowd_runs")
    number = models.PositiveIntegerField()
    model = models.CharField(max_length=40)
    config = models.JSONField(default=dict)
    votes_used = models.PositiveIntegerField()
    last_vote = models.BigIntegerField()
    measures = models.JSONField(default=dict)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-number"]
        constraints = [models.UniqueConstraint(fields=["campaign", "number"], name="crowd_run_number_once")]


class Label(models.Model):
    """P(first keypoint is closer) of one pair by one crowd run, the risk of the likelier answer, and votes used.

    `p_first_closer_plain`: the same from the votes without a lifter's prior, where the run used one.
    """

    # Only merges write labels, millions at a time, and checking each against run and pair again at commit takes longer than
    # all the rest (12 us each on PostgreSQL). The keys are joined and cascade as everywhere.
    run = models.ForeignKey(CrowdRun, models.CASCADE, related_name="labels", db_index=False, db_constraint=False)
    pair = models.ForeignKey(Pair, models.CASCADE, related_name="labels", db_constraint=False)
    p_first_closer = models.FloatField()
    risk = models.FloatField()
    votes_used = models.PositiveSmallIntegerField()
    p_first_closer_plain = models.FloatField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["run", "pair"], name="label_once_per_run"),
            models.CheckConstraint(
                condition=Q(p_first_closer__gte=0, p_first_closer__lte=1, risk__gte=0, risk__lte=0.5),
                name="label_is_a_probability",
            ),
        ]


class AnnotatorScore(models.Model):
    """What one crowd run says of one annotator."""

    run = models.ForeignKey(CrowdRun, models.CASCADE, related_name="scores")
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
    crowd_run = models.OneToOneField(CrowdRun, models.PROTECT)
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
