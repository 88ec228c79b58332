"""What the picture of a bone tells of its depth step: its length L (mm) and camera scale s (px/mm) give the sine of its
angle to the viewing axis, |d| / (s L); the cosine's size follows, its sign does not.

Bones point anywhere with equal chance (uniform cosine), and L and s are only nearly right: the sine is seen times
1 + NOISE * normal. Everything below follows from that joint density, by quadrature (docs/methods/lifter.md, 'Bones').
Our own; the geometry is Taylor's (CVIU 2000).
"""

from __future__ import annotations

from functools import cache

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

LOW, HIGH, BINS = -3.0, 0.6, 120  # log of the seen sine
MOMENT_NOISE, PRIOR_NOISE = 0.1, 0.07
TOO_LONG = 0.35  # a seen log sine above this is no noise: the prior falls linearly with it
STEEP = 20.0
# What the network and its twin in numpy (predict) share beside the tables.
USUAL_SCALE = 0.25  # px/mm where the scale head says 0: about what an upright adult has at the person's set size
BATCH_NORM_EPS = 1e-5

Array = NDArray[np.float32]


def _density(noise: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weight of each (cosine, noise) node in each bin of the seen log sine, and the cosines."""
    cosine = (np.arange(2000) + 0.5) / 2000
    nodes, weights = np.polynomial.hermite_e.hermegauss(41)
    seen = np.sqrt(1 - cosine**2)[:, None] * np.maximum(1 + noise * nodes, 1e-6)
    place = (np.log(seen) - LOW) / (HIGH - LOW) * BINS
    histogram = np.zeros((BINS, len(cosine)))
    which = np.clip(place.astype(int), 0, BINS - 1)
    np.add.at(histogram, (which, np.arange(len(cosine))[:, None]), weights / weights.sum() / len(cosine))
    kernel = np.exp(-0.5 * (np.arange(-6, 7) / 1.5) ** 2)
    smooth = np.apply_along_axis(lambda c: np.convolve(c, kernel / kernel.sum(), mode="same"), 0, histogram)
    return smooth + 1e-12 / len(cosine), cosine


@cache
def tables() -> tuple[Float[np.ndarray, " K"], Float[np.ndarray, " K"], Float[np.ndarray, " K"]]:
    """E|cos|, E cos^2 and log density of the seen log sine, each at the middles of BINS bins from LOW to HIGH."""
    joint, cosine = _density(MOMENT_NOISE)
    total = joint.sum(1)
    first, second = joint @ cosine / total, joint @ cosine**2 / total
    prior, _ = _density(PRIOR_NOISE)
    log_density = np.log(prior.sum(1) * BINS / (HIGH - LOW))
    return first.astype(np.float32), second.astype(np.float32), log_density.astype(np.float32)


def at(table: Float[np.ndarray, " K"], log_sine: float | Float[np.ndarray, "*S"]) -> Float[np.ndarray, "..."]:
    """Linear interpolation of one of the tables; constant beyond its ends."""
    place = np.clip((log_sine - LOW) / (HIGH - LOW) * BINS - 0.5, 0, BINS - 1 - 1e-3)
    left = np.asarray(place).astype(np.int64)
    return np.asarray(table[left] + (place - left) * (table[left + 1] - table[left]))
