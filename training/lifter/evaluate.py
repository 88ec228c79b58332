"""How good a lifter is on people whose labels or true poses are known."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from labeling.releasing.reading import Poses
from training.poses import metrics

GAPS_MM = [0.0, 50.0, 100.0, 200.0, 400.0]
BIN_MM = 20.0
BINS = 15  # the last one holds all that is worse
SHOWN = 12


def order_errors(predicted: Float[np.ndarray, "N J 3"], poses: Poses) -> dict[str, float]:
    """Relative-label error (share of wrongly ordered pairs) against the labels and, where known, the true order.

    predicted N x J x 3 (z larger = farther). `label_error`: over the release's labelled pairs, ties (prob = 0.5) left
    out. `true_error`: over every pair of present keypoints of people with truth, equal depths left out.
    Predicted ties count as 'second closer' (the authors' rule).
    """
    errors: dict[str, float] = {}
    decided = poses.p_second != 0.5
    if decided.any():
        row, first, second = poses.pose[decided], poses.first[decided], poses.second[decided]
        says = predicted[row, first, 2] >= predicted[row, second, 2]
        errors["label_error"] = round(float(np.mean(says != (poses.p_second[decided] > 0.5))), 6)
    wrong, ok, _ = _orders(predicted, poses)
    if ok.any():
        errors["true_error"] = round(float(wrong.sum() / ok.sum()), 6)
    return errors


def _orders(
    predicted: NDArray[np.floating], poses: Poses
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.floating]]:
    """N x pairs: wrongly ordered; both keypoints present with known, different depths; true gap (mm)."""
    first, second = np.triu_indices(len(poses.skeleton.keypoints), 1)
    gap = poses.truth_mm[:, first, 2] - poses.truth_mm[:, second, 2]
    present = poses.state > 0
    ok = np.isfinite(gap) & (gap != 0) & present[:, first] & present[:, second]
    says = predicted[:, first, 2] >= predicted[:, second, 2]
    return ok & (says != (gap > 0)), ok, gap


def error_by_gap(predicted: Float[np.ndarray, "N J 3"], poses: Poses, edges_mm: list[float]) -> list[dict[str, float]]:
    """True-order error in bins of the absolute depth gap (mm)."""
    wrong, ok, gap = _orders(predicted, poses)
    size = np.where(ok, np.abs(gap), -1.0)
    bins = []
    for low, high in zip(edges_mm, [*edges_mm[1:], np.inf]):
        inside = (size >= low) & (size < high)
        if inside.any():
            bins.append({"from_mm": low, "pairs": int(inside.sum()), "error": round(float(wrong[inside].mean()), 6)})
    return bins


def measure(predicted: Float[np.ndarray, "N J 3"], poses: Poses) -> dict[str, Any]:
    """The numbers of a run: order errors and, over people with whole truth, errors in mm with bootstrap intervals."""
    measures: dict[str, Any] = dict(order_errors(predicted, poses))
    measures["held_out_people"] = len(poses.names)
    whole = np.isfinite(poses.truth_mm).all(axis=(1, 2))
    if not whole.any():
        return measures
    root = poses.skeleton.index(poses.skeleton.root)
    p, t = predicted[whole], poses.truth_mm[whole]
    aligned = metrics.pa_mpjpe_errors(p, t)
    per_joint = {
        "mpjpe_mm": metrics.mpjpe_errors(p, t, root),
        "n_mpjpe_mm": metrics.n_mpjpe_errors(p, t, root),
        "coded_scale_mm": metrics.coded_scale_errors(p, t, root),
        "pa_mpjpe_mm": aligned,
    }
    for name, errors in per_joint.items():
        measures[name] = round(float(errors.mean()), 3)
    measures["pck_150mm"] = round(metrics.pck3d(aligned), 6)
    measures["auc_150mm"] = round(metrics.auc3d(aligned), 6)
    measures["interval_95"] = {
        name: [round(v, 3) for v in metrics.bootstrap(errors.mean(1))] for name, errors in per_joint.items()
    }
    measures["by_gap"] = error_by_gap(predicted, poses, GAPS_MM)
    return measures


def by_action(predicted: Float[np.ndarray, "N J 3"], poses: Poses) -> dict[str, Any]:
    """Errors in mm of every action, and their means over actions, as the tables of Human3.6M have them: an action counts once,
    however many frames it has. Empty where no actions or no whole truth are known."""
    whole = np.isfinite(poses.truth_mm).all(axis=(1, 2))
    if poses.action is None or not whole.any():
        return {}
    p, t = predicted[whole], poses.truth_mm[whole]
    root = poses.skeleton.index(poses.skeleton.root)
    names, which = np.unique(poses.action[whole], return_inverse=True)
    people = np.bincount(which)
    errors = {
        "coded_scale_mm": metrics.coded_scale_errors(p, t, root).mean(1),
        "pa_mpjpe_mm": metrics.pa_mpjpe_errors(p, t).mean(1),
    }
    means = {name: np.bincount(which, values) / people for name, values in errors.items()}
    return {
        "by_action": {
            str(action): {"people": int(people[n]), **{name: round(float(m[n]), 3) for name, m in means.items()}}
            for n, action in enumerate(names)
        },
        "over_actions": {name: round(float(m.mean()), 3) for name, m in means.items()},
    }


def examples(predicted: Float[np.ndarray, "N J 3"], poses: Poses) -> dict[str, Any]:
    """Evenly chosen people with their poses, and what is needed to draw them."""
    shown = np.linspace(0, len(poses.names) - 1, min(SHOWN, len(poses.names))).round().astype(int)
    return {
        "joints": list(poses.skeleton.keypoints),
        "bones": [[poses.skeleton.index(a), poses.skeleton.index(b)] for a, b in poses.skeleton.bones],
        "examples": [_person(predicted, poses, int(n), None) for n in shown],
    }


def details(predicted: Float[np.ndarray, "N J 3"], poses: Poses) -> dict[str, Any]:
    """What a run's page draws: error per joint and per action, histogram, worst and evenly chosen people with poses."""
    shown_people = examples(predicted, poses)
    wrong, ok, _ = _orders(predicted, poses)
    whole = np.isfinite(poses.truth_mm).all(axis=(1, 2))
    if not whole.any():
        return shown_people
    first, second = np.triu_indices(len(poses.skeleton.keypoints), 1)
    order = []
    for joint in range(len(poses.skeleton.keypoints)):
        at = (first == joint) | (second == joint)
        order.append(round(float(wrong[:, at].sum() / max(ok[:, at].sum(), 1)), 6))
    errors = metrics.pa_mpjpe_errors(predicted[whole], poses.truth_mm[whole])
    shown_people["per_joint"] = {"pa_mpjpe_mm": [round(float(v), 3) for v in errors.mean(0)], "order_error": order}
    people = errors.mean(1)
    counts = np.bincount(np.minimum(people // BIN_MM, BINS - 1).astype(int), minlength=BINS)
    shown_people["histogram"] = {"bin_mm": BIN_MM, "people": counts.tolist()}
    if poses.action is not None:
        names, which = np.unique(poses.action[whole], return_inverse=True)
        shown_people["per_action"] = {
            str(n): round(float(people[which == i].mean()), 3) for i, n in enumerate(names) if (which == i).any()
        }
    rows = np.flatnonzero(whole)
    shown_people["worst"] = [_person(predicted, poses, int(rows[n]), people[n]) for n in np.argsort(-people)[:SHOWN]]
    return shown_people


def _person(predicted: NDArray[np.floating], poses: Poses, number: int, error_mm: float | None) -> dict[str, Any]:
    truth = poses.truth_mm[number] - poses.truth_mm[number, poses.skeleton.index(poses.skeleton.root)]
    pose = predicted[number] - predicted[number, poses.skeleton.index(poses.skeleton.root)]
    known = bool(np.isfinite(truth).all())
    if known:
        pose = pose * ((pose * truth).sum() / max((pose * pose).sum(), 1e-12))
    return {
        "name": poses.names[number],
        "error_mm": None if error_mm is None else round(float(error_mm), 1),
        "keypoints_px": np.round(poses.keypoints_px[number], 1).tolist(),
        "present": (poses.state[number] > 0).tolist(),
        "pose_mm": np.round(pose, 1).tolist(),
        "truth_mm": np.round(truth, 1).tolist() if known else None,
    }
