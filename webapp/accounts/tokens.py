"""Scoped, revocable API tokens, and how REST requests say who they are."""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import CharField
from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework import authentication, exceptions
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from webapp import audit
from webapp.accounts.models import Account, ApiToken
from webapp.accounts.roles import require
from webapp.errors import Invalid, NotAllowed, Refusal
from webapp.prepared import Select, Slot

SCOPES = ("read", "write", "annotate")
LAST_USED_GRAIN = timedelta(minutes=1)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def issue(account: Account, *, name: str, scopes: list[str]) -> tuple[ApiToken, str]:
    """Create a token for oneself; returns the row and the secret text, which is never shown again."""
    require(account, "admin", "reviewer", "researcher", "annotator")
    if account.is_recruited:
        raise NotAllowed("Somebody whom a recruiter sent works on the page and has no tokens.")
    if not name.strip() or not name.isprintable():
        raise Invalid("A token needs a printable name.", field="name", fix="what it is for, in a few words")
    if not scopes or set(scopes) - set(SCOPES):
        raise Invalid("Unknown or missing scope.", field="scopes", value=scopes, fix=f"choose from {', '.join(SCOPES)}")
    text = f"nearer_{secrets.token_urlsafe(32)}"
    with transaction.atomic():
        token = ApiToken.objects.create(
            account=account, name=name[:80], digest=_digest(text), scopes=sorted(set(scopes))
        )
        audit.record(account, "token.issue", token, scopes=token.scopes)
    return token, text


def revoke(account: Account, token: ApiToken) -> None:
    if token.account_id != account.pk:
        require(account, "admin")
    with transaction.atomic():
        ApiToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=timezone.now())
        audit.record(account, "token.revoke", token)


class StalePage(Refusal):
    """The page was made before somebody signed in or out in another tab."""

    code, status = "csrf_failed", 403


class SessionAuthentication(authentication.SessionAuthentication):
    """Cookie sessions with CSRF; answers 401 rather than 403 to strangers."""

    def enforce_csrf(self, request: Request) -> None:
        try:
            super().enforce_csrf(request)
        except exceptions.PermissionDenied:
            raise StalePage("This page is older than your last sign-in.", fix="load it again") from None

    def authenticate_header(self, request: Request) -> str:
        return "Session"


_BY_DIGEST = Select(
    lambda: (
        ApiToken.objects.select_related("account")
        .filter(digest=Slot("digest", CharField()), revoked_at=None)
        .order_by()
    )
)


class TokenAuthentication(authentication.BaseAuthentication):
    """`Authorization: Bearer nearer_…`"""

    def authenticate(self, request: Request) -> tuple[Account, ApiToken] | None:
        word, _, text = request.headers.get("Authorization", "").partition(" ")
        if word.lower() != "bearer":
            return None
        token = _BY_DIGEST.first(digest=_digest(text.strip()))
        if token is None or not token.account.is_active:
            raise exceptions.AuthenticationFailed("This token is unknown or revoked.")
        now = timezone.now()
        if token.last_used_at is None or now - token.last_used_at > LAST_USED_GRAIN:
            ApiToken.objects.filter(pk=token.pk).update(last_used_at=now)
        return token.account, token

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


def _scope_allows(request: Request, needed: str) -> bool:
    token = request.auth
    return not isinstance(token, ApiToken) or needed in token.scopes


class ScopeByMethod(BasePermission):
    """Signed in; a token needs `read` for safe methods and `write` for the others."""

    message = "This token lacks the scope for this request."

    def has_permission(self, request: Request, view: Any) -> bool:
        needed = "read" if request.method in SAFE_METHODS else "write"
        return bool(request.user and request.user.is_authenticated) and _scope_allows(request, needed)


class MayAnnotate(BasePermission):
    """Signed in; a token needs the scope `annotate`."""

    message = "This token lacks the scope 'annotate'."

    def has_permission(self, request: Request, view: Any) -> bool:
        return bool(request.user and request.user.is_authenticated) and _scope_allows(request, "annotate")


class BearerScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "webapp.accounts.tokens.TokenAuthentication"
    name = "bearer"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer"}


class CookieScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "webapp.accounts.tokens.SessionAuthentication"
    name = "session"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "apiKey", "in": "cookie", "name": "sessionid"}
