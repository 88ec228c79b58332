"""Quality in the open: who looks suspicious and why, how good labels are where truth is known, what is still to come."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from django.db import transaction
from django.db.models import Avg, Case, Count, F, Q, QuerySet, Sum, When
from django.db.models.functions import Floor
from django.utils import timezone
from numpy.typing import NDArray
from pydantic import Field

from labeling import percepts, skeletons
from labeling.crowd import anatomy, depth, measures, normal, planning
from labeling.crowd.votes import Votes
from labeling.models import Campaign, CrowdRun, Label, Pair, Participation, Percept, Person, SkeletonRow
from labeling.models.vote import SAME, SECOND
from labeling.snapshot import counted_votes, standing_votes
from webapp import audit
from webapp.catalog import Config
from webapp.refusal import NotFound

Array = NDArray[np.float64]
RECENT = 50_000  # answers looked at for speed and patterns
MOST, MOST_PEOPLE = 8000, 1000  # labels or votes, and people, with known truth that plots are drawn from
ENOUGH = 20  # answers before anything is said about an annotator
SUSPICIOUS, CERTAIN = 0.3, 0.999  # probability of a kind that does not look: flagged; paused where the campaign says so
MOST_GOLD = 0.4  # share of gold questions for an annotator whom the model doubts, where the campaign has gold at all
QUICK_MS = (
    250  # time after time so soon after the answer buttons appear: people who decide while they wait, or no people
)
QUICK_ODDS = 10.0  # so much more often is a quick one somebody who does not look: it adds to what the answers say
ALTERNATES = 0.95  # share of answers on the other side than the one before (or on the same side)
SITTING_GAP_S = 120.0  # a longer time between two answers was a break

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
    """The last answers of a campaign, oldest first: seat, time (s), whether the left button was chosen (NaN: unknown), and
    how long it took by the page's own clock (ms; NaN: not said). Answers that waited for a network arrive in bursts: then
    only the page knows how long each of them took."""

    seat: NDArray[np.int64]
    at: Array
    left: Array
    response_ms: Array | None = None


def recent(campaign: Campaign) -> Recent:
    values = (
        standing_votes(campaign)
        .exclude(closer=SAME)
        .order_by("-pk")
        .values_list("participation_id", "received_at", "response_ms", "side_seen", "closer")[:RECENT]
    )
    answers = list(values)[::-1]
    # `side_seen` is the first keypoint's side; its button is the left one if it says so.
    left = [np.nan if not look else float((closer != SECOND) == look.endswith("left")) for *_, look, closer in answers]
    return Recent(
        np.array([row[0] for row in answers], dtype=np.int64),
        np.array([row[1].timestamp() for row in answers]),
        np.array(left),
        np.array([np.nan if row[2] is None else row[2] for row in answers], dtype=np.float64),
    )


def judge(campaign: Campaign, seats: NDArray[np.int64], belief: Array, made: NDArray[np.int64], answers: Recent) -> int:
    """Flag annotators whose answers no honest one would give, lift flags that no longer hold; pause them where the campaign
    says so. Returns how many are flagged. Nobody is ever blocked without a person's decision."""
    said = suspicions(campaign.delay_ms, seats, belief, made, answers)
    now = timezone.now()
    for seat in Participation.objects.filter(campaign=campaign).order_by("pk"):
        text, sure = said.get(seat.pk, ("", False))
        if seat.flag != text:
            Participation.objects.filter(pk=seat.pk).update(
                flag=text, flagged_at=seat.flagged_at or now if text else seat.flagged_at
            )
        # An admin who restored somebody has decided.
        if sure and campaign.guard == Campaign.Guard.PAUSE and seat.cleared_at is None:
            _pause(seat, f"Paused by the quality check: {text}. If that is wrong, say so below.")
    return len(said)


def _pause(seat: Participation, reason: str) -> None:
    with transaction.atomic():
        if Participation.objects.filter(pk=seat.pk, standing=Participation.Standing.ACTIVE).update(
            standing=Participation.Standing.PAUSED, standing_reason=reason
        ):
            audit.record(None, "annotator.paused", seat, reason=reason)


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
    doubt: dict[int, float] = {}
    for place, pk in enumerate(seats.tolist()):
        if made[place] < ENOUGH:
            continue
        name = max(by_kind, key=lambda k: by_kind[k][place])
        doubt[pk] = wrong = float(min(1.0, sum(p[place] for p in by_kind.values())))
        if wrong >= SUSPICIOUS:
            said[pk] = (f"{WORDS[name]} (P {wrong:.3f}, {made[place]} answers)", wrong >= CERTAIN)
    order = np.argsort(answers.seat, kind="stable")
    seat, at, left = answers.seat[order], answers.at[order], answers.left[order]
    own = np.full(len(seat), np.nan) if answers.response_ms is None else answers.response_ms[order]
    bounds = np.flatnonzero(np.diff(seat)) + 1
    for part in np.split(np.arange(len(seat)), bounds):
        if len(part) <= ENOUGH:
            continue
        pk = int(seat[part[0]])
        gaps = 1000 * np.diff(at[part])
        took = np.fmax(gaps, own[part][1:])  # the longer of both clocks
        sitting = gaps < 1000 * SITTING_GAP_S
        median = float(np.median(took[sitting])) if sitting.any() else np.inf
        turns = np.abs(np.diff(left[part]))
        turns = turns[np.isfinite(turns)]
        if len(turns) > ENOUGH and turns.mean() > ALTERNATES:
            said[pk] = ("answers left and right in turn", True)
        elif median < delay_ms + QUICK_MS and pk in doubt:
            # Speed alone says little: who decides while waiting is as quick. It makes doubtful answers more doubtful.
            wrong = doubt[pk]
            more = QUICK_ODDS * wrong / (QUICK_ODDS * wrong + 1 - wrong)
            if more >= SUSPICIOUS:
                sure = wrong >= SUSPICIOUS and more >= CERTAIN
                said[pk] = (f"answers every {median:.0f} ms, and often not as one who looks (P {more:.3f})", sure)
    return said


def _true_gaps(rows: list[tuple[int, int, int]]) -> Array:
    """z_first - z_second (mm) of (person, first, second); NaN where the truth is not known."""
    wanted = {person for person, *_ in rows}
    truth: dict[int, Any] = {}
    keys = sorted(wanted)
    for start in range(0, len(keys), MOST):
        part = Person.objects.filter(pk__in=keys[start : start + MOST], truth_mm__isnull=False)
        truth.update(part.values_list("pk", "truth_mm"))
    return np.array([truth[p][f][2] - truth[p][s][2] if p in truth else np.nan for p, f, s in rows], dtype=np.float64)


def label_truth(crowd_run: CrowdRun) -> dict[str, Any]:
    """Labels of one merge beside the truth: accuracy, calibration, by arm, with and without the prior. {} without truth."""
    people = Person.objects.filter(image__dataset=crowd_run.campaign.dataset_id, truth_mm__isnull=False)
    known = list(people.order_by("pk").values_list("pk", flat=True)[:MOST_PEOPLE])
    rows = list(
        Label.objects.filter(
            run=crowd_run,
            pair__campaign=crowd_run.campaign_id,
            pair__first_person=F("pair__second_person"),
            pair__first_person__in=known,
        )
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
    has_truth = Person.objects.filter(image__dataset=campaign.dataset_id, truth_mm__isnull=False).exists()
    rows = list(
        standing_votes(campaign)
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
        _true_gaps([row[:3] for row in rows]) if has_truth else np.full(len(rows), np.nan),
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
    """What is still to come: `votes` to go until the campaign's rule is met; `answers` to go, with the gold, probe and other
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
    given = sums["votes"] or 0
    if campaign.mode == Campaign.Mode.FIXED:
        votes = max(0, campaign.votes_wanted - (sums["counted"] or 0))
    else:
        votes = _adaptive_votes_to_go(campaign)
    if campaign.budget_votes is not None:
        votes = min(votes, max(0, campaign.budget_votes - given))
    if given >= ENOUGH:
        each = (sums["answers"] or 0) / given
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
        Percept.objects.filter(campaign=campaign)
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


def wage(campaign: Campaign, seat: Participation) -> float | None:
    """Effective hourly wage by the server's times: pay of all that was answered ('same', gold, probe and tutorial questions
    too) over the time between answers, breaks left out. None where it cannot be told."""
    if not campaign.pay_per_vote or seat.paid_count < 5 or seat.worked_s <= 0:
        return None
    return 3600 * seat.paid_count * campaign.pay_per_vote / seat.worked_s


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
    """The people with the highest mean risk. Four queries, each by an index: the votes of a large campaign are not looked through."""
    # Their keys first: a planner that sees the joins looks at everybody.
    keys = list(
        Percept.objects.filter(campaign=campaign, votes__gt=0).order_by("-risk").values_list("pk", flat=True)[:most]
    )
    found = list(Percept.objects.filter(pk__in=keys).select_related("person__image").order_by("-risk"))
    if not found:
        return []
    place = {percept.person_id: n for n, percept in enumerate(found)}
    theirs = Pair.objects.filter(campaign=campaign, first_person__in=place, second_person=F("first_person"))
    pairs = {pk: about for pk, *about in theirs.values_list("pk", "first_person_id", "first", "second")}
    given = counted_votes(campaign).exclude(closer=SAME).filter(pair__in=pairs).values_list("pair_id", "closer")
    asked = [(*pairs[pair], closer) for pair, closer in given]
    table = np.array([(place[p], f, s, c == SECOND) for p, f, s, c in asked], dtype=np.int64).reshape(-1, 4)
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
    for seat in some:
        belief = np.array(seat.belief) if len(seat.belief) == len(honest) else None
        looks = None if belief is None else float(belief[honest].sum())
        rows.append(
            {
                "name": seat.annotator.username,
                "simulated": seat.annotator.is_simulated,
                "standing": seat.standing,
                "votes": seat.vote_count,
                "answers": seat.answer_count,
                "looks": looks,
                "noise_mm": depth.noise_of(belief * honest) if belief is not None and looks > 0.5 else None,
                "measured_mm": curves_of[seat.pk].noise_mm if seat.pk in curves_of else None,
                "wage": wage(campaign, seat),
                "stays": (seat.probes_same / seat.probe_count, seat.probe_count) if seat.probe_count else None,
                "flag": seat.flag,
                "appeal": seat.appeal,
            }
        )
    return rows
