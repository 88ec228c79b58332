"""Accounts, their tokens, and the book of who did what."""

from __future__ import annotations

import uuid

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.db.models import Q

from webapp.accounts.roles import Role


class Account(AbstractUser):
    """Somebody (or a simulated annotator, always marked as such) who can sign in. Has exactly one role."""

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    role = models.CharField(max_length=16, choices=Role.choices, default=Role.ANNOTATOR)
    is_simulated = models.BooleanField(default=False)
    recruiter = models.CharField(max_length=32, blank=True, default="")
    recruiter_id = models.CharField(max_length=128, blank=True, default="")

    class Meta(AbstractUser.Meta):
        constraints = [
            models.UniqueConstraint(
                fields=["recruiter", "recruiter_id"],
                condition=~Q(recruiter=""),
                name="one_account_per_recruited_person",
            ),
            models.CheckConstraint(condition=Q(role__in=Role.values), name="account_role_is_known"),
        ]

    def is_one_of(self, *roles: str) -> bool:
        return self.is_active and self.role in roles


class ApiToken(models.Model):
    """A revocable key for scripts. Only its SHA-256 is stored; the text is shown once."""

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    account = models.ForeignKey(Account, models.CASCADE, related_name="tokens")
    name = models.CharField(max_length=80)
    digest = models.CharField(max_length=64, unique=True)
    scopes = models.JSONField(default=list)
    created_at = models.DateTimeField(auto_now_add=True)
    last_used_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-created_at", "-id"]


class AuditEntry(models.Model):
    """One change of state by somebody. Written in the same transaction as the change."""

    at = models.DateTimeField(auto_now_add=True, db_index=True)
    actor = models.ForeignKey(Account, models.SET_NULL, null=True)
    verb = models.CharField(max_length=64)
    thing = models.CharField(max_length=64)
    thing_id = models.CharField(max_length=64)
    details = models.JSONField(default=dict)

    class Meta:
        ordering = ["-id"]
