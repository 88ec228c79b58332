"""How refusals and other errors are answered: problem details (RFC 9457) for the API, a page for browsers."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.exceptions import PermissionDenied, RequestDataTooBig, ValidationError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import set_rollback

from webapp.errors import InputError, Invalid, NotAllowed, NotFound, Refusal, TooLarge, of_the_machine
from webapp.schema import UNTEXT

log = logging.getLogger(__name__)


def _first_error(errors: Any, path: str = "") -> tuple[str, str]:
    if isinstance(errors, dict):
        for name, inner in errors.items():
            if inner:
                return _first_error(inner, path if name == "non_field_errors" else f"{path}.{name}".strip("."))
    if isinstance(errors, list):
        for number, inner in enumerate(errors):
            if inner:
                return _first_error(inner, f"{path}.{number}" if isinstance(inner, dict) else path)
    return path, str(errors)


def _from_exception(error: Exception) -> Refusal | None:
    if isinstance(error, Refusal):
        return error
    if isinstance(error, InputError):
        return error.refusal()
    if isinstance(error, exceptions.ValidationError):
        field, detail = _first_error(error.detail)
        return Invalid(detail, field=field or "body", errors=error.detail)
    if isinstance(error, ValidationError):
        field, detail = _first_error(getattr(error, "message_dict", None) or error.messages)
        return Invalid(detail, field=field)
    if isinstance(error, RequestDataTooBig):
        most = settings.DATA_UPLOAD_MAX_MEMORY_SIZE >> 20
        return TooLarge(f"The body is larger than {most} MiB.", field="body", fix="send it in parts")
    if isinstance(error, Http404 | exceptions.NotFound):
        return NotFound("There is no such thing here, or it is not yours to see.")
    if isinstance(error, PermissionDenied | exceptions.PermissionDenied):
        return NotAllowed(str(error) or "Your role does not allow this.")
    if isinstance(error, exceptions.APIException):
        refusal = Refusal(str(error.detail))
        refusal.code, refusal.status = error.default_code, error.status_code
        return refusal
    if (refusal_of := of_the_machine(error)) is not None:
        log.error("a request failed with its machine", exc_info=error)
    return refusal_of


def problem_details(error: Exception, context: dict[str, Any]) -> Response | None:
    """REST framework's exception handler: every error of the API has one shape."""
    refusal = _from_exception(error)
    if refusal is None:
        return None
    set_rollback()
    headers = {"Retry-After": "2"} if refusal.status in (503, 507) else {}
    if refusal.status == 429 and (wait_ms := refusal.more.get("retry_after_ms")):
        headers["Retry-After"] = str(-(-int(wait_ms) // 1000))
    if isinstance(error, exceptions.APIException):
        if wait := getattr(error, "wait", None):
            headers["Retry-After"] = str(int(wait) + 1)
        if challenge := getattr(error, "auth_header", None):
            headers["WWW-Authenticate"] = challenge
    return Response(refusal.as_dict(), refusal.status, headers=headers, content_type="application/problem+json")


class RefusalMiddleware:
    """Turns refusals raised by pages into a readable page (or problem details for scripts)."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(self, request: HttpRequest, view: Any, args: Any, kwargs: Any) -> HttpResponse | None:
        """Text of forms is text that a database can hold; what is not is refused before a page sees it."""
        if request.path_info.startswith("/api/"):
            return None
        fields = [*request.GET.lists()]
        if request.method == "POST" and request.content_type == "application/x-www-form-urlencoded":
            try:
                fields += request.POST.lists()
            except RequestDataTooBig as error:
                return self.process_exception(request, _from_exception(error) or error)
        for name, values in fields:
            if any(UNTEXT.search(text) for text in (name, *values)):
                what = "Text holds a character that is none (NUL or half a surrogate pair)."
                return self.process_exception(request, Invalid(what, field=UNTEXT.sub("?", name)[:60]))
        return None

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if isinstance(error, ValidationError):  # a wrong id in a form, say
            error = _from_exception(error) or error
        if not isinstance(error, Refusal):
            return None
        if "text/html" in request.headers.get("Accept", ""):
            return render(request, "refusal.html", {"refusal": error}, status=error.status)
        return JsonResponse(error.as_dict(), status=error.status, content_type="application/problem+json")
