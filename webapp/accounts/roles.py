"""The four roles, and the one question asked of them at the top of every verb."""

from __future__ import annotations

from typing import Protocol

from django.db.models import TextChoices

from webapp.errors import NotAllowed


class Role(TextChoices):
    ADMIN = "admin"  # runs everything
    REVIEWER = "reviewer"  # watches quality, pauses annotators, reviews pseudo-labels
    RESEARCHER = "researcher"  # reads releases and models, trains
    ANNOTATOR = "annotator"  # answers


STAFF = (Role.ADMIN, Role.REVIEWER)
READERS = (*STAFF, Role.RESEARCHER)  # of campaigns, releases, runs and models


class Actor(Protocol):
    """Whoever asks for something: an account, or nobody who is signed in."""

    def is_one_of(self, *roles: str) -> bool: ...


def require(actor: Actor, *roles: str) -> None:
    """Raise NotAllowed unless the actor is signed in, active and has one of the roles."""
    if not getattr(actor, "is_authenticated", False) or not actor.is_one_of(*roles):
        raise NotAllowed(
            f"This needs the role {' or '.join(str(r) for r in roles)}.", fix="Ask an admin of this site for the role."
        )
