"""What annotators say is wrong with a question."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q

from labeling.models.answer import Assignment


class QuestionReport(models.Model):
    """A question that an annotator gave back: its picture does not load or shows nobody, or a circle is on the wrong place."""

    class Reason(models.TextChoices):
        PICTURE = "picture"
        KEYPOINT = "keypoint"
        PERSON = "person"
        OTHER = "other"

    assignment = models.OneToOneField(Assignment, models.CASCADE, related_name="report")
    reason = models.CharField(max_length=8, choices=Reason.choices)
    words = models.CharField(max_length=400, blank=True, default="")
    at = models.DateTimeField()
    resolved_at = models.DateTimeField(null=True)
    resolved_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(reason__in=["picture", "keypoint", "person", "other"]), name="report_reason_is_known"
            )
        ]
