"""How well a lifter orders joints in depth."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from labeling.releasing.reading import Poses


def order_errors(predicted: NDArray[np.floating], poses: Poses) -> dict[str, float]:
    """Relative-label error (share of wrongly ordered pairs) against the labels and, where known, the true order.

    predicted N x J x 3 (z larger = farther). `label_error`: over the release's labelled pairs, ties (prob = 0.5) left
    out. `true_error`: over every pair of present keypoints of people with truth, equal depths left out.
    Predicted ties count as 'second closer' (the authors' rule).
    """
    found: dict[str, float] = {}
    decided = poses.p_second != 0.5
    if decided.any():
        row, first, second = poses.pose[decided], poses.first[decided], poses.second[decided]
        says = predicted[row, first, 2] >= predicted[row, second, 2]
        found["label_error"] = round(float(np.mean(says != (poses.p_second[decided] > 0.5))), 6)
    true = true_pairs(poses)
    if len(true[0]):
        row, first, second, closer = true
        says = predicted[row, first, 2] >= predicted[row, second, 2]
        found["true_error"] = round(float(np.mean(says != closer)), 6)
    return found


def true_pairs(poses: Poses) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """(person, first, second, second is closer) of all pairs of present keypoints with known, different depths."""
    first, second = np.triu_indices(len(poses.skeleton.keypoints), 1)
    gap = poses.truth_mm[:, first, 2] - poses.truth_mm[:, second, 2]
    present = poses.state > 0
    ok = np.isfinite(gap) & (gap != 0) & present[:, first] & present[:, second]
    row, which = np.nonzero(ok)
    return row, first[which], second[which], gap[row, which] > 0


def error_by_gap(predicted: NDArray[np.floating], poses: Poses, edges_mm: list[float]) -> list[dict[str, float]]:
    """True-order error in bins of the absolute depth gap (mm)."""
    row, first, second, closer = true_pairs(poses)
    gap = np.abs(poses.truth_mm[row, first, 2] - poses.truth_mm[row, second, 2])
    wrong = (predicted[row, first, 2] >= predicted[row, second, 2]) != closer
    bins = []
    for low, high in zip(edges_mm, [*edges_mm[1:], np.inf]):
        inside = (gap >= low) & (gap < high)
        if inside.any():
            bins.append({"from_mm": low, "pairs": int(inside.sum()), "error": round(float(wrong[inside].mean()), 6)})
    return bins
