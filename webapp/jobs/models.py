"""A Job: one piece of long work. The row is the truth; the broker only notifies."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q


class State(models.TextChoices):
    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINISHED = (State.DONE, State.FAILED, State.CANCELLED)


class Job(models.Model):
    """`subject`: uuid of the thing that the job is about, for the thing's own page. `stops`: how many workers ended one
    after the other under this job without getting further than `best`. `notifications`: how often the broker was notified since the
    job waits."""

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    kind = models.CharField(max_length=40)
    title = models.CharField(max_length=200)
    queue = models.CharField(max_length=8, default="light")
    subject = models.CharField(max_length=36, blank=True, default="")
    config = models.JSONField(default=dict)
    state = models.CharField(max_length=10, choices=State.choices, default=State.QUEUED)
    attempt = models.PositiveIntegerField(default=0)
    stops = models.PositiveSmallIntegerField(default=0)
    best = models.BigIntegerField(default=0)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True)
    created_at = models.DateTimeField(auto_now_add=True)
    notified_at = models.DateTimeField(null=True)
    notifications = models.PositiveSmallIntegerField(default=0)
    started_at = models.DateTimeField(null=True)
    heartbeat_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    done = models.BigIntegerField(default=0)
    total = models.BigIntegerField(default=0)
    unit = models.CharField(max_length=40, blank=True, default="")
    result = models.JSONField(null=True)
    error = models.JSONField(null=True)

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [models.CheckConstraint(condition=Q(state__in=State.values), name="job_state_is_known")]
        indexes = [
            models.Index(fields=["state", "heartbeat_at"], name="job_unfinished", condition=~Q(state__in=FINISHED)),
            models.Index(fields=["subject", "-created_at"], name="job_subject", condition=~Q(subject="")),
        ]

    @property
    def finished(self) -> bool:
        return self.state in FINISHED

    @property
    def share_done(self) -> float | None:
        return min(1.0, self.done / self.total) if self.total else None


class JobLine(models.Model):
    """One line of a job's log."""

    job = models.ForeignKey(Job, models.CASCADE, related_name="lines")
    at = models.DateTimeField(auto_now_add=True)
    text = models.CharField(max_length=1000)

    class Meta:
        ordering = ["id"]


class Folder(models.Model):
    """One row: the mark of the folder in which the site keeps its files."""

    mark = models.CharField(max_length=64)
