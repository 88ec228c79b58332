"""The queue: which question an annotator gets next, under a lease.

To the annotator every question is alike: whether it is to be a gold question or a probe is drawn only once an ordinary one
was found for it, so that neither comes when nothing else is left.

Speed does not depend on the number of pairs: every annotator keeps one cursor per level (pairs with k takers), and the
partial index (campaign, taken, rank) of unfinished pairs is entered behind it. Pairs with fewer takers come first, so
new pairs are not starved. On PostgreSQL locked rows are skipped; on SQLite writers wait for each other.
"""

from __future__ import annotations

import random
import time
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from django.db import transaction
from django.db.models import (
    BigIntegerField,
    BooleanField,
    DateTimeField,
    Exists,
    F,
    FloatField,
    IntegerField,
    JSONField,
    OuterRef,
    QuerySet,
    Subquery,
    Sum,
    UUIDField,
)

from labeling.aggregation import posteriors
from labeling.aggregation.snapshot import standing_votes
from labeling.answering import tokens
from labeling.models import (
    Assignment,
    Campaign,
    DepthPosterior,
    Pair,
    Participation,
    Person,
    ReferenceQuestion,
    SawAnswers,
    Session,
    Vote,
)
from labeling.models.answer import SAME
from labeling.quality import suspicion
from webapp import clock
from webapp.accounts.models import Account
from webapp.accounts.roles import STAFF, Role
from webapp.errors import NotAllowed, NotFound, Refusal
from webapp.prepared import Insert, Select, Slot, Update

MOST_HELD = 3  # the question on the screen and two preloaded ones
NOTHING_LEFT_FOR = timedelta(seconds=15)


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
_PERSON = Select(
    lambda: (
        Person.objects.select_related("image").defer("truth_mm").filter(pk=Slot("person", BigIntegerField())).order_by()
    )
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
    choice = _next_pair(participation, now) if fixed else _most_informative(participation, now, rng)
    if choice is None:
        return NothingLeft("Nothing is left for you here right now.", retry_after_s=NOTHING_LEFT_FOR.seconds)
    # The database does the same work for every kind of question, so that the time it takes tells none from another.
    gold = _unseen_gold(participation, rng) if campaign.gold_share else None
    probe = _unprobed(participation, rng) if campaign.probe_share else None
    shares = campaign.crowd.get("shares", [])
    if gold and rng.random() < suspicion.gold_share(campaign.gold_share, participation.belief, shares):
        assignment.gold = gold
    elif probe and rng.random() < campaign.probe_share:
        assignment.probe_of = probe
        assignment.mirrored = not probe.assignment.mirrored
        seen = probe.presentation  # the other colours and the other sides than the first time
        assignment.green_is_first = not seen.startswith("green")
        assignment.green_on_left = assignment.green_is_first == seen.endswith("right")
    ordinary = assignment.gold is None and assignment.probe_of is None
    pair = choice.take(int(ordinary))
    if gold:
        _ASKED.run(known=gold.pk, times=int(assignment.gold is not None))
    if pair is None:
        return NothingLeft("Nothing is left for you here right now.", retry_after_s=NOTHING_LEFT_FOR.seconds)
    assignment.pair = pair if ordinary else None
    return _NEW_LEASE.run(assignment)


GOLD_DRAWN_FROM = 20  # the least asked ones: people who ask at once get different ones


def _golds() -> QuerySet[ReferenceQuestion]:
    mine = Assignment.objects.filter(gold=OuterRef("pk"), participation=Slot("participation", BigIntegerField()))
    return (
        ReferenceQuestion.objects.only("asked")
        .filter(~Exists(mine), campaign=Slot("campaign", BigIntegerField()), use=ReferenceQuestion.Use.GOLD)
        .order_by("asked", "position")[:GOLD_DRAWN_FROM]
    )


_GOLDS = Select(_golds)
_GOLD = Select(
    lambda: (
        ReferenceQuestion.objects.select_related("person__image")
        .defer("person__truth_mm")
        .filter(pk=Slot("known", BigIntegerField()))
        .order_by()
    )
)
_ASKED = Update(
    lambda: (
        ReferenceQuestion.objects.filter(pk=Slot("known", BigIntegerField())),
        {"asked": F("asked") + Slot("times", IntegerField())},
    )
)


def _unseen_gold(participation: Participation, rng: random.Random) -> ReferenceQuestion | None:
    unseen = _GOLDS.tuples(participation=participation.pk, campaign=participation.campaign_id)
    least = [pk for pk, asked in unseen if asked == unseen[0][1]]
    return _GOLD.first(known=rng.choice(least)) if least else None


PROBED_AFTER = 10  # own answers in between: nobody remembers the first one


def _probes() -> QuerySet[Vote]:
    probed = Assignment.objects.filter(probe_of=OuterRef("pk")).exclude(state=Assignment.State.RETURNED)
    return (
        standing_votes(Slot("campaign", BigIntegerField()))
        .only("pk")
        .filter(~Exists(probed), participation=Slot("participation", BigIntegerField()))
        .exclude(closer=SAME)
        .order_by("-pk")[PROBED_AFTER : PROBED_AFTER + 50]
    )


_PROBES = Select(_probes)
_PROBE = Select(
    lambda: (
        Vote.objects.select_related("assignment", "pair__first_person__image", "pair__second_person__image")
        .filter(pk=Slot("vote", BigIntegerField()))
        .order_by()
    )
)


def _unprobed(participation: Participation, rng: random.Random) -> Vote | None:
    """One of the annotator's own earlier votes that was not asked again yet."""
    votes = _PROBES.tuples(campaign=participation.campaign_id, participation=participation.pk)
    return _PROBE.first(vote=rng.choice(votes)[0]) if votes else None


_REMEMBER = Update(
    lambda: (
        Participation.objects.filter(pk=Slot("participation", BigIntegerField())),
        {"cursors": Slot("cursors", JSONField()), "exhausted_until": Slot("until", DateTimeField())},
    )
)
_TAKE = Update(
    lambda: (
        Pair.objects.filter(pk=Slot("pair", BigIntegerField())),
        {"taken": F("taken") + Slot("by", IntegerField())},
    )
)


class _Choice(Protocol):
    """An ordinary question that was found, its rows locked, not taken yet."""

    def take(self, by: int) -> Pair | None:
        """Count one more taker, or with 0 do the same work and leave all as it was. None where it is gone."""


@dataclass(frozen=True)
class _Waiting:
    """The next pair behind the cursors of an annotator."""

    participation: Participation
    pair: Pair
    before: list[int]

    def take(self, by: int) -> Pair | None:
        _REMEMBER.run(
            participation=self.participation.pk, cursors=self.participation.cursors if by else self.before, until=None
        )
        _TAKE.run(pair=self.pair.pk, by=by)
        self.pair.first_person = _PERSON.rows(person=self.pair.first_person_id)[0]
        return self.pair


def _next_pair(participation: Participation, now: datetime) -> _Choice | None:
    if participation.exhausted_until and participation.exhausted_until > now:
        return None
    levels = participation.campaign.votes_per_pair
    participation.cursors = (participation.cursors + [-1] * levels)[:levels]
    before = list(participation.cursors)
    pair = _scan(participation)
    if pair is None:
        participation.cursors = [
            -1
        ] * levels  # leases may have come back behind the cursors: look once more from the start
        pair = _scan(participation, every=True)
    if pair is not None:
        return _Waiting(participation, pair, before)
    _REMEMBER.run(participation=participation.pk, cursors=participation.cursors, until=now + NOTHING_LEFT_FOR)
    return None


PEOPLE_TRIED = 8  # looked at together once the first person in the queue has no pair left for this annotator


_BEST = Select(lambda: posteriors.queue(Slot("campaign", BigIntegerField()), Slot("control", BooleanField()))[:1])


@dataclass(frozen=True)
class _Informative:
    """The pair of a person whose next answer teaches most."""

    participation: Participation
    posterior: DepthPosterior
    pair: int

    def take(self, by: int) -> Pair | None:
        if not _TAKE_OPEN.run(pair=self.pair, by=by):
            return None
        posterior, campaign = self.posterior, self.participation.campaign
        posterior.leased += by
        is_open = posteriors.more_wanted(campaign, posterior.votes + posterior.leased, posterior.risk)
        _LEASE_POSTERIOR.run(
            posterior=posterior.pk, by=by, open=is_open, priority=posteriors.priority(campaign, posterior)
        )
        return _PAIR.first(pair=self.pair)


def _most_informative(participation: Participation, now: datetime, rng: random.Random) -> _Choice | None:
    """The most informative open pair of the person whose next answer teaches most (`posteriors.priority`)."""
    campaign = participation.campaign
    if participation.exhausted_until and participation.exhausted_until > now:
        return None
    arms = [False, True] if rng.random() >= campaign.control_share else [True, False]
    for control in arms if campaign.control_share else [False]:
        best = _BEST.first(campaign=campaign.pk, control=control)
        if best is None:
            continue
        choice = _informative(participation, best, rng)
        start = 1
        while choice is None and (tried := list(posteriors.queue(campaign.pk, control)[start : start + PEOPLE_TRIED])):
            choice = next((c for posterior in tried if (c := _informative(participation, posterior, rng))), None)
            start += PEOPLE_TRIED
        if choice is not None:
            return choice
    Participation.objects.filter(pk=participation.pk).update(exhausted_until=now + NOTHING_LEFT_FOR)
    return None


def _open_pairs() -> QuerySet[Pair]:
    person = Slot("person", BigIntegerField())
    mine = Assignment.objects.filter(pair=OuterRef("pk"), participation=Slot("participation", BigIntegerField()))
    held = Subquery(mine.exclude(state=Assignment.State.RETURNED).values("pk")[:1])
    return (
        Pair.objects.filter(campaign=Slot("campaign", BigIntegerField()), first_person=person, second_person=person)
        .alias(held=held)
        .filter(held=None, taken__lt=F("votes_needed"))
        .only("first", "second", "taken")
        .order_by()
    )


_OPEN_PAIRS = Select(_open_pairs)
_PAIR = Select(
    lambda: (
        Pair.objects.select_related("first_person__image")
        .defer("first_person__truth_mm")
        .filter(pk=Slot("pair", BigIntegerField()))
        .order_by()
    )
)
_TAKE_OPEN = Update(
    lambda: (
        Pair.objects.filter(pk=Slot("pair", BigIntegerField()), taken__lt=F("votes_needed")),
        {"taken": F("taken") + Slot("by", IntegerField())},
    )
)
_LEASE_POSTERIOR = Update(
    lambda: (
        DepthPosterior.objects.filter(pk=Slot("posterior", BigIntegerField())),
        {
            "leased": F("leased") + Slot("by", IntegerField()),
            "open": Slot("open", BooleanField()),
            "priority": Slot("priority", FloatField()),
        },
    )
)


def _informative(participation: Participation, posterior: DepthPosterior, rng: random.Random) -> _Choice | None:
    open_pairs = _OPEN_PAIRS.tuples(
        campaign=participation.campaign_id, person=posterior.person_id, participation=participation.pk
    )
    if not open_pairs:
        return None
    return _Informative(
        participation,
        posterior,
        posteriors.most_informative(participation.campaign, posterior, participation, open_pairs, rng),
    )


def _waiting() -> QuerySet[Pair]:
    """Unfinished pairs with `level` takers. Compare `taken` first: that is the order of the partial index."""
    level = Slot("level", IntegerField())
    return Pair.objects.filter(campaign=Slot("campaign", BigIntegerField()), taken=level, taken__lt=F("votes_needed"))


def _not_answered() -> QuerySet[Pair]:
    mine = Assignment.objects.filter(pair=OuterRef("pk"), participation=Slot("participation", BigIntegerField()))
    # A scalar subquery, not EXISTS: it stays one look into the unique index per pair, whereas PostgreSQL turns EXISTS
    # into a join that it plans for all pairs. No joins here: the plan depends on the values, so it is made anew.
    held = Subquery(mine.exclude(state=Assignment.State.RETURNED).values("pk")[:1])
    return (
        _waiting()
        .select_for_update(skip_locked=True, no_key=True)
        .alias(held=held)
        .filter(held=None, rank__gt=Slot("cursor", IntegerField()))
        .order_by("rank")[:1]
    )


_NEXT_WAITING = Select(_not_answered)
_LAST_WAITING = Select(lambda: _waiting().only("rank").order_by("-rank")[:1])


EMPTY_FOR_S = 5.0
_empty_until: dict[tuple[uuid.UUID, int], float] = {}  # in this process; `time.monotonic()` of the next look


def _scan(participation: Participation, *, every: bool = False) -> Pair | None:
    """The next waiting pair, the levels with the fewest takers first.

    A level that nobody's pair waits on is not looked at again for `EMPTY_FOR_S`, unless `every`: finding nothing costs most of all, as
    PostgreSQL reads past what stood there until its next vacuum. A lease that comes back there waits so long at most.
    """
    for level, cursor in enumerate(participation.cursors):
        key = (participation.campaign.uuid, level)
        if not every and time.monotonic() < _empty_until.get(key, 0.0):
            continue
        pair = _NEXT_WAITING.first(
            campaign=participation.campaign_id, level=level, participation=participation.pk, cursor=cursor
        )
        if pair:
            participation.cursors[level] = pair.rank
            return pair
        # Nothing but this annotator's own pairs up to the last one: do not read past them again.
        last = _LAST_WAITING.first(campaign=participation.campaign_id, level=level)
        participation.cursors[level] = max(cursor, last.rank if last else -1)
        if last is None:
            if len(_empty_until) >= 10_000:
                _empty_until.clear()
            _empty_until[key] = time.monotonic() + EMPTY_FOR_S
    return None


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
            posteriors.after(lease.campaign, lease.pair_id, leases=-1)
            Pair.objects.filter(pk=lease.pair_id).update(taken=F("taken") - 1)
    return 1
