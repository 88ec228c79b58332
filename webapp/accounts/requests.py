"""Requests whose `user` is somebody who is signed in: pages behind `login_required`, and the API, which asks for it."""

from __future__ import annotations

from django.http import HttpRequest
from rest_framework.request import Request

from webapp.accounts.models import Account


class PageRequest(HttpRequest):
    user: Account  # type: ignore[assignment]  # never anonymous here


class ApiRequest(Request):
    user: Account
