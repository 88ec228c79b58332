"""What the quality page shows of annotators, arms and the least known people."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from django.db.models import Avg, Case, Count, Q, QuerySet, Sum, When
from numpy.typing import NDArray

from labeling.aggregation import posteriors
from labeling.aggregation.snapshot import counted_votes
from labeling.crowd import depth, measures, normal
from labeling.models import Campaign, DepthPosterior, Pair, Participation
from labeling.models.answer import SAME, SECOND
from labeling.quality.wages import wage

Array = NDArray[np.float64]


def arms(campaign: Campaign) -> list[dict[str, Any]]:
    """Votes, risk and people done of the arms of an adaptive campaign."""
    rows: Iterable[Any] = (
        DepthPosterior.objects.filter(campaign=campaign)
        .order_by()
        .values("control")
        .annotate(
            people=Count("pk"),
            votes=Sum("votes"),
            risk=Avg("risk"),
            done=Count("pk", filter=Q(open=False)),
        )
    )
    return sorted(rows, key=lambda row: row["control"])


SURE = 0.95  # a vote against an order that the posterior is surer of than this is surprising


@dataclass(frozen=True)
class Disputed:
    """A person whose depths are little known: the joint (index) least known beside the others, triples of joints whose majority
    answers go round in a circle, and votes against what all votes together make SURE."""

    posterior: DepthPosterior
    joint: int
    circles: int
    surprising: int


def riskiest(campaign: Campaign, most: int = 12) -> list[Disputed]:
    """The people with the highest mean risk. Four queries, each by an index: the votes of a large campaign are not looked through."""
    # Their keys first: a planner that sees the joins looks at everybody.
    keys = list(
        DepthPosterior.objects.filter(campaign=campaign, votes__gt=0)
        .order_by("-risk")
        .values_list("pk", flat=True)[:most]
    )
    posteriors_found = list(
        DepthPosterior.objects.filter(pk__in=keys).select_related("person__image").order_by("-risk")
    )
    if not posteriors_found:
        return []
    place = {posterior.person_id: n for n, posterior in enumerate(posteriors_found)}
    theirs = Pair.objects.filter(campaign=campaign, person__in=place)
    pairs = {pk: about for pk, *about in theirs.values_list("pk", "person_id", "first", "second")}
    votes = counted_votes(campaign).exclude(closer=SAME).filter(pair__in=pairs).values_list("pair_id", "closer")
    asked = [(*pairs[pair], closer) for pair, closer in votes]
    table = np.array([(place[p], f, s, c == SECOND) for p, f, s, c in asked], dtype=np.int64).reshape(-1, 4)
    who, first, second, is_second = table.T
    closer = is_second == 1
    seen = [posteriors.unpack(posterior.perceived) for posterior in posteriors_found]
    mean, covariance = (np.stack(values) for values in zip(*seen))
    joints = mean.shape[1]
    circles = measures.cycles(who, first, second, closer, len(posteriors_found), joints)
    gap, variance = depth.difference(mean, covariance, who, first, second)
    agrees = normal.cdf(np.where(closer, gap, -gap) / np.sqrt(variance))
    surprising = np.bincount(who[agrees < 1 - SURE], minlength=len(posteriors_found))
    centre = np.eye(joints) - 1 / joints
    spread = np.einsum("ij,njk,ki->ni", centre, covariance, centre)
    return [
        Disputed(posterior, int(spread[n].argmax()), int(circles[n]), int(surprising[n]))
        for n, posterior in enumerate(posteriors_found)
    ]


def annotators(campaign: Campaign) -> QuerySet[Participation]:
    """Participations, flagged ones and those with an appeal first; a page takes a slice and gives it to `people`."""
    first = Case(When(~Q(flag=""), then=0), When(~Q(appeal=""), then=1), default=2)
    return campaign.participations.select_related("annotator").order_by(first, "pk")


def people(
    campaign: Campaign, some: list[Participation], curves_of: dict[int, measures.Psychometric]
) -> list[dict[str, Any]]:
    """Annotators with what the last aggregation believes of them, measured noise, wage, flag and appeal."""
    honest = np.array([kind.name == "honest" for kind in depth.KINDS])
    rows = []
    for participation in some:
        belief = np.array(participation.belief) if len(participation.belief) == len(honest) else None
        looks = None if belief is None else float(belief[honest].sum())
        rows.append(
            {
                "name": participation.annotator.username,
                "simulated": participation.annotator.is_simulated,
                "standing": participation.standing,
                "votes": participation.vote_count,
                "answers": participation.answer_count,
                "looks": looks,
                "noise_mm": depth.noise_of(belief * honest)
                if belief is not None and looks is not None and looks > 0.5
                else None,
                "measured_mm": curves_of[participation.pk].noise_mm if participation.pk in curves_of else None,
                "wage": wage(campaign, participation),
                "stays": (participation.probes_same / participation.probe_count, participation.probe_count)
                if participation.probe_count
                else None,
                "flag": participation.flag,
                "appeal": participation.appeal,
            }
        )
    return rows
