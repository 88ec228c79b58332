"""All votes of a campaign through the depth model at once, and its outcome put into the tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from django.db import transaction
from numpy.typing import NDArray

from labeling.aggregation.posteriors import Array, Index, PairTable, expected, more_wanted, pack, priority, worth
from labeling.aggregation.snapshot import Snapshot
from labeling.crowd import depth, measures
from labeling.crowd.config import DepthConfig
from labeling.models import Campaign, DepthPosterior, Participation
from webapp import rows
from webapp.progress import Progress

AGREE_AT_ONCE = 1 << 18


@dataclass(frozen=True)
class Refit:
    """All votes of a campaign through the depth model. `pair_ids` are its pairs; `p_first`, `plain`
    (without a prior; None if none was used) and `votes_used` follow them; `belief`, `vote_count` and `agreement` follow
    `participation_ids`; `people` have `risk`, `gain`, `votes` and a posterior in `perceived_mean` and `perceived_covariance`."""

    pair_ids: NDArray[np.int64]
    p_first: Array
    without_prior: Array | None
    votes_used: NDArray[np.int64]
    participation_ids: NDArray[np.int64]
    vote_count: NDArray[np.int64]
    belief: Array
    agreement: Array
    votes: int
    last_vote: int
    surprising: int
    contradicted: int
    crowd: depth.Crowd
    rounds: int
    people: NDArray[np.int64]
    people_votes: NDArray[np.int64]
    risk: Array
    gain: Array
    perceived_mean: Array
    perceived_covariance: Array


def refit(campaign: Campaign, read: Snapshot, config: DepthConfig, progress: Progress) -> Refit | None:
    """Fit the depth model to all votes and gold answers; None without pairs. Writes nothing.

    Call it outside of transactions: it may count for minutes.
    """
    people = np.unique(read.person)
    if not len(people):
        return None
    of_person = np.searchsorted(people, read.person).astype(np.int32)
    order = np.argsort(of_person[read.pair], kind="stable")  # person by person; read.vote stays ascending in each
    gold_people, gold_place = np.unique(read.gold.person, return_inverse=True)
    participation_ids = np.union1d(
        read.participation_ids[np.unique(read.participation[order])], read.gold.participation
    )
    votes = _votes(read, order, of_person, len(people) + gold_place, participation_ids)
    before = expected(campaign, people)
    apart = np.array([pk not in read.control for pk in people.tolist()], dtype=bool)
    truth = {pk: read.truth_mm[pk] for pk in gold_people.tolist()}
    state = depth.fit(_with_gold(before.pictures(known=apart), truth), votes, config, progress=progress, keep=False)
    without_prior = None
    if before.known.any():
        bare = _with_gold(before.pictures(with_prior=False), truth)
        alone = depth.fit(bare, votes, config, progress=progress, keep=False)
        without_prior = 1 - alone.p_second(of_person, read.first, read.second)
        del alone
    risk, gain = worth(state, people, PairTable(read.person, read.first, read.second))
    vote_count = np.bincount(votes.annotator, minlength=len(participation_ids))
    count, size = len(order), len(people)
    circles = measures.cycles(
        *(votes.picture[:count], votes.first[:count], votes.second[:count], votes.second_closer[:count]),
        *(size, state.mean.shape[1]),
    )
    return Refit(
        pair_ids=read.pair_id,
        p_first=1 - state.p_second(of_person, read.first, read.second),
        without_prior=without_prior,
        votes_used=np.bincount(read.pair, minlength=len(read.pair_id)),
        participation_ids=participation_ids,
        vote_count=vote_count,
        belief=state.belief,
        agreement=np.bincount(votes.annotator, weights=_agree(state, votes), minlength=len(participation_ids))
        / np.maximum(vote_count, 1),
        votes=count,
        last_vote=int(read.vote[order].max(initial=0)),
        surprising=int((state.expected[:count] < 0.05).sum()),
        contradicted=int((circles > 0).sum()),
        crowd=state.crowd,
        rounds=state.rounds,
        people=people,
        people_votes=np.bincount(votes.picture[:count], minlength=size),
        risk=risk,
        gain=gain,
        perceived_mean=state.perceived_mean[:size],
        perceived_covariance=state.perceived_covariance[:size],
    )


def _votes(
    read: Snapshot, order: Index, of_person: Index, gold_place: Index, participation_ids: Index
) -> depth.PairVotes:
    """The votes `order`, then the answers to gold questions, whose people are the pictures `gold_place`."""
    pair, gold = read.pair[order], read.gold
    participation_of = np.searchsorted(participation_ids, read.participation_ids)
    annotators = [participation_of[read.participation[order]], np.searchsorted(participation_ids, gold.participation)]
    return depth.PairVotes(
        picture=np.concatenate([of_person[pair], gold_place.astype(np.int32)]),
        first=np.concatenate([read.first[pair], gold.first]),
        second=np.concatenate([read.second[pair], gold.second]),
        annotator=np.concatenate(annotators).astype(np.int32),
        second_closer=np.concatenate([read.second_closer[order], gold.second_closer]),
        annotators=len(participation_ids),
        presentation=np.concatenate([read.presentation[order], gold.presentation]),
    )


def _agree(state: depth.DepthPosteriors, votes: depth.PairVotes) -> NDArray[np.bool_]:
    """Which votes give the likelier answer; in parts, for millions of votes."""
    parts = [slice(start, start + AGREE_AT_ONCE) for start in range(0, max(len(votes), 1), AGREE_AT_ONCE)]
    return np.concatenate(
        [
            (state.p_second(votes.picture[part], votes.first[part], votes.second[part]) > 0.5)
            == votes.second_closer[part]
            for part in parts
        ]
    )


def _with_gold(pictures: depth.Pictures, truth_mm: dict[int, list[float]]) -> depth.Pictures:
    """The same pictures, then those whose depths are known."""
    if not truth_mm:
        return pictures
    known = np.array(list(truth_mm.values()), dtype=np.float64)
    known = np.nan_to_num(known - np.nanmean(known, axis=1, keepdims=True))  # nobody is asked about an unknown depth
    covariance = pictures.covariance
    if covariance.ndim == 3:
        covariance = np.concatenate([covariance, np.tile(np.eye(known.shape[1]), (len(known), 1, 1))])
    return depth.Pictures(
        np.concatenate([pictures.mean, known]), covariance, np.concatenate([pictures.gold, np.ones(len(known), bool)])
    )


def store(campaign: Campaign, fit: Refit, between: Callable[[], None] = lambda: None) -> None:
    """Put a refit into force in short steps: beliefs, posteriors, then the crowd. Posteriors with newer votes keep what
    followed those. `between` is called between the steps and raises where no more may be written.

    Each step is a state that the queue can work with: what one annotator is believed to be, what one person's depths are.
    """
    participations = zip(fit.participation_ids.tolist(), fit.belief.round(5).tolist())
    for _ in rows.change_in_steps(
        Participation, ("belief",), [(json.dumps(belief), pk) for pk, belief in participations]
    ):
        between()
    place = {pk: n for n, pk in enumerate(fit.people.tolist())}
    keys = list(DepthPosterior.objects.filter(campaign=campaign).order_by("pk").values_list("pk", "person_id"))
    size = rows.at_once(STORED)
    for start in range(0, len(keys), size):
        step = {pk: place[person] for pk, person in keys[start : start + size] if person in place}
        with transaction.atomic():
            _store_posteriors(campaign, fit, step)
        between()
    crowd = fit.crowd
    campaign.crowd = {
        "shares": crowd.shares.round(6).tolist(),
        "shared_mm": round(crowd.shared_mm, 3),
        "slant": round(crowd.slant, 6),
        "last_vote": fit.last_vote,
    }
    Campaign.objects.filter(pk=campaign.pk).update(crowd=campaign.crowd)


STORED = 1000  # posteriors written in one transaction


def _store_posteriors(campaign: Campaign, fit: Refit, step: dict[int, int]) -> None:
    """Write some posteriors, of (key, place in the fit), whose votes the fit has all perceived."""
    changed = []
    locked = (
        DepthPosterior.objects.filter(pk__in=list(step))
        .defer("perceived")
        .order_by("pk")
        .select_for_update(no_key=True)
    )
    for posterior in locked:
        n = step[posterior.pk]
        if posterior.votes > fit.people_votes[n]:
            continue
        posterior.votes, posterior.risk, posterior.gain = (
            int(fit.people_votes[n]),
            float(fit.risk[n]),
            float(fit.gain[n]),
        )
        is_open = more_wanted(campaign, posterior.votes + posterior.leased, posterior.risk)
        perceived = pack(fit.perceived_mean[n], fit.perceived_covariance[n])
        changed.append(
            (
                perceived,
                posterior.votes,
                posterior.risk,
                posterior.gain,
                priority(campaign, posterior),
                is_open,
                posterior.pk,
            )
        )
    rows.change(DepthPosterior, ("perceived", "votes", "risk", "gain", "priority", "open"), changed)
