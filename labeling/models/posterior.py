"""What is believed about the depths of each person in a campaign, before and after votes."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q

from labeling.models.campaign import Campaign
from labeling.models.dataset import Dataset, Person


class DepthPrior(models.Model):
    """Expected depths of a data set's people and how far they may be off, from a lifter or a pose library. Never changed.

    `covariance` (mm^2, J x J) is that of the errors of the means. `evidence` says where it comes from and how good it is.
    """

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    dataset = models.ForeignKey(Dataset, models.CASCADE, related_name="priors")
    name = models.CharField(max_length=120)
    kind = models.CharField(max_length=40)
    covariance = models.JSONField()
    evidence = models.JSONField(default=dict)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-created_at", "-id"]


class PersonPrior(models.Model):
    """Expected depth (mm) of each keypoint of one person, never made with this person's own votes."""

    prior = models.ForeignKey(DepthPrior, models.CASCADE, related_name="people")
    person = models.ForeignKey(Person, models.CASCADE, related_name="+")
    mean = models.JSONField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["prior", "person"], name="person_once_per_prior")]


class DepthPosterior(models.Model):
    """The posterior of one person's depths in one campaign, and its place in the queue.

    `seen`: float32 bytes, mean (J) and covariance (J x J) of the posterior, mm. `gain`: bits that the best next vote is
    expected to give; the queue hands out the person with the most, halved for every lease that is out. `control`: this
    person belongs to the arm that is asked uniformly and never sees a prior. `open`: more votes are wanted.
    """

    campaign = models.ForeignKey(Campaign, models.CASCADE, related_name="posteriors", db_index=False)
    person = models.ForeignKey(Person, models.PROTECT, related_name="+")
    control = models.BooleanField(default=False)
    perceived = models.BinaryField()
    votes = models.PositiveIntegerField(default=0)
    leased = models.PositiveSmallIntegerField(default=0)
    risk = models.FloatField()
    gain = models.FloatField()
    priority = models.FloatField(default=0.0)
    open = models.BooleanField(default=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["campaign", "person"], name="posterior_once_per_campaign"),
            models.CheckConstraint(condition=Q(risk__gte=0, risk__lte=0.5), name="posterior_risk_is_one"),
        ]
        indexes = [
            models.Index(fields=["campaign", "control", "-priority"], name="posterior_queue", condition=Q(open=True)),
            models.Index(fields=["campaign", "-risk"], name="posterior_asked_risk", condition=Q(votes__gt=0)),
        ]
