"""How good probabilities, annotators and agreement are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from labeling.crowd.normal import cdf
from labeling.crowd.votes import Votes

P = Float[np.ndarray, " Q"]
Truth = Bool[np.ndarray, " Q"]
Vote = Int[np.ndarray, " N"]
Answer = Bool[np.ndarray, " N"]
BINS = 15


@dataclass(frozen=True)
class Reliability:
    """Per bin of confidence max(p, 1 - p) from 0.5 to 1: labels, mean confidence, share that is right (NaN if empty)."""

    count: Int[np.ndarray, " B"]
    confidence: Float[np.ndarray, " B"]
    right: Float[np.ndarray, " B"]

    @property
    def ece(self) -> float:
        """Expected calibration error: mean |confidence - share right| over labels (Naeini et al. 2015)."""
        full = self.count > 0
        off = np.abs(self.confidence[full] - self.right[full]) * self.count[full]
        return float(off.sum() / max(int(self.count.sum()), 1))


def reliability(p_second: P, second: Truth, bins: int = BINS) -> Reliability:
    """How often labels of each confidence are right. A probability of one half counts as half right."""
    confidence = np.maximum(p_second, 1 - p_second)
    right = np.where(p_second == 0.5, 0.5, (p_second > 0.5) == second)
    where = np.minimum(((confidence - 0.5) * 2 * bins).astype(np.int64), bins - 1)
    count = np.bincount(where, minlength=bins)
    with np.errstate(invalid="ignore"):
        return Reliability(
            count,
            np.bincount(where, weights=confidence, minlength=bins) / count,
            np.bincount(where, weights=right, minlength=bins) / count,
        )


def ece(p_second: P, second: Truth) -> float:
    return reliability(p_second, second).ece


def nll(p_second: P, second: Truth) -> float:
    """Mean negative log-likelihood of the truth, natural logarithm, probabilities clipped to 1e-12."""
    return float(-np.log(np.clip(np.where(second, p_second, 1 - p_second), 1e-12, 1)).mean())


def accuracy(p_second: P, second: Truth) -> float:
    """Share of likelier answers that are right; a tie is half right."""
    return float(np.where(p_second == 0.5, 0.5, (p_second > 0.5) == second).mean())


def alpha(votes: Votes) -> float:
    """Krippendorff's alpha for nominal answers: 1 = all agree, 0 = as chance would. NaN where nothing can be compared.

    Source: Krippendorff 2011, 'Computing Krippendorff's Alpha-Reliability', any number of votes per question.
    """
    count = votes.per_question()
    ones = np.bincount(votes.question, weights=votes.second, minlength=votes.questions)
    several = count > 1
    n, one = count[several].astype(np.float64), ones[several]
    total = n.sum()
    if total == 0:
        return float("nan")
    disagreed = (2 * one * (n - one) / (n - 1)).sum() / total
    first = total - one.sum()
    expected = 2 * first * one.sum() / (total * (total - 1))
    return float(1 - disagreed / expected) if expected else float("nan")


AT_ONCE = 4096  # pictures whose matrices are held together


def cycles(
    picture: Vote,
    first: Vote,
    second: Vote,
    second_closer: Answer,
    pictures: int,
    joints: int,
) -> Int[np.ndarray, " I"]:
    """Contradictions per picture: triples of joints whose majority answers go round (a before b before c before a).

    Only pairs with votes count; a tie is no answer.
    """
    order = np.argsort(picture, kind="stable")
    starts = list(range(0, pictures, AT_ONCE))
    counts = np.zeros(pictures, np.int64)
    for start, here in zip(starts, np.split(order, np.searchsorted(picture[order], starts[1:]))):
        near = np.where(second_closer[here], second[here], first[here]).astype(np.int64)
        far = np.where(second_closer[here], first[here], second[here]).astype(np.int64)
        count = min(AT_ONCE, pictures - start)
        cell = ((picture[here].astype(np.int64) - start) * joints + near) * joints + far
        wins = np.bincount(cell, minlength=count * joints * joints).reshape(count, joints, joints)
        closer = (wins > wins.swapaxes(1, 2)).astype(np.float32)
        round_trips = np.einsum("ijk,ikj->i", closer @ closer, closer) / 3
        counts[start : start + count] = np.rint(round_trips).astype(np.int64)
    return counts


@dataclass(frozen=True)
class Psychometric:
    """Share of right answers by depth gap: `edges_mm` B + 1, `count` B, `right` B (NaN where empty); `noise_mm`, the
    spread of the probit curve P(right) = Phi(gap / noise) that fits best."""

    edges_mm: Float[np.ndarray, " E"]
    count: Int[np.ndarray, " B"]
    right: Float[np.ndarray, " B"]
    noise_mm: float


EDGES_MM = np.array([0.0, 30, 60, 100, 150, 200, 300, 450, 2000])


def psychometric(
    gap_mm: Float[np.ndarray, " N"], right: Answer, edges_mm: Float[np.ndarray, " E"] = EDGES_MM
) -> Psychometric:
    """The curve of one annotator, or of all, from answers whose true gap is known."""
    gap = np.abs(gap_mm)
    where = np.clip(np.digitize(gap, edges_mm) - 1, 0, len(edges_mm) - 2)
    count = np.bincount(where, minlength=len(edges_mm) - 1)
    with np.errstate(invalid="ignore"):
        share = np.bincount(where, weights=right, minlength=len(count)) / count
    noise = np.geomspace(20, 4000, 80)
    p = np.clip(cdf(gap[:, None] / noise), 0.5, 0.99)
    best = np.where(right[:, None], np.log(p), np.log(1 - p)).sum(axis=0).argmax() if len(gap) else len(noise) - 1
    return Psychometric(edges_mm, count, share, float(noise[best]))
