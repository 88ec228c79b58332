"""Depth posteriors in tables: made when a campaign is prepared, followed after each vote, refitted with the whole crowd.

The numbers are `crowd.depth`'s. One person's posterior is followed inside the transaction of the vote (a few ms); annotators
are judged only by `refit`, from all votes, so a vote never changes what is thought of its own annotator at once.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from django.db import transaction
from django.db.models import BigIntegerField, BinaryField, BooleanField, F, FloatField, IntegerField, QuerySet
from numpy.typing import NDArray

from labeling.aggregation.snapshot import PRESENTATIONS, Snapshot, counted_votes
from labeling.crowd import anatomy, depth, measures, selection
from labeling.crowd.config import DepthConfig
from labeling.crowd.votes import CONDITIONS
from labeling.models import Campaign, DepthPosterior, Pair, Participation, PersonPrior, Vote
from labeling.models.answer import SAME, SECOND
from webapp import rows
from webapp.prepared import Select, Slot, Update
from webapp.progress import Progress

Array = NDArray[np.float64]
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


def prepare(campaign: Campaign, control: set[int], between: Callable[[], None] = lambda: None) -> int:
    """Write the posteriors of a campaign that starts: everybody who has a pair with himself, some hundreds in a transaction.

    `control`: people of that arm; `between` is called after each transaction.
    """
    people = np.array(
        sorted(
            set(
                Pair.objects.filter(campaign=campaign, first_person=F("second_person")).values_list(
                    "first_person_id", flat=True
                )
            )
        ),
        dtype=np.int64,
    )
    if not len(people):
        return 0
    with rows.snapshot():
        pairs = _pairs_by_person(campaign)
    none = np.zeros(0, np.int64)
    votes = depth.PairVotes(none, none, none, none, none.astype(bool), 0)
    for start in range(0, len(people), AT_ONCE):
        some = people[start : start + AT_ONCE]
        apart = np.array([pk not in control for pk in some.tolist()])
        before = expected(campaign, some).pictures(known=apart)
        state = depth.fit(before, votes, LIVE, crowd=crowd_of(campaign), belief=np.zeros((0, len(depth.KINDS))))
        first, last = np.searchsorted(pairs[:, 0], some[0]), np.searchsorted(pairs[:, 0], some[-1], side="right")
        risk, gain = _worth(state, some, pairs[first:last])
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


def _pairs_by_person(campaign: Campaign) -> NDArray[np.int64]:
    """(person, first, second) of all pairs within one person, N x 3, person by person."""
    table = [
        np.array(batch, dtype=np.int64)
        for batch in rows.read(
            Pair.objects.filter(campaign=campaign, first_person=F("second_person"))
            .order_by()
            .values_list("first_person_id", "first", "second")
        )
    ]
    every = np.concatenate(table) if table else np.zeros((0, 3), np.int64)
    return every[every[:, 0].argsort(kind="stable")]


def _worth(state: depth.DepthPosteriors, people: NDArray[np.int64], pairs: NDArray[np.int64]) -> tuple[Array, Array]:
    """Mean risk of each person's pairs (person, first, second), and the bits that the best next vote would give."""
    place = np.searchsorted(people, pairs[:, 0])
    first, second = pairs[:, 1], pairs[:, 2]
    p = state.p_second(place, first, second)
    count = np.maximum(np.bincount(place, minlength=len(people)), 1)
    risk = np.bincount(place, weights=np.minimum(p, 1 - p), minlength=len(people)) / count
    gap, variance = depth.difference(state.perceived_mean, state.perceived_covariance, place, first, second)
    gain = np.zeros(len(people))
    np.maximum.at(gain, place, selection.information(gap, variance, depth.noise_of(state.crowd.shares)))
    return np.minimum(risk, 0.5), gain


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
        .filter(pair__campaign=campaign, pair__first_person=person, pair__second_person=person)
        .annotate(first=F("pair__first"), second=F("pair__second"), belief=F("participation__belief"))
        .only("closer", "presentation")
        .order_by("pk")
    )


_VOTES_ON = Select(_votes_on)
_PAIRS_OF = Select(
    lambda: (
        Pair.objects.filter(
            campaign=Slot("campaign", BigIntegerField()),
            first_person=Slot("person", BigIntegerField()),
            second_person=F("first_person"),
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
_PAIR = Select(lambda: Pair.objects.only("first_person").filter(pk=Slot("pair", BigIntegerField())).order_by())


def after(campaign: Campaign, pair_pk: int, leases: int) -> None:
    """Follow what happened to a pair of an adaptive campaign; a fixed one waits for its next aggregation.

    Call it before the pair's own row is changed: whoever chooses a question locks the posterior first and the pair then, and two
    orders would be a deadlock.
    """
    if campaign.mode == Campaign.Mode.FIXED:
        return
    whole, pair = _CAMPAIGN.first(campaign=campaign.pk), _PAIR.first(pair=pair_pk)
    if whole is not None and pair is not None:
        follow(whole, pair.first_person_id, leases)


def follow(campaign: Campaign, person: int, leases: int = 0) -> DepthPosterior | None:
    """Bring one person's posterior up to date with its votes; `leases`: change in the number of leases that are out.

    Call inside a transaction. None where the campaign keeps no posterior of this person.
    """
    posterior = _LOCKED.first(campaign=campaign.pk, person=person)
    if posterior is None:
        return None
    annotated: list[Any] = _VOTES_ON.rows(campaign=campaign.pk, person=person)
    vote_rows = [
        (v.first, v.second, v.closer, v.presentation, json.loads(v.belief) if isinstance(v.belief, str) else v.belief)
        for v in annotated
    ]
    crowd = crowd_of(campaign)
    belief = np.array([b if len(b) == len(depth.KINDS) else crowd.shares for *_, b in vote_rows]).reshape(
        -1, len(depth.KINDS)
    )
    table = np.array(
        [(f, s, c == SECOND, PRESENTATIONS.get(presentation, CONDITIONS)) for f, s, c, presentation, _ in vote_rows],
        dtype=np.int64,
    ).reshape(-1, 4)
    count = len(vote_rows)
    votes = depth.PairVotes(
        np.zeros(count, np.int64), table[:, 0], table[:, 1], np.arange(count), table[:, 2] == 1, count, table[:, 3]
    )
    before = expected(campaign, np.array([person])).pictures(with_prior=not posterior.control)
    state = depth.fit(before, votes, LIVE, crowd=crowd, belief=belief)
    asked = _PAIRS_OF.rows(campaign=campaign.pk, person=person)
    pairs = np.array([(person, p.first, p.second) for p in asked], dtype=np.int64).reshape(-1, 3)
    risk, gain = _worth(state, np.array([person]), pairs)
    posterior.perceived = pack(state.perceived_mean[0], state.perceived_covariance[0])
    posterior.votes, posterior.risk, posterior.gain = count, float(risk[0]), float(gain[0])
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


@dataclass(frozen=True)
class Refit:
    """All votes of a campaign through the depth model. `pair_ids` are its pairs within one person; `p_first`, `plain`
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
    """Fit the depth model to all votes and gold answers; None if no pair lies within one person. Writes nothing.

    Call it outside of transactions: it may count for minutes.
    """
    inside = read.alone
    people = np.unique(read.first_person[inside])
    if not len(people):
        return None
    of_person = np.searchsorted(people, read.first_person).astype(np.int32)  # wrong for other pairs, which are left out
    mine = inside[read.pair]
    order = np.flatnonzero(mine)
    order = order[
        np.argsort(of_person[read.pair[order]], kind="stable")
    ]  # picture by picture: read.vote stays ascending
    pair = read.pair[order]
    gold = read.gold
    gold_people, gold_place = np.unique(gold.person, return_inverse=True)
    participation_ids = np.union1d(read.participation_ids[np.unique(read.participation[order])], gold.participation)
    participation_of = np.searchsorted(participation_ids, read.participation_ids)
    votes = depth.PairVotes(
        np.concatenate([of_person[pair], (len(people) + gold_place).astype(np.int32)]),
        np.concatenate([read.first[pair], gold.first]),
        np.concatenate([read.second[pair], gold.second]),
        np.concatenate(
            [participation_of[read.participation[order]], np.searchsorted(participation_ids, gold.participation)]
        ).astype(np.int32),
        np.concatenate([read.second_closer[order], gold.second_closer]),
        len(participation_ids),
        np.concatenate([read.presentation[order], gold.presentation]),
    )
    count = len(order)
    before = expected(campaign, people)
    apart = np.array([pk not in read.control for pk in people.tolist()], dtype=bool)
    truth = {pk: read.truth_mm[pk] for pk in gold_people.tolist()}
    state = depth.fit(_with_gold(before.pictures(known=apart), truth), votes, config, progress=progress, keep=False)
    pairs = np.flatnonzero(inside)
    place, first, second = of_person[pairs], read.first[pairs], read.second[pairs]
    p_second = state.p_second(place, first, second)
    without_prior = None
    if before.known.any():
        bare = _with_gold(before.pictures(with_prior=False), truth)
        alone = depth.fit(bare, votes, config, progress=progress, keep=False)
        without_prior = 1 - alone.p_second(place, first, second)
        del alone
    risk, gain = _worth(state, people, np.column_stack([people[place], first, second]))
    same = np.concatenate(
        [
            (state.p_second(votes.picture[part], votes.first[part], votes.second[part]) > 0.5)
            == votes.second_closer[part]
            for start in range(0, max(len(votes), 1), 1 << 18)
            for part in [slice(start, start + (1 << 18))]
        ]
    )
    vote_count = np.bincount(votes.annotator, minlength=len(participation_ids))
    circles = measures.cycles(
        *(votes.picture[:count], votes.first[:count], votes.second[:count], votes.second_closer[:count]),
        *(len(people), state.mean.shape[1]),
    )
    size = len(people)
    return Refit(
        pair_ids=read.pair_id[pairs],
        p_first=1 - p_second,
        without_prior=without_prior,
        votes_used=np.bincount(read.pair, minlength=len(read.pair_id))[pairs],
        participation_ids=participation_ids,
        vote_count=vote_count,
        belief=state.belief,
        agreement=np.bincount(votes.annotator, weights=same, minlength=len(participation_ids))
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


def _with_gold(pictures: depth.Pictures, truth_mm: dict[int, list[float]]) -> depth.Pictures:
    """The same pictures, then those whose depths are known."""
    if not truth_mm:
        return pictures
    known = np.array(list(truth_mm.values()), dtype=np.float64)
    known -= known.mean(axis=1, keepdims=True)
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


def most_informative(
    campaign: Campaign,
    posterior: DepthPosterior,
    participation: Participation,
    open_pairs: list[tuple[int, int, int, int]],
    rng: Any,
) -> int:
    """Key of the pair to ask this annotator about this person, of (key, first, second, taken): the most informative one, or
    in the control arm any of those asked least."""
    table = np.array(open_pairs, dtype=np.int64)
    if posterior.control:
        return int(rng.choice(table[table[:, 3] == table[:, 3].min(), 0].tolist()))
    mean, covariance = unpack(posterior.perceived)
    belief = (
        np.array(participation.belief) if len(participation.belief) == len(depth.KINDS) else crowd_of(campaign).shares
    )
    nobody = np.zeros(len(table), np.int64)
    gap, variance = depth.difference(mean[None], covariance[None], nobody, table[:, 1], table[:, 2])
    gain = selection.information(gap, variance, depth.noise_of(belief))
    return int(table[gain.argmax(), 0])


def queue(campaign: Any, control: Any) -> QuerySet[DepthPosterior]:
    """Open people, the one whose next answer teaches most first; rows that others hold are skipped."""
    queued = DepthPosterior.objects.filter(campaign=campaign, control=control, open=True)
    return queued.select_for_update(skip_locked=True, no_key=True).order_by("-priority")
