"""Points from several views at once: linear (DLT), weighted by score, and RANSAC over pairs of views.

F frames, V views, J joints. World in mm; where fewer than two views know a joint its position is NaN. Rows of the linear system are
in pixels and its unknown is homogeneous in metres, as in Pose2Sim (Pagnon et al. 2022), so results can be compared with it.
Source: Hartley and Zisserman 2004, section 12.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Bool, Float

from training.poses.cameras import Camera

Pixels = Float[np.ndarray, "F V J 2"]
Scores = Float[np.ndarray, "F V J"]
Positions = Float[np.ndarray, "F J 3"]
Used = Bool[np.ndarray, "F V J"]
METRE = 1000.0
LEAST_SCORE = 0.3
INLIER_PX = 15.0
MOST_PAIRS = 120
AT_ONCE = 20_000  # points solved together: bounds memory


@dataclass(frozen=True)
class Points:
    """`position` F x J x 3 mm, NaN where unknown; `used` F x V x J: views that went into it; `error_px` F x V x J: distance of
    its reprojection from the detection, NaN where either is missing."""

    position: Positions
    used: Used
    error_px: Scores

    @property
    def known(self) -> Bool[np.ndarray, "F J"]:
        return np.asarray(np.isfinite(self.position).all(axis=-1))


def linear(
    cameras: Sequence[Camera],
    pixels: Pixels,
    score: Scores,
    *,
    weighted: bool = True,
    least_score: float = LEAST_SCORE,
    undistort: bool = True,
) -> Points:
    """DLT of all joints of all frames: pixels F x V x J x 2, score F x V x J; rows weighted by score, or all alike."""
    used = (score > least_score) & np.isfinite(pixels).all(axis=-1)
    flat, used = _flat(cameras, pixels, used, undistort)
    weight = np.where(used, score if weighted else 1.0, 0.0)
    position = _solve(cameras, flat, weight)
    return _points(cameras, position, pixels, used, undistort)


def ransac(
    cameras: Sequence[Camera],
    pixels: Pixels,
    score: Scores,
    *,
    inlier_px: float = INLIER_PX,
    least_score: float = LEAST_SCORE,
    undistort: bool = True,
    seed: int = 0,
) -> Points:
    """The pair of views whose point is within `inlier_px` of most detections (then nearest to them), refitted to those inliers.

    All pairs are tried; of many cameras MOST_PAIRS drawn pairs. A point that only its own two views agree with counts two.
    """
    there = (score > least_score) & np.isfinite(pixels).all(axis=-1)
    flat, there = _flat(cameras, pixels, there, undistort)
    pairs = list(combinations(range(len(cameras)), 2))
    if len(pairs) > MOST_PAIRS:
        some = np.random.default_rng(seed).choice(len(pairs), MOST_PAIRS, replace=False)
        pairs = [pairs[n] for n in np.sort(some)]
    frames, _, joints = there.shape
    best = np.full((frames, joints), -np.inf)
    inliers = np.zeros_like(there)
    for pair in pairs:
        only = np.zeros_like(there)
        only[:, pair] = there[:, pair]
        only &= only.sum(axis=1, keepdims=True) == 2
        position = _solve(cameras, flat, only.astype(np.float64))
        off = _errors(cameras, position, pixels, there, undistort)
        near = off <= inlier_px
        count = near.sum(axis=1)
        worth = np.where(count >= 2, count - np.where(near, off, 0.0).sum(axis=1) / (1e3 * inlier_px), -np.inf)
        better = worth > best
        best = np.where(better, worth, best)
        inliers = np.where(better[:, None], near, inliers)
    position = _solve(cameras, flat, np.where(inliers, score, 0.0))
    return _points(cameras, position, pixels, inliers, undistort)


def reprojected(cameras: Sequence[Camera], position: Positions, undistort: bool = True) -> Pixels:
    """F x V x J x 2: where the cameras see world points (F x J x 3)."""
    if undistort:
        return np.stack([camera.project(position) for camera in cameras], axis=1)
    views = []
    for camera in cameras:
        seen = camera.see(position)
        with np.errstate(divide="ignore", invalid="ignore"):
            views.append(camera.pixels(seen[..., :2] / np.where(seen[..., 2:] > 0, seen[..., 2:], np.nan)))
    return np.stack(views, axis=1)


def _flat(cameras: Sequence[Camera], pixels: Pixels, used: Used, undistort: bool) -> tuple[Pixels, Used]:
    """Detections on the plane at distance 1, F x V x J x 2, and which of them have such a point."""
    flat = np.zeros(pixels.shape)
    for v, camera in enumerate(cameras):
        seen = np.where(used[:, v, :, None], pixels[:, v], camera.matrix[:2, 2])
        k = camera.matrix
        if undistort:
            flat[:, v] = camera.rays(seen)
        else:
            flat[:, v, :, 1] = (seen[..., 1] - k[1, 2]) / k[1, 1]
            flat[:, v, :, 0] = (seen[..., 0] - k[0, 2] - k[0, 1] * flat[:, v, :, 1]) / k[0, 0]
    known = np.asarray(np.isfinite(flat).all(axis=-1))
    return np.where(known[..., None], flat, 0.0), used & known


def _solve(cameras: Sequence[Camera], flat: Pixels, weight: Scores) -> Positions:
    frames, views, joints = weight.shape
    projection = np.stack([camera.projection for camera in cameras])
    projection[:, :, 3] /= METRE
    focal = np.array([[camera.matrix[0, 0], camera.matrix[1, 1]] for camera in cameras])
    by_joint, share = flat.transpose(0, 2, 1, 3).reshape(-1, views, 2), weight.transpose(0, 2, 1).reshape(-1, views)
    points = np.full((frames * joints, 3), np.nan)
    solvable = np.flatnonzero((share > 0).sum(axis=1) >= 2)
    for start in range(0, len(solvable), AT_ONCE):
        some = solvable[start : start + AT_ONCE]
        rows = projection[None, :, :2] - by_joint[some][..., None] * projection[None, :, 2:]
        rows = rows * (focal[None] * share[some][..., None])[..., None]
        _, _, right = np.linalg.svd(rows.reshape(len(some), -1, 4), full_matrices=False)
        with np.errstate(divide="ignore", invalid="ignore"):
            point = METRE * right[:, 3, :3] / right[:, 3, 3:]
        points[some] = np.where(np.isfinite(point).all(axis=1, keepdims=True), point, np.nan)
    return points.reshape(frames, joints, 3)


def _errors(cameras: Sequence[Camera], position: Positions, pixels: Pixels, there: Used, undistort: bool) -> Scores:
    with np.errstate(invalid="ignore"):
        off = np.linalg.norm(reprojected(cameras, position, undistort) - pixels, axis=-1)
    return np.where(there, np.nan_to_num(off, nan=np.inf), np.inf)


def _points(cameras: Sequence[Camera], position: Positions, pixels: Pixels, used: Used, undistort: bool) -> Points:
    with np.errstate(invalid="ignore"):
        off = np.linalg.norm(reprojected(cameras, position, undistort) - pixels, axis=-1)
    known = np.asarray(np.isfinite(position).all(axis=-1))
    return Points(position, used & known[:, None], off)
