"""Errors of 3D poses, each named as in the field. F frames, J joints, camera frame, millimetres, float64."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Poses = NDArray[np.floating]


class EmptyPoses(ValueError):
    """There is nothing to average."""


def _checked(predicted: Poses, truth: Poses) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if predicted.shape != truth.shape or predicted.ndim != 3 or predicted.shape[2] != 3:
        raise ValueError(f"shapes {predicted.shape} and {truth.shape} are not both F x J x 3")
    if not len(predicted):
        raise EmptyPoses("no poses")
    return predicted.astype(np.float64), truth.astype(np.float64)


def mpjpe_mm(predicted: Poses, truth: Poses, root: int = 0) -> float:
    """Mean distance between joints after both roots are moved to the origin ('protocol 1', Ionescu et al. 2014)."""
    p, t = _checked(predicted, truth)
    p, t = p - p[:, root : root + 1], t - t[:, root : root + 1]
    return float(np.linalg.norm(p - t, axis=-1).mean())


def n_mpjpe_mm(predicted: Poses, truth: Poses, root: int = 0) -> float:
    """MPJPE after the single scale per pose that fits best: <p, t> / <p, p> (Rhodin et al. 2018)."""
    p, t = _checked(predicted, truth)
    p, t = p - p[:, root : root + 1], t - t[:, root : root + 1]
    scale = (p * t).sum((1, 2)) / np.maximum((p * p).sum((1, 2)), 1e-12)
    return float(np.linalg.norm(scale[:, None, None] * p - t, axis=-1).mean())


def pa_mpjpe_mm(predicted: Poses, truth: Poses) -> float:
    """MPJPE after the best similarity transform per pose, without reflection ('protocol 2'; Gower 1975)."""
    p, t = _checked(predicted, truth)
    p0, t0 = p - p.mean(1, keepdims=True), t - t.mean(1, keepdims=True)
    u, s, vt = np.linalg.svd(p0.transpose(0, 2, 1) @ t0)
    sign = np.sign(np.linalg.det(u @ vt))
    u[:, :, -1] *= sign[:, None]
    s[:, -1] *= sign
    scale = s.sum(1) / np.maximum((p0**2).sum((1, 2)), 1e-12)
    return float(np.linalg.norm(scale[:, None, None] * (p0 @ (u @ vt)) - t0, axis=-1).mean())
