"""Labels and votes beside the truth, where it is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labeling.aggregation.snapshot import standing_votes
from labeling.crowd import measures
from labeling.crowd.votes import Votes
from labeling.models import AggregationRun, Campaign, DepthPosterior, Label, Pair, Person
from labeling.models.answer import SAME, SECOND
from labeling.quality.report import Array
from labeling.quality.suspicion import ENOUGH

MOST, MOST_PEOPLE = 8000, 1000  # labels or votes, and people, with known truth that plots are drawn from


def _true_gaps(rows: list[tuple[int, ...]]) -> Array:
    """z_first - z_second (mm) of (person, first, second); NaN where the truth is not known."""
    people = {person for person, *_ in rows}
    truth: dict[int, Any] = {}
    keys = sorted(people)
    for start in range(0, len(keys), MOST):
        part = Person.objects.filter(pk__in=keys[start : start + MOST], truth_mm__isnull=False)
        truth.update((pk, Person.depths_mm(places)) for pk, places in part.values_list("pk", "truth_mm"))
    return np.array([truth[p][f] - truth[p][s] if p in truth else np.nan for p, f, s in rows], dtype=np.float64)


def label_truth(aggregation_run: AggregationRun) -> dict[str, Any]:
    """Labels of one aggregation beside the truth: accuracy, calibration, by arm, with and without the prior. {} without truth."""
    people = Person.objects.filter(image__dataset=aggregation_run.campaign.dataset_id, truth_mm__isnull=False)
    known = list(people.order_by("pk").values_list("pk", flat=True)[:MOST_PEOPLE])
    rows = list(
        Label.objects.filter(
            run=aggregation_run,
            pair__campaign=aggregation_run.campaign_id,
            pair__person__in=known,
        )
        .order_by("pk")
        .values_list(
            *(
                "pair__person_id",
                "pair__first",
                "pair__second",
                "p_first_closer",
                "p_first_closer_without_prior",
                "votes_used",
            )
        )[:MOST]
    )
    gaps = _true_gaps([row[:3] for row in rows])
    rows = [row for row, known in zip(rows, np.isfinite(gaps), strict=True) if known]
    if not rows:
        return {}
    second = gaps[np.isfinite(gaps)] > 0
    p = 1 - np.array([row[3] for row in rows])
    control = set(
        DepthPosterior.objects.filter(campaign=aggregation_run.campaign_id, control=True).values_list(
            "person_id", flat=True
        )
    )
    arm = np.array([row[0] in control for row in rows])
    scores: dict[str, Any] = {"all": _scores(p, second), "reliability": measures.reliability(p, second, bins=10)}
    if arm.any() and not arm.all():
        scores["control"], scores["test"] = _scores(p[arm], second[arm]), _scores(p[~arm], second[~arm])
    if all(row[4] is not None for row in rows):
        scores["plain"] = _scores(1 - np.array([row[4] for row in rows]), second)
    voted = np.array([row[5] > 0 for row in rows])
    if voted.any() and not voted.all():
        scores["voted"], scores["never"] = _scores(p[voted], second[voted]), _scores(p[~voted], second[~voted])
    return scores


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
    participation: NDArray[np.int64]
    second: NDArray[np.bool_]
    gap_mm: Array

    @property
    def right(self) -> NDArray[np.bool_]:
        return (self.gap_mm > 0) == self.second


def answers(campaign: Campaign) -> Answers:
    has_truth = Person.objects.filter(image__dataset=campaign.dataset_id, truth_mm__isnull=False).exists()
    votes = standing_votes(campaign).exclude(closer=SAME).order_by("-pk")
    rows = list(votes.values_list("pair_id", "participation_id", "closer")[:MOST])
    # Pairs by their keys: in a join, a planner reads the pairs of every campaign.
    asked = {pair for pair, *_ in rows if has_truth}
    pairs = Pair.objects.filter(pk__in=asked).values_list("pk", "person_id", "first", "second")
    about = {pk: place for pk, *place in pairs}
    return Answers(
        np.array([row[0] for row in rows], dtype=np.int64),
        np.array([row[1] for row in rows], dtype=np.int64),
        np.array([row[2] == SECOND for row in rows], dtype=bool),
        _true_gaps([tuple(about[row[0]]) for row in rows]) if has_truth else np.full(len(rows), np.nan),
    )


def agreement(votes: Answers) -> float:
    """Krippendorff's alpha of the last votes."""
    if not len(votes.question):
        return float("nan")
    _, question = np.unique(votes.question, return_inverse=True)
    _, participation = np.unique(votes.participation, return_inverse=True)
    return measures.alpha(
        Votes(question, participation, votes.second, int(question.max()) + 1, int(participation.max()) + 1)
    )


def curves(votes: Answers) -> tuple[measures.Psychometric | None, dict[int, measures.Psychometric]]:
    """Accuracy against depth gap where truth is known: of all, and of each participation with enough answers."""
    known = np.isfinite(votes.gap_mm)
    if not known.any():
        return None, {}
    gap, right, participation = votes.gap_mm[known], votes.right[known], votes.participation[known]
    per_annotator = {
        int(pk): measures.psychometric(gap[participation == pk], right[participation == pk])
        for pk in np.unique(participation)
        if (participation == pk).sum() >= ENOUGH
    }
    return measures.psychometric(gap, right), per_annotator
