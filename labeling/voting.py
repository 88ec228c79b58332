"""Accepting answers and undoing them: one transaction each, counted once however often it is sent."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core import signing
from django.db import IntegrityError, transaction
from django.db.models import BigIntegerField, DateTimeField, F, SmallIntegerField, UUIDField
from pydantic import Field

from labeling import percepts
from labeling.assignment import Lease, lease_of, may_answer, seat_of, signer
from labeling.models import (
    Assignment,
    GoldAnswer,
    GoldRetraction,
    Pair,
    Participation,
    ProbeAnswer,
    ProbeRetraction,
    Retraction,
    Session,
    Vote,
)
from labeling.models.vote import FIRST, SAME, SECOND
from webapp.accounts.models import Account
from webapp.catalog import Config
from webapp.prepared import Insert, Select, Slot, Update
from webapp.refusal import Conflict, Invalid, NotAllowed, NotFound, Refusal

CLOSER = {"first": FIRST, "second": SECOND, "same": SAME}


class LeaseExpired(Refusal):
    code, status = "lease_expired", 409


class TooEarly(Refusal):
    """The campaign's viewing time is not over; the same answer may be sent again after `retry_after_ms`."""

    code, status = "too_early", 425


class NothingToUndo(Refusal):
    code, status = "nothing_to_undo", 409


class Circumstances(Config):
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


def _read(token: str) -> tuple[uuid.UUID, datetime]:
    try:
        identity, _, issued = signer.unsign(token).partition(":")
        return uuid.UUID(hex=identity), datetime.fromtimestamp(int(issued, 16) / 1000, tz=UTC)
    except (signing.BadSignature, ValueError):
        raise Invalid(
            "This is not a token that the server gave out.", field="token", fix="fetch the question again"
        ) from None


def accept(
    account: Account, token: str, *, closer: str, key: uuid.UUID, now: datetime, how: Circumstances | None = None
) -> Accepted:
    """Record one answer: at most once per key, only by its holder, only after the delay and before the lease ends.

    Raises Invalid, NotFound, NotAllowed, LeaseExpired, TooEarly, Conflict.
    """
    identity, issued = _read(token)
    if closer not in CLOSER:
        raise Invalid("Unknown answer.", field="closer", value=closer, fix="first or second")
    try:
        with transaction.atomic():
            return _accept(account, identity, issued, CLOSER[closer], key, now, how or Circumstances())
    except IntegrityError:
        raise Conflict("This key was used for another answer.", field="key", value=key, fix="use a new key") from None


_LOCKED = Select(
    lambda: (
        Assignment.objects.select_related("campaign", "participation", "session", "gold", "probe_of")
        .defer("campaign__instructions", "campaign__pair_policy", "campaign__keypoints")
        .select_for_update(of=("self", "participation", "session"))
        .filter(uuid=Slot("identity", UUIDField()), participation__annotator=Slot("account", BigIntegerField()))
    )
)


def _locked(identity: uuid.UUID, account: Account) -> Assignment:
    lease = _LOCKED.first(identity=identity, account=account.pk)
    if lease is None:
        raise NotFound("You hold no such question.", field="token", fix="fetch the next question")
    return lease


_ANSWERED = Update(
    lambda: (
        Assignment.objects.filter(pk=Slot("lease", BigIntegerField())),
        {"state": Assignment.State.ANSWERED, "answered_at": Slot("now", DateTimeField()), "tries": F("tries") + 1},
    )
)
_COUNTED = Update(
    lambda: (Pair.objects.filter(pk=Slot("pair", BigIntegerField())), {"votes_counted": F("votes_counted") + 1})
)
_SEAT_ANSWERED = Update(
    lambda: (
        Participation.objects.filter(pk=Slot("seat", BigIntegerField())),
        {"last_answer_at": Slot("now", DateTimeField())},
    )
)
_SESSION = Update(
    lambda: (
        Session.objects.filter(pk=Slot("session", BigIntegerField())),
        {"answered": Slot("answered", SmallIntegerField()), "finished_at": Slot("finished", DateTimeField())},
    )
)
_NEW_VOTE, _NEW_GOLD_ANSWER, _NEW_PROBE_ANSWER = Insert(Vote), Insert(GoldAnswer), Insert(ProbeAnswer)


def _accept(
    account: Account,
    identity: uuid.UUID,
    issued: datetime,
    closer: int,
    key: uuid.UUID,
    now: datetime,
    how: Circumstances,
) -> Accepted:
    lease = _locked(identity, account)
    seat, session, campaign = lease.participation, lease.session, lease.campaign
    if lease.state == Assignment.State.ANSWERED:
        return _replay(lease, key, closer)
    if lease.state == Assignment.State.RETURNED or lease.expires_at <= now:
        raise LeaseExpired(
            "This question was yours for a limited time and has gone back to the queue.",
            field="token",
            fix="fetch the next question",
        )
    if seat.standing != Participation.Standing.ACTIVE:
        raise NotAllowed(f"Your work in this campaign is {seat.standing}: {seat.standing_reason}")
    if closer == SAME and not campaign.allow_same:
        raise Invalid("This campaign has no answer 'same'.", field="closer", value="same", fix="first or second")
    earliest = max(issued, seat.last_answer_at or issued) + timedelta(milliseconds=campaign.delay_ms)
    if now < earliest:
        wait = int((earliest - now).total_seconds() * 1000) + 1
        raise TooEarly(
            "Answered before the viewing time was over.", field="token", fix="send it again later", retry_after_ms=wait
        )
    _write(lease, closer, key, now, how)
    _ANSWERED.run(lease=lease.pk, now=now)
    if lease.pair_id:
        percepts.after(lease.campaign, lease.pair_id, leases=-1)
        _COUNTED.run(pair=lease.pair_id)
    _SEAT_ANSWERED.run(seat=seat.pk, now=now)
    session.answered += 1
    finished = now if session.answered == session.length else None
    _SESSION.run(session=session.pk, answered=session.answered, finished=finished)
    return Accepted(lease, session.answered, session.length)


def _write(lease: Assignment, closer: int, key: uuid.UUID, now: datetime, how: Circumstances) -> None:
    common: dict[str, Any] = {
        "key": key,
        "assignment": lease,
        "number": lease.tries + 1,
        "closer": closer,
        "leased_at": lease.leased_at,
        "received_at": now,
        **how.model_dump(),
    }
    if lease.gold is not None:
        right = SECOND if lease.gold.second_closer else FIRST
        _NEW_GOLD_ANSWER.run(GoldAnswer(correct=closer == right, **common))
    elif lease.probe_of is not None:
        _NEW_PROBE_ANSWER.run(ProbeAnswer(same=closer == lease.probe_of.closer, **common))
    else:
        side = "left" if lease.green_is_first == lease.green_on_left else "right"
        colour = "green" if lease.green_is_first else "pink"
        about = {"pair_id": lease.pair_id, "participation_id": lease.participation_id}
        _NEW_VOTE.run(Vote(side_seen=f"{colour}-{side}", **about, **common))


def _replay(lease: Assignment, key: uuid.UUID, closer: int) -> Accepted:
    """The same answer sent twice is answered alike and counted once."""
    table = Vote if lease.pair_id else GoldAnswer if lease.gold_id else ProbeAnswer
    known = table.objects.filter(assignment=lease, number=lease.tries).values_list("key", "closer").first()
    if known != (key, closer):
        raise Conflict("This question was answered already.", field="token", fix="use undo to change the answer")
    return Accepted(lease, lease.session.answered, lease.session.length)


def undo(account: Account, campaign_uuid: object, *, key: uuid.UUID, now: datetime) -> Lease:
    """Take back the annotator's last answer of the sitting and hand the question out again. Once per key.

    Raises NotFound, NotAllowed, NothingToUndo, Conflict.
    """
    try:
        with transaction.atomic():
            return _undo(account, campaign_uuid, key, now)
    except IntegrityError:
        raise Conflict("This key was used for another undo.", field="key", value=key, fix="use a new key") from None


def _undo(account: Account, campaign_uuid: object, key: uuid.UUID, now: datetime) -> Lease:
    replayed = _undone_before(account, campaign_uuid, key)
    if replayed:
        return lease_of(replayed, replayed.session, replayed.campaign, now)
    session = (
        Session.objects.filter(participation__annotator=account, participation__campaign__uuid=campaign_uuid)
        .order_by("-started_at", "-id")
        .first()
    )
    last = (
        Assignment.objects.filter(session=session, state=Assignment.State.ANSWERED)
        .order_by("-answered_at", "-id")
        .values_list("uuid", flat=True)
        .first()
    )
    if last is None:
        raise NothingToUndo("There is no answer of this session to take back.")
    lease = _locked(last, account)
    if lease.state != Assignment.State.ANSWERED:
        raise Conflict("This answer was just taken back.", field="key", fix="fetch the question again")
    may_answer(seat_of(account, campaign_uuid))
    if lease.pair_id:
        vote = Vote.objects.get(assignment=lease, number=lease.tries)
        Retraction.objects.create(key=key, vote=vote, at=now)
        percepts.after(lease.campaign, lease.pair_id, leases=1)
        Pair.objects.filter(pk=lease.pair_id).update(votes_counted=F("votes_counted") - 1)
    elif lease.gold_id:
        answer = GoldAnswer.objects.get(assignment=lease, number=lease.tries)
        GoldRetraction.objects.create(key=key, answer=answer, at=now)
    else:
        probed = ProbeAnswer.objects.get(assignment=lease, number=lease.tries)
        ProbeRetraction.objects.create(key=key, answer=probed, at=now)
    lease.state, lease.answered_at = Assignment.State.LEASED, None
    lease.expires_at = now + timedelta(seconds=lease.campaign.lease_s)
    lease.save(update_fields=["state", "answered_at", "expires_at"])
    Participation.objects.filter(pk=lease.participation_id).update(last_answer_at=now)
    lease.session.answered -= 1
    lease.session.finished_at = None
    lease.session.save(update_fields=["answered", "finished_at"])
    return lease_of(lease, lease.session, lease.campaign, now)


def _undone_before(account: Account, campaign_uuid: object, key: uuid.UUID) -> Assignment | None:
    mine = {"participation__annotator": account, "campaign__uuid": campaign_uuid}
    for answers in ("votes", "goldanswers", "probeanswers"):
        found = (
            Assignment.objects.select_related("session").filter(**{f"{answers}__retraction__key": key}, **mine).first()
        )
        if found:
            return found
    return None
