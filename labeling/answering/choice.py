"""Which question an annotator gets next: a gold question, a mirror probe, the next waiting pair, or the most informative one.

Nothing here hands a question out; `assignment` does, in the transaction that these functions run in.
"""

from __future__ import annotations

import random
import time
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

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
)

from labeling.aggregation import posteriors
from labeling.aggregation.snapshot import standing_votes
from labeling.models import (
    Assignment,
    DepthPosterior,
    Pair,
    Participation,
    Person,
    ReferenceQuestion,
    Vote,
)
from labeling.models.answer import SAME
from webapp.prepared import Select, Slot, Update

NOTHING_LEFT_FOR = timedelta(seconds=15)  # so long nobody looks again for whom there was nothing
_PERSON = Select(
    lambda: (
        Person.objects.select_related("image").defer("truth_mm").filter(pk=Slot("person", BigIntegerField())).order_by()
    )
)


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
GOLD_ASKED = Update(
    lambda: (
        ReferenceQuestion.objects.filter(pk=Slot("known", BigIntegerField())),
        {"asked": F("asked") + Slot("times", IntegerField())},
    )
)


def unseen_gold(participation: Participation, rng: random.Random) -> ReferenceQuestion | None:
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
        Vote.objects.select_related("assignment", "pair__person__image")
        .filter(pk=Slot("vote", BigIntegerField()))
        .order_by()
    )
)


def unprobed(participation: Participation, rng: random.Random) -> Vote | None:
    """One of the annotator's own earlier votes that was not asked again yet."""
    votes = _PROBES.tuples(campaign=participation.campaign_id, participation=participation.pk)
    return _PROBE.first(vote=rng.choice(votes)[0]) if votes else None


def check(
    gold: ReferenceQuestion | None, probe: Vote | None, gold_share: float, probe_share: float, rng: random.Random
) -> ReferenceQuestion | Vote | None:
    """What is asked in place of an ordinary question, if anything.

    How often that happens does not depend on which of the two there is: nobody has a probe among the first questions and late ones may find
    every gold question asked, so else the place of a question would tell. Where one kind is missing, the other comes for it.
    """
    share = gold_share + (1 - gold_share) * probe_share  # as the forecast counts them
    asked, of_gold = rng.random() < share, rng.random() * share < gold_share
    if not asked:
        return None
    return (gold or probe) if of_gold else (probe or gold)


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


class Choice(Protocol):
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
        self.pair.person = _PERSON.rows(person=self.pair.person_id)[0]
        return self.pair


def next_waiting(participation: Participation, now: datetime) -> Choice | None:
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


def most_informative(participation: Participation, now: datetime, rng: random.Random) -> Choice | None:
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
        Pair.objects.filter(campaign=Slot("campaign", BigIntegerField()), person=person)
        .alias(held=held)
        .filter(held=None, taken__lt=F("votes_needed"))
        .only("first", "second", "taken")
        .order_by()
    )


_OPEN_PAIRS = Select(_open_pairs)
_PAIR = Select(
    lambda: (
        Pair.objects.select_related("person__image")
        .defer("person__truth_mm")
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


def _informative(participation: Participation, posterior: DepthPosterior, rng: random.Random) -> Choice | None:
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
