"""What annotators see, for staff who only want to look: real questions of the campaign, no participation, and nothing is counted."""

from __future__ import annotations

import random
import uuid
from typing import Any
from uuid import UUID

from django.db.models import Max, Min
from django.http import HttpResponse
from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework.response import Response
from rest_framework.views import APIView

from labeling import pictures
from labeling.answering import questions as wire
from labeling.answering.assignment import Lease
from labeling.campaigns import participants
from labeling.models import Assignment, Campaign, Pair
from webapp.accounts.requests import ApiRequest
from webapp.accounts.roles import STAFF, require
from webapp.accounts.tokens import ScopeByMethod
from webapp.errors import Conflict, NotFound

_rng = random.SystemRandom()


@extend_schema(exclude=True)
class Preview(APIView):
    permission_classes = [ScopeByMethod]

    def campaign_of(self, request: ApiRequest, identity: UUID) -> Campaign:
        require(request.user, *STAFF)
        campaign = (
            participants.visible_to(request.user).select_related("dataset__skeleton").filter(uuid=identity).first()
        )
        if campaign is None:
            raise NotFound("There is no such campaign.", field="campaign")
        return campaign


class State(Preview):
    def get(self, request: ApiRequest, campaign: UUID) -> Response:
        row = self.campaign_of(request, campaign)
        about: dict[str, Any] = {
            "id": f"preview-{row.uuid}",
            "state": "open",
            "tutorial_passed": True,
            "has_tutorial": False,
        }
        about |= {
            name: getattr(row, name) for name in ("name", "instructions", "delay_ms", "session_length", "allow_same")
        }
        return Response(wire.CampaignState(**about, answered=0).model_dump())


class Next(Preview):
    def post(self, request: ApiRequest, campaign: UUID) -> Response:
        """One of the campaign's pairs, drawn at random."""
        row = self.campaign_of(request, campaign)
        ends = row.pairs.aggregate(first=Min("pk"), last=Max("pk"))
        if ends["first"] is None:
            raise Conflict("The campaign has no pairs yet.", field="campaign", fix="wait until its preparation is done")
        from_here = row.pairs.filter(pk__gte=_rng.randint(ends["first"], ends["last"])).order_by("pk")
        pair = from_here.select_related("person__image").first()
        drawn = {"green_is_first": _rng.random() < 0.5, "green_on_left": _rng.random() < 0.5}
        shown = Assignment(uuid=uuid.uuid4(), campaign=row, pair=pair, **drawn)
        asked = wire.question(Lease(shown, row, "preview", row.session_length)).model_dump()
        return Response(asked | {"picture": reverse("preview-picture", args=[row.uuid, pair.pk if pair else 0])})


class Answered(Preview):
    def post(self, request: ApiRequest, campaign: UUID) -> Response:
        """Taken as an answer is, and forgotten."""
        row = self.campaign_of(request, campaign)
        return Response({"to_go": row.session_length, "answered": 0, "session_finished": False})


class Nothing(Preview):
    def post(self, request: ApiRequest, campaign: UUID) -> Response:
        raise Conflict(
            "This is a preview: nothing was counted, so nothing is taken back or reported.", field="campaign"
        )


class Picture(Preview):
    def get(self, request: ApiRequest, campaign: UUID, pair: int) -> HttpResponse:
        row = self.campaign_of(request, campaign)
        asked = Pair.objects.select_related("person__image").filter(campaign=row, pk=pair).first()
        if asked is None:
            raise NotFound("There is no such pair.", field="pair")
        return HttpResponse(pictures.file_of(asked.person).read_bytes(), content_type="image/jpeg")
