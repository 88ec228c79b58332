"""The database's clock: the one clock that all hosts of a site share.

Hosts may be minutes apart. Whatever one host writes and another compares (heartbeats, leases, viewing times) is told by
the database. SQLite lives in the same machine, so there the machine's clock is the same one.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import connection
from django.db.models import DurationField, ExpressionWrapper, Value
from django.db.models.functions import Now
from django.utils import timezone


def now() -> datetime:
    """The time of the database, aware, UTC."""
    if connection.vendor != "postgresql":
        return timezone.now()
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        row = cursor.fetchone()
    time: datetime = row[0]
    return time


def ago(seconds: float) -> ExpressionWrapper:
    """An expression for queries: so many seconds before the database's now."""
    return ExpressionWrapper(
        Now() - Value(timedelta(seconds=seconds), output_field=DurationField()), output_field=Now().output_field
    )
