"""REST doors for annotators: next question, answer, undo, tutorial."""

from __future__ import annotations

import random
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from uuid import UUID

from django.http import Http404, HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.response import Response
from rest_framework.views import APIView

from labeling import pictures
from labeling.answering import assignment, reports, voting
from labeling.answering import questions as wire
from labeling.campaigns import participants, tutorial
from labeling.models import Assignment, Campaign, Participation
from webapp import clock
from webapp.accounts.requests import ApiRequest
from webapp.accounts.roles import STAFF
from webapp.accounts.tokens import MayAnnotate
from webapp.errors import NotFound, Refusal
from webapp.typed import read

_rng = random.SystemRandom()


# Answers about questions leave at multiples of these times: what the server did to find or count one, and so its kind, cannot
# be read from how long it took. In adaptive campaigns a vote is followed through all votes on its picture.
EVEN_S = {Campaign.Mode.FIXED: 0.02, Campaign.Mode.ADAPTIVE: 0.05, Campaign.Mode.PRIOR: 0.05}


class OtherPerson(Refusal):
    code, status = "other_person", 403


class AnnotatorView(APIView):
    permission_classes = [MayAnnotate]

    def initial(self, request: ApiRequest, *args: Any, **kwargs: Any) -> None:  # type: ignore[override]
        self.begun = time.monotonic()
        super().initial(request, *args, **kwargs)
        # A page says for whom it was made: what one person answered is never taken as another's who signed in since.
        if (person := request.headers.get("X-Nearer-Person")) and person != str(request.user.uuid):
            raise OtherPerson("Somebody else signed in with this browser.", fix="sign in again")

    def even(self, campaign: Campaign) -> None:
        """Wait until the next of the times at which answers of a campaign with hidden questions leave."""
        if campaign.gold_share or campaign.probe_share:
            step = EVEN_S[Campaign.Mode(campaign.mode)]
            time.sleep(step - (time.monotonic() - self.begun) % step)


class StateView(AnnotatorView):
    @extend_schema(operation_id="annotate_state", responses=wire.CampaignState)
    def get(self, request: ApiRequest, campaign: UUID) -> Response:
        """The campaign as its annotator sees it; takes a participation at the first visit."""
        campaign_row = Campaign.objects.filter(uuid=campaign).first()
        if campaign_row is None:
            raise NotFound("There is no such campaign, or it is not open to you.", field="campaign")
        participation = participants.participate(request.user, campaign_row)
        state = wire.CampaignState(
            id=str(campaign_row.uuid),
            name=campaign_row.name,
            state=campaign_row.state,
            instructions=campaign_row.instructions,
            delay_ms=campaign_row.delay_ms,
            session_length=campaign_row.session_length,
            allow_same=campaign_row.allow_same,
            tutorial_passed=participation.tutorial_passed_at is not None,
            has_tutorial=campaign_row.tutorial_length > 0,
            answered=participation.answer_count,
        )
        return Response(state.model_dump())


class NextView(AnnotatorView):
    @extend_schema(operation_id="annotate_next", request=wire.NextRequest, responses=wire.Question)
    def post(self, request: ApiRequest, campaign: UUID) -> Response:
        """Lease the next question. Send the ids you hold in `have` to get one more ahead (at most three)."""
        have = frozenset(map(str, read(wire.NextRequest, request.data).have))
        lease = assignment.next_pair(request.user, campaign, now=clock.now(), rng=_rng, have=have)
        asked = wire.question(lease).model_dump()
        self.even(lease.campaign)
        return Response(asked)


class VoteView(AnnotatorView):
    @extend_schema(operation_id="annotate_vote", request=wire.VoteRequest, responses=wire.VoteResponse)
    def post(self, request: ApiRequest, campaign: UUID) -> Response:
        """Answer. Sent twice with the same key it counts once; too early, it says when to send it again."""
        asked = read(wire.VoteRequest, request.data)
        how = voting.AnswerTelemetry(**asked.model_dump(exclude={"token", "closer", "key"}))
        closer = wire.as_stored(voting.read_token(asked.token)[0], asked.closer)
        done = voting.accept(request.user, asked.token, closer=closer, key=asked.key, now=clock.now(), how=how)
        self.even(done.assignment.campaign)
        return Response({"to_go": done.to_go, "answered": done.answered, "session_finished": done.to_go == 0})


class UndoView(AnnotatorView):
    @extend_schema(operation_id="annotate_undo", request=wire.UndoRequest, responses=wire.Question)
    def post(self, request: ApiRequest, campaign: UUID) -> Response:
        """Take back the last answer of the sitting and get its question again."""
        asked = read(wire.UndoRequest, request.data)
        lease = voting.undo(request.user, campaign, key=asked.key, now=clock.now())
        full = Assignment.objects.select_related(
            *("campaign__dataset__skeleton", "pair__person__image", "gold__person__image"),
            "probe_of__pair__person__image",
        ).get(pk=lease.assignment.pk)
        asked_again = wire.question(replace(lease, assignment=full, campaign=full.campaign)).model_dump()
        self.even(full.campaign)
        return Response(asked_again)


class SkipView(AnnotatorView):
    @extend_schema(operation_id="annotate_skip", request=wire.SkipRequest, responses=wire.Skipped)
    def post(self, request: ApiRequest, campaign: UUID) -> Response:
        """Give a question back whose picture or circles are wrong. It goes to others, never to you again."""
        asked = read(wire.SkipRequest, request.data)
        reports.skip(request.user, campaign, asked.id, reason=asked.reason, words=asked.words, now=clock.now())
        return Response({"skipped": str(asked.id)})


class EndingView(AnnotatorView):
    @extend_schema(operation_id="annotate_ending", responses=wire.Ending)
    def get(self, request: ApiRequest, campaign: UUID) -> Response:
        """What there is to say when no question comes: done, nothing left, paused, ... and where to go then."""
        return Response(wire.Ending(**asdict(participants.ending_of(request.user, campaign))).model_dump())


class AppealView(AnnotatorView):
    @extend_schema(operation_id="annotate_appeal", request=wire.AppealRequest, responses=wire.Appealed)
    def post(self, request: ApiRequest, campaign: UUID) -> Response:
        """Ask the admins to look again at a pause or an exclusion."""
        participation = participants.appeal(request.user, campaign, read(wire.AppealRequest, request.data).text)
        return Response(
            {
                "standing": participation.standing,
                "reason": participation.standing_reason,
                "appeal": participation.appeal,
            }
        )


class TutorialView(AnnotatorView):
    @extend_schema(operation_id="annotate_tutorial", responses=wire.TutorialState)
    def get(self, request: ApiRequest, campaign: UUID) -> Response:
        """Where you stand in the tutorial; starts the next try if the last one failed."""
        step = tutorial.where(request.user, campaign)
        return Response(wire.tutorial_state(step, clock.now()).model_dump())

    @extend_schema(
        operation_id="annotate_tutorial_answer", request=wire.TutorialAnswerRequest, responses=wire.TutorialFeedback
    )
    def post(self, request: ApiRequest, campaign: UUID) -> Response:
        """Answer the open tutorial question; says at once whether that was right, and why."""
        asked = read(wire.TutorialAnswerRequest, request.data)
        now = clock.now()
        feedback = tutorial.answer(
            request.user,
            campaign,
            question=asked.number,
            closer=asked.closer,
            token=asked.token,
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


def _served(path: Path) -> HttpResponse:
    """Nothing but the picture: a file's name or age would say whose it is, and whether it was made for a mirror probe."""
    response = HttpResponse(path.read_bytes(), content_type="image/jpeg")
    response["Cache-Control"] = "private, max-age=86400, immutable"
    response["X-Content-Type-Options"] = "nosniff"
    return response


class PictureView(AnnotatorView):
    @extend_schema(operation_id="annotate_picture", responses={(200, "image/jpeg"): OpenApiTypes.BINARY})
    def get(self, request: ApiRequest, identity: UUID) -> HttpResponse:
        """The picture of a question, for its holder and staff only."""
        held = (
            Assignment.objects.select_related(
                *("campaign", "participation", "pair__person__image", "gold__person__image"),
                "probe_of__pair__person__image",
            )
            .filter(uuid=identity)
            .first()
        )
        staff = request.user.is_one_of(*STAFF)
        if held is None or not (held.participation.annotator_id == request.user.pk or staff):
            raise Http404
        if held.participation.standing == Participation.Standing.BLOCKED and not staff:
            raise Http404
        path = pictures.file_of(held.person, mirrored=held.mirrored)
        self.even(held.campaign)
        return _served(path)


class TutorialPictureView(AnnotatorView):
    @extend_schema(operation_id="annotate_tutorial_picture", responses={(200, "image/jpeg"): OpenApiTypes.BINARY})
    def get(self, request: ApiRequest, campaign: UUID, attempt: int, position: int) -> HttpResponse:
        """The picture of a question of one of your own tries."""
        asked = tutorial.picture_of(request.user, campaign, attempt, position)
        if asked is None:
            raise Http404
        return _served(pictures.file_of(asked.person))
