"""Poses of a release as the lifter takes them: centred, scaled, completed, seen head-on; standardised by InputStatistics."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from labeling.releasing.reading import Poses
from training.lifter.config import LifterConfig
from training.poses import rotations

PERSON_RMS_PX = 130.0  # the size of a person in Human3.6M's pictures: keeps the paper's loss weights in proportion
Array = NDArray[np.float32]


@dataclass(frozen=True)
class LifterInput:
    """N people as the network sees them, float32.

    `points` N x J x 2, px around the root after `size` (N) was divided out; `present` N x J (0 or 1), absent keypoints lie
    where the others let expect them; `inverse_focal` N, 1 / focal length (1/px, after size), 0 where unknown; `to_camera`
    N x 3 x 3 takes the frame of the points (root on the optical axis where the camera is known) to the camera frame.
    """

    points: Float[np.ndarray, "N J 2"]
    present: Float[np.ndarray, "N J"]
    size: Float[np.ndarray, " N"]
    inverse_focal: Float[np.ndarray, " N"]
    to_camera: Float[np.ndarray, "N 3 3"]


@dataclass(frozen=True)
class InputStatistics:
    """What training poses look like: mean and std (2J) around the root; mean and covariance around the middle."""

    mean: Float[np.ndarray, " D"]
    std: Float[np.ndarray, " D"]
    middle_mean: Float[np.ndarray, " M"]
    middle_cov: Float[np.ndarray, "M M"]

    def standardise(self, flat: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N D"]:
        """N x 2J; coordinates that never vary (the root) become 0."""
        return np.where(self.std > 1e-6, (flat - self.mean) / np.maximum(self.std, 1e-6), 0.0).astype(np.float32)


def lifter_input(poses: Poses, config: LifterConfig, statistics: InputStatistics | None = None) -> LifterInput:
    """Prepare people for the network. Without `statistics` (in training) the poses themselves say what absent keypoints do."""
    present = poses.state > 0
    root = poses.skeleton.index(poses.skeleton.root)
    count = np.maximum(present.sum(1), 1)[:, None]
    pixels, inverse_focal, to_camera = _rotate_root_to_axis(poses, config, present, root)
    middle = (pixels * present[..., None]).sum(1) / count
    around = (pixels - middle[:, None]) * present[..., None]
    size = np.ones(len(around))
    if config.input_scale == "person":
        size = np.maximum(np.sqrt((around**2).sum((1, 2)) / count[:, 0] / 2) / PERSON_RMS_PX, 1e-6)
    around = around / size[:, None, None]
    mean, cov = (statistics.middle_mean, statistics.middle_cov) if statistics else _middle(around, present)
    around = _completed(around, present, mean.astype(np.float64), cov.astype(np.float64))
    points = around - around[:, root, None]
    return LifterInput(
        points.astype(np.float32),
        present.astype(np.float32),
        size,
        (inverse_focal * size).astype(np.float32),
        to_camera.astype(np.float32),
    )


def statistics_of(view: LifterInput, poses: Poses) -> InputStatistics:
    """Statistics of the training poses (population std, as the authors)."""
    flat = view.points.reshape(len(view.points), -1).astype(np.float64)
    around = view.points - (view.points * view.present[..., None]).sum(1, keepdims=True) / np.maximum(
        view.present.sum(1), 1
    ).reshape(-1, 1, 1)
    mean, cov = _middle(around.astype(np.float64), view.present > 0)
    return InputStatistics(*(a.astype(np.float32) for a in (flat.mean(0), flat.std(0), mean, cov)))


def _rotate_root_to_axis(
    poses: Poses, config: LifterConfig, present: NDArray[np.bool_], root: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Pixels, 1 / focal length and rotation back; a known camera is turned until the root is on its axis."""
    pixels, people = poses.keypoints_px, len(poses.names)
    to_camera = np.broadcast_to(np.eye(3), (people, 3, 3)).copy()
    if config.camera == "orthographic" or poses.focal_px is None or poses.principal_px is None:
        return pixels, np.zeros(people), to_camera
    known = np.isfinite(poses.focal_px).all(1) & np.isfinite(poses.principal_px).all(1) & present[:, root]
    focal = np.where(known[:, None], poses.focal_px, 1.0)
    rays = (pixels - np.where(known[:, None], poses.principal_px, 0.0)[:, None]) / focal[:, None]
    rays = np.concatenate([rays, np.ones((*rays.shape[:2], 1))], -1)
    axis = rays[:, root] / np.linalg.norm(rays[:, root], axis=-1, keepdims=True)
    back = rotations.ahead_to(axis)
    rotated = rays @ back
    mean_focal = focal.mean(1)
    level = rotated[..., :2] / np.maximum(rotated[..., 2:], 1e-3) * mean_focal[:, None, None]
    pixels = np.where(known[:, None, None], level, pixels)
    to_camera[known] = back[known]
    return pixels, np.where(known, 1 / mean_focal, 0.0), to_camera


def _middle(around: NDArray[np.float64], present: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and covariance (2J) from the keypoints that are there; covariances of pairs never seen together are 0."""
    weight = np.repeat(present, 2, axis=1).astype(np.float64)
    flat = around.reshape(len(around), -1) * weight
    mean = flat.sum(0) / np.maximum(weight.sum(0), 1)
    off = (flat - mean) * weight
    cov = off.T @ off / np.maximum(weight.T @ weight, 1)
    values, vectors = np.linalg.eigh(cov)
    return mean, (vectors * np.maximum(values, 1.0)) @ vectors.T


def _completed(
    around: NDArray[np.float64], present: NDArray[np.bool_], mean: NDArray[np.float64], cov: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Absent keypoints at their mean given the present ones (Gaussian), one solve per pattern of absence."""
    out = around.reshape(len(around), -1).copy()
    patterns, which = np.unique(present, axis=0, return_inverse=True)
    for number, pattern in enumerate(patterns):
        if pattern.all():
            continue
        rows, there = which.reshape(-1) == number, np.repeat(pattern, 2)
        if not pattern.any():
            out[rows] = mean
            continue
        gain = np.linalg.solve(cov[np.ix_(there, there)], cov[np.ix_(there, ~there)])
        out[np.ix_(rows, ~there)] = mean[~there] + (out[np.ix_(rows, there)] - mean[there]) @ gain
    return out.reshape(around.shape)


def twin_order(poses: Poses) -> Int[np.ndarray, " J"]:
    """The order of joints after left and right are swapped."""
    order = np.arange(len(poses.skeleton.keypoints))
    for left, right in poses.skeleton.twins:
        i, j = poses.skeleton.index(left), poses.skeleton.index(right)
        order[i], order[j] = j, i
    return order


def subset(poses: Poses, keep: NDArray[np.bool_] | NDArray[np.int64]) -> Poses:
    """The people where `keep` (a mask, or rising indices), with their pairs renumbered."""
    if keep.dtype != bool:
        keep = np.isin(np.arange(len(poses.names)), keep)
    number: NDArray[np.int64] = np.cumsum(keep, dtype=np.int64) - 1
    pairs = keep[poses.pose]
    return replace(
        poses,
        names=[n for n, k in zip(poses.names, keep) if k],
        split=poses.split[keep],
        keypoints_px=poses.keypoints_px[keep],
        state=poses.state[keep],
        pose=number[poses.pose[pairs]],
        first=poses.first[pairs],
        second=poses.second[pairs],
        p_second=poses.p_second[pairs],
        truth_mm=poses.truth_mm[keep],
        action=None if poses.action is None else poses.action[keep],
        focal_px=None if poses.focal_px is None else poses.focal_px[keep],
        principal_px=None if poses.principal_px is None else poses.principal_px[keep],
    )
