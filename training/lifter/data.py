"""Poses of a release as the lifter takes them: centred, scaled, standardised; mirrored and turned copies on the fly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labeling.releasing.reading import Poses
from training.lifter.config import LifterConfig

PERSON_RMS_PX = 130.0  # the size of a person in Human3.6M's pictures: keeps the paper's loss weights in proportion


@dataclass(frozen=True)
class Frame:
    """How pixels become input: mean and std (2J) of the centred training poses."""

    mean: NDArray[np.float32]
    std: NDArray[np.float32]

    def standardise(self, flat: NDArray[np.float32]) -> NDArray[np.float32]:
        """N x 2J; coordinates that never vary (the root) become 0."""
        return np.where(self.std > 1e-6, (flat - self.mean) / np.maximum(self.std, 1e-6), 0.0).astype(np.float32)


def centred(poses: Poses, config: LifterConfig) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float64]]:
    """2D keypoints around the root (N x J x 2), presence (N x J), and the size divided out (N).

    Where the root is absent the mean of the present keypoints stands in; absent keypoints lie on the origin.
    """
    present = poses.state > 0
    root = poses.skeleton.index(poses.skeleton.root)
    count = np.maximum(present.sum(1), 1)[:, None]
    middle = (poses.keypoints_px * present[..., None]).sum(1) / count
    origin = np.where(present[:, root, None], poses.keypoints_px[:, root], middle)
    around = (poses.keypoints_px - origin[:, None]) * present[..., None]
    size = np.ones(len(around))
    if config.input_scale == "person":
        spread = (poses.keypoints_px - middle[:, None]) * present[..., None]
        size = np.sqrt((spread**2).sum((1, 2)) / count[:, 0] / 2) / PERSON_RMS_PX
        size = np.maximum(size, 1e-6)
    return (around / size[:, None, None]).astype(np.float32), present.astype(np.float32), size


def frame_of(points: NDArray[np.float32], present: NDArray[np.float32]) -> Frame:
    """Mean and population std per coordinate over the present keypoints of the training poses."""
    weight = np.repeat(present, 2, axis=1)
    flat = points.reshape(len(points), -1)
    total = np.maximum(weight.sum(0), 1)
    mean = (flat * weight).sum(0) / total
    std = np.sqrt((((flat - mean) ** 2) * weight).sum(0) / total)
    return Frame(mean.astype(np.float32), std.astype(np.float32))


def twin_order(poses: Poses) -> NDArray[np.int64]:
    """The order of joints after left and right are swapped."""
    order = np.arange(len(poses.skeleton.keypoints))
    for left, right in poses.skeleton.twins:
        i, j = poses.skeleton.index(left), poses.skeleton.index(right)
        order[i], order[j] = j, i
    return order


def subset(poses: Poses, keep: NDArray[np.bool_]) -> Poses:
    """The people where `keep`, with their pairs renumbered."""
    number = np.cumsum(keep) - 1
    pairs = keep[poses.pose]
    return Poses(
        poses.skeleton,
        [n for n, k in zip(poses.names, keep) if k],
        poses.split[keep],
        poses.keypoints_px[keep],
        poses.state[keep],
        number[poses.pose[pairs]],
        poses.first[pairs],
        poses.second[pairs],
        poses.p_second[pairs],
        poses.truth_mm[keep],
    )


def noise_free(poses: Poses) -> Poses:
    """The same pairs, labelled by the true order."""
    z = poses.truth_mm[..., 2]
    closer = (z[poses.pose, poses.second] < z[poses.pose, poses.first]).astype(np.float64)
    return Poses(**{**poses.__dict__, "p_second": closer})
