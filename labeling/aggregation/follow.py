"""One person's depth posterior brought up to date after a vote, inside the vote's transaction (a few ms).

Annotators are judged only by `refit`, from all votes, so a vote never changes what is thought of its own annotator at once.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from django.db.models import BigIntegerField, BinaryField, BooleanField, F, FloatField, IntegerField, QuerySet

from labeling.aggregation.posteriors import LIVE, PairTable, crowd_of, expected, more_wanted, pack, priority, worth
from labeling.aggregation.snapshot import PRESENTATIONS, counted_votes
from labeling.crowd import depth
from labeling.crowd.votes import CONDITIONS
from labeling.models import Campaign, DepthPosterior, Pair, Vote
from labeling.models.answer import SAME, SECOND
from webapp.prepared import Select, Slot, Update

_LOCKED = Select(
    lambda: (
        DepthPosterior.objects.select_for_update(no_key=True)
        .defer("perceived")
        .filter(campaign=Slot("campaign", BigIntegerField()), person=Slot("person", BigIntegerField()))
        .order_by()
    )
)


def _votes_on() -> QuerySet[Vote]:
    campaign, person = Slot("campaign", BigIntegerField()), Slot("person", BigIntegerField())
    return (
        counted_votes(campaign)
        .exclude(closer=SAME)
        .filter(pair__campaign=campaign, pair__person=person)
        .annotate(first=F("pair__first"), second=F("pair__second"), belief=F("participation__belief"))
        .only("closer", "presentation")
        .order_by("pk")
    )


_VOTES_ON = Select(_votes_on)
_PAIRS_OF = Select(
    lambda: (
        Pair.objects.filter(
            campaign=Slot("campaign", BigIntegerField()),
            person=Slot("person", BigIntegerField()),
        )
        .only("first", "second")
        .order_by("first", "second")
    )
)
_FOLLOWED = Update(
    lambda: (
        DepthPosterior.objects.filter(pk=Slot("posterior", BigIntegerField())),
        {
            "perceived": Slot("perceived", BinaryField()),
            "votes": Slot("votes", IntegerField()),
            "leased": Slot("leased", IntegerField()),
            "risk": Slot("risk", FloatField()),
            "gain": Slot("gain", FloatField()),
            "open": Slot("open", BooleanField()),
            "priority": Slot("priority", FloatField()),
        },
    )
)


_CAMPAIGN = Select(
    lambda: (
        Campaign.objects.select_related("dataset__skeleton", "prior")
        .defer("instructions", "pair_policy", "keypoints")
        .filter(pk=Slot("campaign", BigIntegerField()))
        .order_by()
    )
)
_PAIR = Select(lambda: Pair.objects.only("person").filter(pk=Slot("pair", BigIntegerField())).order_by())


def after(campaign: Campaign, pair_pk: int, leases: int) -> None:
    """Follow what happened to a pair of an adaptive campaign; a fixed one waits for its next aggregation.

    Call it before the pair's own row is changed: whoever chooses a question locks the posterior first and the pair then, and two
    orders would be a deadlock.
    """
    if campaign.mode == Campaign.Mode.FIXED:
        return
    whole, pair = _CAMPAIGN.first(campaign=campaign.pk), _PAIR.first(pair=pair_pk)
    if whole is not None and pair is not None:
        follow(whole, pair.person_id, leases)


def _votes(campaign: Campaign, person: int, crowd: depth.Crowd) -> tuple[depth.PairVotes, np.ndarray]:
    """A person's votes, each as if by an annotator of its own, and what each one's annotator is beliefs to be (votes x kinds)."""
    rows: list[Any] = _VOTES_ON.rows(campaign=campaign.pk, person=person)
    beliefs = [json.loads(v.belief) if isinstance(v.belief, str) else v.belief for v in rows]
    belief = np.array([b if len(b) == len(depth.KINDS) else crowd.shares for b in beliefs])
    votes = depth.PairVotes(
        picture=np.zeros(len(rows), np.int64),
        first=np.array([v.first for v in rows], dtype=np.int64),
        second=np.array([v.second for v in rows], dtype=np.int64),
        annotator=np.arange(len(rows)),
        second_closer=np.array([v.closer == SECOND for v in rows], dtype=bool),
        annotators=len(rows),
        presentation=np.array([PRESENTATIONS.get(v.presentation, CONDITIONS) for v in rows], dtype=np.int64),
    )
    return votes, belief.reshape(-1, len(depth.KINDS))


def follow(campaign: Campaign, person: int, leases: int = 0) -> DepthPosterior | None:
    """Bring one person's posterior up to date with its votes; `leases`: change in the number of leases that are out.

    Call inside a transaction. None where the campaign keeps no posterior of this person.
    """
    posterior = _LOCKED.first(campaign=campaign.pk, person=person)
    if posterior is None:
        return None
    crowd = crowd_of(campaign)
    votes, belief = _votes(campaign, person, crowd)
    before = expected(campaign, np.array([person])).pictures(with_prior=not posterior.control)
    state = depth.fit(before, votes, LIVE, crowd=crowd, belief=belief)
    asked = _PAIRS_OF.rows(campaign=campaign.pk, person=person)
    first, second = (np.array([getattr(p, name) for p in asked], dtype=np.int64) for name in ("first", "second"))
    risk, gain = worth(state, np.array([person]), PairTable(np.full(len(asked), person), first, second))
    posterior.perceived = pack(state.perceived_mean[0], state.perceived_covariance[0])
    posterior.votes, posterior.risk, posterior.gain = len(votes), float(risk[0]), float(gain[0])
    posterior.leased = max(0, posterior.leased + leases)
    posterior.open = more_wanted(campaign, posterior.votes + posterior.leased, posterior.risk)
    posterior.priority = priority(campaign, posterior)
    _FOLLOWED.run(
        posterior=posterior.pk,
        **{
            name: getattr(posterior, name)
            for name in ("perceived", "votes", "leased", "risk", "gain", "open", "priority")
        },
    )
    return posterior
