"""The tutorial: known questions with feedback after every answer, scored and kept on the server.

Every try is drawn anew: other questions as long as there are any, other colours and sides. A token belongs to one person, one
try and one question, so that an answer can neither be given early nor by somebody else.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction

from labeling.answering import tokens
from labeling.answering.assignment import TutorialFirst, participation_of
from labeling.answering.voting import CLOSER, SITTING_GAP_S, TooEarly
from labeling.campaigns.reference_questions import REASONS, TUTORIAL
from labeling.models import Campaign, Participation, ReferenceQuestion, TutorialAnswer, TutorialTry
from labeling.models.answer import FIRST, SECOND
from webapp.accounts.models import Account
from webapp.errors import Conflict, Invalid, NotAllowed


class TutorialOver(TutorialFirst):
    """All tries are used up."""

    code = "tutorial_over"


@dataclass(frozen=True)
class Step:
    """Where the annotator stands: the question to show (None at the end of a try) and how, and the score so far."""

    participation: Participation
    attempt: TutorialTry | None
    question: ReferenceQuestion | None
    green_is_first: bool
    green_on_left: bool
    position: int
    length: int
    right: int
    passed: bool


@dataclass(frozen=True)
class Feedback:
    correct: bool
    closer: str
    reason: str
    step: Step


def where(account: Account, campaign_uuid: UUID | str) -> Step:
    """The current step; starts the first try. A reload lands here again."""
    with transaction.atomic():
        return _step(participation_of(account, campaign_uuid))


def _step(participation: Participation) -> Step:
    if participation.standing != Participation.Standing.ACTIVE:
        raise NotAllowed(f"Your work in this campaign is {participation.standing}: {participation.standing_reason}")
    length = participation.campaign.tutorial_length
    over = participation.tutorial_passed_at is not None or not length
    attempt = TutorialTry.objects.filter(participation=participation).order_by("-number").first()
    if not over and (attempt is None or attempt.finished_at):
        number = (attempt.number if attempt else 0) + 1
        if number <= tries_of(participation):
            attempt = TutorialTry.objects.create(
                participation=participation, number=number, drawn=_drawn(participation)
            )
    answered = dict(attempt.answers.values_list("question_id", "correct")) if attempt else {}
    question, green_is_first, green_on_left = None, True, True
    if not over and attempt is not None and not attempt.finished_at:
        key, green_is_first, green_on_left = next(drawn for drawn in attempt.drawn if drawn[0] not in answered)
        question = ReferenceQuestion.objects.select_related("person__image__dataset__skeleton").get(pk=key)
    return Step(
        participation,
        attempt,
        question,
        green_is_first,
        green_on_left,
        len(answered),
        length,
        sum(answered.values()),
        over,
    )


def tries_of(participation: Participation) -> int:
    """How many tries this annotator has: the campaign's, and those that an admin granted."""
    return participation.campaign.tutorial_tries + participation.tutorial_granted


_rng = random.SystemRandom()


def _drawn(participation: Participation) -> list[list[Any]]:
    """The questions of a new try in the order of asking, with colours and sides; those asked before only where others lack."""
    pool = list(
        ReferenceQuestion.objects.filter(
            campaign=participation.campaign_id, use=ReferenceQuestion.Use.TUTORIAL
        ).values_list("pk", "reason")
    )
    tries = TutorialTry.objects.filter(participation=participation).values_list("drawn", flat=True)
    seen = {drawn[0] for one in tries for drawn in one}
    _rng.shuffle(pool)
    drawn: list[list[Any]] = []
    for n in range(participation.campaign.tutorial_length):
        kind = TUTORIAL[n % len(TUTORIAL)]
        key = min(pool, key=lambda one: (one[0] in seen, one[1] != kind))
        pool.remove(key)
        drawn.append([key[0], _rng.random() < 0.5, _rng.random() < 0.5])
    return drawn


def picture_of(account: Account, campaign_uuid: UUID | str, number: int, position: int) -> ReferenceQuestion | None:
    """The question at a place of one of the account's own tries."""
    attempt = TutorialTry.objects.filter(
        participation__annotator=account, participation__campaign__uuid=campaign_uuid, number=number
    ).first()
    if attempt is None or not position < len(attempt.drawn):
        return None
    return ReferenceQuestion.objects.select_related("person__image").filter(pk=attempt.drawn[position][0]).first()


def token_of(step: Step, now: datetime) -> str:
    assert step.attempt is not None  # noqa: S101  (a question is open, so there is a try)
    return tokens.issue("tutorial", step.participation.pk, step.attempt.number, step.position, now=now)


def _shown_at(token: str, step: Step) -> datetime:
    """When this very question was shown to this very person. Raises Invalid."""
    fix = "open the tutorial again"
    about, issued = tokens.read(token, 4, fix=fix)
    number_now = step.attempt.number if step.attempt else 0
    if about != ["tutorial", str(step.participation.pk), str(number_now), str(step.position)]:
        raise Invalid("This token belongs to another question, try or person.", field="token", fix=fix)
    return issued


def answer(
    account: Account,
    campaign_uuid: UUID | str,
    *,
    question: int,
    closer: str,
    token: str,
    now: datetime,
    response_ms: int | None = None,
) -> Feedback:
    """Record a tutorial answer and say whether it was right, and why. The same question is answered once per try.

    Raises Invalid, Conflict, TooEarly, TutorialOver, NotAllowed.
    """
    if closer not in ("first", "second"):
        raise Invalid("Unknown answer.", field="closer", value=closer, fix="first or second")
    with transaction.atomic():
        participation = participation_of(account, campaign_uuid)
        step = _step(participation)
        if step.attempt and (old := _answered(step.attempt, question)):
            return _feedback(old.question, CLOSER[closer] == old.closer and old.correct, step)
        attempt, asked = _open(step, question)
        shown_at = _shown_at(token, step)
        _check_delay(participation.campaign, shown_at, now)
        correct = CLOSER[closer] == (SECOND if asked.second_closer else FIRST)
        TutorialAnswer.objects.create(
            attempt=attempt,
            question=asked,
            closer=CLOSER[closer],
            correct=correct,
            shown_at=shown_at,
            at=now,
            response_ms=response_ms,
        )
        _pay(participation, (now - shown_at).total_seconds())
        if step.position + 1 < step.length:
            return _feedback(asked, correct, _step(participation))
        right = step.right + correct
        _finish(participation, attempt, right, step.length, now)
        passed = participation.tutorial_passed_at is not None
        return _feedback(asked, correct, replace(step, question=None, position=step.length, right=right, passed=passed))


def _open(step: Step, question: int) -> tuple[TutorialTry, ReferenceQuestion]:
    """The try and the question that can be answered now. Raises Conflict, TutorialOver."""
    if step.question is None or step.attempt is None:
        if step.passed:
            raise Conflict("The tutorial is passed already.", field="question")
        raise TutorialOver("All tries of the tutorial are used up.", fix="write to the campaign's admins")
    if step.position != question:
        raise Conflict(
            "This is not the question that is open now.",
            field="question",
            value=question,
            fix=f"answer question {step.position}",
        )
    return step.attempt, step.question


def _check_delay(campaign: Campaign, shown_at: datetime, now: datetime) -> None:
    wait = shown_at + timedelta(milliseconds=campaign.delay_ms) - now
    if wait > timedelta(0):
        milliseconds = int(wait.total_seconds() * 1000) + 1
        raise TooEarly("Answered before the viewing time was over.", field="token", retry_after_ms=milliseconds)


def _answered(attempt: TutorialTry, position: int) -> TutorialAnswer | None:
    if not position < len(attempt.drawn):
        return None
    return attempt.answers.select_related("question").filter(question=attempt.drawn[position][0]).first()


def _pay(participation: Participation, took_s: float) -> None:
    """The tutorial takes time as every other question does: it is part of the wage."""
    if took_s < SITTING_GAP_S:
        participation.paid_count, participation.worked_s = participation.paid_count + 1, participation.worked_s + took_s
        participation.save(update_fields=["paid_count", "worked_s"])


def _finish(participation: Participation, attempt: TutorialTry, right: int, length: int, now: datetime) -> None:
    attempt.passed = right >= participation.campaign.tutorial_pass_share * length
    attempt.finished_at = now
    attempt.save(update_fields=["passed", "finished_at"])
    participation.tutorial_tries = attempt.number
    participation.tutorial_passed_at = now if attempt.passed else None
    participation.save(update_fields=["tutorial_tries", "tutorial_passed_at"])


def _feedback(question: ReferenceQuestion, correct: bool, step: Step) -> Feedback:
    return Feedback(correct, "second" if question.second_closer else "first", REASONS[question.reason], step)
