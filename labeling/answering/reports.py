"""Questions that annotators give back, with what is wrong with them; admins see and settle them."""

from __future__ import annotations

import uuid
from datetime import datetime

from django.db import transaction
from django.db.models import F, QuerySet

from labeling.aggregation import follow
from labeling.answering.assignment import may_answer, participation_of
from labeling.models import Assignment, Campaign, Pair, QuestionReport
from webapp import audit
from webapp.accounts.models import Account
from webapp.accounts.roles import STAFF, require
from webapp.errors import Conflict, Invalid, NotFound, Refusal

FREE, PER_ANSWERS = 5, 10  # so many questions anybody may give back, and one more for so many answers


class TooManySkipped(Refusal):
    """Giving questions back is for bad pictures, not for hard questions."""

    code, status = "too_many_skipped", 409


def skip(
    account: Account, campaign_uuid: uuid.UUID | str, identity: uuid.UUID, *, reason: str, words: str, now: datetime
) -> QuestionReport:
    """Give a question back and say why. It goes to others; the same person never gets it again. Twice is once.

    Raises NotFound, NotAllowed, Invalid, Conflict, TooManySkipped.
    """
    if reason not in QuestionReport.Reason.values:
        raise Invalid(
            "Unknown reason.", field="reason", value=reason, fix=f"one of {', '.join(QuestionReport.Reason.values)}"
        )
    with transaction.atomic():
        participation = participation_of(account, campaign_uuid)
        may_answer(account, participation)
        lease = (
            Assignment.objects.select_for_update(of=("self",), no_key=True)
            .select_related("campaign")
            .filter(uuid=identity, participation=participation)
            .first()
        )
        if lease is None:
            raise NotFound("You hold no such question.", field="id", fix="fetch the next question")
        if lease.state == Assignment.State.SKIPPED:
            return QuestionReport.objects.get(assignment=lease)
        if lease.state != Assignment.State.LEASED:
            raise Conflict("This question is no longer yours.", field="id", fix="fetch the next question")
        given_back = Assignment.objects.filter(participation=participation, state=Assignment.State.SKIPPED).count()
        if given_back >= FREE + participation.answer_count // PER_ANSWERS:
            raise TooManySkipped(
                "You gave back many questions already. Please give your best guess.", field="id", fix="answer this one"
            )
        Assignment.objects.filter(pk=lease.pk).update(state=Assignment.State.SKIPPED)
        if lease.pair_id:
            follow.after(lease.campaign, lease.pair_id, leases=-1)
            Pair.objects.filter(pk=lease.pair_id).update(taken=F("taken") - 1)
        return QuestionReport.objects.create(assignment=lease, reason=reason, words=words.strip()[:400], at=now)


def of(campaign: Campaign) -> QuerySet[QuestionReport]:
    """Open ones first. Ready to be shown: one query, whatever the kind of question."""
    return (
        QuestionReport.objects.filter(assignment__campaign=campaign)
        .select_related(
            "assignment__participation__annotator",
            "assignment__pair__person__image",
            "assignment__gold__person__image",
            "assignment__probe_of__pair__person__image",
        )
        .order_by(F("resolved_at").asc(nulls_first=True), "-pk")
    )


def settle(actor: Account, report: QuestionReport, now: datetime) -> None:
    """Say that a report was looked at."""
    require(actor, *STAFF)
    with transaction.atomic():
        if QuestionReport.objects.filter(pk=report.pk, resolved_at=None).update(resolved_at=now, resolved_by=actor):
            audit.record(actor, "report.settle", report)
