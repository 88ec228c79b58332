"""Pages of accounts: sign in, register, tokens, people."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login, views
from django.contrib.auth.decorators import login_required
from django.core.cache import cache
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render

from webapp.accounts import people, tokens
from webapp.accounts.models import Account, ApiToken
from webapp.accounts.roles import Role, require
from webapp.refusal import Refusal

FAILURES_PER_10_MIN = 10


class Login(views.LoginView):
    """Sign in; a name that failed ten times in ten minutes waits."""

    template_name = "login.html"
    redirect_authenticated_user = True

    def _key(self) -> str:
        return "login:" + self.request.POST.get("username", "")[:150].lower().encode().hex()

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if cache.get(self._key(), 0) >= FAILURES_PER_10_MIN:
            messages.error(request, "Too many failed attempts for this name. Try again in ten minutes.")
            return render(request, "login.html", {"form": self.get_form_class()(request)}, status=429)
        return super().post(request, *args, **kwargs)

    def form_invalid(self, form: Any) -> HttpResponse:
        cache.set(self._key(), cache.get(self._key(), 0) + 1, 600)
        return super().form_invalid(form)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(registration_open=settings.REGISTRATION_OPEN, **kwargs)


def register(request: HttpRequest) -> HttpResponse:
    """Make an annotator's account, where the site allows it."""
    if not settings.REGISTRATION_OPEN:
        raise Http404
    if request.method == "POST":
        try:
            made = people.create(
                None,
                username=request.POST.get("username", ""),
                role=Role.ANNOTATOR,
                password=request.POST.get("password", ""),
            )
        except (Refusal, ValidationError) as error:
            text = " ".join(error.messages) if isinstance(error, ValidationError) else str(error)
            messages.error(request, text)
        else:
            login(request, made)
            return redirect("index")
    return render(request, "register.html")


@login_required
def account(request: HttpRequest) -> HttpResponse:
    """One's own account and API tokens."""
    fresh = None
    if request.method == "POST" and "revoke" in request.POST:
        token = get_object_or_404(ApiToken, uuid=request.POST["revoke"], account=request.user)
        tokens.revoke(request.user, token)
        return redirect("account")
    if request.method == "POST":
        try:
            _, fresh = tokens.issue(
                request.user, name=request.POST.get("name") or "token", scopes=request.POST.getlist("scopes")
            )
        except Refusal as error:
            messages.error(request, str(error))
    return render(
        request, "account.html", {"fresh": fresh, "tokens": request.user.tokens.all(), "scopes": tokens.SCOPES}
    )


@login_required
def people_page(request: HttpRequest) -> HttpResponse:
    """All accounts, for admins: create, change role, switch off."""
    require(request.user, Role.ADMIN)
    if request.method == "POST":
        try:
            if "account" in request.POST:
                other = get_object_or_404(Account, uuid=request.POST["account"])
                active = request.POST.get("active")
                people.change(
                    request.user, other, role=request.POST.get("role"), active=None if active is None else active == "1"
                )
            else:
                people.create(
                    request.user,
                    username=request.POST.get("username", ""),
                    role=request.POST.get("role", ""),
                    password=request.POST.get("password", ""),
                )
            return redirect("people")
        except (Refusal, ValidationError) as error:
            messages.error(request, " ".join(error.messages) if isinstance(error, ValidationError) else str(error))
    page = Paginator(Account.objects.order_by("username"), 50).get_page(request.GET.get("page"))
    return render(request, "people.html", {"page": page, "roles": Role.values})
