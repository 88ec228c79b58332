"""Trajectory completion with every F x F matrix written out, as the paper states it: the twin that the fast form must equal.

Upright here means n x F as in the paper; the schedule, the stopping rule and the splitting are those of training.video.completion.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.video.config import CompletionConfig

Array = NDArray[np.float64]


def threshold(matrix: Array, by: float) -> Array:
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    return np.asarray((u * np.maximum(s - by, 0.0)) @ vt)


def complete_dense(predicted: Array, score: Array, config: CompletionConfig) -> tuple[Array, int]:
    """Trajectory F x n in the input's units, and the number of iterations."""
    unit = config.unit_mm or float(np.abs(predicted).mean())
    s = (predicted / unit).T
    frames = s.shape[1]
    weight = (config.trust * score**config.power).T
    pinned = (score > config.confident).T
    differ = np.diff(np.eye(frames), axis=0).T
    laplace, one = differ @ differ.T, np.eye(frames)
    x, e, b, c = s.copy(), np.zeros_like(s), one.copy(), one.copy()
    y1, y3, y4, y2 = np.zeros_like(s), np.zeros_like(s), np.zeros_like(s), np.zeros_like(one)
    z, mu, done = s, config.mu, 0
    for done in range(1, config.iterations + 1):  # noqa: B007
        low = threshold(x - y3 / mu, 1 / mu)
        target = x + y4 / mu
        if config.equality == "hard":
            z = np.where(pinned, s, target)
        else:
            z = (weight * s + mu * target) / (weight + mu)
        b = np.linalg.solve(x.T @ x + one, x.T @ (x - e + y1 / mu) + c - y2 / mu)
        c = threshold(b + y2 / mu, config.affinity / mu)
        gross = x - x @ b + y1 / mu
        e = np.sign(gross) * np.maximum(np.abs(gross) - config.sparse / mu, 0.0)
        left = 2 * config.smooth * laplace + mu * (one - b) @ (one - b).T + 2 * mu * one
        right = (mu * e - y1) @ (one - b).T + mu * low + y3 + mu * z - y4
        old, x = x, np.linalg.solve(left, right.T).T
        gaps = (x - x @ b - e, low - x, x - z)
        y1, y3, y4 = y1 + mu * gaps[0], y3 + mu * gaps[1], y4 + mu * gaps[2]
        y2 = y2 + mu * (b - c)
        residual = max(float(np.linalg.norm(r)) for r in (*gaps, x - old)) / float(np.linalg.norm(s))
        mu = min(config.growth * mu, config.most_mu)
        if residual < config.tolerance:
            break
    return (z * unit).T, done
