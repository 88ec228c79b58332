"""The tutorial: known questions with feedback after every answer, scored and kept on the server."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction

from labeling.assignment import TutorialFirst, seat_of
from labeling.known import REASONS
from labeling.models import KnownQuestion, Participation, TutorialAnswer, TutorialTry
from labeling.models.vote import FIRST, SECOND
from labeling.voting import CLOSER, TooEarly
from webapp.accounts.models import Account
from webapp.refusal import Conflict, Invalid, NotAllowed


class TutorialOver(TutorialFirst):
    """All tries are used up."""

    code = "tutorial_over"


@dataclass(frozen=True)
class Step:
    """Where the annotator stands: the question to show (None at the end of a try), and the score so far."""

    seat: Participation
    attempt: TutorialTry | None
    question: KnownQuestion | None
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


def where(account: Account, campaign_uuid: object) -> Step:
    """The current step; starts the first try. A reload lands here again."""
    with transaction.atomic():
        return _step(seat_of(account, campaign_uuid))


def _step(seat: Participation) -> Step:
    questions = list(
        KnownQuestion.objects.filter(campaign=seat.campaign_id, use=KnownQuestion.Use.TUTORIAL)
        .select_related("person__image__dataset__skeleton")
        .order_by("position")
    )
    if seat.standing != Participation.Standing.ACTIVE:
        raise NotAllowed(f"Your work in this campaign is {seat.standing}: {seat.standing_reason}")
    attempt = TutorialTry.objects.filter(participation=seat).order_by("-number").first()
    if seat.tutorial_passed_at is None and questions and (attempt is None or attempt.finished_at):
        number = (attempt.number if attempt else 0) + 1
        if number <= seat.campaign.tutorial_tries:
            attempt = TutorialTry.objects.create(participation=seat, number=number)
    answered = dict(attempt.answers.values_list("question_id", "correct")) if attempt else {}
    todo = [q for q in questions if q.pk not in answered]
    over = seat.tutorial_passed_at is not None or not questions
    return Step(
        seat,
        attempt,
        None if over or (attempt and attempt.finished_at) else todo[0],
        len(answered),
        len(questions),
        sum(answered.values()),
        over,
    )


def answer(
    account: Account,
    campaign_uuid: object,
    *,
    question: int,
    closer: str,
    shown_at: datetime,
    now: datetime,
    response_ms: int | None = None,
) -> Feedback:
    """Record a tutorial answer and say whether it was right, and why. The same question is answered once per try.

    Raises Invalid, Conflict, TooEarly, TutorialOver, NotAllowed.
    """
    if closer not in ("first", "second"):
        raise Invalid("Unknown answer.", field="closer", value=closer, fix="first or second")
    with transaction.atomic():
        seat = seat_of(account, campaign_uuid)
        step = _step(seat)
        if step.attempt and (old := step.attempt.answers.filter(question__position=question).first()):
            return _feedback(old.question, CLOSER[closer] == old.closer and old.correct, step)
        if step.question is None:
            if step.passed:
                raise Conflict("The tutorial is passed already.", field="question")
            raise TutorialOver("All tries of the tutorial are used up.", fix="write to the campaign's admins")
        asked = step.question
        if asked.position != question:
            raise Conflict(
                "This is not the question that is open now.",
                field="question",
                value=question,
                fix=f"answer question {asked.position}",
            )
        wait = shown_at + timedelta(milliseconds=seat.campaign.delay_ms) - now
        if wait > timedelta(0):
            raise TooEarly(
                "Answered before the viewing time was over.",
                field="shown_at",
                retry_after_ms=int(wait.total_seconds() * 1000) + 1,
            )
        correct = CLOSER[closer] == (SECOND if asked.second_closer else FIRST)
        TutorialAnswer.objects.create(
            attempt=step.attempt,
            question=asked,
            closer=CLOSER[closer],
            correct=correct,
            shown_at=shown_at,
            at=now,
            response_ms=response_ms,
        )
        if step.position + 1 == step.length:
            _finish(seat, step.attempt, step.right + correct, step.length, now)
            after = Step(
                seat,
                step.attempt,
                None,
                step.length,
                step.length,
                step.right + correct,
                seat.tutorial_passed_at is not None,
            )
        else:
            after = _step(seat)
        return _feedback(asked, correct, after)


def _finish(seat: Participation, attempt: TutorialTry | None, right: int, length: int, now: datetime) -> None:
    assert attempt is not None  # noqa: S101  (a question was open, so there is a try)
    attempt.passed = right >= seat.campaign.tutorial_pass_share * length
    attempt.finished_at = now
    attempt.save(update_fields=["passed", "finished_at"])
    seat.tutorial_tries = attempt.number
    seat.tutorial_passed_at = now if attempt.passed else None
    seat.save(update_fields=["tutorial_tries", "tutorial_passed_at"])


def _feedback(question: KnownQuestion, correct: bool, step: Step) -> Feedback:
    return Feedback(correct, "second" if question.second_closer else "first", REASONS[question.reason], step)
