"""REST doors for annotators: next question, answer, undo, tutorial."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.core import signing
from django.http import FileResponse, Http404, HttpResponse
from django.utils import timezone
from django.utils.http import http_date
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from labeling import access, assignment, pictures, tutorial, voting
from labeling.annotate import questions as wire
from labeling.models import Assignment, Campaign, KnownQuestion, Vote
from webapp.accounts.roles import STAFF
from webapp.accounts.tokens import MayAnnotate
from webapp.refusal import Invalid, NotFound
from webapp.typed import read

_rng = random.SystemRandom()


class AnnotatorView(APIView):
    permission_classes = [MayAnnotate]


class StateView(AnnotatorView):
    @extend_schema(operation_id="annotate_state", responses=wire.CampaignState)
    def get(self, request: Request, campaign: UUID) -> Response:
        """The campaign as its annotator sees it; takes a seat at the first visit."""
        found = Campaign.objects.filter(uuid=campaign).first()
        if found is None:
            raise NotFound("There is no such campaign, or it is not open to you.", field="campaign")
        seat = access.participate(request.user, found)
        state = wire.CampaignState(
            id=str(found.uuid),
            name=found.name,
            state=found.state,
            instructions=found.instructions,
            delay_ms=found.delay_ms,
            session_length=found.session_length,
            allow_same=found.allow_same,
            tutorial_passed=seat.tutorial_passed_at is not None,
            has_tutorial=found.known_questions.filter(use=KnownQuestion.Use.TUTORIAL).exists(),
            answered_in_all=Vote.objects.filter(participation=seat, retraction__isnull=True).count(),
            completion_url=found.completion_url,
        )
        return Response(state.model_dump())


class NextView(AnnotatorView):
    @extend_schema(operation_id="annotate_next", request=wire.NextRequest, responses=wire.Question)
    def post(self, request: Request, campaign: UUID) -> Response:
        """Lease the next question. Send the ids you hold in `have` to get one more ahead (at most three)."""
        have = frozenset(map(str, read(wire.NextRequest, request.data).have))
        lease = assignment.next_pair(request.user, campaign, now=timezone.now(), rng=_rng, have=have)
        return Response(wire.question(lease).model_dump())


class VoteView(AnnotatorView):
    @extend_schema(operation_id="annotate_vote", request=wire.VoteRequest, responses=wire.VoteResponse)
    def post(self, request: Request, campaign: UUID) -> Response:
        """Answer. Sent twice with the same key it counts once; too early, it says when to send it again."""
        asked = read(wire.VoteRequest, request.data)
        how = voting.Circumstances(**asked.model_dump(exclude={"token", "closer", "key"}))
        done = voting.accept(request.user, asked.token, closer=asked.closer, key=asked.key, now=timezone.now(), how=how)
        return Response({"to_go": done.to_go, "answered": done.answered, "session_finished": done.to_go == 0})


class UndoView(AnnotatorView):
    @extend_schema(operation_id="annotate_undo", request=wire.UndoRequest, responses=wire.Question)
    def post(self, request: Request, campaign: UUID) -> Response:
        """Take back the last answer of the sitting and get its question again."""
        asked = read(wire.UndoRequest, request.data)
        lease = voting.undo(request.user, campaign, key=asked.key, now=timezone.now())
        full = Assignment.objects.select_related(
            *("campaign__dataset__skeleton", "pair__first_person__image", "gold__person__image"),
            "probe_of__pair__first_person__image",
        ).get(pk=lease.assignment.pk)
        return Response(wire.question(replace(lease, assignment=full, campaign=full.campaign)).model_dump())


class AppealView(AnnotatorView):
    @extend_schema(operation_id="annotate_appeal", request=wire.AppealRequest, responses=wire.Appealed)
    def post(self, request: Request, campaign: UUID) -> Response:
        """Ask the admins to look again at a pause or an exclusion."""
        seat = access.appeal(request.user, campaign, read(wire.AppealRequest, request.data).text)
        return Response({"standing": seat.standing, "reason": seat.standing_reason, "appeal": seat.appeal})


class TutorialView(AnnotatorView):
    @extend_schema(operation_id="annotate_tutorial", responses=wire.TutorialState)
    def get(self, request: Request, campaign: UUID) -> Response:
        """Where you stand in the tutorial; starts the next try if the last one failed."""
        step = tutorial.where(request.user, campaign)
        return Response(wire.tutorial_state(step, timezone.now()).model_dump())

    @extend_schema(
        operation_id="annotate_tutorial_answer", request=wire.TutorialAnswerRequest, responses=wire.TutorialFeedback
    )
    def post(self, request: Request, campaign: UUID) -> Response:
        """Answer the open tutorial question; says at once whether that was right, and why."""
        asked = read(wire.TutorialAnswerRequest, request.data)
        now = timezone.now()
        feedback = tutorial.answer(
            request.user,
            campaign,
            question=asked.number,
            closer=asked.closer,
            shown_at=_shown_at(asked.token),
            now=now,
            response_ms=asked.response_ms,
        )
        state = wire.tutorial_state(feedback.step, now)
        return Response(
            {
                "correct": feedback.correct,
                "closer": feedback.closer,
                "reason": feedback.reason,
                "state": state.model_dump(),
            }
        )


def _shown_at(token: str) -> datetime:
    try:
        word, _, _, issued = assignment.signer.unsign(token).split(":")
        if word != "tutorial":
            raise ValueError
        return datetime.fromtimestamp(int(issued, 16) / 1000, tz=UTC)
    except (signing.BadSignature, ValueError):
        raise Invalid(
            "This is not a token that the server gave out.", field="token", fix="open the tutorial again"
        ) from None


def _served(path: Any) -> FileResponse:
    response = FileResponse(path.open("rb"), content_type="image/jpeg")
    response["Cache-Control"] = "private, max-age=86400, immutable"
    response["Last-Modified"] = http_date(path.stat().st_mtime)
    response["X-Content-Type-Options"] = "nosniff"
    return response


class PictureView(AnnotatorView):
    @extend_schema(operation_id="annotate_picture", responses={(200, "image/jpeg"): OpenApiTypes.BINARY})
    def get(self, request: Request, identity: UUID) -> HttpResponse:
        """The picture of a question, for its holder and staff only."""
        held = (
            Assignment.objects.select_related(
                *("participation", "pair__first_person__image", "gold__person__image"),
                "probe_of__pair__first_person__image",
            )
            .filter(uuid=identity)
            .first()
        )
        if held is None or not (held.participation.annotator_id == request.user.pk or request.user.is_one_of(*STAFF)):
            raise Http404
        return _served(pictures.file_of(held.people[0].image, held.people, mirrored=held.mirrored))


class TutorialPictureView(AnnotatorView):
    @extend_schema(operation_id="annotate_tutorial_picture", responses={(200, "image/jpeg"): OpenApiTypes.BINARY})
    def get(self, request: Request, campaign: UUID, position: int) -> HttpResponse:
        """The picture of a tutorial question, for those who have a seat and staff."""
        asked = (
            KnownQuestion.objects.select_related("person__image")
            .filter(campaign__uuid=campaign, use=KnownQuestion.Use.TUTORIAL, position=min(position, 30_000))
            .first()
        )
        seated = asked and asked.campaign.participations.filter(annotator=request.user).exists()
        if asked is None or not (seated or request.user.is_one_of(*STAFF)):
            raise Http404
        return _served(pictures.file_of(asked.person.image, [asked.person]))
