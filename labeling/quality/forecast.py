"""Forecast of votes, money and days to go, and the planner for the time before the first vote."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from django.db.models import Avg, Count, F, Q, Sum
from django.db.models.functions import Floor
from pydantic import Field

from labeling import skeletons
from labeling.aggregation.snapshot import standing_votes
from labeling.crowd import anatomy, depth, planning
from labeling.models import Campaign, DepthPosterior, Participation, SkeletonRow
from labeling.quality.suspicion import ENOUGH
from webapp.config import Config
from webapp.errors import NotFound


@dataclass(frozen=True)
class Forecast:
    """The forecast: `votes` to go until the campaign's rule is met; `answers` to go, with the gold, probe and other
    questions asked between them, which take time and are paid as well; their price; days at the rate of the last day, of which
    `measured_h` hours were worked."""

    votes: int
    answers: int
    money: float | None
    days: float | None
    rate_per_day: float
    measured_h: float

    @property
    def rate_per_hour(self) -> float:
        return self.rate_per_day / 24

    @property
    def in_words(self) -> str:
        """The time to go as people say it; no more exact than a pace measured over minutes allows."""
        hours = 24 * (self.days or 0.0)
        for unit, length in (("days", 24.0), ("hours", 1.0), ("minutes", 1 / 60)):
            if hours >= 1.5 * length or unit == "minutes":
                return f"about {max(1, round(hours / length))} {unit}"
        raise AssertionError


LAST_DAY = 4000  # newest votes by which the rate of the last day is told


def forecast(campaign: Campaign, now: datetime) -> Forecast:
    """Votes to go: fixed, what the quota lacks; adaptive, from each open person's risk and how fast risk has fallen.

    The mean risk of a person falls about like 1 / sqrt(votes + k); k is fitted to the campaign's own people.
    """
    active = ~Q(standing=Participation.Standing.BLOCKED)
    sums = campaign.participations.aggregate(
        counted=Sum("vote_count", filter=active), votes=Sum("vote_count"), answers=Sum("answer_count")
    )
    vote_count = sums["votes"] or 0
    if campaign.mode == Campaign.Mode.FIXED:
        votes = max(0, campaign.votes_wanted - (sums["counted"] or 0))
    else:
        votes = _adaptive_votes_to_go(campaign)
    if campaign.budget_votes is not None:
        votes = min(votes, max(0, campaign.budget_votes - vote_count))
    if vote_count >= ENOUGH:
        each = (sums["answers"] or 0) / vote_count
    else:  # as planned: probes are drawn where no gold question was
        each = 1 / ((1 - campaign.gold_share) * (1 - campaign.probe_share))
    answers = math.ceil(votes * max(each, 1.0))
    since = now - timedelta(days=1)
    last = list(standing_votes(campaign).order_by("-pk").values_list("received_at", flat=True)[:LAST_DAY])
    recent_ones = [at for at in last if at > since]
    first = min(recent_ones, default=since)
    hours = max((now - first).total_seconds() / 3600, 0.05) if recent_ones else 24.0
    rate = 24 * len(recent_ones) / hours
    return Forecast(
        int(votes),
        answers,
        answers * campaign.pay_per_vote if campaign.pay_per_vote else None,
        votes / rate if rate else None,
        rate,
        hours if recent_ones else 0.0,
    )


RISK_STEPS = 200  # risks are 0 to 0.5: told apart to 0.005


def _adaptive_votes_to_go(campaign: Campaign) -> int:
    groups = (
        DepthPosterior.objects.filter(campaign=campaign)
        .order_by()
        .annotate(step=Floor(F("risk") * RISK_STEPS))
        .values_list("votes", "open", "step")
        .annotate(people=Count("pk"), mean=Avg("risk"))
    )
    table = np.array([(v, o, n, r) for v, o, _, n, r in groups], dtype=np.float64).reshape(-1, 4)
    votes, is_open, people, risk = table.T
    if not is_open.any():
        return 0
    most = np.full(len(votes), float(campaign.most_votes))
    if campaign.stop_risk > 0 and len(np.unique(votes)) > 1:
        least = votes == votes.min()
        start = float(np.average(risk[least], weights=people[least]))
        best, fit = 1.0, np.inf
        for k in np.geomspace(0.5, 50, 40):
            off = float((people * (start * np.sqrt((votes.min() + k) / (votes + k)) - risk) ** 2).sum())
            best, fit = (k, off) if off < fit else (best, fit)
        needed = (votes + best) * (risk / campaign.stop_risk) ** 2 - best
        most = np.clip(needed, campaign.least_votes, campaign.most_votes)
    return int((people * np.maximum(most - votes, 0))[is_open > 0].sum())


class PlanConfig(Config):
    """A campaign to be, as far as its cost depends on it."""

    people: int = Field(200, ge=1, le=10_000_000, description="people in the pictures")
    pairs: int = Field(5, ge=1, le=5000, description="fixed: pairs per person")
    votes_per_pair: int = Field(5, ge=1, le=100, description="fixed: votes per pair")
    risk: float = Field(0.2, ge=0.01, le=0.49, description="adaptive: wanted mean risk of all pairs of a person")
    pay_per_vote: float = Field(0.006, ge=0, le=1000, description="pay of one answer")
    gold_share: float = Field(0.05, ge=0, le=0.5, description="share of questions with known answer: they cost as well")
    error_share: float = Field(
        1.0, ge=0.05, le=1, description="adaptive-prior: sd of the prior's errors over that of depths; 1 = no prior"
    )


MOST_PLANNED = 40


def plan(budget: PlanConfig, skeleton: str) -> dict[str, Any]:
    """Votes and money of the paper's protocol and of an adaptive campaign, with the risk after each vote (simulated)."""
    row = SkeletonRow.objects.filter(name=skeleton).first()
    plain = row.as_skeleton if row else skeletons.BUILT_IN.get(skeleton)
    if plain is None:
        raise NotFound("There is no such skeleton.", field="skeleton", value=skeleton)
    covariance = budget.error_share**2 * anatomy.covariance(plain)
    simulated = planning.adaptive(covariance, depth.Crowd(), MOST_PLANNED)
    each = simulated.votes_for(budget.risk)
    with_gold = 1 / (1 - budget.gold_share)

    def cost(votes: int | None) -> dict[str, Any]:
        total = None if votes is None else math.ceil(votes * budget.people * with_gold)
        return {
            "votes_per_person": votes,
            "votes": total,
            "money": None if total is None else round(total * budget.pay_per_vote, 2),
        }

    return {
        "fixed": cost(budget.pairs * budget.votes_per_pair),
        "adaptive": cost(each),
        "curve": [
            {"votes": n, "risk": round(float(r), 4), "sure": round(float(s), 4)}
            for n, (r, s) in enumerate(zip(simulated.risk, simulated.sure))
        ],
    }
