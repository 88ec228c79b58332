"""How far to trust depths that were lifted or looked up: read off from answers to pairs whose order is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from labeling.crowd import normal
from labeling.releasing.reading import Poses

RATIOS = np.geomspace(0.05, 20.0, 121)  # lifted gap over error, tried for calibration
# How much larger errors are on pictures than on the library itself, tried; never smaller: gold questions are easy.
FURTHER_OFF = np.geomspace(1.0, 30.0, 60)


@dataclass(frozen=True)
class KnownAnswers:
    """P answers: joints `first` and `second` of the pose `pose` (an index), `p_second` 0 or 1, or a probability."""

    pose: Int[np.ndarray, " P"]
    first: Int[np.ndarray, " P"]
    second: Int[np.ndarray, " P"]
    p_second: Float[np.ndarray, " P"]

    def right(self, depth: Float[np.ndarray, "N J"]) -> float:
        """Share of them that these depths order alike."""
        closer = depth[self.pose, self.first] > depth[self.pose, self.second]
        return float((closer == (self.p_second > 0.5)).mean())


def folds_of(poses: Poses, folds: int, seed: int) -> Int[np.ndarray, " N"]:
    """The fold of each person: people of one picture stay together; the test split is no fold (-1), it trains nothing."""
    names, picture = np.unique(np.array(poses.names), return_inverse=True)
    drawn = np.random.default_rng(seed).permutation(len(names)) % folds
    return np.where(poses.split == "test", -1, drawn[picture])


def calibrated(
    lifted: Float[np.ndarray, "N J"], sigma: Float[np.ndarray, "J J"], known: KnownAnswers
) -> tuple[float, float, float]:
    """How far to trust lifted depths: the factor on them, the sd of their errors relative to `sigma`, and the mean
    log-likelihood of the known answers.

    Order alone tells only the ratio of factor and error (a temperature). Both follow from it because depths vary as `sigma`
    says: what the lifted depths explain and their errors add up to it.
    """
    gap = lifted[known.pose, known.first] - lifted[known.pose, known.second]
    spread = np.sqrt(np.maximum(variance_of_gap(sigma, known.first, known.second), 1.0))
    scaled = gap / spread
    p = np.clip(normal.cdf(RATIOS[:, None] * scaled), 1e-6, 1 - 1e-6)
    fit = (known.p_second * np.log(p) + (1 - known.p_second) * np.log(1 - p)).mean(axis=1)
    best = int(fit.argmax())
    error = float(1 / np.sqrt(1 + RATIOS[best] ** 2 * np.mean(scaled**2)))
    return float(RATIOS[best] * error), error, float(fit[best])


def further_off(
    gap: Float[np.ndarray, " P"], variance: Float[np.ndarray, " P"], second_closer: Bool[np.ndarray, " P"]
) -> float:
    """By which factor squared errors exceed what is expected, to make the known answers likeliest."""
    p = np.clip(normal.cdf(gap / np.sqrt(FURTHER_OFF[:, None] * np.maximum(variance, 1.0))), 1e-6, 1 - 1e-6)
    fit = np.where(second_closer, np.log(p), np.log(1 - p)).sum(axis=1)
    return float(FURTHER_OFF[fit.argmax()])


def variance_of_gap(
    covariance: Float[np.ndarray, "J J"], first: Int[np.ndarray, " P"], second: Int[np.ndarray, " P"]
) -> Float[np.ndarray, " P"]:
    return covariance[first, first] + covariance[second, second] - 2 * covariance[first, second]
