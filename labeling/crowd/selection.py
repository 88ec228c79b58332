"""Which question teaches most: expected information of a vote about the perceived depths of one picture.

A vote on a pair whose depths are known to be equal teaches nothing though nobody can tell how it will be answered; so pairs
are ranked by the mutual information of vote and perceived depth, H(vote) - E H(vote | depth), not by plain uncertainty. For a
probit vote under a Gaussian perceived depth both terms have closed forms (Houlsby et al. 2011, eq. 3-4).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from labeling.crowd.normal import cdf

_C2 = np.pi * np.log(2) / 2


def pairs_of(joints: int) -> tuple[Int[np.ndarray, " P"], Int[np.ndarray, " P"]]:
    """All unordered pairs of joints, first < second."""
    first, second = np.triu_indices(joints, 1)
    return first, second


def information(
    gap: Float[np.ndarray, "*N"], variance: Float[np.ndarray, "*N"], noise_mm: float | Float[np.ndarray, "..."]
) -> Float[np.ndarray, "*N"]:
    """Bits that a vote gives about a difference of perceived depths N(gap, variance), mm, from annotators of this noise.

    `noise_mm` is an annotator's effective noise (see `noise_of`). Elementwise over any shape.
    """
    square = np.asarray(noise_mm, dtype=np.float64) ** 2
    total = square + variance
    p = np.clip(cdf(gap / np.sqrt(total)), 1e-12, 1 - 1e-12)
    surprise = -(p * np.log2(p) + (1 - p) * np.log2(1 - p))
    spread = variance + square * _C2
    noise = np.sqrt(square * _C2 / spread) * np.exp(-(gap**2) / (2 * spread))
    return np.asarray(np.maximum(surprise - noise, 0.0))
