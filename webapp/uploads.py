"""Who may send much: looked at before anything is read, so that a stranger cannot fill the disk."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render

from webapp.accounts.roles import Role
from webapp.errors import Invalid, Refusal, TooLarge

SMALL_BYTES = 1 << 20  # more than any form without files needs


class UploadGuard:
    """Middleware, after the session and before anything that looks into a body."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        try:
            self._look(request)
        except Refusal as error:
            if "text/html" in request.headers.get("Accept", ""):
                return render(request, "refusal.html", {"refusal": error}, status=error.status)
            return JsonResponse(error.as_dict(), status=error.status, content_type="application/problem+json")
        return self.get_response(request)

    def _look(self, request: HttpRequest) -> None:
        for part in (request.path_info, request.META.get("QUERY_STRING", "")):
            if "\0" in part or "%00" in part:
                raise Invalid("The address holds a character that no address has.", field="address")
        if request.method in ("GET", "HEAD", "OPTIONS") or not (request.content_type or "").startswith("multipart/"):
            return
        # A token is looked at by the API before it reads a body; a page's session is looked at here.
        if request.headers.get("Authorization", "").lower().startswith("bearer "):
            return
        length = request.META.get("CONTENT_LENGTH", "")
        may = request.user.is_authenticated and request.user.is_one_of(Role.ADMIN)
        if not may and (not length.isdigit() or int(length) > SMALL_BYTES):
            raise TooLarge("Only admins send files here.", field="body", fix="sign in as an admin first")
