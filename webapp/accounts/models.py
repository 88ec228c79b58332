"""Accounts, their tokens and sign-ins, counters of attempts, and the book of who did what."""

from __future__ import annotations

import unicodedata
import uuid
from typing import Any

from django.contrib.auth.models import AbstractUser, UserManager
from django.db import models
from django.db.models import Q

from webapp.accounts.roles import Role


def canonical(name: str) -> str:
    """How names are compared: 'Mary', ' mary ' and full-width 'ｍａｒｙ' are one person."""
    return " ".join(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).split())


class Accounts(UserManager["Account"]):
    def get_by_natural_key(self, username: str | None) -> Account:
        """By the very spelling first: of two who were there before names were compared, each signs in as ever."""
        exact = self.filter(username=username).first()
        return exact or self.get(name_key=canonical(username or ""))

    def create_superuser(self, *args: Any, **fields: Any) -> Account:
        return super().create_superuser(*args, **fields | {"role": Role.ADMIN})


class Account(AbstractUser):
    """Somebody (or a simulated annotator, always marked as such) who can sign in. Has exactly one role.

    `name_key`: the name as it is compared. `recruiter`, `recruiter_id`: who sent this person, and under which id; such an
    account has no password, is entered by whoever has the link, and therefore never gets another role.
    """

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    name_key = models.CharField(max_length=200, unique=True, editable=False)
    role = models.CharField(max_length=16, choices=Role.choices, default=Role.ANNOTATOR)
    is_simulated = models.BooleanField(default=False)
    recruiter = models.CharField(max_length=64, blank=True, default="")
    recruiter_id = models.CharField(max_length=128, blank=True, default="")

    objects = Accounts()  # type: ignore[misc]

    class Meta(AbstractUser.Meta):
        constraints = [
            models.UniqueConstraint(
                fields=["recruiter", "recruiter_id"],
                condition=~Q(recruiter=""),
                name="one_account_per_recruited_person",
            ),
            models.CheckConstraint(condition=Q(role__in=Role.values), name="account_role_is_known"),
            models.CheckConstraint(condition=Q(recruiter="") | Q(role="annotator"), name="recruited_people_annotate"),
        ]

    def save(self, *args: Any, **fields: Any) -> None:
        if not self.name_key:
            self.name_key = canonical(self.username)
        super().save(*args, **fields)

    def is_one_of(self, *roles: str) -> bool:
        return self.is_active and self.role in roles

    @property
    def is_recruited(self) -> bool:
        return bool(self.recruiter)


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


class SignIn(models.Model):
    """A session of somebody in a browser: listed on the account's page, where it can be ended."""

    account = models.ForeignKey(Account, models.CASCADE, related_name="sign_ins")
    session_key = models.CharField(max_length=40, unique=True)
    at = models.DateTimeField(auto_now_add=True)
    address = models.CharField(max_length=45, blank=True, default="")
    browser = models.CharField(max_length=200, blank=True, default="")

    class Meta:
        ordering = ["-id"]


class Attempts(models.Model):
    """How often something was tried since `since`, by somebody: `key` is a hash of what and who."""

    key = models.CharField(max_length=64, unique=True)
    since = models.DateTimeField(db_index=True)
    count = models.PositiveIntegerField(default=1)


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
