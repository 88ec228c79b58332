"""The queue: which question an annotator gets next, under a lease.

To the annotator every question is alike: whether it is to be a gold question or a probe is drawn only once an ordinary one
was found for it, so that neither comes when nothing else is left.

Speed does not depend on the number of pairs: every annotator keeps one cursor per level (pairs with k takers), and the
partial index (campaign, taken, rank) of unfinished pairs is entered behind it. Pairs with fewer takers come first, so
new pairs are not starved. On PostgreSQL locked rows are skipped; on SQLite writers wait for each other.
"""

from __future__ import annotations

import random
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import (
    BigIntegerField,
    DateTimeField,
    Exists,
    F,
    OuterRef,
    QuerySet,
    Sum,
    UUIDField,
)

from labeling.aggregation import follow
from labeling.answering import choice, tokens
from labeling.models import (
    Assignment,
    Campaign,
    Pair,
    Participation,
    ReferenceQuestion,
    SawAnswers,
    Session,
)
from labeling.quality import suspicion
from webapp import clock
from webapp.accounts.models import Account
from webapp.accounts.roles import STAFF, Role
from webapp.errors import NotAllowed, NotFound, Refusal
from webapp.prepared import Insert, Select, Slot

MOST_HELD = 3  # the question on the screen and two preloaded ones


class TutorialFirst(Refusal):
    code, status = "tutorial_first", 403


class CampaignNotOpen(Refusal):
    code, status = "campaign_not_open", 409


class NothingLeft(Refusal):
    """Every pair is answered, leased to others, or was answered by this annotator."""

    code, status = "nothing_left", 409


class SessionFull(Refusal):
    """All comparisons of the sitting are handed out or answered."""

    code, status = "session_full", 409


class BudgetSpent(Refusal):
    code, status = "budget_spent", 409


@dataclass(frozen=True)
class Lease:
    """A question in an annotator's hands. The token proves when it was handed out."""

    assignment: Assignment
    campaign: Campaign
    token: str
    to_go: int


def next_pair(
    account: Account,
    campaign_uuid: uuid.UUID | str,
    *,
    now: datetime,
    rng: random.Random,
    have: frozenset[str] = frozenset(),
) -> Lease:
    """Lease the next question to an annotator; what is held already and not in `have` comes first (resume).

    Where nothing is left, leases that have run out are given back first and the queue is looked through once more.
    Raises NotFound, NotAllowed, TutorialFirst, CampaignNotOpen, SessionFull, BudgetSpent, NothingLeft.
    """
    with transaction.atomic():
        outcome = _next(account, campaign_uuid, now, rng, have)
    if isinstance(outcome, NothingLeft) and return_expired(now, most=50):
        with transaction.atomic():
            Participation.objects.filter(annotator=account, campaign__uuid=campaign_uuid).update(exhausted_until=None)
            outcome = _next(account, campaign_uuid, now, rng, have)
    if isinstance(outcome, Refusal):  # raised out here: that nothing is left is remembered, not rolled back
        raise outcome
    return outcome


def _participation() -> QuerySet[Participation]:
    campaign, account = OuterRef("campaign"), Slot("account", BigIntegerField())
    return (
        Participation.objects.select_related("campaign__dataset__skeleton")
        .select_for_update(of=("self",), no_key=True)
        .defer("campaign__instructions", "campaign__pair_policy")
        .annotate(
            saw_answers=Exists(SawAnswers.objects.filter(campaign=campaign, account=account)),
        )
        .filter(campaign__uuid=Slot("campaign", UUIDField()), annotator=account)
    )


_PARTICIPATION = Select(_participation)


def participation_of(account: Account, campaign_uuid: uuid.UUID | str) -> Participation:
    """The locked participation of an annotator, with what `may_answer` needs to know. Call inside a transaction."""
    participation = _PARTICIPATION.first(account=account.pk, campaign=campaign_uuid)
    if participation is None:
        raise NotFound(
            "You have no participation in this campaign.", field="campaign", fix="open the campaign's page first"
        )
    return participation


def _next(
    account: Account, campaign_uuid: uuid.UUID | str, now: datetime, rng: random.Random, have: frozenset[str]
) -> Lease | Refusal:
    participation = participation_of(account, campaign_uuid)
    may_answer(account, participation)
    held = _HELD.rows(participation=participation.pk, now=now)
    for assignment in held:
        if str(assignment.uuid) not in have:
            return lease_of(assignment, assignment.session, participation.campaign, now)
    if participation.campaign.state != Campaign.State.OPEN:
        raise CampaignNotOpen(f"The campaign is {participation.campaign.state}.", fix="come back later")
    if len(held) >= MOST_HELD:
        raise Refusal("You hold too many unanswered questions.", field="have", fix="answer them first")
    session = _OPEN_SESSION.first(participation=participation.pk) or _start_session(participation)
    if session.answered + len(held) >= session.length:
        raise SessionFull("All comparisons of this session are handed out.", fix="answer the ones you hold")
    assigned = _assign(participation, session, now, rng)
    return lease_of(assigned, session, participation.campaign, now) if isinstance(assigned, Assignment) else assigned


def may_answer(account: Account, participation: Participation) -> None:
    """Role, standing, blindness to others' answers, and the tutorial: looked at for every question and every answer."""
    if not account.is_one_of(Role.ANNOTATOR, *STAFF):
        raise NotAllowed("Your account has another role now and does not answer questions.")
    if participation.standing != Participation.Standing.ACTIVE:
        raise NotAllowed(
            f"Your work in this campaign is {participation.standing}: {participation.standing_reason}",
            fix="Write to the campaign's admins.",
        )
    if participation.saw_answers:  # type: ignore[attr-defined]  # annotated by what reads it
        raise NotAllowed("You have seen other people's answers of this campaign and cannot answer in it.")
    if participation.tutorial_passed_at is None and participation.campaign.tutorial_length:
        raise TutorialFirst("Pass the tutorial first.", fix="open the tutorial")


_OPEN_SESSION = Select(
    lambda: Session.objects.filter(participation=Slot("participation", BigIntegerField()), finished_at=None).order_by()
)
_HELD = Select(
    lambda: Assignment.objects.filter(
        participation=Slot("participation", BigIntegerField()),
        state=Assignment.State.LEASED,
        expires_at__gt=Slot("now", DateTimeField()),
    ).order_by("leased_at", "id")
)


def lease_of(assignment: Assignment, session: Session, campaign: Campaign, now: datetime) -> Lease:
    token = tokens.issue(assignment.uuid.hex, now=now)
    return Lease(assignment, campaign, token, session.length - session.answered)


def _start_session(participation: Participation) -> Session:
    campaign = participation.campaign
    length = campaign.session_length
    if campaign.budget_votes is not None:
        # Two new sittings must not share the last votes.
        Campaign.objects.select_for_update(no_key=True).get(pk=campaign.pk)
        length = min(length, budget_left(campaign))
        if length < 1:
            raise BudgetSpent("The campaign's budget of votes is spent or handed out.")
    return Session.objects.create(participation=participation, length=length)


def budget_left(campaign: Campaign) -> int:
    """Votes of the budget that are neither given nor handed out in a sitting."""
    sittings = Session.objects.filter(participation__campaign=campaign)
    planned = (sittings.filter(finished_at=None).aggregate(n=Sum("length"))["n"] or 0) + (
        sittings.exclude(finished_at=None).aggregate(n=Sum("answered"))["n"] or 0
    )
    return (campaign.budget_votes or 0) - planned


_NEW_LEASE = Insert(Assignment)


def _assign(participation: Participation, session: Session, now: datetime, rng: random.Random) -> Assignment | Refusal:
    campaign = participation.campaign
    assignment = Assignment(
        campaign=campaign,
        participation=participation,
        session=session,
        leased_at=now,
        expires_at=now + timedelta(seconds=campaign.lease_s),
        green_is_first=rng.random() < 0.5,
        green_on_left=rng.random() < 0.5,
        mirrored=campaign.probe_share > 0 and rng.random() < 0.5,
    )
    fixed = campaign.mode == Campaign.Mode.FIXED
    waiting = choice.next_waiting(participation, now) if fixed else choice.most_informative(participation, now, rng)
    if waiting is None:
        return NothingLeft("Nothing is left for you here right now.", retry_after_s=choice.NOTHING_LEFT_FOR.seconds)
    # The database does the same work for every kind of question, so that the time it takes tells none from another.
    gold = choice.unseen_gold(participation, rng) if campaign.gold_share else None
    probe = choice.unprobed(participation, rng) if campaign.probe_share else None
    shares = campaign.crowd.get("shares", [])
    gold_share = suspicion.gold_share(campaign.gold_share, participation.belief, shares)
    check = choice.check(gold, probe, gold_share, campaign.probe_share, rng)
    if isinstance(check, ReferenceQuestion):
        assignment.gold = check
    elif check is not None:
        assignment.probe_of = probe = check
        assignment.mirrored = not probe.assignment.mirrored
        seen = probe.presentation  # the other colours and the other sides than the first time
        assignment.green_is_first = not seen.startswith("green")
        assignment.green_on_left = assignment.green_is_first == seen.endswith("right")
    ordinary = assignment.gold is None and assignment.probe_of is None
    pair = waiting.take(int(ordinary))
    if gold:
        choice.GOLD_ASKED.run(known=gold.pk, times=int(assignment.gold is not None))
    if pair is None:
        return NothingLeft("Nothing is left for you here right now.", retry_after_s=choice.NOTHING_LEFT_FOR.seconds)
    assignment.pair = pair if ordinary else None
    return _NEW_LEASE.run(assignment)


def return_expired(now: datetime | None = None, most: int = 500) -> int:
    """Give the pairs of expired leases back to the queue. Safe to run anywhere, any number of times at once."""
    now = now or clock.now()
    due = list(
        Assignment.objects.filter(state=Assignment.State.LEASED, expires_at__lte=now)
        .order_by("pair_id")
        .values_list("pk", flat=True)[:most]
    )
    return sum(_return_one(pk, now) for pk in due)


def _return_one(pk: int, now: datetime) -> int:
    with transaction.atomic():
        lease = (
            Assignment.objects.select_for_update(skip_locked=True, of=("self",), no_key=True)
            .filter(pk=pk, state=Assignment.State.LEASED, expires_at__lte=now)
            .first()
        )
        if lease is None:
            return 0
        Assignment.objects.filter(pk=pk).update(state=Assignment.State.RETURNED)
        if lease.pair_id:
            follow.after(lease.campaign, lease.pair_id, leases=-1)
            Pair.objects.filter(pk=lease.pair_id).update(taken=F("taken") - 1)
    return 1
