"""Our estimator of a clip's 3D trajectory: one convex problem, solved by splitting in time linear in its length.

minimise r sqrt(F/300) |X|_* + a |X D1|^2 + b |X D2|^2 + sum w_tj H(|x_tj - s_tj|) (+ e/2 sum (x_t - m)' P (x_t - m)), H Huber's of the joint's 3-vector (quadratic below
`gross_mm`, linear beyond), w the score (saturating) to a power. X in mm. Copies L = X (nuclear norm) and Z = X (data) under a fixed penalty mu:
    X: one pentadiagonal system for all rows; L: singular values cut through the n x n Gram matrix; Z: closed form.
m and P: mean and precision of a prior over poses, an option, with a copy of its own and one linear map.
Then each bone is moved part of the way to its clip's median length, from the root outwards.
The root of the length: singular values of a longer clip of the same motion grow so; without it short clips are over-shrunk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.linalg import cho_solve_banded, cholesky_banded

from labeling.skeletons import Skeleton
from training.video import filters
from training.video.completion import singular_threshold
from training.video.config import SmoothConfig
from training.video.priors import PosePrior

Array = NDArray[np.float64]
USUAL_FRAMES = 300
USUAL_FPS = 10.0


@dataclass(frozen=True)
class Smoothed:
    """`positions` F x J x 3 mm; `method` says whether the guard fell back to the plain smoother; `moved_mm` of confident joints."""

    positions: Float[np.ndarray, "F J 3"]
    method: Literal["low-rank", "plain"]
    moved_mm: float


def smooth(
    predicted: Float[np.ndarray, "F J 3"],
    score: Float[np.ndarray, "..."],
    config: SmoothConfig,
    fps: float = USUAL_FPS,
    skeleton: Skeleton | None = None,
    prior: PosePrior | None = None,
) -> Smoothed:
    """Estimate the trajectory behind predictions F x J x 3 (mm, root-relative, finite) with scores F x J in 0..1.

    Scores of 0 say nothing; `prior` counts `config.prior`. Raises ValueError for arrays that do not fit or hold NaN.
    """
    if predicted.ndim != 3 or predicted.shape[:2] != score.shape or not len(predicted):
        raise ValueError(f"predictions {predicted.shape} and scores {score.shape} do not fit")
    if not (np.isfinite(predicted).all() and np.isfinite(score).all()):
        raise ValueError("predictions or scores hold NaN or infinity")
    weight = np.maximum(np.clip(score / config.full, 0, 1) ** config.power, config.least) * (score > 0)
    smoothed = low_rank(predicted, weight, config, fps, prior)
    sure = score > 0.7
    moved = float(np.linalg.norm(smoothed - predicted, axis=-1)[sure].mean()) if sure.any() else 0.0
    method: Literal["low-rank", "plain"] = "low-rank"
    if not np.isfinite(smoothed).all() or moved > config.most_moved_mm:
        method = "plain"
        rows = np.repeat(np.maximum(weight, 1e-6), 3, axis=1)
        smoothed = filters.smoothed(predicted.reshape(len(predicted), -1), rows, 1.0 * (fps / USUAL_FPS) ** 4).reshape(
            predicted.shape
        )
    if skeleton is not None and config.bones > 0:
        smoothed = to_lengths(smoothed, bone_lengths(smoothed, score, skeleton), skeleton, config.bones)
    return Smoothed(smoothed, method, moved)


def low_rank(
    predicted: Float[np.ndarray, "F J D"],
    weight: Float[np.ndarray, "F J"],
    config: SmoothConfig,
    fps: float = USUAL_FPS,
    prior: PosePrior | None = None,
) -> Float[np.ndarray, "F J D"]:
    """The convex problem for predictions F x J x 3 (or x 2) and weights F x J."""
    frames = len(predicted)
    seen = predicted.reshape(frames, -1)
    mu, cut = config.penalty, config.rank * np.sqrt(frames / USUAL_FRAMES)
    step = (
        fps / USUAL_FPS
    )  # differences of the same motion shrink with the frame rate, and there are more frames of noise
    bands = np.zeros((3, frames))
    likely = _Likely.of(prior, config) if prior is not None and config.prior else None
    bands[2] = (3 if likely else 2) * mu
    for order, strength in ((1, config.velocity * step**2), (2, config.acceleration * step**4)):
        if frames > order and strength:
            bands[2 - order :] += 2 * strength * filters.differences(frames, order)
    factor = cholesky_banded(bands, check_finite=False)
    x = filters.interpolated(seen, np.repeat(weight > config.least, predicted.shape[2], axis=1))
    u, v, w = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x)
    ratio = (weight / mu)[..., None]
    for _ in range(config.iterations):
        low = singular_threshold(x + u, cut / mu)
        target = (x + v).reshape(predicted.shape)
        gap = target - predicted
        off = np.linalg.norm(gap, axis=-1, keepdims=True)
        near = config.gross_mm / (config.gross_mm + ratio)
        far = 1 - ratio / np.maximum(off, 1e-12)
        z = (predicted + gap * np.where(off <= config.gross_mm + ratio, near, far)).reshape(frames, -1)
        right = low - u + z - v
        pose = x
        if likely:
            pose = likely(x + w)
            right = right + pose - w
        x = cho_solve_banded((factor, False), mu * right, check_finite=False)
        u, v = u + x - low, v + x - z
        if likely:
            w = w + x - pose
    return np.asarray(x.reshape(predicted.shape))


@dataclass(frozen=True)
class _Likely:
    """The nearest poses (F x 3J) between given ones and likely ones: one linear map for all frames."""

    share: Array
    towards: Array

    @classmethod
    def of(cls, prior: PosePrior, config: SmoothConfig) -> _Likely:
        pull = config.prior * prior.precision
        inverse = np.linalg.inv(pull + config.penalty * np.eye(len(pull)))
        return cls(np.asarray(config.penalty * inverse, dtype=np.float64), np.asarray(inverse @ (pull @ prior.mean)))

    def __call__(self, poses: Array) -> Array:
        return np.asarray(poses @ self.share + self.towards)


def bone_lengths(
    positions: Float[np.ndarray, "F J 3"], score: Float[np.ndarray, "F J"], skeleton: Skeleton
) -> Float[np.ndarray, " T"]:
    """Median length (mm) of each bone of the tree over frames whose both ends are confident, left and right averaged."""
    lengths = np.zeros(len(skeleton.tree))
    for n, (parent, child) in enumerate(skeleton.tree):
        every = np.linalg.norm(positions[:, child] - positions[:, parent], axis=-1)
        sure = (score[:, child] > 0.7) & (score[:, parent] > 0.7)
        lengths[n] = np.median(every[sure] if sure.any() else every)
    group = np.asarray(skeleton.groups(skeleton.tree))
    return np.asarray((np.bincount(group, lengths) / np.bincount(group))[group])


def to_lengths(
    positions: Float[np.ndarray, "F J 3"], lengths: Float[np.ndarray, " T"], skeleton: Skeleton, part: float
) -> Float[np.ndarray, "F J 3"]:
    """Each bone moved `part` of the way to its length, from the root outwards; directions stay."""
    out = positions.copy()
    for (parent, child), length in zip(skeleton.tree, lengths):
        bone = positions[:, child] - positions[:, parent]
        now = np.linalg.norm(bone, axis=-1, keepdims=True)
        target_mm = now + part * (length - now)
        out[:, child] = out[:, parent] + bone * np.where(now > 1e-9, target_mm / np.maximum(now, 1e-9), 1.0)
    return out
