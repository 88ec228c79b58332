"""How depths of a person's joints vary together, before any vote: the covariance behind `depth`.

For joints with known names it comes from our own authored poses, 200 drawn and seen from thirty sides each (`depths.json`; made by
`manage.py measure_depths`, which needs the render extra). Joints that the authored body lacks are put between those it has.
For a skeleton with other names depth is a random walk along the bones, each step a bone in a random direction.
A campaign can use a covariance of its own poses instead; see docs/methods/crowd.md.
"""

from __future__ import annotations

import json
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from labeling.skeletons import Skeleton

Array = NDArray[np.float64]
FILE = Path(__file__).with_name("depths.json")
BONE_MM = 260.0
STEP = 0.58  # sd of a bone's depth over its length when it points anywhere: sqrt(1/3)
APART_MM = 20.0  # sd of a joint around the place between others that stands for it
# Joints of other skeletons as weighted means of the authored body's fourteen.
BETWEEN: dict[str, dict[str, float]] = {
    "mid_hip": {"left_hip": 0.5, "right_hip": 0.5},
    "pelvis": {"left_hip": 0.5, "right_hip": 0.5},
    "mid_spine": {"left_hip": 0.25, "right_hip": 0.25, "neck": 0.5},
    "thorax": {"neck": 1.0},
    "upper_neck": {"neck": 0.7, "head": 0.3},
    "chin": {"neck": 0.5, "head": 0.5},
    "nose": {"neck": 0.4, "head": 0.6},
    "head_top": {"head": 1.0},
    **{f"{side}_{part}": {"neck": 0.3, "head": 0.7} for side in ("left", "right") for part in ("eye", "ear")},
}


@cache
def _authored() -> tuple[tuple[str, ...], Array]:
    data = json.loads(FILE.read_text())
    return tuple(data["joints"]), np.array(data["covariance_mm2"], dtype=np.float64)


@lru_cache(maxsize=64)
def covariance(skeleton: Skeleton) -> Float[np.ndarray, "J J"]:
    """Covariance of depths (mm^2), J x J in the skeleton's order, about the person's mean depth. Read-only: it is shared."""
    matrix = _covariance(skeleton)
    matrix.setflags(write=False)
    return matrix


def _covariance(skeleton: Skeleton) -> Array:
    names, known = _authored()
    place = {name: np.eye(len(names))[n] for n, name in enumerate(names)}
    rows, apart = [], []
    for name in skeleton.keypoints:
        parts = {name: 1.0} if name in place else BETWEEN.get(name)
        if parts is None:
            return walk(skeleton)
        rows.append(sum(share * place[part] for part, share in parts.items()))
        apart.append(1.0 if name in place else APART_MM**2)
    mixed = np.array(rows)
    return np.asarray(mixed @ known @ mixed.T + np.diag(apart))


def walk(skeleton: Skeleton) -> Float[np.ndarray, "J J"]:
    """Covariance of a walk along the bones from the root, each step of sd STEP times BONE_MM."""
    joints = len(skeleton.keypoints)
    steps = np.zeros((joints, joints - 1))
    for bone, (parent, child) in enumerate(skeleton.tree):
        steps[child] = steps[parent]
        steps[child, bone] = 1.0
    return np.asarray((STEP * BONE_MM) ** 2 * steps @ steps.T + np.eye(joints))
