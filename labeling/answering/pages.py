"""The annotator's pages: home, the page on which people answer, and the doors to it. They call verbs and hold no rules."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import path, reverse
from django.views.decorators.http import require_POST
from django.views.generic import RedirectView

from labeling.campaigns import participants
from labeling.models import Campaign, Participation
from webapp.accounts import people, throttle
from webapp.accounts.requests import PageRequest
from webapp.accounts.roles import STAFF, require
from webapp.errors import Refusal


@login_required
def home(request: PageRequest) -> HttpResponse:
    """The annotator's entrance: campaigns that can be worked on."""
    rows = participants.open_to(request.user).order_by("name")
    page = Paginator(rows, 30).get_page(request.GET.get("page"))
    participations = {
        s.campaign_id: s for s in Participation.objects.filter(annotator=request.user, campaign__in=list(page))
    }
    return render(
        request,
        "answering/home.html",
        {"page": page, "rows": [_row(campaign, participations.get(campaign.pk)) for campaign in page]},
    )


def _row(campaign: Campaign, participation: Participation | None) -> dict[str, Any]:
    answered = 0 if participation is None else participation.answer_count
    return {"campaign": campaign, "participation": participation, "answered": answered}


@login_required
@require_POST
def appeal(request: PageRequest, identity: UUID) -> HttpResponse:
    """Ask the admins to look again at a pause or an exclusion."""
    try:
        participants.appeal(request.user, identity, request.POST.get("text", ""))
        messages.success(request, "The admins will read what you wrote.")
    except Refusal as error:
        messages.error(request, str(error))
    return redirect("annotator-home")


@login_required
def annotate(request: PageRequest, identity: UUID) -> HttpResponse:
    """The page on which people answer."""
    campaign = get_object_or_404(Campaign, uuid=identity)
    participants.participate(request.user, campaign)
    start = {"api": reverse("annotate-state", args=[campaign.uuid]), "home": reverse("index"), "name": campaign.name}
    start |= {"login": reverse("login"), "person": str(request.user.uuid)}
    return render(request, "answering/annotate.html", {"campaign": campaign, "start": start})


@login_required
def preview(request: PageRequest, identity: UUID) -> HttpResponse:
    """The page on which people answer, for staff who only look: nothing is counted."""
    require(request.user, *STAFF)
    campaign = get_object_or_404(participants.visible_to(request.user), uuid=identity)
    start = {"api": reverse("preview-state", args=[campaign.uuid]), "home": reverse("campaign", args=[campaign.uuid])}
    start |= {"name": campaign.name, "login": reverse("login"), "person": str(request.user.uuid)}
    return render(request, "answering/annotate.html", {"campaign": campaign, "start": start, "preview": True})


def join(request: HttpRequest, key: str) -> HttpResponse:
    """An invitation link. Who has no account yet may make one, also where registration is closed."""
    campaign = get_object_or_404(Campaign, entry_key=key, access=Campaign.Access.INVITE)
    if not request.user.is_authenticated:
        people.invite(request)
        return redirect(f"{reverse('register')}?{urlencode({'next': request.path})}")
    participants.participate(request.user, campaign, invited=True)
    return redirect("annotate", campaign.uuid)


def enter(request: HttpRequest, key: str) -> HttpResponse:
    """A recruiter's link with the person's id in the address, e.g. ?PROLIFIC_PID=..."""
    campaign = get_object_or_404(Campaign, entry_key=key, access=Campaign.Access.RECRUITER)
    if request.user.is_authenticated and not request.user.is_recruited:
        # Whoever runs the study tries the link: the session stays, and nobody becomes a participant.
        return render(
            request, "answering/enter_preview.html", {"campaign": campaign, "parameters": request.GET.items()}
        )
    throttle.take(throttle.ENTRIES, throttle.address_of(request))
    account = participants.enter_as_recruited(campaign, request.GET)
    if request.user != account:
        login(request, account, backend="django.contrib.auth.backends.ModelBackend")
    return redirect("annotate", campaign.uuid)


urls = [
    path("home/", home, name="annotator-home"),
    path("work/", RedirectView.as_view(pattern_name="annotator-home")),
    path("annotate/<uuid:identity>/appeal/", appeal, name="appeal"),
    path("annotate/<uuid:identity>/", annotate, name="annotate"),
    path("campaigns/<uuid:identity>/preview/", preview, name="campaign-preview"),
    path("join/<str:key>/", join, name="join"),
    path("enter/<str:key>/", enter, name="enter"),
]
