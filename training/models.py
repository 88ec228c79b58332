"""Training runs and the models they made; multi-view harvests, their pseudo-labels and who decided about them."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q

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


class Harvest(models.Model):
    """A recording and what was found in it: `source` names a harvester (multiview, video). `cameras` and `skeleton` as they were read;
    `report` once it is done. Frames of a video are the rows of its clips, end to end (report["clips"] says which)."""

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    name = models.CharField(max_length=120)
    source = models.CharField(max_length=20, default="multiview")
    config = models.JSONField()
    cameras = models.JSONField()
    skeleton = models.JSONField(null=True)
    frames = models.PositiveIntegerField(default=0)
    fps = models.FloatField(default=30.0)
    lengths_mm = models.JSONField(null=True)
    report = models.JSONField(null=True)
    job = models.OneToOneField(Job, models.PROTECT, related_name="harvest")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-created_at", "-id"]

    @property
    def folder(self) -> str:
        """Where its arrays, files and pictures are, below MEDIA_ROOT."""
        return f"harvests/{self.uuid}"


class PseudoLabel(models.Model):
    """One kept joint of one frame: world position (mm), covariance (mm^2; xx, xy, xz, yy, yz, zz), uncertainty (the rank's log
    determinant), mean reprojection error (px), the camera (index) with the largest one, and what reviewers think of it."""

    class Verdict(models.TextChoices):
        WAITING = "waiting"
        ACCEPTED = "accepted"
        REJECTED = "rejected"

    harvest = models.ForeignKey(Harvest, models.CASCADE, related_name="pseudo_labels", db_index=False)
    frame = models.PositiveIntegerField()
    joint = models.PositiveSmallIntegerField()
    x_mm = models.FloatField()
    y_mm = models.FloatField()
    z_mm = models.FloatField()
    covariance = models.JSONField()
    uncertainty = models.FloatField()
    error_px = models.FloatField()
    worst_view = models.PositiveSmallIntegerField()
    verdict = models.CharField(max_length=8, choices=Verdict.choices, default=Verdict.WAITING)
    placed = models.JSONField(null=True)  # by a reviewer: [x, y] px by the camera's number

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["harvest", "frame", "joint"], name="pseudo_label_once"),
            models.CheckConstraint(condition=Q(error_px__gte=0), name="pseudo_label_error_is_one"),
            models.CheckConstraint(
                condition=Q(verdict__in=["waiting", "accepted", "rejected"]), name="pseudo_label_verdict_is_known"
            ),
        ]
        indexes = [models.Index(fields=["harvest", "verdict", "frame"], name="pseudo_label_queue")]


class Review(models.Model):
    """One decision of a reviewer: about a joint, a frame, or all that a rule holds for. Never changed, only undone."""

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    harvest = models.ForeignKey(Harvest, models.CASCADE, related_name="reviews")
    reviewer = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True)
    verdict = models.CharField(max_length=8, choices=PseudoLabel.Verdict.choices)
    rule = models.JSONField()
    labels = models.PositiveIntegerField()
    at = models.DateTimeField(auto_now_add=True)
    undone_at = models.DateTimeField(null=True)
    undone_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+")

    class Meta:
        ordering = ["-id"]


class Changed(models.Model):
    """What a pseudo-label was before a review: what undoing brings back."""

    review = models.ForeignKey(Review, models.CASCADE, related_name="changes", db_index=False)
    label = models.ForeignKey(PseudoLabel, models.CASCADE, related_name="changes")
    before = models.CharField(max_length=8)
    place = models.JSONField(null=True)  # of a joint put elsewhere: its numbers before, {} where it was no pseudo-label

    class Meta:
        constraints = [models.UniqueConstraint(fields=["review", "label"], name="changed_once_per_review")]
