"""Errors of 3D poses, each named as in the field. F frames, J joints, camera frame, millimetres, float64.

Functions ending in `_errors` give F x J distances; their means are the numbers that papers print.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from webapp.errors import InputError

Poses = Float[np.ndarray, "F J 3"]
Errors = Float[np.ndarray, "F J"]
PCK_MM = 150.0
AUC_MM = np.arange(0.0, 151.0, 5.0)


class EmptyPoses(InputError):
    """There is nothing to average."""


def _checked(predicted: np.ndarray, truth: np.ndarray) -> tuple[Poses, Poses]:
    if predicted.shape != truth.shape or predicted.ndim != 3 or predicted.shape[2] != 3:
        raise ValueError(f"shapes {predicted.shape} and {truth.shape} are not both F x J x 3")
    if not len(predicted):
        raise EmptyPoses("no poses")
    return predicted.astype(np.float64), truth.astype(np.float64)


def _rooted(predicted: np.ndarray, truth: np.ndarray, root: int) -> tuple[Poses, Poses]:
    p, t = _checked(predicted, truth)
    return p - p[:, root : root + 1], t - t[:, root : root + 1]


def _fit(predicted: Poses, truth: Poses) -> tuple[Float[np.ndarray, "F 3 3"], Float[np.ndarray, " F"]]:
    """Rotation F x 3 x 3 (acts from the right, no reflection) and scale F that best bring predicted onto truth."""
    p, t = predicted - predicted.mean(1, keepdims=True), truth - truth.mean(1, keepdims=True)
    u, s, vt = np.linalg.svd(p.transpose(0, 2, 1) @ t)
    sign = np.sign(np.linalg.det(u @ vt))
    u[:, :, -1] *= sign[:, None]
    s[:, -1] *= sign
    return u @ vt, s.sum(1) / np.maximum((p**2).sum((1, 2)), 1e-12)


def mpjpe_errors(predicted: Poses, truth: Poses, root: int = 0) -> Errors:
    """|p - t| after both roots are moved to the origin ('protocol 1', Ionescu et al. 2014)."""
    p, t = _rooted(predicted, truth, root)
    return np.asarray(np.linalg.norm(p - t, axis=-1))


def n_mpjpe_errors(predicted: Poses, truth: Poses, root: int = 0) -> Errors:
    """|a p - t| with roots at the origin and the best single scale per pose, a = <p, t> / <p, p> (Rhodin et al. 2018)."""
    p, t = _rooted(predicted, truth, root)
    scale = (p * t).sum((1, 2)) / np.maximum((p * p).sum((1, 2)), 1e-12)
    return np.asarray(np.linalg.norm(scale[:, None, None] * p - t, axis=-1))


def coded_scale_errors(predicted: Poses, truth: Poses, root: int = 0) -> Errors:
    """|b p - t| with b the scale of the Procrustes fit, roots at the origin: 'scale aligned' as Ronchi et al. coded it.

    b is best together with a rotation that is then not applied, so it is not the best single scale.
    """
    p, t = _rooted(predicted, truth, root)
    _, scale = _fit(p, t)
    return np.asarray(np.linalg.norm(scale[:, None, None] * p - t, axis=-1))


def pa_mpjpe_errors(predicted: Poses, truth: Poses) -> Errors:
    """|b p R + c - t| with the best similarity transform per pose, without reflection ('protocol 2'; Gower 1975)."""
    p, t = _checked(predicted, truth)
    turn, scale = _fit(p, t)
    p0, t0 = p - p.mean(1, keepdims=True), t - t.mean(1, keepdims=True)
    return np.asarray(np.linalg.norm(scale[:, None, None] * (p0 @ turn) - t0, axis=-1))


def mpjpe_mm(predicted: Poses, truth: Poses, root: int = 0) -> float:
    """Mean of `mpjpe_errors`."""
    return float(mpjpe_errors(predicted, truth, root).mean())


def n_mpjpe_mm(predicted: Poses, truth: Poses, root: int = 0) -> float:
    """Mean of `n_mpjpe_errors`."""
    return float(n_mpjpe_errors(predicted, truth, root).mean())


def coded_scale_mm(predicted: Poses, truth: Poses, root: int = 0) -> float:
    """Mean of `coded_scale_errors`."""
    return float(coded_scale_errors(predicted, truth, root).mean())


def pa_mpjpe_mm(predicted: Poses, truth: Poses) -> float:
    """Mean of `pa_mpjpe_errors`."""
    return float(pa_mpjpe_errors(predicted, truth).mean())


def pck3d(errors: Errors, threshold_mm: float = PCK_MM) -> float:
    """Share of joints nearer to the truth than the threshold, of F x J distances (Mehta et al. 2017)."""
    return float((errors < threshold_mm).mean())


def auc3d(errors: Errors) -> float:
    """Mean of `pck3d` over thresholds 0, 5 .. 150 mm (Mehta et al. 2017)."""
    return float((errors[..., None] < AUC_MM).mean())


def bootstrap(values: Float[np.ndarray, " F"], seed: int = 0, rounds: int = 1000) -> tuple[float, float]:
    """95 % interval of the mean of one value per pose: people drawn anew with replacement (Efron 1979)."""
    rng = np.random.default_rng(seed)
    means = np.array([values[rng.integers(0, len(values), len(values))].mean() for _ in range(rounds)])
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)
