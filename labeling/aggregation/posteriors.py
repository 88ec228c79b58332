"""Depth posteriors in tables: what is expected before any vote, their places in the queue, which question to ask.

The numbers are `crowd.depth`'s. `follow` brings one person's posterior up to date after a vote, `refit` all of a campaign.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from django.db.models import QuerySet
from numpy.typing import NDArray

from labeling.crowd import anatomy, depth, selection
from labeling.crowd.config import DepthConfig
from labeling.models import Campaign, DepthPosterior, Pair, Participation, PersonPrior
from webapp import rows

Array = NDArray[np.float64]
Index = NDArray[np.integer[Any]]
LIVE = DepthConfig(rounds=12, tolerance=0.02)
HALVED = 0.5  # a lease that is out makes the next one on the same person worth so much less
AT_ONCE = 5000  # people whose posteriors are made together
FAIR = 10.0  # bits added while a person has fewer votes than each is promised


def pack(mean: Array, covariance: Array) -> bytes:
    return np.concatenate([mean.ravel(), covariance.ravel()]).astype("<f4").tobytes()


def unpack(perceived: bytes | memoryview) -> tuple[Array, Array]:
    values = np.frombuffer(bytes(perceived), "<f4").astype(np.float64)
    joints = int((np.sqrt(1 + 4 * len(values)) - 1) / 2)
    return values[:joints], values[joints:].reshape(joints, joints)


def crowd_of(campaign: Campaign) -> depth.Crowd:
    """What the last aggregation learned about all annotators, or what is assumed before it."""
    known = campaign.crowd or {}
    if len(known.get("shares", [])) != len(depth.KINDS):
        return depth.Crowd()
    return depth.Crowd(np.array(known["shares"]), known["shared_mm"], known["slant"])


@dataclass(frozen=True)
class Expected:
    """Depths before any vote of N people: `mean` N x J; `covariance` J x J of all who have a mean, `plain` of the others."""

    mean: Array
    known: NDArray[np.bool_]
    covariance: Array
    without_prior: Array

    def pictures(self, with_prior: bool = True, known: NDArray[np.bool_] | None = None) -> depth.Pictures:
        use = (self.known if known is None else known & self.known) & with_prior
        mean = np.where(use[:, None], self.mean, 0.0)
        if not use.any():
            return depth.Pictures(mean, self.without_prior, np.zeros(len(mean), bool))
        if use.all():
            return depth.Pictures(mean, self.covariance, np.zeros(len(mean), bool))
        both = np.where(use[:, None, None], self.covariance, self.without_prior)
        return depth.Pictures(mean, both, np.zeros(len(mean), bool))


def expected(campaign: Campaign, people: NDArray[np.int64]) -> Expected:
    """Prior of some people of a campaign, in the given order."""
    without_prior = anatomy.covariance(campaign.dataset.skeleton.as_skeleton)
    joints = len(without_prior)
    mean, known, covariance = np.zeros((len(people), joints)), np.zeros(len(people), bool), without_prior
    if campaign.mode == Campaign.Mode.PRIOR and campaign.prior is not None:
        covariance = np.array(campaign.prior.covariance)
        priors = PersonPrior.objects.filter(prior=campaign.prior_id)
        if len(people) < 500:
            priors = priors.filter(person__in=people.tolist())
        place = {pk: n for n, pk in enumerate(people.tolist())}
        for person, values in priors.values_list("person_id", "mean").iterator(chunk_size=2000):
            if person in place:
                mean[place[person]], known[place[person]] = values, True
    return Expected(mean, known, covariance, without_prior)


@dataclass(frozen=True)
class PairTable:
    """P pairs within one person each: the keys of their people, and their keypoints."""

    person: Index
    first: Index
    second: Index

    @classmethod
    def of_campaign(cls, campaign: Campaign) -> PairTable:
        """All of them, person by person."""
        table = [
            np.array(batch, dtype=np.int64)
            for batch in rows.read(
                Pair.objects.filter(campaign=campaign).order_by().values_list("person_id", "first", "second")
            )
        ]
        every = np.concatenate(table) if table else np.zeros((0, 3), np.int64)
        return cls(*every[every[:, 0].argsort(kind="stable")].T)

    def between(self, first_person: int, last_person: int) -> PairTable:
        """The pairs of people from one key to another, of a table that is in their order."""
        start, stop = np.searchsorted(self.person, first_person), np.searchsorted(self.person, last_person, "right")
        return PairTable(self.person[start:stop], self.first[start:stop], self.second[start:stop])


def worth(state: depth.DepthPosteriors, people: NDArray[np.int64], pairs: PairTable) -> tuple[Array, Array]:
    """Mean risk of each person's pairs, and the bits that the best next vote would give."""
    place = np.searchsorted(people, pairs.person)
    p = state.p_second(place, pairs.first, pairs.second)
    count = np.maximum(np.bincount(place, minlength=len(people)), 1)
    risk = np.bincount(place, weights=np.minimum(p, 1 - p), minlength=len(people)) / count
    gap, variance = depth.difference(state.perceived_mean, state.perceived_covariance, place, pairs.first, pairs.second)
    gain = np.zeros(len(people))
    np.maximum.at(gain, place, selection.information(gap, variance, depth.noise_of(state.crowd.shares)))
    return np.minimum(risk, 0.5), gain


def prepare(campaign: Campaign, control: set[int], between: Callable[[], None] = lambda: None) -> int:
    """Write the posteriors of a campaign that starts: everybody who has a pair with himself, some hundreds in a transaction.

    `control`: people of that arm; `between` is called after each transaction.
    """
    people = np.array(
        sorted(set(Pair.objects.filter(campaign=campaign).values_list("person_id", flat=True))),
        dtype=np.int64,
    )
    if not len(people):
        return 0
    with rows.snapshot():
        pairs = PairTable.of_campaign(campaign)
    none = np.zeros(0, np.int64)
    votes = depth.PairVotes(none, none, none, none, none.astype(bool), 0)
    for start in range(0, len(people), AT_ONCE):
        some = people[start : start + AT_ONCE]
        apart = np.array([pk not in control for pk in some.tolist()])
        before = expected(campaign, some).pictures(known=apart)
        state = depth.fit(before, votes, LIVE, crowd=crowd_of(campaign), belief=np.zeros((0, len(depth.KINDS))))
        risk, gain = worth(state, some, pairs.between(some[0], some[-1]))
        created = [
            DepthPosterior(campaign=campaign, person_id=pk, control=pk in control, perceived=pack(m, c), risk=r, gain=g)
            for pk, m, c, r, g in zip(
                some.tolist(), state.perceived_mean, state.perceived_covariance, risk.tolist(), gain.tolist()
            )
        ]
        for posterior in created:
            posterior.priority = priority(campaign, posterior)
        DepthPosterior.objects.bulk_create(created, batch_size=500)
        between()
    return len(people)


def more_wanted(campaign: Campaign, votes: int, risk: float) -> bool:
    """The stop rule: at least the promised votes, then until the mean risk is low enough or the most votes are given."""
    if votes < campaign.least_votes:
        return True
    return votes < campaign.most_votes and risk > campaign.stop_risk


def priority(campaign: Campaign, posterior: DepthPosterior) -> float:
    """Place in the queue: expected bits, halved per lease; people below the promised votes come first."""
    fair = FAIR if posterior.votes + posterior.leased < campaign.least_votes else 0.0
    if posterior.control:  # the uniform arm: whoever has the fewest votes
        return fair + 1.0 / (1.0 + posterior.votes + posterior.leased)
    return float(fair + posterior.gain * HALVED**posterior.leased)


def most_informative(
    campaign: Campaign,
    posterior: DepthPosterior,
    participation: Participation,
    open_pairs: list[tuple[int, int, int, int]],
    rng: Any,
) -> int:
    """Key of the pair to ask this annotator about this person, of (key, first, second, taken): the most informative one, or
    in the control arm any of those asked least."""
    key, first, second, taken = np.array(open_pairs, dtype=np.int64).T
    if posterior.control:
        return int(rng.choice(key[taken == taken.min()].tolist()))
    mean, covariance = unpack(posterior.perceived)
    belief = (
        np.array(participation.belief) if len(participation.belief) == len(depth.KINDS) else crowd_of(campaign).shares
    )
    nobody = np.zeros(len(key), np.int64)
    gap, variance = depth.difference(mean[None], covariance[None], nobody, first, second)
    gain = selection.information(gap, variance, depth.noise_of(belief))
    return int(key[gain.argmax()])


def queue(campaign: Any, control: Any) -> QuerySet[DepthPosterior]:
    """Open people, the one whose next answer teaches most first; rows that others hold are skipped."""
    queued = DepthPosterior.objects.filter(campaign=campaign, control=control, open=True)
    return queued.select_for_update(skip_locked=True, no_key=True).order_by("-priority")
