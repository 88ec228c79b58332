"""Which poses are likely at all: a Gaussian over whole poses in the camera's axes, for the smoother (an option). J joints, mm."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from labeling.crowd.anatomy import BETWEEN
from labeling.skeletons import Skeleton
from training.poses.neighbours import Library, look_at

Array = NDArray[np.float64]
ROUGH_MM = 20.0  # poses differ by at least this in every direction
SIDES = 12


@dataclass(frozen=True)
class PosePrior:
    """`mean` 3J and `precision` 3J x 3J (1 / mm^2) of poses with the root at the origin."""

    mean: Float[np.ndarray, " D"]
    precision: Float[np.ndarray, "D D"]

    @classmethod
    def of(cls, poses_mm: Float[np.ndarray, "M J 3"]) -> PosePrior:
        """From poses M x J x 3, root at the origin, as cameras see them. Raises ValueError for fewer than two."""
        flat = poses_mm.reshape(len(poses_mm), -1)
        if len(flat) < 2 or not np.isfinite(flat).all():
            raise ValueError("a prior needs two or more finite poses")
        spread = np.cov(flat.T) + ROUGH_MM**2 * np.eye(flat.shape[1])
        return cls(np.asarray(flat.mean(axis=0)), np.asarray(np.linalg.inv(spread), dtype=np.float64))


@lru_cache(maxsize=4)
def authored(skeleton: Skeleton) -> PosePrior:
    """Of our own authored poses, seen from all sides. Raises PoorLibrary for a skeleton whose joints they lack."""
    views = look_at(Library.authored().seen_as(skeleton.keypoints, BETWEEN), SIDES)
    poses = np.concatenate([views.flat, views.depth[..., None]], axis=-1).astype(np.float64)
    root = skeleton.index(skeleton.root)
    return PosePrior.of(poses - poses[:, root : root + 1])
