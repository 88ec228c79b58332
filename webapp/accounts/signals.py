"""Every sign-in is noted beside its session, so that people can see and end their own."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.dispatch import receiver
from django.http import HttpRequest

from webapp.accounts.models import Account, SignIn
from webapp.accounts.throttle import address_of


@receiver(user_logged_in)
def note(sender: Any, request: HttpRequest, user: Account, **_: Any) -> None:
    if not request.session.session_key:
        request.session.save()
    about = {"address": address_of(request), "browser": request.headers.get("User-Agent", "")[:200]}
    SignIn.objects.update_or_create(session_key=request.session.session_key, defaults={"account": user, **about})


@receiver(user_logged_out)
def end(sender: Any, request: HttpRequest, user: Account | None, **_: Any) -> None:
    SignIn.objects.filter(session_key=request.session.session_key or "").delete()
