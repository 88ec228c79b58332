"""Quality in the open: who looks suspicious and why, how good labels are where truth is known, what is still to come."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from django.db.models import Avg, Count, F, Min, Q, Sum
from django.utils import timezone
from numpy.typing import NDArray
from pydantic import Field

from labeling import percepts, skeletons
from labeling.crowd import anatomy, depth, measures, normal, planning
from labeling.crowd.votes import Votes
from labeling.models import Campaign, CrowdRun, Label, Participation, Percept, Person, ProbeAnswer, SkeletonRow, Vote
from labeling.models.vote import SAME, SECOND
from webapp.catalog import Config
from webapp.refusal import NotFound

Array = NDArray[np.float64]
RECENT = 50_000  # answers looked at for speed and patterns
MOST, MOST_PEOPLE = 20_000, 2000  # labels or votes, and people, with known truth that plots are drawn from
ENOUGH = 20  # answers before anything is said about an annotator
SUSPICIOUS, CERTAIN = 0.3, 0.999  # probability of a kind that does not look: flagged; paused where the campaign says so
MOST_GOLD = 0.4  # share of gold questions for an annotator whom the model doubts, where the campaign has gold at all
HUMAN_MS = 250  # nobody decides faster than so long after the answer buttons appear, time after time
ALTERNATES = 0.95  # share of answers on the other side than the one before (or on the same side)
SITTING_GAP_S = 120.0  # a longer time between two answers was a break and is not paid work

WORDS = {
    "inverted": "answers the opposite of what is seen",
    "random": "answers without looking",
    "always-left": "almost always answers left",
    "always-right": "almost always answers right",
    "always-green": "almost always answers green",
    "always-pink": "almost always answers pink",
}


@dataclass(frozen=True)
class Recent:
    """The last answers of a campaign, oldest first: seat, time (s), whether the left button was chosen (NaN: unknown)."""

    seat: NDArray[np.int64]
    at: Array
    left: Array


def recent(campaign: Campaign) -> Recent:
    values = (
        Vote.objects.filter(participation__campaign=campaign, retraction__isnull=True)
        .exclude(closer=SAME)
        .order_by("-pk")
        .values_list("participation_id", "received_at", "side_seen", "closer")[:RECENT]
    )
    found = list(values)[::-1]
    # `side_seen` is the first keypoint's side; its button is the left one if it says so.
    left = [np.nan if not look else float((closer != SECOND) == look.endswith("left")) for *_, look, closer in found]
    return Recent(
        np.array([row[0] for row in found], dtype=np.int64),
        np.array([row[1].timestamp() for row in found]),
        np.array(left),
    )


def judge(campaign: Campaign, seats: NDArray[np.int64], belief: Array, made: NDArray[np.int64], answers: Recent) -> int:
    """Flag annotators whose answers no honest one would give, lift flags that no longer hold; pause them where the campaign
    says so. Returns how many are flagged. Nobody is ever blocked without a person's decision."""
    said = suspicions(campaign.delay_ms, seats, belief, made, answers)
    now = timezone.now()
    known = {s.pk: s for s in Participation.objects.filter(campaign=campaign)}
    for pk, (text, sure) in said.items():
        seat = known[pk]
        if seat.flag != text:
            Participation.objects.filter(pk=pk).update(flag=text, flagged_at=seat.flagged_at or now)
        if (
            sure and campaign.guard == Campaign.Guard.PAUSE and seat.cleared_at is None
        ):  # an admin who restored has decided
            Participation.objects.filter(pk=pk, standing=Participation.Standing.ACTIVE).update(
                standing=Participation.Standing.PAUSED,
                standing_reason=f"Paused by the quality check: {text}. If that is wrong, say so below.",
            )
    Participation.objects.filter(campaign=campaign).exclude(flag="").exclude(pk__in=list(said)).update(flag="")
    return len(said)


def gold_share(share: float, belief: Any) -> float:
    """The share of gold questions for one annotator: more, the more the last merge doubts that he or she looks."""
    if not share or len(belief) != len(depth.KINDS):
        return share
    doubt = sum(b for b, kind in zip(belief, depth.KINDS) if kind.name != "honest")
    return float(max(share, min(1.0, 10 * doubt) * MOST_GOLD))


def suspicions(
    delay_ms: int, seats: NDArray[np.int64], belief: Array, made: NDArray[np.int64], answers: Recent
) -> dict[int, tuple[str, bool]]:
    """Per seat: what looks wrong, and whether it is certain."""
    said: dict[int, tuple[str, bool]] = {}
    names = [kind.name for kind in depth.KINDS]
    by_kind = {name: belief[:, [n for n, k in enumerate(names) if k == name]].sum(axis=1) for name in WORDS}
    for place, pk in enumerate(seats.tolist()):
        if made[place] < ENOUGH:
            continue
        name = max(by_kind, key=lambda k: by_kind[k][place])
        wrong = sum(p[place] for p in by_kind.values())
        if wrong >= SUSPICIOUS:
            said[pk] = (f"{WORDS[name]} (P {wrong:.3f}, {made[place]} answers)", bool(wrong >= CERTAIN))
    order = np.argsort(answers.seat, kind="stable")
    seat, at, left = answers.seat[order], answers.at[order], answers.left[order]
    bounds = np.flatnonzero(np.diff(seat)) + 1
    for part in np.split(np.arange(len(seat)), bounds):
        if len(part) <= ENOUGH:
            continue
        gaps = np.diff(at[part])
        median = 1000 * float(np.median(gaps[gaps < SITTING_GAP_S])) if (gaps < SITTING_GAP_S).any() else np.inf
        turns = np.abs(np.diff(left[part]))
        turns = turns[np.isfinite(turns)]
        if median < delay_ms + HUMAN_MS:
            said[int(seat[part[0]])] = (f"answers every {median:.0f} ms, at the edge of the delay", True)
        elif len(turns) > ENOUGH and turns.mean() > ALTERNATES:
            said[int(seat[part[0]])] = ("answers left and right in turn", True)
    return said


def _true_gaps(rows: list[tuple[int, int, int]]) -> Array:
    """z_first - z_second (mm) of (person, first, second); NaN where the truth is not known."""
    wanted = {person for person, *_ in rows}
    truth: dict[int, Any] = {}
    keys = sorted(wanted)
    for start in range(0, len(keys), 500):
        part = Person.objects.filter(pk__in=keys[start : start + 500], truth_mm__isnull=False)
        truth.update(part.values_list("pk", "truth_mm"))
    return np.array([truth[p][f][2] - truth[p][s][2] if p in truth else np.nan for p, f, s in rows], dtype=np.float64)


def label_truth(crowd_run: CrowdRun) -> dict[str, Any]:
    """Labels of one merge beside the truth: accuracy, calibration, by arm, with and without the prior. {} without truth."""
    people = Person.objects.filter(image__dataset=crowd_run.campaign.dataset_id, truth_mm__isnull=False)
    known = list(people.order_by("pk").values_list("pk", flat=True)[:MOST_PEOPLE])
    rows = list(
        Label.objects.filter(run=crowd_run, pair__first_person=F("pair__second_person"), pair__first_person__in=known)
        .order_by("pk")
        .values_list(
            *(
                "pair__first_person_id",
                "pair__first",
                "pair__second",
                "p_first_closer",
                "p_first_closer_plain",
                "votes_used",
            )
        )[:MOST]
    )
    if not rows:
        return {}
    second = _true_gaps([row[:3] for row in rows]) > 0
    p = 1 - np.array([row[3] for row in rows])
    control = set(
        Percept.objects.filter(campaign=crowd_run.campaign_id, control=True).values_list("person_id", flat=True)
    )
    arm = np.array([row[0] in control for row in rows])
    found: dict[str, Any] = {"all": _scores(p, second), "reliability": measures.reliability(p, second, bins=10)}
    if arm.any() and not arm.all():
        found["control"], found["test"] = _scores(p[arm], second[arm]), _scores(p[~arm], second[~arm])
    if all(row[4] is not None for row in rows):
        found["plain"] = _scores(1 - np.array([row[4] for row in rows]), second)
    voted = np.array([row[5] > 0 for row in rows])
    if voted.any() and not voted.all():
        found["voted"], found["never"] = _scores(p[voted], second[voted]), _scores(p[~voted], second[~voted])
    return found


def _scores(p_second: Array, second: NDArray[np.bool_]) -> dict[str, float]:
    return {
        "labels": len(p_second),
        "accuracy": measures.accuracy(p_second, second),
        "ece": measures.ece(p_second, second),
        "nll": measures.nll(p_second, second),
        "risk": float(np.minimum(p_second, 1 - p_second).mean()),
    }


@dataclass(frozen=True)
class Answers:
    """A campaign's last counted votes, with their true gap where known (mm, positive: second closer)."""

    question: NDArray[np.int64]
    seat: NDArray[np.int64]
    second: NDArray[np.bool_]
    gap_mm: Array

    @property
    def right(self) -> NDArray[np.bool_]:
        return (self.gap_mm > 0) == self.second


def answers(campaign: Campaign) -> Answers:
    rows = list(
        Vote.objects.filter(pair__campaign=campaign, retraction__isnull=True)
        .exclude(closer=SAME)
        .order_by("-pk")
        .values_list("pair__first_person_id", "pair__first", "pair__second", "pair_id", "participation_id", "closer")[
            :MOST
        ]
    )
    return Answers(
        np.array([row[3] for row in rows], dtype=np.int64),
        np.array([row[4] for row in rows], dtype=np.int64),
        np.array([row[5] == SECOND for row in rows], dtype=bool),
        _true_gaps([row[:3] for row in rows]),
    )


def agreement(given: Answers) -> float:
    """Krippendorff's alpha of the last votes."""
    if not len(given.question):
        return float("nan")
    _, question = np.unique(given.question, return_inverse=True)
    _, seat = np.unique(given.seat, return_inverse=True)
    return measures.alpha(Votes(question, seat, given.second, int(question.max()) + 1, int(seat.max()) + 1))


def curves(given: Answers) -> tuple[measures.Psychometric | None, dict[int, measures.Psychometric]]:
    """Accuracy against depth gap where truth is known: of all, and of each seat with enough answers."""
    known = np.isfinite(given.gap_mm)
    if not known.any():
        return None, {}
    gap, right, seat = given.gap_mm[known], given.right[known], given.seat[known]
    found = {
        int(pk): measures.psychometric(gap[seat == pk], right[seat == pk])
        for pk in np.unique(seat)
        if (seat == pk).sum() >= ENOUGH
    }
    return measures.psychometric(gap, right), found


@dataclass(frozen=True)
class Forecast:
    """What is still to come: `votes` to go until the campaign's rule is met, their price, days at the rate of the last day."""

    votes: int
    money: float | None
    days: float | None
    rate_per_day: float


def forecast(campaign: Campaign, now: datetime) -> Forecast:
    """Votes to go: fixed, what the quota lacks; adaptive, from each open person's risk and how fast risk has fallen.

    The mean risk of a person falls about like 1 / sqrt(votes + k); k is fitted to the campaign's own people.
    """
    if campaign.mode == Campaign.Mode.FIXED:
        sums = campaign.pairs.aggregate(need=Sum("votes_needed"), have=Sum("votes_counted"))
        votes = (sums["need"] or 0) - (sums["have"] or 0)
    else:
        votes = _adaptive_votes_to_go(campaign)
    if campaign.budget_votes is not None:
        used = Vote.objects.filter(pair__campaign=campaign, retraction__isnull=True).count()
        votes = min(votes, max(0, campaign.budget_votes - used))
    day = Vote.objects.filter(
        pair__campaign=campaign, received_at__gt=now - timedelta(days=1), retraction__isnull=True
    ).aggregate(n=Count("pk"), first=Min("received_at"))
    hours = max((now - day["first"]).total_seconds() / 3600, 0.05) if day["n"] else 24.0
    rate = 24 * day["n"] / hours if day["n"] else 0.0
    return Forecast(
        int(votes),
        votes * campaign.pay_per_vote if campaign.pay_per_vote else None,
        votes / rate if rate else None,
        rate,
    )


def _adaptive_votes_to_go(campaign: Campaign) -> int:
    rows = np.array(
        list(Percept.objects.filter(campaign=campaign).values_list("votes", "risk", "open")), dtype=np.float64
    ).reshape(-1, 3)
    votes, risk, is_open = rows.T
    if not is_open.any():
        return 0
    most = np.full(len(votes), float(campaign.most_votes))
    if campaign.stop_risk > 0 and len(np.unique(votes)) > 1:
        start = float(risk[votes == votes.min()].mean())
        best, fit = 1.0, np.inf
        for k in np.geomspace(0.5, 50, 40):
            off = float(((start * np.sqrt((votes.min() + k) / (votes + k)) - risk) ** 2).sum())
            best, fit = (k, off) if off < fit else (best, fit)
        needed = (votes + best) * (risk / campaign.stop_risk) ** 2 - best
        most = np.clip(needed, campaign.least_votes, campaign.most_votes)
    return int(np.maximum(most - votes, 0)[is_open > 0].sum())


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


def plan(wanted: PlanConfig, skeleton: str) -> dict[str, Any]:
    """Votes and money of the paper's protocol and of an adaptive campaign, with the risk after each vote (simulated)."""
    row = SkeletonRow.objects.filter(name=skeleton).first()
    plain = row.plain if row else skeletons.BUILT_IN.get(skeleton)
    if plain is None:
        raise NotFound("There is no such skeleton.", field="skeleton", value=skeleton)
    covariance = wanted.error_share**2 * anatomy.covariance(plain)
    found = planning.adaptive(covariance, depth.Crowd(), MOST_PLANNED)
    each = found.votes_for(wanted.risk)
    with_gold = 1 / (1 - wanted.gold_share)

    def cost(votes: int | None) -> dict[str, Any]:
        total = None if votes is None else math.ceil(votes * wanted.people * with_gold)
        return {
            "votes_per_person": votes,
            "votes": total,
            "money": None if total is None else round(total * wanted.pay_per_vote, 2),
        }

    return {
        "fixed": cost(wanted.pairs * wanted.votes_per_pair),
        "adaptive": cost(each),
        "curve": [
            {"votes": n, "risk": round(float(r), 4), "sure": round(float(s), 4)}
            for n, (r, s) in enumerate(zip(found.risk, found.sure))
        ],
    }


def wages(campaign: Campaign) -> dict[int, float]:
    """Effective hourly wage per seat from the server's times: pay of the votes over time between answers, breaks left out."""
    if not campaign.pay_per_vote:
        return {}
    last = recent(campaign)
    order = np.argsort(last.seat, kind="stable")
    seat, at = last.seat[order], last.at[order]
    same = np.diff(seat) == 0
    gaps = np.where(same & (np.diff(at) < SITTING_GAP_S), np.diff(at), 0.0)
    counted = same & (np.diff(at) < SITTING_GAP_S)
    found = {}
    for pk in np.unique(seat):
        mine = seat[1:] == pk
        seconds, votes = gaps[mine].sum(), counted[mine].sum()
        if votes >= 5 and seconds > 0:
            found[int(pk)] = float(3600 * votes * campaign.pay_per_vote / seconds)
    return found


def probes(campaign: Campaign) -> dict[int, tuple[float, int]]:
    """Per seat: the share of mirror probes with the same answer as before, and how many were answered."""
    rows = (
        ProbeAnswer.objects.filter(assignment__campaign=campaign, retraction__isnull=True)
        .order_by()
        .values(seat=F("assignment__participation"))
        .annotate(n=Count("pk"), same_count=Count("pk", filter=Q(same=True)))
    )
    return {row["seat"]: (row["same_count"] / row["n"], row["n"]) for row in rows}


def arms(campaign: Campaign) -> list[dict[str, Any]]:
    """Votes, risk and people done of the arms of an adaptive campaign."""
    rows = (
        Percept.objects.filter(campaign=campaign)
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

    percept: Percept
    joint: int
    circles: int
    surprising: int


def riskiest(campaign: Campaign, most: int = 12) -> list[Disputed]:
    """The people with the highest mean risk. Two queries."""
    found = list(
        Percept.objects.filter(campaign=campaign, votes__gt=0).select_related("person__image").order_by("-risk")[:most]
    )
    if not found:
        return []
    place = {percept.person_id: n for n, percept in enumerate(found)}
    values = (
        percepts.counted_votes(campaign)
        .exclude(closer=SAME)
        .filter(pair__campaign=campaign, pair__first_person__in=place, pair__second_person=F("pair__first_person"))
    )
    given = values.values_list("pair__first_person_id", "pair__first", "pair__second", "closer")
    table = np.array([(place[p], f, s, c == SECOND) for p, f, s, c in given], dtype=np.int64).reshape(-1, 4)
    who, first, second = table[:, :3].T
    closer = table[:, 3] == 1
    seen = [percepts.unpack(percept.seen) for percept in found]
    mean, covariance = (np.stack(values) for values in zip(*seen))
    joints = mean.shape[1]
    circles = measures.cycles(who, first, second, closer, len(found), joints)
    gap, variance = depth.difference(mean, covariance, who, first, second)
    agrees = normal.cdf(np.where(closer, gap, -gap) / np.sqrt(variance))
    surprising = np.bincount(who[agrees < 1 - SURE], minlength=len(found))
    centre = np.eye(joints) - 1 / joints
    spread = np.einsum("ij,njk,ki->ni", centre, covariance, centre)
    return [
        Disputed(percept, int(spread[n].argmax()), int(circles[n]), int(surprising[n]))
        for n, percept in enumerate(found)
    ]


def people(campaign: Campaign, curves_of: dict[int, measures.Psychometric]) -> list[dict[str, Any]]:
    """Annotators with what the last merge believes of them, measured noise, wage, flag and appeal; flagged ones first."""
    paid, stays = wages(campaign), probes(campaign)
    made = dict(
        Vote.objects.filter(pair__campaign=campaign, retraction__isnull=True)
        .order_by()
        .values_list("participation")
        .annotate(n=Count("pk"))
    )
    honest = np.array([kind.name == "honest" for kind in depth.KINDS])
    rows = []
    for seat in campaign.participations.select_related("annotator").order_by("pk"):
        belief = np.array(seat.belief) if len(seat.belief) == len(honest) else None
        looks = None if belief is None else float(belief[honest].sum())
        rows.append(
            {
                "name": seat.annotator.username,
                "simulated": seat.annotator.is_simulated,
                "standing": seat.standing,
                "votes": made.get(seat.pk, 0),
                "looks": looks,
                "noise_mm": depth.noise_of(belief * honest) if belief is not None and looks > 0.5 else None,
                "measured_mm": curves_of[seat.pk].noise_mm if seat.pk in curves_of else None,
                "wage": paid.get(seat.pk),
                "stays": stays.get(seat.pk),
                "flag": seat.flag,
                "appeal": seat.appeal,
            }
        )
    return sorted(rows, key=lambda row: (not row["flag"], not row["appeal"]))
