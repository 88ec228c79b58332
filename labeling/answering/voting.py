"""Accepting answers and undoing them: one transaction each, counted once however often it is sent."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import IntegrityError, transaction
from django.db.models import (
    BigIntegerField,
    DateTimeField,
    Exists,
    F,
    FloatField,
    OuterRef,
    QuerySet,
    SmallIntegerField,
    UUIDField,
)
from pydantic import Field

from labeling.aggregation import follow
from labeling.answering import tokens
from labeling.answering.assignment import CampaignNotOpen, Lease, lease_of, may_answer, participation_of
from labeling.models import (
    Answer,
    Assignment,
    Campaign,
    Pair,
    Participation,
    Retraction,
    SawAnswers,
    Session,
)
from labeling.models.answer import FIRST, SAME, SECOND
from webapp.accounts.models import Account
from webapp.accounts.roles import STAFF, Role
from webapp.config import Config
from webapp.errors import Conflict, Invalid, NotAllowed, NotFound, Refusal
from webapp.prepared import Insert, Select, Slot, Update

SITTING_GAP_S = 120.0  # a longer time between two answers was a break and is not paid work
CLOSER = {"first": FIRST, "second": SECOND, "same": SAME}


class LeaseExpired(Refusal):
    code, status = "lease_expired", 409


class TooEarly(Refusal):
    """The campaign's viewing time is not over; the same answer may be sent again after `retry_after_ms`."""

    code, status = "too_early", 425


class NothingToUndo(Refusal):
    code, status = "nothing_to_undo", 409


class AnswerTelemetry(Config):
    """How an answer came about, as the page saw it. All optional; the server's own times are what counts."""

    response_ms: int | None = Field(None, ge=0, le=86_400_000)
    toggles: int = Field(0, ge=0, le=10_000)
    zoom: float = Field(1.0, ge=0.1, le=100)
    viewport: str = Field("", max_length=24, pattern=r"^(\d{1,5}x\d{1,5}(@\d(\.\d{1,2})?)?)?$")
    by: str = Field("", max_length=10, pattern=r"^(mouse|touch|pen|keyboard|simulated|)$")
    app_version: str = Field("", max_length=40)


@dataclass(frozen=True)
class Accepted:
    """What was recorded, and how many comparisons of the sitting remain."""

    assignment: Assignment
    answered: int
    length: int

    @property
    def to_go(self) -> int:
        return self.length - self.answered


def read_token(token: str) -> tuple[uuid.UUID, datetime]:
    """Which question a token is of, and when it was handed out. Raises Invalid."""
    (identity,), issued = tokens.read(token, 1, fix="fetch the question again")
    return uuid.UUID(hex=identity), issued


def accept(
    account: Account, token: str, *, closer: str, key: uuid.UUID, now: datetime, how: AnswerTelemetry | None = None
) -> Accepted:
    """Record one answer: at most once per key, only by its holder, only after the delay and before the lease ends.

    Raises Invalid, NotFound, NotAllowed, LeaseExpired, TooEarly, Conflict.
    """
    identity, issued = read_token(token)
    if closer not in CLOSER:
        raise Invalid("Unknown answer.", field="closer", value=closer, fix="first or second")
    try:
        with transaction.atomic():
            return _accept(account, identity, issued, CLOSER[closer], key, now, how or AnswerTelemetry())
    except IntegrityError:
        raise Conflict("This key was used for another answer.", field="key", value=key, fix="use a new key") from None


def _participation() -> QuerySet[Participation]:
    account = Slot("account", BigIntegerField())
    return (
        Participation.objects.select_for_update(of=("self",), no_key=True)
        .annotate(saw_answers=Exists(SawAnswers.objects.filter(campaign=OuterRef("campaign"), account=account)))
        .filter(assignments__uuid=Slot("identity", UUIDField()), annotator=account)
        .order_by()
    )


_PARTICIPATION_OF = Select(_participation)
_LOCKED = Select(
    lambda: (
        Assignment.objects.select_related("campaign", "session", "gold", "probe_of")
        .defer("campaign__instructions", "campaign__pair_policy", "campaign__keypoints")
        .select_for_update(of=("self", "session"), no_key=True)
        .filter(uuid=Slot("identity", UUIDField()))
        .order_by()
    )
)


def _locked(identity: uuid.UUID, account: Account) -> Assignment:
    """A lease and its participation, locked in this order: participation, then session and lease."""
    participation = _PARTICIPATION_OF.first(identity=identity, account=account.pk)
    lease = _LOCKED.first(identity=identity) if participation is not None else None
    if lease is None or participation is None:
        raise NotFound("You hold no such question.", field="token", fix="fetch the next question")
    lease.participation = participation
    return lease


_ANSWERED = Update(
    lambda: (
        Assignment.objects.filter(pk=Slot("lease", BigIntegerField())),
        {"state": Assignment.State.ANSWERED, "answered_at": Slot("now", DateTimeField()), "tries": F("tries") + 1},
    )
)
_COUNTED = Update(
    lambda: (
        Pair.objects.filter(pk=Slot("pair", BigIntegerField())),
        {"votes_counted": F("votes_counted") + Slot("change", SmallIntegerField())},
    )
)
_PAIR = Select(
    lambda: Pair.objects.only("votes_counted", "votes_needed").filter(pk=Slot("pair", BigIntegerField())).order_by()
)
_SUMS = (
    *("answer_count", "vote_count", "green_count", "left_count", "timed_count", "response_ms_sum", "gold_count"),
    *("gold_right", "probe_count", "probes_same", "pairs_finished", "paid_count", "worked_s"),
)
_PARTICIPATION_ANSWERED = Update(
    lambda: (
        Participation.objects.filter(pk=Slot("participation", BigIntegerField())),
        {"last_answer_at": Slot("now", DateTimeField())}
        | {name: Slot(name, FloatField() if name == "worked_s" else BigIntegerField()) for name in _SUMS},
    )
)
_SESSION = Update(
    lambda: (
        Session.objects.filter(pk=Slot("session", BigIntegerField())),
        {"answered": Slot("answered", SmallIntegerField()), "finished_at": Slot("finished", DateTimeField())},
    )
)
_NEW_ANSWER = Insert(Answer)


def _accept(
    account: Account,
    identity: uuid.UUID,
    issued: datetime,
    closer: int,
    key: uuid.UUID,
    now: datetime,
    how: AnswerTelemetry,
) -> Accepted:
    lease = _locked(identity, account)
    participation, session, campaign = lease.participation, lease.session, lease.campaign
    if lease.state == Assignment.State.ANSWERED:
        return _replay(lease, key, closer)
    # A paused or closed campaign hands nothing out; what was handed out before may be answered within its time.
    if lease.state == Assignment.State.RETURNED or lease.expires_at <= now:
        raise LeaseExpired(
            "This question was yours for a limited time and has gone back to the queue.",
            field="token",
            fix="fetch the next question",
        )
    _may_answer(account, participation)
    if closer == SAME and not campaign.allow_same:
        raise Invalid("This campaign has no answer 'same'.", field="closer", value="same", fix="first or second")
    earliest = max(issued, participation.last_answer_at or issued) + timedelta(milliseconds=campaign.delay_ms)
    if now < earliest:
        wait = int((earliest - now).total_seconds() * 1000) + 1
        raise TooEarly(
            "Answered before the viewing time was over.", field="token", fix="send it again later", retry_after_ms=wait
        )
    answer = _write(lease, closer, key, now, how)
    _ANSWERED.run(lease=lease.pk, now=now)
    changes = _changes(lease, answer)
    if lease.tries == 0:  # a question is paid once, however often it is taken back
        gap = (now - participation.last_answer_at).total_seconds() if participation.last_answer_at else -1.0
        if 0 <= gap < SITTING_GAP_S:
            changes |= {"paid_count": 1, "worked_s": gap}
    if lease.pair_id:
        follow.after(lease.campaign, lease.pair_id, leases=-1)
        _COUNTED.run(pair=lease.pair_id, change=1)
        changes["pairs_finished"] = int(_is_finished(lease.pair_id))
    _change_sums(participation, changes, now)
    session.answered += 1
    finished = now if session.answered == session.length else None
    _SESSION.run(session=session.pk, answered=session.answered, finished=finished)
    return Accepted(lease, session.answered, session.length)


def _may_answer(account: Account, participation: Participation) -> None:
    """What can change between a question and its answer."""
    if not account.is_one_of(Role.ANNOTATOR, *STAFF):
        raise NotAllowed("Your account has another role now and does not answer questions.")
    if participation.standing != Participation.Standing.ACTIVE:
        raise NotAllowed(f"Your work in this campaign is {participation.standing}: {participation.standing_reason}")
    if participation.saw_answers:  # type: ignore[attr-defined]  # annotated by what reads it
        raise NotAllowed("You have seen other people's answers of this campaign and cannot answer in it.")


def _is_finished(pair_pk: int) -> bool:
    pair = _PAIR.first(pair=pair_pk)
    return pair is not None and pair.votes_counted == pair.votes_needed


_SUMS_OF = {Answer.Kind.GOLD: ("gold_count", "gold_right"), Answer.Kind.PROBE: ("probe_count", "probes_same")}


def _changes(lease: Assignment, answer: Answer) -> dict[str, float]:
    """What an answer adds to the sums of its annotator. Of gold questions and probes only the first answer counts."""
    changes: dict[str, float] = {"answer_count": 1}
    first = answer.number == 1
    if answer.kind != Answer.Kind.VOTE:
        asked, expected = _SUMS_OF[Answer.Kind(answer.kind)]
        return changes | {asked: int(first), expected: int(first and bool(answer.as_expected))}
    chose_first = answer.closer == FIRST
    if answer.closer != SAME:
        green = chose_first == lease.green_is_first
        changes |= {"green_count": int(green), "left_count": int(green == lease.green_on_left)}
    if answer.response_ms is not None:
        changes |= {"timed_count": 1, "response_ms_sum": answer.response_ms}
    return changes | {"vote_count": 1}


def _change_sums(participation: Participation, changes: dict[str, float], now: datetime, sign: int = 1) -> None:
    """The row is locked, so that what was read is what is there."""
    for name, change in changes.items():
        setattr(participation, name, getattr(participation, name) + sign * change)
    _PARTICIPATION_ANSWERED.run(
        participation=participation.pk, now=now, **{name: getattr(participation, name) for name in _SUMS}
    )


def _write(lease: Assignment, closer: int, key: uuid.UUID, now: datetime, how: AnswerTelemetry) -> Answer:
    return _NEW_ANSWER.run(
        Answer(
            key=key,
            kind=lease.kind,
            campaign_id=lease.campaign_id,
            participation_id=lease.participation_id,
            assignment=lease,
            pair_id=lease.pair_id,
            number=lease.tries + 1,
            closer=closer,
            as_expected=_as_expected(lease, closer),
            presentation=lease.presentation,
            leased_at=lease.leased_at,
            received_at=now,
            **how.model_dump(),
        )
    )


def _as_expected(lease: Assignment, closer: int) -> bool | None:
    if lease.gold is not None:
        return closer == (SECOND if lease.gold.second_closer else FIRST)
    return closer == lease.probe_of.closer if lease.probe_of is not None else None


def _replay(lease: Assignment, key: uuid.UUID, closer: int) -> Accepted:
    """The same answer sent twice is answered alike and counted once."""
    known = Answer.objects.filter(assignment=lease, number=lease.tries).values_list("key", "closer").first()
    if known != (key, closer):
        raise Conflict("This question was answered already.", field="token", fix="use undo to change the answer")
    return Accepted(lease, lease.session.answered, lease.session.length)


MOST_UNDONE = 2  # times that one question may be taken back: whoever corrects himself needs one


def undo(account: Account, campaign_uuid: uuid.UUID | str, *, key: uuid.UUID, now: datetime) -> Lease:
    """Take back the annotator's last answer of the sitting and hand the question out again. Once per key.

    Only while the campaign is open, and each question a few times. Raises NotFound, NotAllowed, CampaignNotOpen,
    NothingToUndo, Conflict.
    """
    try:
        with transaction.atomic():
            return _undo(account, campaign_uuid, key, now)
    except IntegrityError:  # sent twice at once: the other one was first
        replayed = _undone_before(account, campaign_uuid, key)
        if replayed is None:
            raise Conflict("This key was used for another undo.", field="key", value=key, fix="use a new key") from None
        return lease_of(replayed, replayed.session, replayed.campaign, now)


def _undo(account: Account, campaign_uuid: uuid.UUID | str, key: uuid.UUID, now: datetime) -> Lease:
    participation = participation_of(account, campaign_uuid)
    replayed = _undone_before(account, campaign_uuid, key)
    if replayed:
        return lease_of(replayed, replayed.session, replayed.campaign, now)
    may_answer(account, participation)
    if participation.campaign.state != Campaign.State.OPEN:
        raise CampaignNotOpen(f"The campaign is {participation.campaign.state}: what was answered stands.")
    session = Session.objects.filter(participation=participation).order_by("-started_at", "-id").first()
    last = (
        Assignment.objects.filter(session=session, state=Assignment.State.ANSWERED)
        .order_by("-answered_at", "-id")
        .values_list("uuid", "tries")
        .first()
    )
    if last is None:
        raise NothingToUndo("There is no answer of this session to take back.")
    if last[1] > MOST_UNDONE:
        raise NothingToUndo(f"This answer was taken back {MOST_UNDONE} times already; it stands now.")
    lease = _locked(last[0], account)
    changes: dict[str, float] = {"answer_count": 1}
    answer = Answer.objects.get(assignment=lease, number=lease.tries)
    Retraction.objects.create(key=key, answer=answer, at=now)
    if lease.pair_id:
        follow.after(lease.campaign, lease.pair_id, leases=1)
        changes = _changes(lease, answer) | {"pairs_finished": int(_is_finished(lease.pair_id))}
        _COUNTED.run(pair=lease.pair_id, change=-1)
    lease.state, lease.answered_at = Assignment.State.LEASED, None
    lease.expires_at = now + timedelta(seconds=lease.campaign.lease_s)
    lease.save(update_fields=["state", "answered_at", "expires_at"])
    _change_sums(lease.participation, changes, now, sign=-1)
    lease.session.answered -= 1
    lease.session.finished_at = None
    lease.session.save(update_fields=["answered", "finished_at"])
    return lease_of(lease, lease.session, lease.campaign, now)


def _undone_before(account: Account, campaign_uuid: uuid.UUID | str, key: uuid.UUID) -> Assignment | None:
    return (
        Assignment.objects.select_related("session")
        .filter(answers__retraction__key=key, participation__annotator=account, campaign__uuid=campaign_uuid)
        .first()
    )
