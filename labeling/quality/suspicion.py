"""Who looks suspicious and why: the verb that flags annotators, and pauses them where the campaign says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from django.db import transaction
from django.utils import timezone
from numpy.typing import NDArray

from labeling.aggregation.snapshot import standing_votes
from labeling.crowd import depth
from labeling.models import Campaign, Participation
from labeling.models.answer import SAME, SECOND
from labeling.quality.report import Array
from webapp import audit

RECENT = 50_000  # answers looked at for speed and patterns
ENOUGH = 20  # answers before anything is said about an annotator
SUSPICIOUS, CERTAIN = 0.3, 0.999  # probability of a kind that does not look: flagged; paused where the campaign says so
MOST_GOLD = 0.8  # share of gold questions for an annotator whom the model doubts, where the campaign has gold at all
FULL_DOUBT = 0.1  # doubt from which on that share is the largest
NOISY_MM, NOISY_DOUBT = (
    400.0,
    2.0,
)  # noise that hides clicking at random; its doubt, times the share of those who do not look
_BLIND = [kind.name != "honest" for kind in depth.KINDS]
_NOISY = [kind.name == "honest" and kind.noise_mm >= NOISY_MM for kind in depth.KINDS]
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
    """The last answers of a campaign, oldest first: participation, time (s), whether the left button was chosen (NaN: unknown), and
    how long it took by the page's own clock (ms; NaN: not said). Answers that waited for a network arrive in bursts: then
    only the page knows how long each of them took."""

    participation: NDArray[np.int64]
    at: Array
    left: Array
    response_ms: Array | None = None


def recent(campaign: Campaign) -> Recent:
    values = (
        standing_votes(campaign)
        .exclude(closer=SAME)
        .order_by("-pk")
        .values_list("participation_id", "received_at", "response_ms", "presentation", "closer")[:RECENT]
    )
    answers = list(values)[::-1]
    # `presentation` is the first keypoint's side; its button is the left one if it says so.
    left = [np.nan if not look else float((closer != SECOND) == look.endswith("left")) for *_, look, closer in answers]
    return Recent(
        np.array([row[0] for row in answers], dtype=np.int64),
        np.array([row[1].timestamp() for row in answers]),
        np.array(left),
        np.array([np.nan if row[2] is None else row[2] for row in answers], dtype=np.float64),
    )


def judge(
    campaign: Campaign,
    participations: NDArray[np.int64],
    belief: Array,
    vote_counts: NDArray[np.int64],
    answers: Recent,
) -> int:
    """Flag annotators whose answers no honest one would give, lift flags that no longer hold; pause them where the campaign
    says so. Returns how many are flagged. Nobody is ever blocked without a person's decision."""
    flags = suspicions(campaign.delay_ms, participations, belief, vote_counts, answers)
    now = timezone.now()
    for participation in Participation.objects.filter(campaign=campaign).order_by("pk"):
        text, sure = flags.get(participation.pk, ("", False))
        if participation.flag != text:
            Participation.objects.filter(pk=participation.pk).update(
                flag=text, flagged_at=participation.flagged_at or now if text else participation.flagged_at
            )
        # An admin who restored somebody has decided.
        if sure and campaign.guard == Campaign.Guard.PAUSE and participation.cleared_at is None:
            _pause(participation, f"Paused by the quality check: {text}. If that is wrong, say so below.")
    return len(flags)


def _pause(participation: Participation, reason: str) -> None:
    with transaction.atomic():
        if Participation.objects.filter(pk=participation.pk, standing=Participation.Standing.ACTIVE).update(
            standing=Participation.Standing.PAUSED, standing_reason=reason
        ):
            audit.record(None, "annotator.paused", participation, reason=reason)


def gold_share(share: float, belief: Sequence[float], shares: Sequence[float]) -> float:
    """The share of gold questions for one annotator, of whom the last aggregation holds `belief` (over the kinds of annotators; `shares`
    of all of them): more, the more it doubts that he or she looks.

    Answers of somebody very noisy look like those of somebody who clicks at random and was lucky. Which of the two is likelier hangs on
    how many of the others do not look: in an honest crowd nobody is asked more for being noisy.
    """
    if not share or len(belief) != len(depth.KINDS) or len(shares) != len(depth.KINDS):
        return share
    blind, noisy = (sum(b for b, of in zip(belief, kinds) if of) for kinds in (_BLIND, _NOISY))
    doubt = blind + NOISY_DOUBT * noisy * sum(s for s, of in zip(shares, _BLIND) if of)
    return float(max(share, min(1.0, doubt / FULL_DOUBT) * MOST_GOLD))


def suspicions(
    delay_ms: int, participations: NDArray[np.int64], belief: Array, vote_counts: NDArray[np.int64], answers: Recent
) -> dict[int, tuple[str, bool]]:
    """Per participation: what looks wrong, and whether it is certain."""
    flags: dict[int, tuple[str, bool]] = {}
    names = [kind.name for kind in depth.KINDS]
    by_kind = {name: belief[:, [n for n, k in enumerate(names) if k == name]].sum(axis=1) for name in WORDS}
    distrust: dict[int, float] = {}
    for place, pk in enumerate(participations.tolist()):
        if vote_counts[place] < ENOUGH:
            continue
        name = max(by_kind, key=lambda k: by_kind[k][place])
        distrust[pk] = wrong = float(min(1.0, sum(p[place] for p in by_kind.values())))
        if wrong >= SUSPICIOUS:
            flags[pk] = (f"{WORDS[name]} (P {wrong:.3f}, {vote_counts[place]} answers)", wrong >= CERTAIN)
    order = np.argsort(answers.participation, kind="stable")
    participation, at, left = answers.participation[order], answers.at[order], answers.left[order]
    own = np.full(len(participation), np.nan) if answers.response_ms is None else answers.response_ms[order]
    bounds = np.flatnonzero(np.diff(participation)) + 1
    for part in np.split(np.arange(len(participation)), bounds):
        if len(part) <= ENOUGH:
            continue
        pk = int(participation[part[0]])
        gaps = 1000 * np.diff(at[part])
        took = np.fmax(gaps, own[part][1:])  # the longer of both clocks
        sitting = gaps < 1000 * SITTING_GAP_S
        median = float(np.median(took[sitting])) if sitting.any() else np.inf
        turns = np.abs(np.diff(left[part]))
        turns = turns[np.isfinite(turns)]
        if len(turns) > ENOUGH and turns.mean() > ALTERNATES:
            flags[pk] = ("answers left and right in turn", True)
        elif median < delay_ms + QUICK_MS and pk in distrust:
            # Speed alone says little: who decides while waiting is as quick. It makes doubtful answers more doubtful.
            wrong = distrust[pk]
            more = QUICK_ODDS * wrong / (QUICK_ODDS * wrong + 1 - wrong)
            if more >= SUSPICIOUS:
                sure = wrong >= SUSPICIOUS and more >= CERTAIN
                flags[pk] = (f"answers every {median:.0f} ms, and often not as one who looks (P {more:.3f})", sure)
    return flags
