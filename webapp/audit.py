"""Who did what to which thing: one line per change of state, in the transaction of the change."""

from __future__ import annotations

from typing import Any

from django.db.models import Model

from webapp.accounts.models import Account, AuditEntry


def record(actor: Account | None, verb: str, thing: Model, **details: Any) -> None:
    AuditEntry.objects.create(
        actor=actor,
        verb=verb,
        thing=type(thing).__name__.lower(),
        thing_id=str(getattr(thing, "uuid", thing.pk)),
        details=details,
    )
