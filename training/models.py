"""Training runs and the models they made."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models

from labeling.models import Release
from webapp.jobs.models import Job


class Run(models.Model):
    """One training run: a release, a method, a configuration and a seed say all that is needed to repeat it."""

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    name = models.CharField(max_length=120)
    release = models.ForeignKey(Release, models.PROTECT, related_name="training_runs")
    method = models.CharField(max_length=40)
    config = models.JSONField()
    started_from = models.ForeignKey("training.Model", models.PROTECT, null=True, related_name="fine_tunes")
    job = models.OneToOneField(Job, models.PROTECT, related_name="training_run")
    metrics = models.JSONField(null=True)
    details = models.JSONField(null=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-created_at", "-id"]


class Point(models.Model):
    """One point of a run's curves: the state after an epoch."""

    run = models.ForeignKey(Run, models.CASCADE, related_name="points")
    epoch = models.PositiveIntegerField()
    values = models.JSONField()

    class Meta:
        ordering = ["epoch"]
        constraints = [models.UniqueConstraint(fields=["run", "epoch"], name="point_once_per_epoch")]


class Model(models.Model):
    """A trained lifter: a safetensors file and what it was made from."""

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    name = models.CharField(max_length=120)
    version = models.PositiveIntegerField()
    run = models.OneToOneField(Run, models.PROTECT, related_name="model")
    sha256 = models.CharField(max_length=64)
    bytes = models.PositiveBigIntegerField()
    keypoints = models.JSONField()
    card = models.TextField(blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [models.UniqueConstraint(fields=["name", "version"], name="model_version_once")]

    @property
    def path(self) -> str:
        """Where the weights are, below MEDIA_ROOT."""
        return f"models/{self.uuid}.safetensors"
