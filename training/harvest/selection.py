"""Which estimates are kept: the most certain share of each joint's (Pavlakos et al. 2017, section 3.3)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float


def log_determinant(covariance: Float[np.ndarray, "*N 3 3"], floor_mm: float) -> Float[np.ndarray, "*N"]:
    """log det of covariances (... x 3 x 3), each axis at least `floor_mm`^2 (a voxel's own spread): finite for single voxels."""
    return np.asarray(np.linalg.slogdet(covariance + floor_mm**2 * np.eye(3))[1])


def most_certain(
    uncertainty: Float[np.ndarray, "F J"], candidate: Bool[np.ndarray, "F J"], share: float
) -> Bool[np.ndarray, "F J"]:
    """F x J: the `share` of each joint's candidates with the least uncertainty. Ranked per joint: joints differ in what is usual."""
    kept = np.zeros_like(candidate)
    for joint in range(candidate.shape[1]):
        some = np.flatnonzero(candidate[:, joint])
        count = round(share * len(some))
        kept[some[np.argsort(uncertainty[some, joint], kind="stable")[:count]], joint] = True
    return kept


def spearman(a: Float[np.ndarray, " N"], b: Float[np.ndarray, " N"]) -> float:
    """Rank correlation; NaN for fewer than three values."""
    if len(a) < 3:
        return float("nan")
    ranks = [np.argsort(np.argsort(values, kind="stable"), kind="stable").astype(np.float64) for values in (a, b)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])
