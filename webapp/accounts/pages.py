"""Pages of accounts: sign in, register, passwords, sessions, tokens, people, the audit book."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login, views
from django.contrib.auth.decorators import login_required
from django.contrib.sessions.models import Session
from django.core.paginator import Paginator
from django.db import transaction
from django.db.models import Exists, OuterRef
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse_lazy
from django.utils.decorators import method_decorator
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django_otp.plugins.otp_totp.models import TOTPDevice

from webapp import audit
from webapp.accounts import people, second_factor, throttle, tokens
from webapp.accounts.models import Account, ApiToken, AuditEntry, SignIn
from webapp.accounts.requests import PageRequest
from webapp.accounts.roles import Role, require
from webapp.errors import NotAllowed, NotFound, Refusal
from webapp.forms import sent

FRESH = "fresh_secret"  # shown on the next page and nowhere else


def _uuid(text: str, field: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise NotFound("There is no such thing here.", field=field, value=text[:40]) from None


@method_decorator(never_cache, "dispatch")
class Login(views.LoginView):
    """Sign in. Wrong passwords are counted per name and address before they are looked at."""

    template_name = "accounts/login.html"
    redirect_authenticated_user = True

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            with throttle.sign_in(request, request.POST.get("username", "")[:400]) as right:
                response = super().post(request, *args, **kwargs)
                if request.user.is_authenticated:
                    right()
                    throttle.know(request, response, request.user)
                elif second_factor.awaited(request):
                    right()
                return response
        except throttle.TooOften as error:
            messages.error(request, f"{error.detail} {error.fix[:1].upper()}{error.fix[1:]}.")
            context = self.get_context_data(form=self.get_form_class()(request))
            return render(request, "accounts/login.html", context, status=429)

    def form_valid(self, form: Any) -> HttpResponse:
        if second_factor.device_of(form.get_user()) is None:
            return super().form_valid(form)
        second_factor.wait_for_code(self.request, form.get_user(), self.get_success_url())
        return redirect("login-code")

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        extra = {"registration_open": settings.REGISTRATION_OPEN, "mail": bool(settings.EMAIL_URL)}
        return super().get_context_data(**extra, name=self.request.POST.get("username", "")[:150], **kwargs)


@never_cache
def login_code(request: HttpRequest) -> HttpResponse:
    """The second page of signing in, for whoever has a second factor."""
    waiting = second_factor.awaited(request)
    if waiting is None:
        return redirect("login")
    account, to = waiting
    if request.method == "POST":
        try:
            throttle.take(throttle.CODES, str(account.pk))
            second_factor.check(account, request.POST.get("code", "")[:20])
        except Refusal as error:
            messages.error(request, f"{error.detail} {error.fix[:1].upper()}{error.fix[1:]}.")
        else:
            request.session.pop(second_factor.WAITING, None)
            login(request, account, backend="django.contrib.auth.backends.ModelBackend")
            response = redirect(to)
            throttle.know(request, response, account)
            return response
    return render(request, "accounts/login_code.html")


def _next(request: HttpRequest) -> str:
    path = request.POST.get("next") or request.GET.get("next") or ""
    return path if url_has_allowed_host_and_scheme(path, {request.get_host()}, request.is_secure()) else "/"


@never_cache
def register(request: HttpRequest) -> HttpResponse:
    """Make an annotator's account: where the site allows it, or with an invitation."""
    if not (settings.REGISTRATION_OPEN or request.session.get(people.INVITED)):
        raise Http404
    if request.method == "POST":
        try:
            throttle.take(throttle.REGISTRATIONS, throttle.address_of(request))
            account = people.create(
                None,
                username=request.POST.get("username", ""),
                role=Role.ANNOTATOR,
                password=request.POST.get("password", ""),
                email=request.POST.get("email", ""),
            )
        except Refusal as error:
            messages.error(request, error.words)
        else:
            request.session.pop(people.INVITED, None)
            login(request, account, backend="django.contrib.auth.backends.ModelBackend")
            return redirect(_next(request))
    context = {"next": _next(request), "mail": bool(settings.EMAIL_URL), "sent": sent(request)}
    return render(request, "accounts/register.html", context)


@never_cache
def first_admin(request: HttpRequest, token: str) -> HttpResponse:
    """The page behind the link that a new site prints: it makes the first admin and then serves no more."""
    people.check_first(token)
    if request.method == "POST":
        try:
            account = people.make_first_admin(
                token, username=request.POST.get("username", ""), password=request.POST.get("password", "")
            )
        except NotFound:
            raise
        except Refusal as error:
            messages.error(request, error.words)
        else:
            login(request, account, backend="django.contrib.auth.backends.ModelBackend")
            return redirect("index")
    return render(request, "accounts/first_admin.html", {"sent": sent(request)})


@method_decorator(never_cache, "dispatch")
class PasswordChange(views.PasswordChangeView):
    request: PageRequest
    template_name = "accounts/password_change.html"
    success_url = reverse_lazy("account")

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        throttle.take(throttle.OWN_PASSWORD, str(request.user.pk))
        return super().post(request, *args, **kwargs)

    def form_valid(self, form: Any) -> HttpResponse:
        with transaction.atomic():
            response = super().form_valid(form)
            audit.record(self.request.user, "account.password", self.request.user)
        _end_sessions(self.request.user, but=self.request.session.session_key or "")
        messages.success(self.request, "The password is changed. Your other sessions are ended.")
        return response


@method_decorator(never_cache, "dispatch")
class PasswordForgotten(views.PasswordResetView):
    """A link by e-mail, where the site can send any."""

    template_name = "accounts/password_forgotten.html"
    email_template_name = "accounts/password_mail.txt"
    subject_template_name = "accounts/password_subject.txt"
    success_url = reverse_lazy("login")

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not settings.EMAIL_URL:
            raise Http404
        return super().dispatch(request, *args, **kwargs)

    def form_valid(self, form: Any) -> HttpResponse:
        throttle.take(throttle.RESETS, throttle.address_of(self.request))
        messages.success(self.request, "If an account has this address, a link is on its way there.")
        return super().form_valid(form)


@method_decorator(never_cache, "dispatch")
class PasswordSet(views.PasswordResetConfirmView):
    """Behind a one-time link: from an e-mail, or handed out by an admin."""

    template_name = "accounts/password_set.html"
    success_url = reverse_lazy("login")

    def form_valid(self, form: Any) -> HttpResponse:
        with transaction.atomic():
            response = super().form_valid(form)
            audit.record(form.user, "account.password", form.user)
        _end_sessions(form.user)
        messages.success(self.request, "The password is set. Sign in with it.")
        return response


def _end_sessions(account: Account, *, but: str = "", only: int | None = None) -> None:
    ended = SignIn.objects.filter(account=account).exclude(session_key=but)
    if only is not None:
        ended = ended.filter(pk=only)
    keys = list(ended.values_list("session_key", flat=True)[:1000])
    Session.objects.filter(session_key__in=keys).delete()
    SignIn.objects.filter(session_key__in=keys).delete()


def _end(request: PageRequest, which: str) -> None:
    if which == "others":
        _end_sessions(request.user, but=request.session.session_key or "")
    elif which.isascii() and which.isdigit() and len(which) < 18:
        _end_sessions(request.user, only=int(which))
    else:
        raise NotFound("You have no such session.", field="end")


def _change_own(request: PageRequest) -> None:
    mine: Account = request.user
    if "revoke" in request.POST:
        token = ApiToken.objects.filter(uuid=_uuid(request.POST["revoke"], "revoke"), account=mine).first()
        if token is None:
            raise NotFound("You have no such token.", field="revoke")
        tokens.revoke(mine, token)
    elif request.POST.get("do") == "second-factor":
        second_factor.begin(mine)
    elif request.POST.get("do") == "confirm":
        second_factor.confirm(mine, request.POST.get("code", "")[:20])
        messages.success(request, "From now on you sign in with password and code.")
    elif request.POST.get("do") == "remove-factor":
        throttle.take(throttle.OWN_PASSWORD, str(mine.pk))
        if not mine.check_password(request.POST.get("password", "")):
            raise NotAllowed("The password is wrong.", field="password")
        second_factor.remove(mine, mine)
        messages.success(request, "The second factor is removed.")
    elif "end" in request.POST:
        _end(request, request.POST["end"])
        messages.success(request, "Ended.")
    else:
        name, scopes = request.POST.get("name", ""), request.POST.getlist("scopes")
        _, request.session[FRESH] = tokens.issue(mine, name=name, scopes=scopes)


@never_cache
@login_required
def account(request: PageRequest) -> HttpResponse:
    """One's own account: API tokens and sessions."""
    mine: Account = request.user
    if request.method == "POST":
        try:
            _change_own(request)
        except Refusal as error:
            messages.error(request, error.words)
        return redirect("account")
    live = mine.sign_ins.filter(session_key__in=Session.objects.values("session_key"))[:20]
    context = {
        "fresh": request.session.pop(FRESH, None),
        "tokens": mine.tokens.all()[:200],
        "scopes": tokens.SCOPES,
        "factor": second_factor.device_of(mine),
        "offered": second_factor.offered(mine),
        "sessions": [(s, s.session_key == request.session.session_key) for s in live],
    }
    return render(request, "accounts/account.html", context)


def _create_account(request: PageRequest) -> None:
    post = request.POST
    created = people.create(
        request.user,
        username=post.get("username", ""),
        role=post.get("role", ""),
        password=post.get("password") or None,
        email=post.get("email", ""),
    )
    messages.success(request, f"{created.username} has an account.")
    if not post.get("password"):
        request.session[FRESH] = request.build_absolute_uri(people.password_link(request.user, created))


def _change_account(request: PageRequest) -> None:
    post = request.POST
    other = Account.objects.filter(uuid=_uuid(post["account"], "account")).first()
    if other is None:
        raise NotFound("There is no such account.", field="account")
    if post.get("do") == "password-link":
        request.session[FRESH] = request.build_absolute_uri(people.password_link(request.user, other))
    elif post.get("do") == "remove-factor":
        second_factor.remove(request.user, other)
        messages.success(request, f"{other.username} signs in with the password alone now.")
    elif post.get("do") == "erase":
        people.erase(request.user, other)
        messages.success(request, "The person is erased; what was answered stays, under no name.")
    else:
        active = post.get("active")
        people.change(request.user, other, role=post.get("role"), active=None if active is None else active == "1")
        messages.success(request, f"{other.username} is saved.")


@never_cache
@login_required
def people_page(request: PageRequest) -> HttpResponse:
    """All accounts, for admins: create, change role, switch off, hand out a link for the password."""
    require(request.user, Role.ADMIN)
    if request.method == "POST":
        try:
            (_change_account if "account" in request.POST else _create_account)(request)
            return redirect("people")
        except Refusal as error:
            messages.error(request, error.words)
    accounts = Account.objects.order_by("username").annotate(
        has_factor=Exists(TOTPDevice.objects.filter(user=OuterRef("pk"), confirmed=True))
    )
    if words := request.GET.get("q", "").strip():
        accounts = accounts.filter(username__icontains=words[:150])
    page = Paginator(accounts, 50).get_page(request.GET.get("page"))
    fresh = request.session.pop(FRESH, None) if request.method == "GET" else None
    return render(
        request,
        "accounts/people.html",
        {"page": page, "roles": Role.values, "fresh": fresh, "sent": sent(request), "q": words},
    )


@never_cache
@login_required
def audit_page(request: PageRequest) -> HttpResponse:
    """Who did what, newest first, for admins."""
    require(request.user, Role.ADMIN)
    book = AuditEntry.objects.select_related("actor")
    asked = {name: request.GET.get(name, "").strip()[:64] for name in ("verb", "actor", "thing_id")}
    if asked["verb"]:
        book = book.filter(verb__startswith=asked["verb"])
    if asked["actor"]:
        book = book.filter(actor__username=asked["actor"])
    if asked["thing_id"]:
        book = book.filter(thing_id=asked["thing_id"])
    page = Paginator(book, 100).get_page(request.GET.get("page"))
    return render(request, "accounts/audit.html", {"page": page, "asked": asked})
