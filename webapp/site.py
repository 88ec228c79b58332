"""Front door, health check, and the answers to addresses that do not exist."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from django.contrib.auth.decorators import login_required
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.template import loader
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import api_view, permission_classes
from rest_framework.exceptions import NotFound
from rest_framework.permissions import AllowAny

from webapp import errors
from webapp.accounts.requests import PageRequest
from webapp.accounts.roles import Role
from webapp.errors import NotAllowed, of_the_machine


@login_required
def index(request: PageRequest) -> HttpResponse:
    """Everybody lands where their work is."""
    return redirect("campaign-list" if request.user.role != Role.ANNOTATOR else "annotator-home")


def health(request: HttpRequest) -> HttpResponse:
    """200 when the database answers; for load balancers and containers."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return HttpResponse("the database does not answer", content_type="text/plain", status=503)
    return HttpResponse("ok", content_type="text/plain")


class Health:
    """Middleware, the first one: whoever asks after the site's health need not know its name."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return health(request) if request.path_info == "/healthz" else self.get_response(request)


@extend_schema(exclude=True)
@api_view(["GET", "POST", "PUT", "PATCH", "DELETE"])
@permission_classes([AllowAny])
def nothing_here(request: Any) -> HttpResponse:
    raise NotFound


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    if request.path.startswith("/api/"):
        problem = errors.NotFound("There is nothing here.").as_dict()
        return JsonResponse(problem, status=404, content_type="application/problem+json")
    return render(request, "404.html", status=404)


def not_allowed(request: HttpRequest, exception: Exception) -> HttpResponse:
    return render(request, "refusal.html", {"refusal": NotAllowed("Your role does not allow this.")}, status=403)


def stale_form(request: HttpRequest, reason: str = "") -> HttpResponse:
    """A form from before somebody signed in or out in another tab: nothing was done, and sending it again works."""
    refusal = NotAllowed(
        "This page is older than your last sign-in, so the form was not taken. Nothing was changed.",
        fix="Go back, load the page again and send the form once more.",
    )
    if request.path.startswith("/api/"):
        return JsonResponse(refusal.as_dict() | {"code": "csrf_failed"}, status=403)
    return render(request, "refusal.html", {"refusal": refusal, "back": request.path}, status=403)


def broken(request: HttpRequest) -> HttpResponse:
    """Something of ours failed. The page needs neither database nor session: they may be what failed."""
    known = of_the_machine(sys.exc_info()[1])
    if request.path.startswith("/api/"):
        problem = {"code": "internal", "status": 500, "detail": "Something of ours failed; it is in the log."}
        problem = known.as_dict() if known else problem
        return JsonResponse(problem, status=problem["status"], content_type="application/problem+json")
    return HttpResponse(loader.render_to_string("500.html", {"known": known}), status=known.status if known else 500)
