"""How often somebody may try something, counted by the database: one count for all processes, pages and API alike.

Trying is counted before it is done, in one statement that both looks and counts: a hundred at once get no more than one after
the other. Nobody can lock somebody else out: wrong passwords count per name **and address**; the count per name alone spares
browsers from which this person has signed in before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core import signing
from django.db.models import Case, F, Q, Value, When
from django.http import HttpRequest, HttpResponse
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from webapp import clock
from webapp.accounts.models import Account, Attempts, canonical
from webapp.errors import Refusal


class TooOften(Refusal):
    code, status = "throttled", 429


@dataclass(frozen=True)
class Limit:
    """At most `most` times in `window_s` seconds; `what` is for people."""

    name: str
    most: int
    window_s: int
    what: str


NAME_AT_ADDRESS = Limit("name-at-address", 10, 600, "wrong passwords for this name")
NAME = Limit("name", 100, 600, "wrong passwords for this name")
ADDRESS = Limit("address", 60, 600, "wrong passwords from this address")
REGISTRATIONS = Limit("registrations", 20, 3600, "new accounts from this address")
ENTRIES = Limit("entries", 120, 3600, "entries from this address")
CODES = Limit("codes", 20, 600, "codes for this account")
OWN_PASSWORD = Limit("own-password", 20, 600, "passwords")  # whoever holds a stolen session does not know it yet
RESETS = Limit("resets", 10, 3600, "password resets from this address")


def heavy() -> Limit:
    most, _, unit = settings.RATE_HEAVY.partition("/")
    window = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}[unit]
    return Limit("heavy", int(most), window, "large pieces of work")


def _key(limit: Limit, who: str) -> str:
    return hashlib.sha256(f"{limit.name}\n{who}".encode("utf-8", "surrogatepass")).hexdigest()


def take(limit: Limit, who: str) -> None:
    """Count one attempt. Raises TooOften once there were too many, without counting further."""
    key = _key(limit, who)
    now = clock.now()
    old = Q(since__lt=now - timedelta(seconds=limit.window_s))
    since = now
    for _ in range(2):
        counted = Attempts.objects.filter(Q(count__lt=limit.most) | old, key=key).update(
            count=Case(When(old, then=Value(1)), default=F("count") + 1),
            since=Case(When(old, then=Value(now)), default=F("since")),
        )
        if counted:
            return
        row, is_new = Attempts.objects.get_or_create(key=key, defaults={"since": now})
        if is_new:
            return
        since = row.since
    wait = max(1, int(limit.window_s - (now - since).total_seconds()) + 1)
    raise TooOften(f"Too many {limit.what}.", fix=f"try again in {-(-wait // 60)} minutes", retry_after_ms=1000 * wait)


def give_back(limit: Limit, who: str) -> None:
    """It was no failure after all."""
    Attempts.objects.filter(key=_key(limit, who), count__gt=0).update(count=F("count") - 1)


def forget(limit: Limit, who: str) -> None:
    Attempts.objects.filter(key=_key(limit, who)).delete()


def forget_old() -> None:
    Attempts.objects.filter(since__lt=clock.now() - timedelta(days=1)).delete()


def address_of(request: HttpRequest) -> str:
    """Who sends a request; behind a proxy, whom the proxy says."""
    if settings.BEHIND_PROXY and (chain := request.headers.get("X-Forwarded-For", "")):
        return chain.rpartition(",")[2].strip()[:45]
    return str(request.META.get("REMOTE_ADDR", ""))[:45]


KNOWN = "nearer_known"
_known = signing.Signer(salt="nearer.known-browser")


def know(request: HttpRequest, response: HttpResponse, account: Account) -> None:
    """Remember that this person signed in with this browser."""
    response.set_cookie(
        KNOWN,
        _known.sign(str(account.uuid)),
        max_age=365 * 86_400,
        httponly=True,
        samesite="Lax",
        secure=settings.SESSION_COOKIE_SECURE,
    )


def _is_known(request: HttpRequest, name: str) -> bool:
    try:
        identity = _known.unsign(request.COOKIES.get(KNOWN, ""))
    except signing.BadSignature:
        return False
    return Account.objects.filter(uuid=identity, name_key=name).exists()


@contextmanager
def sign_in(request: HttpRequest, username: str) -> Iterator[Any]:
    """Around the check of a password: call the given function when it was right. Raises TooOften before it is looked at."""
    name, address = canonical(username), address_of(request)
    both = f"{name}\n{address}"
    take(ADDRESS, address)
    take(NAME_AT_ADDRESS, both)
    if not _is_known(request, name):
        take(NAME, name)

    def right() -> None:
        give_back(ADDRESS, address)
        give_back(NAME, name)
        forget(NAME_AT_ADDRESS, both)

    yield right


class Heavy(BaseThrottle):
    """The API's door to the same count of large pieces of work that pages use."""

    retry_s: float | None = None

    def allow_request(self, request: Request, view: Any) -> bool:
        if getattr(view, "throttle_scope", "") != "heavy" or not request.user.is_authenticated:
            return True
        try:
            take(heavy(), str(request.user.pk))
        except TooOften as error:
            self.retry_s = error.more["retry_after_ms"] / 1000
            return False
        return True

    def wait(self) -> float | None:
        return self.retry_s
